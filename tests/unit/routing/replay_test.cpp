#include "models/routing/replay.hpp"

#include <algorithm>
#include <memory>
#include <numeric>

#include "models/routing/popularity.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;
using Experts = std::vector<std::uint16_t>;
using Counts = std::vector<std::int64_t>;

namespace {

// Four experts, two a token; records of 2, 3 and 2 tokens.
routing::ReplayLayer small_layer() {
  routing::ReplayLayer layer(4, 2);
  layer.add_record(Experts{0, 1, 0, 2});
  layer.add_record(Experts{});
  layer.add_record(Experts{3, 1, 3, 2, 3, 0});
  layer.add_record(Experts{1, 2, 1, 3});
  return layer;
}

Counts counted(const routing::ReplayLayer& layer, std::int64_t first, std::int64_t tokens) {
  Counts counts(4, -1);
  layer.count_from(first, tokens, counts);
  return counts;
}

routing::TracePopularity trace_of(std::vector<routing::ReplayLayer> layers,
                                  std::vector<std::size_t> layer_of) {
  auto replay = std::make_shared<routing::Replay>();
  replay->experts = 4;
  replay->top_k = 2;
  replay->layers = std::move(layers);
  replay->layer_of = std::move(layer_of);
  return {"x.jsonl", std::move(replay)};
}

Counts drawn(const routing::Popularity& popularity, std::int64_t layer, std::uint64_t draw,
             std::int64_t tokens) {
  const auto p = routing::expert_probabilities(popularity, 5, layer, 4, 0);
  Counts counts(4, -1);
  routing::draw_expert_counts(popularity, 5, layer, draw, tokens, 2, p, counts);
  return counts;
}

}  // namespace

TEST_CASE("a replay counts whole tokens, around the end of its layer") {
  const routing::ReplayLayer layer = small_layer();
  CHECK(layer.tokens() == 7);
  CHECK(Counts(layer.counts().begin(), layer.counts().end()) == Counts{3, 4, 3, 4});
  CHECK(counted(layer, 0, 0) == Counts{0, 0, 0, 0});
  CHECK(counted(layer, 0, 2) == Counts{2, 1, 1, 0});
  CHECK(counted(layer, 2, 3) == Counts{1, 1, 1, 3});
  CHECK(counted(layer, 6, 2) == Counts{1, 2, 0, 1});   // the last token and the first
  CHECK(counted(layer, 6, 15) == Counts{6, 9, 6, 9});  // twice around and the last token
  CHECK(counted(layer, 3, 7) == Counts{3, 4, 3, 4});
  // Far more tokens than can be walked over.
  const std::int64_t many = std::int64_t{1} << 50;
  const Counts far = counted(layer, 1, many);
  CHECK(std::accumulate(far.begin(), far.end(), std::int64_t{0}) == 2 * many);
}

TEST_CASE("a draw of as many tokens as a record has repeats one of these records") {
  const routing::Popularity popularity = trace_of({small_layer()}, {0});
  CHECK(routing::repeats_record(popularity, 0, 3));
  CHECK(routing::repeats_record(popularity, 0, 2));
  CHECK_FALSE(routing::repeats_record(popularity, 0, 0));
  CHECK_FALSE(routing::repeats_record(popularity, 0, 4));
  CHECK_FALSE(routing::repeats_record(routing::LognormalPopularity{}, 0, 3));
  std::int64_t first = 0, last = 0;
  for (std::uint64_t draw = 0; draw < 64; ++draw) {
    CHECK(drawn(popularity, 0, draw, 3) == Counts{1, 1, 1, 3});
    const Counts two = drawn(popularity, 0, draw, 2);
    first += two == Counts{2, 1, 1, 0} ? 1 : 0;
    last += two == Counts{0, 2, 1, 1} ? 1 : 0;
    CHECK(drawn(popularity, 0, draw, 2) == two);  // a pure function
    // Other lengths start at records too.
    const Counts five = drawn(popularity, 0, draw, 5);
    CHECK((five == Counts{3, 2, 2, 3} || five == Counts{1, 3, 2, 4} || five == Counts{2, 4, 2, 2}));
  }
  CHECK(first + last == 64);
  CHECK(first > 16);
  CHECK(last > 16);
}

TEST_CASE("the probabilities of a trace are its shares, by layer of the model") {
  routing::ReplayLayer other(4, 2);
  other.add_record(Experts{2, 3});
  // Layer 0 is dense; layers 1, 2 and 3 replay the trace's layers 0, 1 and 0.
  const routing::Popularity popularity = trace_of({small_layer(), other}, {SIZE_MAX, 0, 1, 0});
  const auto p = routing::expert_probabilities(popularity, 1, 3, 4, 9);
  CHECK(p == std::vector<double>{3.0 / 14, 4.0 / 14, 3.0 / 14, 4.0 / 14});
  CHECK(routing::expert_probabilities(popularity, 1, 2, 4, 0) == std::vector<double>{0, 0, 0.5, 0.5});
  CHECK(drawn(popularity, 2, 1, 10) == Counts{0, 0, 10, 10});
  CHECK_FALSE(routing::drifts(popularity));
  CHECK_THROWS_AS(routing::expert_probabilities(popularity, 1, 0, 4, 0), core::InvariantError);
  CHECK_THROWS_AS(routing::expert_probabilities(popularity, 1, 4, 4, 0), core::InvariantError);
  CHECK_THROWS_AS(routing::expert_probabilities(popularity, 1, 1, 8, 0), core::InvariantError);
  CHECK_THROWS_AS(routing::expert_probabilities(routing::TracePopularity{"x", nullptr}, 1, 1, 4, 0),
                  core::InvariantError);
}
