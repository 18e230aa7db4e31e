#include "workloads/workload.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace moesim::workloads {
namespace {

using config::Problems;
using config::Record;
using config::Type;

// Rates of requests: above this no gap of a picosecond clock makes sense.
constexpr double kMaxRate = 1e9;
// Clients of a closed loop: their requests are on their way to the engine at once, as events of which each
// has a target of 20 bits.
constexpr double kMaxClients = 1048575;
// Stays of an on-off process and think times, in seconds: 1 ms and a week.
constexpr double kShortestStay = 1e-3;
constexpr double kLongestStay = 604800;
// Each change costs a draw, so that the next arrival must be found after few of them.
constexpr double kMaxChangesPerArrival = 10000;
constexpr double kMaxTokensBound = static_cast<double>(kMaxTokens);

void check_lognormal(const LognormalLength& lognormal, Problems& problems) {
  if (lognormal.mean.has_value() == lognormal.sigma.has_value()) {
    problems.error(lognormal.mean ? "/sigma" : "",
                   lognormal.mean ? "a lognormal length takes mean or sigma, not both"
                                  : "a lognormal length needs mean or sigma",
                   lognormal.mean ? "" : "\"sigma\": 0.8");
  }
  if (lognormal.mean && *lognormal.mean < lognormal.median) {
    problems.error("/mean", "the mean of a lognormal distribution is never below its median",
                   "a mean of at least the median");
  }
  if (lognormal.min > lognormal.max) problems.error("/min", "min is above max");
}

void check_empirical(const EmpiricalLength& empirical, Problems& problems) {
  if (empirical.values.empty()) {
    problems.error("/values", "there are no values to draw from", "at least one length");
  }
  for (std::size_t i = 0; i < empirical.values.size(); ++i) {
    if (empirical.values[i] < 1 || empirical.values[i] > kMaxTokens) {
      problems.error("/values/" + std::to_string(i), "a length must be from 1 to 2147483648 tokens", "",
                     "out_of_range");
    }
  }
  if (empirical.weights.empty()) return;
  if (empirical.weights.size() != empirical.values.size()) {
    problems.error("/weights",
                   "there are " + std::to_string(empirical.weights.size()) + " weights for " +
                       std::to_string(empirical.values.size()) + " values",
                   "one weight per value, or no weights for equal ones");
    return;
  }
  double sum = 0.0;
  for (std::size_t i = 0; i < empirical.weights.size(); ++i) {
    if (!(empirical.weights[i] >= 0.0)) {
      problems.error("/weights/" + std::to_string(i), "a weight must not be negative", "", "out_of_range");
    }
    sum += empirical.weights[i];
  }
  if (!(sum > 0.0) || !std::isfinite(sum)) {
    problems.error("/weights", "the weights must have a positive, finite sum",
                   "at least one positive weight");
  }
}

void check_on_off(const OnOffArrivals& on_off, Problems& problems) {
  const double on = on_off.on.seconds(), off = on_off.off.seconds();
  const double arrivals =
      on_off.on_rate.value * on + on_off.off_rate.value * off;  // of one on and one off stay
  if (arrivals * kMaxChangesPerArrival >= 2) return;
  problems.error(
      "/on",
      fmt::format("the process changes between on and off {:.3g} times for each arrival: more than "
                  "{:g} cannot be simulated in a sensible time",
                  2 / arrivals, kMaxChangesPerArrival),
      "longer stays, higher rates or a Poisson process with the mean rate", "out_of_range");
}

void check_curve(const RateCurveArrivals& curve, Problems& problems) {
  if (curve.points.empty()) {
    problems.error("/points", "a rate curve needs at least one point",
                   "[{\"at\": \"0 s\", \"rate\": \"10/s\"}]");
    return;
  }
  double top = 0.0;
  for (std::size_t i = 0; i < curve.points.size(); ++i) {
    top = std::max(top, curve.points[i].rate.value);
    const std::string pointer = "/points/" + std::to_string(i) + "/at";
    if (i > 0 && curve.points[i].at < curve.points[i - 1].at) {
      problems.error(pointer, "the points of a rate curve must be in the order of time",
                     "points sorted by \"at\"");
    }
    if (i > 1 && curve.points[i].at == curve.points[i - 2].at) {
      problems.error(pointer, "more than two points of a rate curve are at the same instant",
                     "two points: the rate before and after the jump");
    }
  }
  if (top == 0.0)
    problems.error("/points", "every rate of the curve is 0: nothing would arrive", "a rate above 0");
}

void check_trace(const Workload& workload, Problems& problems) {
  if (workload.trace->empty()) problems.error("/trace", "the path of the trace is empty");
  if (workload.lengths) {
    problems.error("/lengths", "a trace brings its own lengths: give \"trace\" or \"lengths\", not both");
  }
}

void check_generated(const Workload& workload, Problems& problems) {
  if (!workload.lengths) {
    problems.error(
        "", "a generated workload needs \"lengths\"",
        "\"lengths\": {\"input\": {\"distribution\": \"fixed\", \"tokens\": 1024}, \"output\": ...}",
        "missing_key");
  }
  if (!workload.stop) {
    problems.error("", "a generated workload needs \"stop\", or it would never end",
                   "\"stop\": {\"requests\": 1000} or \"stop\": {\"duration\": \"10 min\"}", "missing_key");
  }
  const auto only_trace = [&](bool given, std::string_view key) {
    if (given) {
      problems.error("/" + std::string(key),
                     "\"" + std::string(key) + "\" belongs to a trace, but the arrivals are generated here");
    }
  };
  only_trace(workload.format != TraceFormat::automatic, "format");
  only_trace(workload.rate_scale != 1.0, "rate_scale");
  only_trace(workload.limit.has_value(), "limit");
  only_trace(workload.spread_ties, "spread_ties");
  const auto* loop = std::get_if<ClosedLoopArrivals>(&*workload.arrival);
  if (loop != nullptr && workload.warmup && workload.warmup->duration) {
    problems.error("/warmup/duration", "a closed loop warms up by a number of requests",
                   "\"warmup\": {\"requests\": " + std::to_string(2 * loop->clients) + "}");
  }
  const auto* curve = std::get_if<RateCurveArrivals>(&*workload.arrival);
  if (curve != nullptr && workload.stop && workload.stop->requests &&
      curve->points.back().rate.value == 0.0) {
    problems.warning(
        "/stop/requests",
        "the rate curve ends at 0, so fewer requests than this may arrive before nothing comes any more");
  }
}

void check_workload(const Workload& workload, Problems& problems) {
  if (workload.trace && workload.arrival) {
    problems.error("/arrival",
                   "a workload is either a trace or generated: give \"trace\" or \"arrival\", not both");
    return;
  }
  if (workload.trace) {
    check_trace(workload, problems);
  } else if (workload.arrival) {
    check_generated(workload, problems);
  } else {
    problems.error("", "a workload needs either \"trace\" or \"arrival\"",
                   "\"trace\": \"FILE\", or \"arrival\": {\"process\": \"poisson\", \"rate\": \"10/s\"}",
                   "missing_key");
  }
}

}  // namespace

const Record<PoissonArrivals>& record_of(Type<PoissonArrivals>) {
  static const auto record =
      Record<PoissonArrivals>("poisson-arrivals", "Arrivals of a Poisson process")
          .required("rate", &PoissonArrivals::rate, "Requests per second", config::above_up_to(0, kMaxRate));
  return record;
}

const Record<GammaArrivals>& record_of(Type<GammaArrivals>) {
  static const auto record =
      Record<GammaArrivals>("gamma-arrivals", "Arrivals with independent gamma-distributed gaps")
          .required("rate", &GammaArrivals::rate, "Requests per second", config::above_up_to(0, kMaxRate))
          .required("cv", &GammaArrivals::cv,
                    "Coefficient of variation of the gaps: 1 is Poisson, above is burstier, 0 is a metronome",
                    config::between(0, 100));
  return record;
}

const Record<OnOffArrivals>& record_of(Type<OnOffArrivals>) {
  static const auto record =
      Record<OnOffArrivals>(
          "on-off-arrivals",
          "Poisson arrivals that alternate between two rates (MMPP-2) with exponential stays")
          .required("on_rate", &OnOffArrivals::on_rate, "Requests per second while on",
                    config::above_up_to(0, kMaxRate))
          .optional("off_rate", &OnOffArrivals::off_rate, "Requests per second while off",
                    config::between(0, kMaxRate))
          .required("on", &OnOffArrivals::on, "Mean length of an on stay",
                    config::between(kShortestStay, kLongestStay))
          .required("off", &OnOffArrivals::off, "Mean length of an off stay",
                    config::between(kShortestStay, kLongestStay))
          .check(check_on_off);
  return record;
}

const Record<RatePoint>& record_of(Type<RatePoint>) {
  static const auto record =
      Record<RatePoint>("rate-point", "One point of a rate curve")
          .required("at", &RatePoint::at, "Time since the start of the simulation", config::at_least(0))
          .required("rate", &RatePoint::rate, "Requests per second at that time",
                    config::between(0, kMaxRate));
  return record;
}

const Record<RateCurveArrivals>& record_of(Type<RateCurveArrivals>) {
  static const auto record =
      Record<RateCurveArrivals>("rate-curve-arrivals", "Poisson arrivals with a rate that follows a curve")
          .required(
              "points", &RateCurveArrivals::points,
              "Points in the order of time; linear between them, constant before and after, two points at "
              "one instant make a jump")
          .check(check_curve);
  return record;
}

const Record<ClosedLoopArrivals>& record_of(Type<ClosedLoopArrivals>) {
  static const auto record =
      Record<ClosedLoopArrivals>(
          "closed-loop-arrivals",
          "A fixed number of clients, each waiting for its answer before the next request")
          .required("clients", &ClosedLoopArrivals::clients, "Number of clients",
                    config::between(1, kMaxClients))
          .optional("think_time", &ClosedLoopArrivals::think_time,
                    "Time between the end of a request and the next one of that client",
                    config::between(0, kLongestStay));
  return record;
}

const Record<FixedLength>& record_of(Type<FixedLength>) {
  static const auto record =
      Record<FixedLength>("fixed-length", "Every length is the same")
          .required("tokens", &FixedLength::tokens, "Length in tokens", config::between(1, kMaxTokensBound));
  return record;
}

const Record<UniformLength>& record_of(Type<UniformLength>) {
  static const auto record =
      Record<UniformLength>("uniform-length",
                            "Whole numbers, equally likely from int(ratio x tokens) to tokens")
          .required("tokens", &UniformLength::tokens, "Longest length in tokens",
                    config::between(1, kMaxTokensBound))
          .required("ratio", &UniformLength::ratio,
                    "Shortest length as a share of the longest (at least 1 token)", config::between(0, 1));
  return record;
}

const Record<LognormalLength>& record_of(Type<LognormalLength>) {
  static const auto record =
      Record<LognormalLength>("lognormal-length",
                              "Lognormal lengths, rounded to whole tokens and clipped to [min, max]")
          .required("median", &LognormalLength::median, "Median in tokens",
                    config::above_up_to(0, kMaxTokensBound))
          .optional("mean", &LognormalLength::mean, "Mean in tokens before clipping; or give sigma",
                    config::above_up_to(0, kMaxTokensBound))
          .optional("sigma", &LognormalLength::sigma, "Standard deviation of the logarithm; or give mean",
                    config::between(0, 10))
          .optional("min", &LognormalLength::min, "Shorter lengths become this many tokens",
                    config::between(1, kMaxTokensBound))
          .optional("max", &LognormalLength::max, "Longer lengths become this many tokens",
                    config::between(1, kMaxTokensBound))
          .check(check_lognormal);
  return record;
}

const Record<EmpiricalLength>& record_of(Type<EmpiricalLength>) {
  static const auto record =
      Record<EmpiricalLength>("empirical-length", "One of the given lengths")
          .required("values", &EmpiricalLength::values, "Lengths in tokens",
                    config::between(1, kMaxTokensBound))
          .optional("weights", &EmpiricalLength::weights,
                    "Relative frequency of each value; without them all are equally likely",
                    config::at_least(0))
          .check(check_empirical);
  return record;
}

const Record<Lengths>& record_of(Type<Lengths>) {
  static const auto record =
      Record<Lengths>("lengths", "How long prompts and answers are, drawn independently")
          .required("input", &Lengths::input, "Prompt length")
          .required("output", &Lengths::output, "Answer length");
  return record;
}

const Record<Warmup>& record_of(Type<Warmup>) {
  static const auto record =
      Record<Warmup>("warmup", "Requests at the start that are served but left out of every metric")
          .optional(
              "requests", &Warmup::requests,
              "Number of requests: the first ones of an open loop or trace, extra ones of a closed loop",
              config::between(0, 1e12))
          .optional("duration", &Warmup::duration,
                    "Requests that arrive before this time (not for a closed loop)", config::at_least(0))
          .check([](const Warmup& warmup, Problems& problems) {
            if (warmup.requests.has_value() == warmup.duration.has_value()) {
              problems.error(warmup.requests ? "/duration" : "",
                             "a warm-up needs either requests or duration",
                             "{\"requests\": 100} or {\"duration\": \"30 s\"}");
            }
          });
  return record;
}

const Record<Stop>& record_of(Type<Stop>) {
  static const auto record =
      Record<Stop>("stop",
                   "Where the workload ends, counted from the end of the warm-up; the first limit counts")
          .optional("requests", &Stop::requests, "Number of measured requests", config::between(1, 1e12))
          .optional("duration", &Stop::duration, "No request is sent at or after this time", config::above(0))
          .check([](const Stop& stop, Problems& problems) {
            if (!stop.requests && !stop.duration) {
              problems.error("", "a stop needs requests, duration or both",
                             "{\"requests\": 1000} or {\"duration\": \"10 min\"}");
            }
          });
  return record;
}

const Record<Workload>& record_of(Type<Workload>) {
  static const auto record =
      Record<Workload>("workload", "What arrives: a recorded trace or generated requests")
          .optional("trace", &Workload::trace,
                    "Trace file, relative to the scenario file; \"data:PATH\" is inside the data folder")
          .optional("format", &Workload::format, "Format of the trace file")
          .optional("rate_scale", &Workload::rate_scale,
                    "Speed-up of the trace's clock: 2 sends the same requests in half the time",
                    config::above_up_to(0, 1e6))
          .optional("limit", &Workload::limit, "Use only this many records from the start of the trace",
                    config::between(1, 1e12))
          .optional(
              "spread_ties", &Workload::spread_ties,
              "Spread trace records with equal time stamps at random over the time to the next one (for "
              "traces with a coarse clock, such as Mooncake's ticks of 3 s)")
          .optional("arrival", &Workload::arrival, "Arrival process of generated requests")
          .optional("lengths", &Workload::lengths, "Lengths of generated requests")
          .optional("warmup", &Workload::warmup, "Requests left out of the metrics")
          .optional("stop", &Workload::stop, "Where the workload ends")
          .check(check_workload);
  return record;
}

}  // namespace moesim::workloads
