// Draws without return.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/core/random.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

double log_choose(double n, double k) {
  return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1);
}

double probability(std::int64_t total, std::int64_t marked, std::int64_t taken, std::int64_t k) {
  const auto t = static_cast<double>(total), m = static_cast<double>(marked), n = static_cast<double>(taken),
             x = static_cast<double>(k);
  return std::exp(log_choose(m, x) + log_choose(t - m, n - x) - log_choose(t, n));
}

struct Case {
  std::int64_t total, marked, taken;
};

TEST_CASE("hypergeometric draws have the exact distribution") {
  constexpr int kDraws = 100'000;
  for (const Case& c : {Case{20, 7, 9}, Case{10, 5, 5}, Case{50, 3, 20}, Case{50, 47, 20}, Case{200, 100, 60},
                        Case{1000, 10, 990}, Case{3, 1, 1}, Case{30, 29, 2}}) {
    INFO(c.total << " items, " << c.marked << " marked, " << c.taken << " taken");
    Draws draws(7, 99, static_cast<std::uint64_t>(c.total * 1000 + c.marked));
    const std::int64_t least = std::max<std::int64_t>(0, c.taken - (c.total - c.marked));
    const std::int64_t most = std::min(c.marked, c.taken);
    std::vector<std::int64_t> seen(static_cast<std::size_t>(most + 1));
    for (int i = 0; i < kDraws; ++i) {
      const std::int64_t k = draw_hypergeometric(draws, c.total, c.marked, c.taken);
      REQUIRE(k >= least);
      REQUIRE(k <= most);
      ++seen[static_cast<std::size_t>(k)];
    }
    double sum = 0, all = 0;
    int cells = 0;
    for (std::int64_t k = least; k <= most; ++k) {
      const double expected = probability(c.total, c.marked, c.taken, k) * kDraws;
      all += expected;
      const double off = static_cast<double>(seen[static_cast<std::size_t>(k)]) - expected;
      if (expected < 5) {
        CHECK(off < 25);  // rare ones stay rare
        continue;
      }
      sum += off * off / expected;
      ++cells;
    }
    CHECK(all == Approx(kDraws));
    CHECK(cells >= 2);
    // Five standard deviations of a chi-square with so many cells; 12 for the fewest.
    CHECK(sum < std::max(12.0, cells - 1 + 5 * std::sqrt(2.0 * (cells - 1))));
  }
}

// Mean n m / N and variance n m / N (1 - m / N) (N - n) / (N - 1), within five standard errors.
TEST_CASE("hypergeometric draws of many items have the right mean and variance") {
  constexpr int kDraws = 4000;
  for (const Case& c : {Case{2'000'000, 900'000, 1'200'000}, Case{2'000'000, 40, 1'000'000},
                        Case{2'000'000, 1'999'000, 1500}, Case{std::int64_t{1} << 36, 1 << 20, 1 << 30}}) {
    INFO(c.total << " items, " << c.marked << " marked, " << c.taken << " taken");
    Draws draws(3, 98, static_cast<std::uint64_t>(c.marked));
    const auto t = static_cast<double>(c.total), m = static_cast<double>(c.marked),
               n = static_cast<double>(c.taken);
    const double mean = n * m / t, variance = mean * (1 - m / t) * (t - n) / (t - 1);
    double first = 0, second = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double x = static_cast<double>(draw_hypergeometric(draws, c.total, c.marked, c.taken)) - mean;
      first += x;
      second += x * x;
    }
    CHECK(std::fabs(first / kDraws) < 5 * std::sqrt(variance / kDraws));
    CHECK(std::fabs(second / kDraws / variance - 1) < 5 * std::sqrt(2.5 / kDraws));
  }
}

TEST_CASE("a hypergeometric without a choice is no draw") {
  Draws draws(1, 2, 3), untouched(1, 2, 3);
  CHECK(draw_hypergeometric(draws, 0, 0, 0) == 0);
  CHECK(draw_hypergeometric(draws, 10, 0, 7) == 0);
  CHECK(draw_hypergeometric(draws, 10, 10, 7) == 7);
  CHECK(draw_hypergeometric(draws, 10, 4, 10) == 4);
  CHECK(draw_hypergeometric(draws, 10, 4, 0) == 0);
  CHECK(draw_hypergeometric(draws, std::int64_t{1} << 40, std::int64_t{1} << 40, 5) == 5);
  CHECK(draws() == untouched());
}

TEST_CASE("a hypergeometric draw refuses more marked or taken items than there are") {
  Draws draws(1, 2, 3);
  for (const Case& c : {Case{5, 6, 1}, Case{5, 1, 6}, Case{-1, 0, 0}, Case{5, -1, 1}, Case{5, 1, -1},
                        Case{(std::int64_t{1} << 40) + 1, 1, 1}}) {
    CHECK_THROWS_AS(draw_hypergeometric(draws, c.total, c.marked, c.taken), InvariantError);
  }
}

TEST_CASE("hypergeometric draws are those of their seed, stream and entity") {
  Draws draws(20261122, 5, 6);
  std::vector<std::int64_t> seen;
  for (int i = 0; i < 4; ++i) seen.push_back(draw_hypergeometric(draws, 1000, 400, 300));
  for (int i = 0; i < 4; ++i) seen.push_back(draw_hypergeometric(draws, 2'000'000, 900'000, 1'200'000));
  CHECK(seen == std::vector<std::int64_t>{119, 116, 119, 119, 539'427, 540'373, 540'550, 540'383});
}

}  // namespace
}  // namespace moesim::core
