// The "workload" object of a scenario: what arrives, when, and how long prompts and answers are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sim/config/record.hpp"
#include "sim/core/time.hpp"
#include "sim/core/units.hpp"

namespace moesim::workloads {

// Most tokens that a prompt or an answer may have.
inline constexpr std::int64_t kMaxTokens = std::int64_t{1} << 31;

// How a trace file is written; `automatic` looks at its first line.
enum class TraceFormat : std::uint8_t { automatic, azure, mooncake, llmservingsim, vidur };

// Arrivals of a Poisson process: independent exponential gaps.
struct PoissonArrivals {
  core::PerSecond rate;
};

// Independent gamma gaps of mean 1/rate and standard deviation cv/rate; cv 1 is Poisson, cv 0 a metronome.
// vLLM's "burstiness" is 1/cv^2.
struct GammaArrivals {
  core::PerSecond rate;
  double cv = 1.0;
};

// Poisson arrivals whose rate jumps between two values (a Markov-modulated Poisson process, MMPP-2). Stays
// have exponential lengths with means `on` and `off`; the start state is drawn from the long-run shares.
struct OnOffArrivals {
  core::PerSecond on_rate;
  core::PerSecond off_rate;
  core::Duration on;
  core::Duration off;
};

struct RatePoint {
  core::Duration at;
  core::PerSecond rate;
};

// Poisson arrivals whose rate is linear between the points, the first rate before them and the last rate
// after them. Two points at the same instant make a jump.
struct RateCurveArrivals {
  std::vector<RatePoint> points;
};

// A fixed number of clients: each sends its next request `think_time` after its last one ended.
struct ClosedLoopArrivals {
  std::int64_t clients = 0;
  core::Duration think_time;
};

using Arrival =
    std::variant<PoissonArrivals, GammaArrivals, OnOffArrivals, RateCurveArrivals, ClosedLoopArrivals>;

struct FixedLength {
  std::int64_t tokens = 0;
};

// Whole numbers, equally likely from max(1, int(ratio * tokens)) to tokens, both included: the range of
// InferenceX's RANDOM_RANGE_RATIO (SemiAnalysisAI/InferenceX utils/bench_serving).
struct UniformLength {
  std::int64_t tokens = 0;
  double ratio = 1.0;
};

// median * exp(sigma * Z), rounded to the nearest whole number, then clipped to [min, max] (clipped, not
// drawn again: a length that is too long for the context is cut, as servers do). Given `mean` (of the
// unclipped distribution) instead of `sigma`, sigma = sqrt(2 ln(mean / median)).
struct LognormalLength {
  double median = 0.0;
  std::optional<double> mean;
  std::optional<double> sigma;
  std::int64_t min = 1;
  std::int64_t max = kMaxTokens;
};

// One of the values, with the given weights (equal ones if none are given).
struct EmpiricalLength {
  std::vector<std::int64_t> values;
  std::vector<double> weights;
};

using LengthDistribution = std::variant<FixedLength, UniformLength, LognormalLength, EmpiricalLength>;

struct Lengths {
  LengthDistribution input;
  LengthDistribution output;
};

// Requests that are served but left out of every metric. Exactly one member is given.
struct Warmup {
  std::optional<std::int64_t> requests;
  std::optional<core::Duration> duration;
};

// Where a workload ends, counted from the end of the warm-up; the first limit that is reached counts.
struct Stop {
  std::optional<std::int64_t> requests;
  std::optional<core::Duration> duration;
};

struct Workload {
  std::optional<std::string> trace;
  TraceFormat format = TraceFormat::automatic;
  double rate_scale = 1.0;
  std::optional<std::int64_t> limit;
  bool spread_ties = false;
  std::optional<Arrival> arrival;
  std::optional<Lengths> lengths;
  std::optional<Warmup> warmup;
  std::optional<Stop> stop;
};

// The field tables (see sim/config/record.hpp).
[[nodiscard]] const config::Record<PoissonArrivals>& record_of(config::Type<PoissonArrivals>);
[[nodiscard]] const config::Record<GammaArrivals>& record_of(config::Type<GammaArrivals>);
[[nodiscard]] const config::Record<OnOffArrivals>& record_of(config::Type<OnOffArrivals>);
[[nodiscard]] const config::Record<RatePoint>& record_of(config::Type<RatePoint>);
[[nodiscard]] const config::Record<RateCurveArrivals>& record_of(config::Type<RateCurveArrivals>);
[[nodiscard]] const config::Record<ClosedLoopArrivals>& record_of(config::Type<ClosedLoopArrivals>);
[[nodiscard]] const config::Record<FixedLength>& record_of(config::Type<FixedLength>);
[[nodiscard]] const config::Record<UniformLength>& record_of(config::Type<UniformLength>);
[[nodiscard]] const config::Record<LognormalLength>& record_of(config::Type<LognormalLength>);
[[nodiscard]] const config::Record<EmpiricalLength>& record_of(config::Type<EmpiricalLength>);
[[nodiscard]] const config::Record<Lengths>& record_of(config::Type<Lengths>);
[[nodiscard]] const config::Record<Warmup>& record_of(config::Type<Warmup>);
[[nodiscard]] const config::Record<Stop>& record_of(config::Type<Stop>);
[[nodiscard]] const config::Record<Workload>& record_of(config::Type<Workload>);

}  // namespace moesim::workloads

namespace moesim::config {

template <>
struct EnumNames<workloads::TraceFormat> {
  static constexpr EnumName<workloads::TraceFormat> table[] = {
      {workloads::TraceFormat::automatic, "auto", "told by the first line of the file"},
      {workloads::TraceFormat::azure, "azure",
       "Azure LLM inference CSV: TIMESTAMP,ContextTokens,GeneratedTokens"},
      {workloads::TraceFormat::mooncake, "mooncake",
       "Mooncake JSON lines: timestamp (ms), input_length, output_length, hash_ids of 512-token blocks"},
      {workloads::TraceFormat::llmservingsim, "llmservingsim",
       "LLMServingSim JSON lines: input_toks, output_toks, arrival_time_ns, or sub_requests of one session"},
      {workloads::TraceFormat::vidur, "vidur",
       "Vidur CSV: arrived_at (s),num_prefill_tokens,num_decode_tokens"},
  };
};

template <>
struct VariantTag<workloads::Arrival> {
  static constexpr std::string_view key = "process";
  static constexpr std::string_view names[] = {"poisson", "gamma", "on-off", "rate-curve", "closed-loop"};
};

template <>
struct VariantTag<workloads::LengthDistribution> {
  static constexpr std::string_view key = "distribution";
  static constexpr std::string_view names[] = {"fixed", "uniform", "lognormal", "empirical"};
};

}  // namespace moesim::config
