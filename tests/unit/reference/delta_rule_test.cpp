// The gated delta rule: chunks against the recurrence, bounds, and states that carry on.
#include "tests/support/catch.hpp"
#include "tests/unit/reference/delta_problem.hpp"

namespace moesim::reference {
namespace {

using test::DeltaAnswer;
using test::DeltaProblem;

TEST_CASE("chunks and the recurrence are the same function") {
  for (const float decay : {0.0F, 0.1F, 2.0F, 100.0F}) {
    for (const std::int64_t tokens : {1, 5, 64, 65, 150}) {
      DeltaProblem problem(DeltaSizes{tokens, 2, 4, 8, 6}, 7, decay);
      const DeltaAnswer<double> recurrent(problem, false);
      const DeltaAnswer<double> chunked(problem, true);
      for (std::size_t i = 0; i < recurrent.o.size(); ++i)
        REQUIRE(std::fabs(recurrent.o[i] - chunked.o[i]) < 1e-12);
      for (std::size_t i = 0; i < recurrent.state.size(); ++i)
        REQUIRE(std::fabs(recurrent.state[i] - chunked.state[i]) < 1e-12);
    }
  }
}

TEST_CASE("both forms of the delta rule stay within their bounds") {
  double worst = 0.0, worst_chunked = 0.0;
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    test::Numbers numbers(seed);
    const std::int64_t key_heads = numbers.between(1, 2);
    const DeltaSizes sizes{numbers.between(1, 150), key_heads, key_heads * numbers.between(1, 2),
                           numbers.between(1, 24), numbers.between(1, 8)};
    const float decay = seed % 4 == 0 ? 80.0F : seed % 4 == 1 ? 0.02F : 0.5F;
    DeltaProblem problem(sizes, seed, decay);
    problem.options.chunk = seed % 3 == 0 ? 16 : 64;
    if (seed % 5 == 0) std::fill(problem.beta.begin(), problem.beta.end(), 0.0F);
    if (seed % 7 == 0) std::fill(problem.beta.begin(), problem.beta.end(), 1.9F);
    const double share = test::delta_share(problem, false), chunked = test::delta_share(problem, true);
    REQUIRE(share <= 1.0);
    REQUIRE(chunked <= 1.0);
    worst = std::max(worst, share);
    worst_chunked = std::max(worst_chunked, chunked);
    REQUIRE(test::delta_share(DeltaProblem(sizes, seed, decay, true), false) <= 1.0);
  }
  CHECK(worst > 0.003);
  CHECK(worst_chunked > 0.001);
}

TEST_CASE("a run cut at the edges of chunks carries its state on bit for bit") {
  for (const bool chunked : {false, true}) {
    const DeltaProblem whole(DeltaSizes{150, 1, 2, 8, 6}, 3, 0.3F);
    const DeltaAnswer<float> once(whole, chunked);
    std::vector<float> pieces;
    std::vector<float> state = whole.state;
    // The recurrence may be cut anywhere.
    const std::vector<std::int64_t> cuts = {0, chunked ? 64 : 37, 128, 150};
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      DeltaProblem piece = whole;
      piece.sizes.tokens = cuts[i + 1] - cuts[i];
      const auto part = [&](std::vector<float>& values) {
        const std::int64_t row = std::ssize(values) / whole.sizes.tokens;
        values = std::vector<float>(values.begin() + cuts[i] * row, values.begin() + cuts[i + 1] * row);
      };
      for (std::vector<float>* values : {&piece.q, &piece.k, &piece.v, &piece.g, &piece.beta}) part(*values);
      piece.state = state;
      const DeltaAnswer<float> answer(piece, chunked);
      pieces.insert(pieces.end(), answer.o.begin(), answer.o.end());
      state = answer.state;
    }
    CHECK(pieces == once.o);
    CHECK(state == once.state);
  }
}

TEST_CASE("decays per channel that are all equal are one decay per head") {
  const DeltaProblem by_head(DeltaSizes{20, 2, 2, 6, 5}, 11, 0.4F);
  DeltaProblem by_channel = by_head;
  by_channel.g.clear();
  for (const float g : by_head.g) by_channel.g.insert(by_channel.g.end(), 6, g);
  const DeltaAnswer<float> one(by_head, false), many(by_channel, false);
  CHECK(one.o == many.o);
  CHECK(one.state == many.state);
  CHECK_THROWS_AS(DeltaAnswer<float>(by_channel, true), core::InvariantError);
}

TEST_CASE("no step and no decay leave the state alone; a decay of nothing empties it") {
  DeltaProblem still(DeltaSizes{10, 1, 1, 4, 4}, 5, 0.0F);
  std::fill(still.beta.begin(), still.beta.end(), 0.0F);
  CHECK(DeltaAnswer<float>(still, false).state == still.state);
  CHECK(DeltaAnswer<float>(still, true).state == still.state);
  for (float& g : still.g) g = -1000.0F;
  for (const bool chunked : {false, true}) {
    for (const float element : DeltaAnswer<float>(still, chunked).state) CHECK(element == 0.0F);
  }
}

}  // namespace
}  // namespace moesim::reference
