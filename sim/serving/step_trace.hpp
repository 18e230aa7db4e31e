// The timeline of a run at step fidelity: a slice for every step, and what runs, waits and fills the KV
// cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "sim/execution/timeline.hpp"
#include "sim/serving/fleet.hpp"
#include "sim/serving/recorder.hpp"

namespace moesim::serving {

// Fills a timeline: a process "cluster" with counters over all replicas, and one process per group of ranks
// that step together with a track "steps". Without a timeline every call does nothing.
class StepTrace {
 public:
  StepTrace(execution::Timeline* timeline, const Fleet& fleet);

  // `held` is the state that has held since the last call: states that held for no time leave no mark.
  void advance(core::Time now, const SystemState& held) {
    if (timeline_ == nullptr || now == since_) return;
    count(held);
    since_ = now;
  }
  // A group of ranks started the step that `group` holds, or ended it.
  void begin_step(std::size_t index, core::Time now, const StepGroup& group);
  void end_step(std::size_t index, core::Time now);
  // The end of the run. Steps that are still running end here, and their names say so.
  void finish(core::Time now, const SystemState& held);

 private:
  struct Step {
    core::Time begin;
    execution::Timeline::Name name;
    std::int64_t tokens = 0;
    std::int64_t sequences = 0;
  };
  void count(const SystemState& held);
  void add(std::size_t index, const Step& step, execution::Timeline::Name name, core::Time end);

  execution::Timeline* timeline_;
  core::Time since_;
  double kv_capacity_bytes_ = 0;
  execution::Timeline::Counter running_, waiting_, kv_use_;
  execution::Timeline::Name category_, prefill_, decode_, mixed_, tokens_, sequences_;
  std::vector<execution::Timeline::Track> tracks_;  // by group, as all below
  std::vector<std::optional<Step>> steps_;          // those that run
};

}  // namespace moesim::serving
