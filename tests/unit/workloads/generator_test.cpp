// Statistics of generated arrivals and lengths: means within 5 standard errors, bounds exact.
#include <algorithm>
#include <cmath>
#include <map>

#include "tests/unit/workloads/support.hpp"
#include "workloads/arrivals.hpp"
#include "workloads/lengths.hpp"

using namespace moesim;
using namespace moesim::workloads;
using moesim::workloads::testing::generate;
using moesim::workloads::testing::problem_of;

namespace {

struct Moments {
  double mean = 0.0;
  double cv = 0.0;
  double mean_error = 0.0;  // standard error of the mean
  double cv_error = 0.0;    // standard error of the CV (delta method)
};

Moments moments_of(const std::vector<double>& samples) {
  const auto n = static_cast<double>(samples.size());
  double mean = 0.0;
  for (const double x : samples) mean += x / n;
  double m2 = 0.0;
  double m3 = 0.0;
  double m4 = 0.0;
  for (const double x : samples) {
    const double d = x - mean;
    m2 += d * d / n;
    m3 += d * d * d / n;
    m4 += d * d * d * d / n;
  }
  const double cv = std::sqrt(m2) / mean;
  const double relative = (m4 / (m2 * m2) - 1.0) / 4.0 + cv * cv - m3 / (m2 * mean);
  return {mean, cv, std::sqrt(m2 / n), cv * std::sqrt(std::max(relative, 0.0) / n)};
}

std::vector<double> gaps(const Arrival& arrival, int count, std::uint64_t seed = 7) {
  const auto process = make_arrivals(arrival, seed);
  std::vector<double> all;
  core::Time last;
  for (int i = 0; i < count; ++i) {
    const core::Time at = process->next().value();
    all.push_back((at - last).seconds());
    last = at;
  }
  return all;
}

core::Duration seconds(double s) { return core::duration_from_seconds(s); }

std::vector<double> lengths(const LengthDistribution& distribution, int count) {
  const LengthSampler sampler(distribution);
  std::vector<double> all;
  for (int i = 0; i < count; ++i) {
    core::Draws draws(3, 4, static_cast<std::uint64_t>(i));
    all.push_back(static_cast<double>(sampler.draw(draws)));
  }
  return all;
}

}  // namespace

TEST_CASE("Poisson gaps have the rate and a CV of 1") {
  const Moments gap = moments_of(gaps(PoissonArrivals{{12.5}}, 200'000));
  CHECK(std::abs(gap.mean - 1 / 12.5) < 5 * gap.mean_error);
  CHECK(std::abs(gap.cv - 1.0) < 5 * gap.cv_error);
}

TEST_CASE("gamma gaps have the rate and the CV") {
  for (const double cv : {0.3, 1.0, 2.0, 5.0}) {
    const Moments gap = moments_of(gaps(GammaArrivals{{4.0}, cv}, 200'000));
    INFO("cv " << cv);
    CHECK(std::abs(gap.mean - 0.25) < 5 * gap.mean_error);
    CHECK(std::abs(gap.cv - cv) < 5 * gap.cv_error);
  }
}

TEST_CASE("a CV of 0 is a metronome") {
  for (const double gap : gaps(GammaArrivals{{4.0}, 0.0}, 100)) CHECK(gap == 0.25);
}

TEST_CASE("an on-off process without arrivals while off has the CV of its closed form") {
  // Interrupted Poisson process: CV^2 = 1 + 2 rate a / (a + b)^2 with a = 1/on, b = 1/off (Kuczura 1973).
  const OnOffArrivals on_off{{10.0}, {0.0}, seconds(8), seconds(22)};
  const double a = 1.0 / 8.0;
  const double b = 1.0 / 22.0;
  const Moments gap = moments_of(gaps(on_off, 2'000'000));
  CHECK(std::abs(gap.mean - (1.0 / 10.0) * 30.0 / 8.0) < 5 * gap.mean_error);
  CHECK(std::abs(gap.cv - std::sqrt(1 + 2 * 10.0 * a / ((a + b) * (a + b)))) < 5 * gap.cv_error);
}

TEST_CASE("an on-off process has the mean of its two rates") {
  // The Azure conversation trace's fit (reference/traces.md 3.1).
  const OnOffArrivals on_off{{7.0}, {4.62}, seconds(76), seconds(122)};
  const auto process = make_arrivals(on_off, 11);
  const double horizon = 1e6;
  double count = 0;
  while (process->next()->seconds() < horizon) ++count;
  const double mean = (7.0 * 76 + 4.62 * 122) / 198;
  // Variance of the count: Poisson, plus 2 T p q (difference)^2 tau of the modulation, 1/tau = 1/76 + 1/122.
  const double p = 76.0 / 198;
  const double tau = 1.0 / (1.0 / 76 + 1.0 / 122);
  const double variance = mean * horizon + 2 * horizon * p * (1 - p) * 2.38 * 2.38 * tau;
  CHECK(std::abs(count - mean * horizon) < 5 * std::sqrt(variance));
}

TEST_CASE("a rate curve is followed: counts in windows are Poisson with the integral of the rate") {
  const RateCurveArrivals curve{{{seconds(100), {20.0}},
                                 {seconds(200), {20.0}},
                                 {seconds(400), {0.0}},
                                 {seconds(500), {0.0}},
                                 {seconds(500), {50.0}},
                                 {seconds(600), {10.0}}}};
  const double expected[] = {2000, 2000, 1500, 500, 0, 3000, 1000};  // windows of 100 s
  double counts[7] = {};
  constexpr int kRuns = 20;
  for (std::uint64_t seed = 0; seed < kRuns; ++seed) {
    const auto process = make_arrivals(curve, seed);
    core::Time last;
    for (core::Time at = *process->next(); at.seconds() < 700; at = *process->next()) {
      CHECK(at >= last);
      last = at;
      counts[static_cast<int>(at.seconds() / 100)] += 1;
    }
  }
  for (int window = 0; window < 7; ++window) {
    INFO("window " << window);
    CHECK(std::abs(counts[window] - kRuns * expected[window]) <= 5 * std::sqrt(kRuns * expected[window]));
  }
}

TEST_CASE(
    "a rate curve is inverted exactly: its integral at arrival k is arrival k of rate 1 of the same seed") {
  const RateCurveArrivals curve{{{seconds(2), {0.1}},
                                 {seconds(10), {3.0}},
                                 {seconds(11), {0.0}},
                                 {seconds(20), {0.0}},
                                 {seconds(50), {0.3}},
                                 {seconds(50), {7.0}},
                                 {seconds(60), {0.5}}}};
  // Expected arrivals before a time, by the trapezoid rule on pieces where the rate is linear.
  const auto integral = [&](double time) {
    double sum = 0.1 * std::min(time, 2.0);
    for (std::size_t i = 1; i < curve.points.size(); ++i) {
      const double left = curve.points[i - 1].at.seconds();
      const double right = curve.points[i].at.seconds();
      if (time <= left || right == left) continue;
      const double r0 = curve.points[i - 1].rate.value;
      const double r1 = curve.points[i].rate.value;
      const double end = std::min(time, right);
      const double at_end = r0 + (r1 - r0) * (end - left) / (right - left);
      sum += (r0 + at_end) / 2 * (end - left);
    }
    return sum + 0.5 * std::max(time - 60.0, 0.0);
  };
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto process = make_arrivals(curve, seed);
    const auto unit = make_arrivals(RateCurveArrivals{{{seconds(0), {1.0}}}}, seed);
    for (int k = 0; k < 100; ++k) {
      const double expected = unit->next()->seconds();
      CHECK(std::abs(integral(process->next()->seconds()) - expected) < 1e-9);
    }
  }
}

TEST_CASE("a constant rate curve is a Poisson process and one that ends at 0 ends") {
  const Moments gap = moments_of(gaps(RateCurveArrivals{{{seconds(10), {8.0}}}}, 100'000));
  CHECK(std::abs(gap.mean - 0.125) < 5 * gap.mean_error);
  CHECK(std::abs(gap.cv - 1.0) < 5 * gap.cv_error);
  const auto process = make_arrivals(RateCurveArrivals{{{seconds(0), {9.0}}, {seconds(10), {0.0}}}}, 1);
  std::vector<double> all;
  while (const auto at = process->next()) all.push_back(at->seconds());
  CHECK(all.size() > 10);
  CHECK(all.back() <= 10.0);
  CHECK_FALSE(process->next());
}

TEST_CASE("arrivals past the end of simulated time are an error, not a short run") {
  const auto process = make_arrivals(PoissonArrivals{{1e-6}}, 1);
  const auto problem = problem_of([&] {
    for (int i = 0; i < 1000; ++i) static_cast<void>(process->next());
  });
  CHECK(problem.code == "time_overflow");
}

TEST_CASE("uniform lengths are InferenceX's: int(ratio x tokens) to tokens, each equally likely") {
  for (const auto& [tokens, ratio, low] : std::vector<std::tuple<std::int64_t, double, std::int64_t>>{
           {1024, 0.8, 819}, {8192, 0.8, 6553}, {10, 0.0, 1}}) {
    const auto all = lengths(UniformLength{tokens, ratio}, 200'000);
    INFO(tokens);
    CHECK(static_cast<std::int64_t>(*std::min_element(all.begin(), all.end())) == low);
    CHECK(static_cast<std::int64_t>(*std::max_element(all.begin(), all.end())) == tokens);
    const Moments length = moments_of(all);
    CHECK(std::abs(length.mean - static_cast<double>(low + tokens) / 2) < 5 * length.mean_error);
  }
  for (const double length : lengths(UniformLength{77, 1.0}, 100)) CHECK(length == 77);
}

TEST_CASE("lognormal lengths have the median and the mean") {
  LognormalLength distribution;
  distribution.median = 1020;
  distribution.mean = 1400;
  auto all = lengths(distribution, 200'000);
  const Moments length = moments_of(all);
  CHECK(std::abs(length.mean - 1400) < 5 * length.mean_error);
  const auto n = static_cast<double>(all.size());
  const double below =
      static_cast<double>(std::count_if(all.begin(), all.end(), [](double x) { return x <= 1020; }));
  CHECK(std::abs(below / n - 0.5) < 5 * 0.5 / std::sqrt(n));
  distribution.mean.reset();
  distribution.sigma = 0.0;
  for (const double x : lengths(distribution, 10)) CHECK(x == 1020);
}

TEST_CASE("lognormal lengths are clipped: the ends hold what lies beyond them") {
  LognormalLength distribution;
  distribution.median = 100;
  distribution.sigma = 1.0;
  distribution.min = 50;
  distribution.max = 300;
  const auto all = lengths(distribution, 200'000);
  const auto n = static_cast<double>(all.size());
  const auto share = [&](double value) {
    return static_cast<double>(std::count(all.begin(), all.end(), value)) / n;
  };
  CHECK(*std::min_element(all.begin(), all.end()) == 50);
  CHECK(*std::max_element(all.begin(), all.end()) == 300);
  // P(Z < ln(50.5/100)) and P(Z > ln(299.5/100)).
  const double low = 0.5 * std::erfc(-std::log(0.505) / std::sqrt(2.0));
  const double high = 0.5 * std::erfc(std::log(2.995) / std::sqrt(2.0));
  CHECK(std::abs(share(50) - low) < 5 * std::sqrt(low * (1 - low) / n));
  CHECK(std::abs(share(300) - high) < 5 * std::sqrt(high * (1 - high) / n));
}

TEST_CASE("empirical lengths come with their weights, and never with weight 0") {
  const std::vector<double> weights = {0, 1, 3, 0, 4, 0};
  const auto all = lengths(EmpiricalLength{{1, 2, 3, 4, 5, 6}, weights}, 100'000);
  std::map<double, double> counts;
  for (const double x : all) counts[x] += 1;
  const auto n = static_cast<double>(all.size());
  CHECK(counts.size() == 3);
  for (const std::size_t i : {1U, 2U, 4U}) {
    const double p = weights[i] / 8;
    CHECK(std::abs(counts[static_cast<double>(i + 1)] / n - p) < 5 * std::sqrt(p * (1 - p) / n));
  }
  const Moments equal = moments_of(lengths(EmpiricalLength{{10, 20, 30, 40}, {}}, 100'000));
  CHECK(std::abs(equal.mean - 25) < 5 * equal.mean_error);
}

TEST_CASE("lengths do not depend on the arrival process, nor one length on the other") {
  const auto run = [](const std::string& arrival, const std::string& output) {
    return generate("{\"arrival\": " + arrival +
                    R"(, "stop": {"requests": 200}, "lengths": {"input": {"distribution": "lognormal",
                        "median": 500, "sigma": 0.7}, "output": )" +
                    output + "}}");
  };
  const std::string uniform = R"({"distribution": "uniform", "tokens": 1000, "ratio": 0.1})";
  const auto base = run(R"({"process": "poisson", "rate": "5/s"})", uniform);
  const auto gamma = run(R"({"process": "gamma", "rate": "50/s", "cv": 3})", uniform);
  const auto fixed =
      run(R"({"process": "poisson", "rate": "5/s"})", R"({"distribution": "fixed", "tokens": 9})");
  const auto closed = run(R"({"process": "closed-loop", "clients": 200})", uniform);
  REQUIRE(base.size() == 200);
  REQUIRE(closed.size() == 200);
  bool arrivals_differ = false;
  for (std::size_t i = 0; i < base.size(); ++i) {
    CHECK(base[i].input_tokens == gamma[i].input_tokens);
    CHECK(base[i].output_tokens == gamma[i].output_tokens);
    CHECK(base[i].input_tokens == fixed[i].input_tokens);
    CHECK(base[i].arrival == fixed[i].arrival);
    CHECK(base[i].output_tokens == closed[i].output_tokens);
    arrivals_differ |= base[i].arrival != gamma[i].arrival;
  }
  CHECK(arrivals_differ);
}

TEST_CASE("prompt and answer lengths of a request are not correlated") {
  const auto requests =
      generate(R"({"arrival": {"process": "poisson", "rate": "5/s"}, "stop": {"requests": 50000},
      "lengths": {"input": {"distribution": "uniform", "tokens": 1000, "ratio": 0},
                  "output": {"distribution": "uniform", "tokens": 1000, "ratio": 0}}})");
  double sum = 0;
  for (const Request& r : requests) {
    sum += (static_cast<double>(r.input_tokens) - 500.5) * (static_cast<double>(r.output_tokens) - 500.5);
  }
  const auto n = static_cast<double>(requests.size());
  CHECK(std::abs(sum / n / (1000.0 * 1000.0 / 12)) < 5 / std::sqrt(n));
}

TEST_CASE("the first requests of a seed never change") {
  // Golden values: results of old scenarios must stay comparable. Change them only on purpose.
  const auto requests =
      generate(R"({"arrival": {"process": "poisson", "rate": "10/s"}, "stop": {"requests": 3},
      "lengths": {"input": {"distribution": "uniform", "tokens": 8192, "ratio": 0.8},
                  "output": {"distribution": "lognormal", "median": 129, "sigma": 0.93}}})");
  REQUIRE(requests.size() == 3);
  CHECK(requests[0].arrival.ps == 5'164'132'247);
  CHECK(requests[0].input_tokens == 7516);
  CHECK(requests[0].output_tokens == 160);
  CHECK(requests[2].arrival.ps == 176'148'514'223);
  CHECK(requests[2].input_tokens == 8029);
  CHECK(requests[2].output_tokens == 193);
}
