#include "workloads/time_limit.hpp"

#include <string>
#include <utility>

#include "sim/config/diagnostics.hpp"

namespace moesim::workloads {
namespace {

std::optional<core::Time> sum(core::Time now, double seconds) {
  // One part in 10^9 below the limit, so that rounding cannot reach it.
  if (!(seconds < (kLatestArrival - now).seconds() * (1.0 - 1e-9))) return std::nullopt;
  return now + core::duration_from_seconds(seconds);
}

[[noreturn]] void fail_past_end(std::string_view pointer) {
  config::Diagnostic problem;
  problem.code = "time_overflow";
  problem.pointer = std::string(pointer);
  problem.message = "arrivals pass the 53 days that a run can last";
  problem.suggestion = "a higher rate, fewer requests or a shorter duration";
  config::Diagnostics all;
  all.add(std::move(problem));
  throw config::InputError(config::SourceSet{}, std::move(all));
}

}  // namespace

core::Time later(core::Time now, core::Duration pause, std::string_view pointer) {
  if (pause > kLatestArrival - now) fail_past_end(pointer);
  return now + pause;
}

core::Time later(core::Time now, double seconds, std::string_view pointer) {
  const std::optional<core::Time> time = sum(now, seconds);
  if (!time) fail_past_end(pointer);
  return *time;
}

std::optional<core::Time> scaled_arrival(core::Time recorded, double rate_scale) {
  if (rate_scale == 1.0) return recorded;
  return sum(core::Time{}, recorded.seconds() / rate_scale);
}

}  // namespace moesim::workloads
