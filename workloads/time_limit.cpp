#include "workloads/time_limit.hpp"

#include "sim/config/diagnostics.hpp"

namespace moesim::workloads {
namespace {

[[noreturn]] void fail_past_end() {
  throw config::InputError("time_overflow", "arrivals pass the 106 days that simulated time can hold",
                           "a higher rate, fewer requests or a shorter duration");
}

}  // namespace

core::Time later(core::Time now, core::Duration pause) {
  if (pause > core::kEndOfTime - now) fail_past_end();
  return now + pause;
}

core::Time later(core::Time now, double seconds) {
  // One part in 10^9 below the limit, so that rounding cannot reach it.
  if (!(seconds < (core::kEndOfTime - now).seconds() * (1.0 - 1e-9))) fail_past_end();
  return now + core::duration_from_seconds(seconds);
}

}  // namespace moesim::workloads
