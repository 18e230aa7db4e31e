#include "sim/core/random.hpp"

#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <functional>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

constexpr int kSamples = 200'000;

// Mean and variance within 5 standard errors of the given ones.
void require_moments(const std::function<double()>& draw, double mean, double variance,
                     int samples = kSamples) {
  double first = 0.0;
  double second = 0.0;
  double fourth = 0.0;
  for (int i = 0; i < samples; ++i) {
    const double x = draw() - mean;
    first += x;
    second += x * x;
    fourth += x * x * x * x;
  }
  const double n = samples;
  first /= n;
  second /= n;
  fourth /= n;
  INFO("mean off by " << first << ", variance " << second << " for " << variance);
  REQUIRE(std::fabs(first) < 5.0 * std::sqrt(variance / n));
  REQUIRE(std::fabs(second - variance) < 5.0 * std::sqrt((fourth - second * second) / n));
}

// Chi-square of observed counts against expected ones, within 5 standard deviations of its own mean.
void require_chi_square(const std::vector<std::int64_t>& observed, const std::vector<double>& expected) {
  double sum = 0.0;
  double rare_observed = 0.0;
  double rare_expected = 0.0;
  int cells = 0;
  for (std::size_t i = 0; i < observed.size(); ++i) {
    if (expected[i] < 10.0) {
      rare_observed += static_cast<double>(observed[i]);
      rare_expected += expected[i];
      continue;
    }
    const double difference = static_cast<double>(observed[i]) - expected[i];
    sum += difference * difference / expected[i];
    ++cells;
  }
  if (rare_expected > 10.0) {
    sum += (rare_observed - rare_expected) * (rare_observed - rare_expected) / rare_expected;
    ++cells;
  }
  const double freedom = cells - 1;
  INFO("chi-square " << sum << " with " << freedom << " degrees of freedom");
  REQUIRE(cells > 5);
  REQUIRE(std::fabs(sum - freedom) < 5.0 * std::sqrt(2.0 * freedom));
}

// Samples put through their own distribution function must be uniform.
void require_distribution(const std::function<double()>& draw, const std::function<double(double)>& cdf) {
  constexpr std::size_t kCells = 128;
  std::vector<std::int64_t> observed(kCells, 0);
  for (int i = 0; i < kSamples; ++i) {
    const double u = cdf(draw());
    REQUIRE((u >= 0.0 && u <= 1.0));
    ++observed[std::min(kCells - 1, static_cast<std::size_t>(u * kCells))];
  }
  require_chi_square(observed, std::vector<double>(kCells, static_cast<double>(kSamples) / kCells));
}

void require_binomial(std::int64_t trials, double p) {
  INFO("binomial " << trials << " " << p);
  Draws draws(11, 12, static_cast<std::uint64_t>(trials));
  const auto n = static_cast<double>(trials);
  std::vector<std::int64_t> observed(static_cast<std::size_t>(trials) + 1, 0);
  for (int i = 0; i < kSamples; ++i) {
    const std::int64_t k = draw_binomial(draws, trials, p);
    REQUIRE((k >= 0 && k <= trials));
    ++observed[static_cast<std::size_t>(k)];
  }
  std::vector<double> expected;
  for (double k = 0.0; k <= n; k += 1.0) {
    const double log_mass = std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) +
                            k * std::log(p) + (n - k) * std::log1p(-p);
    expected.push_back(kSamples * std::exp(log_mass));
  }
  require_chi_square(observed, expected);
}

TEST_CASE("Philox gives the known answers of Random123") {
  Draws zero(0, 0, 0);
  REQUIRE(zero() == 0xe169c58d6627e8d5U);
  REQUIRE(zero() == 0x9b00dbd8bc57ac4cU);

  Draws ones(UINT64_MAX, UINT32_MAX, UINT64_MAX);
  ones.discard((std::uint64_t{1} << 33) - 2);
  REQUIRE(ones() == 0x41c83b0e408f276dU);
  REQUIRE(ones() == 0x6d5451fda20bc7c6U);

  Draws pi(0x299f31d0a4093822U, 0x85a308d3U, 0x0370734413198a2eU);
  pi.discard(2 * std::uint64_t{0x243f6a88});
  REQUIRE(pi() == 0x94fdccebd16cfe09U);
  REQUIRE(pi() == 0x24126ea15001e420U);
}

TEST_CASE("an entity has 2^33 draws and not one more") {
  Draws draws(1, 2, 3);
  draws.discard((std::uint64_t{1} << 33) - 1);
  REQUIRE_NOTHROW(draws());
  REQUIRE_THROWS_AS(draws(), InvariantError);
  REQUIRE_THROWS_AS(draws.discard(1), InvariantError);
  REQUIRE_NOTHROW(draws.discard(0));
}

TEST_CASE("discard skips exactly the draws it counts") {
  for (std::uint64_t skipped = 0; skipped < 9; ++skipped) {
    for (std::uint64_t before = 0; before < 3; ++before) {
      Draws one_by_one(5, 6, 7);
      Draws at_once(5, 6, 7);
      for (std::uint64_t i = 0; i < before; ++i) {
        REQUIRE(one_by_one() == at_once());
      }
      at_once.discard(skipped);
      for (std::uint64_t i = 0; i < skipped; ++i) {
        static_cast<void>(one_by_one());
      }
      REQUIRE(one_by_one() == at_once());
      REQUIRE(one_by_one() == at_once());
    }
  }
}

TEST_CASE("seed, stream and entity each change the draws") {
  const std::uint64_t first = Draws(1, 1, 1)();
  REQUIRE(Draws(1, 1, 1)() == first);
  REQUIRE(Draws(2, 1, 1)() != first);
  REQUIRE(Draws(std::uint64_t{1} + (std::uint64_t{1} << 32), 1, 1)() != first);
  REQUIRE(Draws(1, 2, 1)() != first);
  REQUIRE(Draws(1, 1, 2)() != first);
  REQUIRE(Draws(1, 1, std::uint64_t{1} + (std::uint64_t{1} << 32))() != first);
}

TEST_CASE("uniform numbers are uniform") {
  Draws draws(1, 0, 0);
  require_moments([&] { return draws.uniform(); }, 0.5, 1.0 / 12.0);
  require_distribution([&] { return draws.uniform(); }, [](double x) { return x; });
  require_distribution([&] { return draws.uniform_open(); }, [](double x) { return x; });
}

TEST_CASE("random integers are uniform and stay in range") {
  Draws draws(2, 0, 0);
  std::vector<std::int64_t> observed(13, 0);
  for (int i = 0; i < kSamples; ++i) {
    const std::int64_t x = draw_integer(draws, -6, 6);
    REQUIRE((x >= -6 && x <= 6));
    ++observed[static_cast<std::size_t>(x + 6)];
  }
  require_chi_square(observed, std::vector<double>(13, kSamples / 13.0));
  // A range of 3/4 of 2^64: without rejection every third value would be twice as likely.
  const std::int64_t low = INT64_MIN;
  const std::int64_t high = INT64_MIN + 3 * (std::int64_t{1} << 61) + 3 * (std::int64_t{1} << 61) - 1;
  std::vector<std::int64_t> thirds(12, 0);
  for (int i = 0; i < kSamples; ++i) {
    const auto offset =
        static_cast<std::uint64_t>(draw_integer(draws, low, high)) - static_cast<std::uint64_t>(low);
    ++thirds[static_cast<std::size_t>(offset % 12)];
  }
  require_chi_square(thirds, std::vector<double>(12, kSamples / 12.0));
  REQUIRE(draw_integer(draws, 7, 7) == 7);
  REQUIRE_NOTHROW(draw_integer(draws, INT64_MIN, INT64_MAX));
  REQUIRE_THROWS_AS(draw_integer(draws, 1, 0), InvariantError);
}

TEST_CASE("exponential, normal and gamma numbers have their distributions") {
  Draws draws(3, 0, 0);
  require_moments([&] { return draw_exponential(draws, 4.0); }, 4.0, 16.0);
  require_distribution([&] { return draw_exponential(draws, 4.0); },
                       [](double x) { return -std::expm1(-x / 4.0); });
  require_moments([&] { return draw_normal(draws); }, 0.0, 1.0);
  require_distribution([&] { return draw_normal(draws); },
                       [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); });
  for (const double shape : {0.3, 1.0, 2.5, 40.0}) {
    INFO("shape " << shape);
    require_moments([&] { return draw_gamma(draws, shape, 2.0); }, shape * 2.0, shape * 4.0);
    require_distribution([&] { return draw_gamma(draws, shape, 2.0); },
                         [shape](double x) { return boost::math::gamma_p(shape, x / 2.0); });
  }
}

TEST_CASE("binomial numbers are exact for a small and a large mean, on both sides of 1/2") {
  require_binomial(10, 0.3);
  require_binomial(40, 0.1);
  require_binomial(50, 0.5);
  require_binomial(60, 0.9);
  require_binomial(33, 0.31);  // mean just above 10: the smallest that uses rejection
  require_binomial(1000, 0.3);
  require_binomial(5000, 0.002);
  require_binomial(20'000, 0.7);
}

TEST_CASE("binomial numbers keep their moments for very many trials") {
  const std::int64_t trials = std::int64_t{1} << 50;
  const auto n = static_cast<double>(trials);
  Draws draws(4, 0, 0);
  for (const double p : {0.5, 0.25, 1e-3}) {
    require_moments(
        [&] { return (static_cast<double>(draw_binomial(draws, trials, p)) - n * p) / std::sqrt(n); }, 0.0,
        p * (1.0 - p), 50'000);
  }
  require_moments([&] { return static_cast<double>(draw_binomial(draws, trials, 3.0 / n)); }, 3.0, 3.0,
                  50'000);
}

TEST_CASE("binomial edges") {
  Draws draws(5, 0, 0);
  REQUIRE(draw_binomial(draws, 0, 0.5) == 0);
  REQUIRE(draw_binomial(draws, 100, 0.0) == 0);
  REQUIRE(draw_binomial(draws, 100, 1.0) == 100);
  REQUIRE_THROWS_AS(draw_binomial(draws, -1, 0.5), InvariantError);
  REQUIRE_THROWS_AS(draw_binomial(draws, 1, 1.5), InvariantError);
  REQUIRE_THROWS_AS(draw_binomial(draws, 1, std::nan("")), InvariantError);
}

TEST_CASE("multinomial counts have the means and covariances of a multinomial") {
  const std::vector<double> weights = {1.0, 0.0, 3.0, 4.0, 2.0};
  const double total = 10.0;
  constexpr std::int64_t kTrials = 100;
  constexpr int kRounds = 40'000;
  std::vector<double> sum(5, 0.0);
  double product = 0.0;
  Draws draws(6, 0, 0);
  std::vector<std::int64_t> counts(5);
  for (int i = 0; i < kRounds; ++i) {
    draw_multinomial(draws, kTrials, weights, counts);
    std::int64_t all = 0;
    for (std::size_t j = 0; j < 5; ++j) {
      sum[j] += static_cast<double>(counts[j]);
      all += counts[j];
    }
    REQUIRE(all == kTrials);
    product += (static_cast<double>(counts[0]) - 10.0) * (static_cast<double>(counts[3]) - 40.0);
  }
  for (std::size_t j = 0; j < 5; ++j) {
    const double p = weights[j] / total;
    REQUIRE(std::fabs(sum[j] / kRounds - kTrials * p) <= 5.0 * std::sqrt(kTrials * p * (1.0 - p) / kRounds));
  }
  REQUIRE(product / kRounds == Approx(-kTrials * 0.1 * 0.4).margin(0.4));
}

TEST_CASE("multinomial edges") {
  Draws draws(7, 0, 0);
  std::vector<std::int64_t> counts = {9, 9};
  draw_multinomial(draws, 0, std::vector<double>{0.0, 0.0}, counts);
  REQUIRE(counts == std::vector<std::int64_t>{0, 0});
  draw_multinomial(draws, 5, std::vector<double>{1e-300, 0.0}, counts);
  REQUIRE(counts == std::vector<std::int64_t>{5, 0});
  REQUIRE_THROWS_AS(draw_multinomial(draws, 1, std::vector<double>{0.0, 0.0}, counts), InvariantError);
  REQUIRE_THROWS_AS(draw_multinomial(draws, 1, std::vector<double>{-1.0, 2.0}, counts), InvariantError);
  REQUIRE_THROWS_AS(draw_multinomial(draws, 1, std::vector<double>{1.0}, counts), InvariantError);
}

// Every result of a simulation hangs on these bits: a change here is a change of all results, and both
// compilers must give them.
TEST_CASE("golden first draws") {
  Draws draws(2024, 7, 42);
  REQUIRE(draws() == 0x917dbbb3c9588f97U);
  REQUIRE(draws() == 0x89124505f536b6f9U);
  REQUIRE(draws() == 0xcf14aff1b072d695U);
  REQUIRE(draws.uniform() == 0x1.cdd543a71365cp-2);
  REQUIRE(draws.uniform_open() == 0x1.820039cf28de6p-2);
  REQUIRE(draw_integer(draws, 1, 1000) == 606);
  REQUIRE(draw_exponential(draws, 1.0) == 0x1.6819d0581dbc4p-1);
  REQUIRE(draw_exponential(draws, 1.0) == 0x1.2883fc2c57cbp-2);
  REQUIRE(draw_normal(draws) == -0x1.ef29b2f5d5761p-4);
  REQUIRE(draw_normal(draws) == 0x1.1551ea91b177fp+0);
  REQUIRE(draw_gamma(draws, 0.5, 1.0) == 0x1.39f002cdfaf05p-4);
  REQUIRE(draw_gamma(draws, 3.0, 1.0) == 0x1.53fdf8d7e2233p+2);
  REQUIRE(draw_binomial(draws, 20, 0.2) == 2);
  REQUIRE(draw_binomial(draws, 1'000'000, 0.3) == 300407);
  std::vector<std::int64_t> counts(4);
  draw_multinomial(draws, 1000, std::vector<double>{1.0, 2.0, 3.0, 4.0}, counts);
  REQUIRE(counts == std::vector<std::int64_t>{102, 210, 305, 383});
  Draws more(2024, 7, 43);
  double sum = 0.0;
  for (int i = 0; i < 100'000; ++i) {
    sum += draw_normal(more);
    sum += draw_gamma(more, 0.7, 1.0);
    sum += draw_exponential(more, 1.0);
    sum += static_cast<double>(draw_binomial(more, 1000, 0.1));
  }
  REQUIRE(sum == 0x1.364343e6af68ap+23);
}

}  // namespace
}  // namespace moesim::core
