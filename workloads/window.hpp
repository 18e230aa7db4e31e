// Which requests are warm-up, and where a workload ends.
#pragma once

#include <cstdint>
#include <optional>

#include "sim/core/time.hpp"
#include "workloads/workload.hpp"

namespace moesim::workloads {

// Applies "warmup" and "stop" to the requests of an open loop or a trace, in the order of their birth.
//
// Warm-up: the first N requests, or those that arrive before `duration`. "stop" counts what follows: N
// measured requests, or a duration from the end of the warm-up (with warmup.requests: from the first measured
// arrival).
class Window {
 public:
  enum class Verdict : std::uint8_t { warmup, measured, past_end };

  Window(const std::optional<Warmup>& warmup, const std::optional<Stop>& stop);
  // Decides about a request that would arrive at `arrival` and counts it, unless it is past the end.
  [[nodiscard]] Verdict admit(core::Time arrival);

 private:
  std::int64_t warmup_requests_left_ = 0;
  core::Time warmup_end_;
  std::optional<std::int64_t> measured_left_;
  std::optional<core::Duration> measured_duration_;
  std::optional<core::Time> start_;  // of the measured part, once known
};

}  // namespace moesim::workloads
