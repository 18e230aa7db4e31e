// Attention against the oracle in double, held to the a-priori bounds.
#include <limits>

#include "models/reference/bounds_attention.hpp"
#include "models/reference/bounds_latent.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/reference/attention_problem.hpp"
#include "tests/unit/reference/latent_problem.hpp"

namespace moesim::reference {
namespace {

using test::Answer;
using test::Numbers;
using test::Problem;
using test::ProblemShape;
using test::worst_share;

// Shapes and masks of all sorts; `size` sets how large the logits are.
template <class Value>
Problem<Value> random_problem(std::uint64_t seed, float size) {
  Numbers numbers(seed);
  ProblemShape shape;
  shape.kv_heads = numbers.between(1, 3);
  shape.heads = shape.kv_heads * numbers.between(1, 4);
  shape.queries = numbers.between(1, 12);
  shape.keys = numbers.between(1, 150);
  shape.key_dim = numbers.between(1, 40);
  shape.value_dim = numbers.between(1, 20);
  Problem<Value> problem(shape, seed + 1000, size);
  problem.options.tile = {numbers.between(1, 8), numbers.between(1, 40)};
  if (numbers.next() % 3 == 0) problem.options.mask.window = numbers.between(1, 60);
  if (numbers.next() % 3 == 0) problem.options.mask.chunk = numbers.between(1, 60);
  if (numbers.next() % 4 == 0) problem.options.soft_cap = 5.0 * (1.0 + static_cast<double>(numbers.real()));
  if (numbers.next() % 4 == 0) problem.add_sinks(seed);
  if (numbers.next() % 4 == 0) {
    for (std::int64_t i = 0; i < shape.queries; ++i)
      problem.temperature.push_back(1.0F + numbers.real() / 2.0F);
  }
  return problem;
}

TEST_CASE("tiled attention stays within its bound, which is not loose") {
  double worst = 0.0;
  for (std::uint64_t seed = 1; seed <= 120; ++seed) {
    const float size = seed % 4 == 0 ? 120.0F : seed % 4 == 1 ? 8.0F : 1.0F;
    const double share = test::share_of_bound<float>(random_problem<float>(seed, size));
    worst = std::max(worst, share);
    REQUIRE(share <= 1.0);
    REQUIRE(test::share_of_bound<float>(random_problem<Bf16>(seed, size), NoProbe{}, true) <= 1.0);
    REQUIRE(test::share_of_bound<Bf16>(random_problem<Bf16>(seed, size)) <= 1.0);
  }
  // Where one key decides, the bound is a few roundings wide.
  CHECK(worst > 0.2);
}

TEST_CASE("probabilities in bf16 stay within the wider bound and leave the other one") {
  double narrow = 0.0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Problem<float> problem = random_problem<float>(seed, 1.0F);
    problem.options.bf16_probabilities = true;
    REQUIRE(test::share_of_bound<float>(problem) <= 1.0);
    Answer<double, double> exact(problem.shape);
    attention_naive<double>(problem.queries(), problem.source(), random_problem<float>(seed, 1.0F).options,
                            exact.output);
    Answer<float> got(problem.shape);
    attention_tiled(problem.queries(), problem.source(), problem.options, got.output);
    problem.options.bf16_probabilities = false;
    const AttentionBounds bounds =
        attention_bounds<float>(problem.queries(), problem.source(), problem.options);
    narrow = std::max(narrow, worst_share<float>(got.o, exact.o, bounds.o));
  }
  CHECK(narrow > 10.0);
}

TEST_CASE("the naive form in f32 stays within the bound") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Problem<float> problem = random_problem<float>(seed, 20.0F);
    problem.options.tile.keys = problem.shape.keys;
    Answer<double, double> exact(problem.shape);
    Answer<float> got(problem.shape);
    attention_naive<double>(problem.queries(), problem.source(), problem.options, exact.output);
    attention_naive<float>(problem.queries(), problem.source(), problem.options,
                           AttentionOutput<float, float>{got.output.rows, got.output.lse});
    const AttentionBounds bounds =
        attention_bounds<float>(problem.queries(), problem.source(), problem.options);
    REQUIRE(worst_share<float>(got.o, exact.o, bounds.o) <= 1.0);
    REQUIRE(worst_share<float>(got.lse, exact.lse, bounds.lse) <= 1.0);
  }
}

TEST_CASE("logits of 10000 and products that cancel stay within the bound") {
  Problem<float> problem(ProblemShape{2, 1, 4, 60, 16, 8}, 3, 1.0F);
  for (std::size_t i = 0; i < problem.q.size(); ++i) problem.q[i] = i % 2 == 0 ? 300.0F : 299.5F;
  for (std::size_t i = 0; i < problem.k.size(); ++i)
    problem.k[i] = (i % 2 == 0 ? 33.0F : -33.0F) + problem.k[i];
  problem.options.scale = 1.0;
  CHECK(test::share_of_bound<float>(problem) <= 1.0);
  for (float& q : problem.q) q = std::fabs(q);
  for (float& k : problem.k) k = 2.0F + 0.01F * k;  // logits of about 9600 +- 50
  CHECK(test::share_of_bound<float>(problem) <= 1.0);
  problem.options.soft_cap = 30.0;
  CHECK(test::share_of_bound<float>(problem) <= 1.0);
}

// Partial states of a problem over `parts` ranges of keys, in f32, exactly, and their bounds.
struct Partials {
  std::vector<double> o, lse, o_bounds, lse_bounds;
  std::vector<float> o_float, lse_float;
  std::int64_t states = 0;

  Partials(const Problem<float>& problem, std::span<const KeyRange> ranges) : states(std::ssize(ranges)) {
    for (const KeyRange& range : ranges) {
      Problem<float> part = problem;
      part.sinks.clear();
      part.options.only = range;
      Answer<double, double> exact(part.shape);
      Answer<float> got(part.shape);
      attention_naive<double>(part.queries(), part.source(), part.options, exact.output);
      attention_decode(part.queries(), part.source(), part.options, got.output);
      const AttentionBounds bounds = attention_bounds<float>(part.queries(), part.source(), part.options);
      const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
      append(o, exact.o);
      append(lse, exact.lse);
      append(o_float, got.o);
      append(lse_float, got.lse);
      append(o_bounds, bounds.o);
      append(lse_bounds, bounds.lse);
    }
  }
  [[nodiscard]] PartialStates exact() const { return {states, o, lse, o_bounds, lse_bounds}; }
};

TEST_CASE("split keys merge to the whole within the bound") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const Problem<float> problem = random_problem<float>(seed, seed % 3 == 0 ? 100.0F : 2.0F);
    const std::int64_t parts =
        seed % 5 == 0 ? problem.shape.keys + 3 : 1 + static_cast<std::int64_t>(seed % 7);
    const std::vector<KeyRange> ranges = split_keys({0, problem.shape.keys}, parts);
    const Partials partials(problem, ranges);
    Answer<double, double> exact(problem.shape);
    attention_naive<double>(problem.queries(), problem.source(), problem.options, exact.output);
    const SplitResult split = attention_split(problem.queries(), problem.source(), problem.options, ranges);
    CHECK(split.partial_o == partials.o_float);
    PartialStates states = partials.exact();
    std::vector<double> sinks;
    for (std::size_t row = 0; row < exact.lse.size() && !problem.sinks.empty(); ++row)
      sinks.push_back(problem.sinks[row / static_cast<std::size_t>(problem.shape.queries)]);
    states.sinks = sinks;
    const AttentionBounds bounds = merge_bounds(states);
    REQUIRE(worst_share<float>(split.o, exact.o, bounds.o) <= 1.0);
    REQUIRE(worst_share<float>(split.lse, exact.lse, bounds.lse) <= 1.0);
    if (!problem.sinks.empty()) continue;
    const AttentionBounds ring = ring_bounds(states);
    std::vector<float> o(exact.o.size()), lse(exact.lse.size(), -std::numeric_limits<float>::infinity());
    const std::size_t width = exact.o.size() / exact.lse.size();
    for (std::size_t i = 0; i < partials.lse_float.size(); ++i) {
      const std::size_t row = i % lse.size();
      merge_into<float>(std::span(o).subspan(row * width, width), lse[row],
                        std::span(partials.o_float).subspan(i * width, width), partials.lse_float[i]);
    }
    REQUIRE(worst_share<float>(o, exact.o, ring.o) <= 1.0);
    REQUIRE(worst_share<float>(lse, exact.lse, ring.lse) <= 1.0);
  }
}

TEST_CASE("states without keys are neutral, however they are marked") {
  const float infinite = std::numeric_limits<float>::infinity();
  const float rubbish = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> o = {rubbish, rubbish, 1.0F, 2.0F, rubbish, rubbish};
  const std::vector<float> lse = {-infinite, 3.0F, infinite};
  std::vector<float> out(2), out_lse(1);
  merge_states<float>(o, lse, 3, {}, out, out_lse);
  CHECK(out == std::vector<float>{1.0F, 2.0F});
  CHECK(out_lse[0] == 3.0F);
  merge_states<float>(std::span(o).first(2), std::span(lse).first(1), 1, {}, out, out_lse);
  CHECK(out == std::vector<float>{0.0F, 0.0F});
  CHECK(out_lse[0] == -infinite);
  // The same one after another.
  std::vector<float> state = {5.0F, 5.0F};
  float state_lse = infinite;
  merge_into<float>(state, state_lse, std::span(o).first(2), -infinite);
  CHECK(state == std::vector<float>{0.0F, 0.0F});
  CHECK(state_lse == -infinite);
  merge_into<float>(state, state_lse, std::span(o).subspan(2, 2), 3.0F);
  merge_into<float>(state, state_lse, std::span(o).first(2), infinite);
  CHECK(state == std::vector<float>{1.0F, 2.0F});
  CHECK(state_lse == 3.0F);
  // A sink alone, and differences too large for exponentials.
  const std::vector<float> sink = {-2.0F};
  merge_states<float>(std::span(o).first(2), std::span(lse).first(1), 1, sink, out, out_lse);
  CHECK(out == std::vector<float>{0.0F, 0.0F});
  CHECK(out_lse[0] == -2.0F);
  const std::vector<float> far = {7.0F, 8.0F};
  merge_into<float>(state, state_lse, far, 10000.0F);
  CHECK(state == far);
  CHECK(state_lse == 10000.0F);
}

TEST_CASE("both forms of latent attention stay within their bounds") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    for (const bool absorbed : {false, true}) {
      CHECK(test::latent_share<float>(test::LatentProblem<float>(seed), absorbed) <= 1.0);
      CHECK(test::latent_share<Bf16>(test::LatentProblem<Bf16>(seed), absorbed) <= 1.0);
    }
  }
}

}  // namespace
}  // namespace moesim::reference
