// What an executor writes into a timeline: a process per device with its streams and the use of its
// resources.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "models/hardware/topology.hpp"
#include "sim/execution/link_pattern.hpp"
#include "sim/execution/machine.hpp"
#include "sim/execution/step_time.hpp"
#include "sim/execution/timeline.hpp"

namespace moesim::execution {

class KernelTrace {
 public:
  // `timeline` may be null: then nothing is written.
  KernelTrace(const hardware::Topology& topology, const ResourceMap& resources, Timeline* timeline);

  enum class Stream : std::uint8_t { layers, compute, communication, copy };

  [[nodiscard]] bool on() const { return timeline_ != nullptr; }
  // Something that ran on a stream; `alone` if it would have taken so long with nothing else around. The
  // streams of `job` 0 are the replica's own; those of job n belong to the n-th background traffic.
  void slice(hardware::DeviceIndex device, std::uint32_t job, Stream stream, std::string_view name,
             std::string_view category, core::Time begin, core::Time end,
             std::optional<core::Duration> alone = {});
  // A numbered stretch: "layer 12".
  void stretch(hardware::DeviceIndex device, std::string_view name, std::int64_t number, core::Time begin,
               core::Time end);
  // Writes the use of the resources that changed at the last instant that was looked at, once another has
  // come: of each at most once a microsecond; what changes in between is seen when that is over. No event is
  // needed for it, so that a run is the same with and without a timeline.
  void look(core::Time now, Machine& machine) {
    if (!on() || now == looked_at_) return;
    sample(now, machine);
    looked_at_ = now;
  }
  void finish(Machine& machine) {
    if (on()) sample(core::kEndOfTime, machine);
  }

 private:
  // What has held since the last look, up to, but without, `until`.
  void sample(core::Time until, Machine& machine);
  [[nodiscard]] Timeline::Process process_of(hardware::DeviceIndex device);
  [[nodiscard]] Timeline::Track track(hardware::DeviceIndex device, std::uint32_t job, Stream stream);
  [[nodiscard]] Timeline::Counter counter(std::uint32_t resource);
  [[nodiscard]] Timeline::Counter new_link_counter(hardware::LinkIndex link);

  const hardware::Topology* topology_;
  const ResourceMap* resources_;
  Timeline* timeline_;
  std::vector<std::optional<Timeline::Process>> devices_;
  std::map<std::tuple<std::int32_t, std::uint32_t, Stream>, Timeline::Track> tracks_;  // by device and job
  std::optional<Timeline::Process> network_;
  std::vector<std::optional<Timeline::Counter>> counters_;  // by resource
  std::vector<std::optional<Timeline::Name>> numbers_;      // of "layer"
  static constexpr core::Duration kSamplePeriod{1'000'000};
  core::Time looked_at_;
  std::vector<std::uint32_t> waiting_;  // resources that have changed since they were sampled
  std::vector<char> due_;               // by resource: it is among them
  std::vector<core::Time> next_;        // by resource: when it may be sampled again
};

}  // namespace moesim::execution
