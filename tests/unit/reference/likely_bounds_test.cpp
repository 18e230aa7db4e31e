// Likely bounds of long rows: right kernels keep them, and a key that is left out is noticed where the worst
// case does not see it.
#include "tests/support/catch.hpp"
#include "tests/unit/reference/attention_problem.hpp"

namespace moesim::reference {
namespace {

using test::Answer;
using test::as_double;
using test::Problem;
using test::ProblemShape;
using test::worst_share;

// 1 - 2 e^(-18): a wrong alarm in 3e7 elements.
constexpr double kDeviations = 6.0;

// One query of 128 over `keys` keys.
Problem<float> long_row(std::int64_t keys, std::uint64_t seed, float size) {
  Problem<float> problem(ProblemShape{1, 1, 1, keys, 128, 16}, seed, size);
  problem.options.tile = {128, 128};
  return problem;
}

// Result and log-sum-exp against exact ones, as shares of worst-case and likely bounds.
struct Shares {
  double worst = 0.0;
  double worst_lse = 0.0;
  double likely = 0.0;
  double likely_lse = 0.0;
};

// The kernel runs with `kernel`, everything else with the problem's own options.
Shares shares_of(const Problem<float>& problem, const AttentionOptions& kernel) {
  Answer<double, double> exact(problem.shape);
  attention_naive<double>(problem.queries(), problem.source(), problem.options, exact.output);
  Answer<float> got(problem.shape);
  attention_tiled(problem.queries(), problem.source(), kernel, got.output);
  const AttentionBounds worst = attention_bounds<float>(problem.queries(), problem.source(), problem.options);
  const AttentionBounds likely =
      attention_bounds<float>(problem.queries(), problem.source(), problem.options, kDeviations);
  return {worst_share<float>(got.o, exact.o, worst.o), worst_share<float>(got.lse, exact.lse, worst.lse),
          worst_share<float>(got.o, exact.o, likely.o), worst_share<float>(got.lse, exact.lse, likely.lse)};
}

TEST_CASE("right kernels keep the likely bound, which is sharper for long rows") {
  for (const std::int64_t keys : {1, 40, 300, 2048, 8192}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      const Problem<float> problem = long_row(keys, seed, seed % 2 == 0 ? 4.0F : 1.0F);
      const Shares shares = shares_of(problem, problem.options);
      INFO(keys << " keys, seed " << seed);
      CHECK(shares.likely <= 1.0);
      CHECK(shares.likely_lse <= 1.0);
      CHECK(shares.likely >= shares.worst);
      CHECK(shares.likely_lse >= shares.worst_lse);
      if (keys >= 2048) CHECK(shares.likely > 3.0 * shares.worst);
    }
  }
}

TEST_CASE("likely bounds hold with sinks, caps, windows, bf16 probabilities and bf16 results") {
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    Problem<Bf16> problem(ProblemShape{2, 1, 3, 500, 32, 8}, seed, seed % 3 == 0 ? 8.0F : 1.0F);
    problem.options.tile = {4, 32};
    if (seed % 2 == 0) problem.add_sinks(seed);
    if (seed % 5 == 0) problem.options.soft_cap = 4.0;
    if (seed % 4 == 1) problem.options.mask.window = 130;
    problem.options.bf16_probabilities = seed % 3 == 1;
    Answer<double, double> exact(problem.shape);
    AttentionOptions oracle = problem.options;
    oracle.bf16_probabilities = false;
    attention_naive<double>(problem.queries(), problem.source(), oracle, exact.output);
    Answer<float> got(problem.shape);
    attention_decode(problem.queries(), problem.source(), problem.options, got.output);
    const AttentionBounds bounds =
        attention_bounds<float>(problem.queries(), problem.source(), problem.options, kDeviations);
    INFO("seed " << seed);
    CHECK(worst_share<float>(got.o, exact.o, bounds.o) <= 1.0);
    CHECK(worst_share<float>(got.lse, exact.lse, bounds.lse) <= 1.0);
    Answer<Bf16> stored(problem.shape);
    attention_decode(problem.queries(), problem.source(), problem.options, stored.output);
    const AttentionBounds wider =
        attention_bounds<Bf16>(problem.queries(), problem.source(), problem.options, kDeviations);
    CHECK(worst_share<Bf16>(stored.o, exact.o, wider.o) <= 1.0);
  }
}

// How many of 16 keys are noticed when they are left out, one at a time, from 2,048. Each has the score
// `score`, others have scores within about 1 of 0.
std::pair<int, int> noticed(double score) {
  std::pair<int, int> noticed = {0, 0};
  for (std::size_t dropped = 0; dropped < 2048; dropped += 128) {
    Problem<float> problem = long_row(2048, 11, 1.0F);
    double square = 0.0;
    for (const float q : problem.q) square += as_double(q) * as_double(q);
    const double factor = score / (square * problem.options.scale);
    for (std::size_t i = 0; i < 128; ++i)
      problem.k[dropped * 128 + i] = static_cast<float>(factor * as_double(problem.q[i]));
    std::vector<std::uint8_t> seen(2048, 1);
    seen[dropped] = 0;
    AttentionOptions kernel = problem.options;
    kernel.mask.custom = seen;
    kernel.mask.custom_keys = 2048;
    const Shares shares = shares_of(problem, kernel);
    noticed.first += std::max(shares.worst, shares.worst_lse) > 1.0 ? 1 : 0;
    noticed.second += std::max(shares.likely, shares.likely_lse) > 1.0 ? 1 : 0;
  }
  return noticed;
}

TEST_CASE("a key left out of 2,048 is noticed, by the likely bound even where it weighs little") {
  CHECK(noticed(0.0) == std::pair(16, 16));
  // A ninetieth of the usual weight: 5e-6 of the sum.
  CHECK(noticed(-4.5) == std::pair(0, 16));
}

}  // namespace
}  // namespace moesim::reference
