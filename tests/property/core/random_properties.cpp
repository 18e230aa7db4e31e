#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "rapidcheck.h"
#include "sim/core/random.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

TEST_CASE("draws depend on seed, stream, entity and index only, never on what others draw") {
  REQUIRE(rc::check([](std::uint64_t seed, std::uint32_t stream, const std::vector<bool>& turns) {
    Draws alone(seed, stream, 1);
    Draws other_alone(seed, stream, 2);
    Draws mixed(seed, stream, 1);
    Draws other_mixed(seed, stream, 2);
    std::vector<std::uint64_t> first;
    std::vector<std::uint64_t> second;
    for (const bool turn : turns) {
      (turn ? first : second).push_back((turn ? mixed : other_mixed)());
    }
    for (const std::uint64_t x : first) {
      RC_ASSERT(alone() == x);
    }
    for (const std::uint64_t x : second) {
      RC_ASSERT(other_alone() == x);
    }
  }));
}

TEST_CASE("all draws stay in range") {
  REQUIRE(rc::check([](std::uint64_t seed) {
    Draws draws(seed, 0, 0);
    const auto low = *rc::gen::arbitrary<std::int64_t>();
    const auto high = *rc::gen::arbitrary<std::int64_t>();
    const std::int64_t integer = draw_integer(draws, std::min(low, high), std::max(low, high));
    RC_ASSERT((integer >= std::min(low, high) && integer <= std::max(low, high)));
    const double uniform = draws.uniform();
    RC_ASSERT((uniform >= 0.0 && uniform < 1.0));
    const double open = draws.uniform_open();
    RC_ASSERT((open > 0.0 && open < 1.0));
    RC_ASSERT(draw_exponential(draws, 2.0) >= 0.0);
    RC_ASSERT(std::isfinite(draw_normal(draws)));
    const double gamma = draw_gamma(draws, *rc::gen::inRange(1, 1000) / 50.0, 3.0);
    RC_ASSERT((gamma >= 0.0 && std::isfinite(gamma)));
    const std::int64_t trials = *rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 40);
    const std::int64_t successes = draw_binomial(draws, trials, *rc::gen::inRange(0, 1001) / 1000.0);
    RC_ASSERT((successes >= 0 && successes <= trials));
  }));
}

TEST_CASE("multinomial counts sum to the trials and spare zero weights") {
  REQUIRE(rc::check([](std::uint64_t seed) {
    const auto whole = *rc::gen::nonEmpty(rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 100)));
    std::vector<double> weights;
    for (const int w : whole) {
      weights.push_back(w / 7.0);
    }
    RC_PRE(std::accumulate(whole.begin(), whole.end(), 0) > 0);
    const std::int64_t trials = *rc::gen::inRange<std::int64_t>(0, 100'000);
    std::vector<std::int64_t> counts(weights.size());
    Draws draws(seed, 1, 2);
    draw_multinomial(draws, trials, weights, counts);
    RC_ASSERT(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}) == trials);
    for (std::size_t i = 0; i < counts.size(); ++i) {
      RC_ASSERT(counts[i] >= 0);
      RC_ASSERT((whole[i] > 0 || counts[i] == 0));
    }
  }));
}

}  // namespace
}  // namespace moesim::core
