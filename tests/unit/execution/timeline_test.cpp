#include "sim/execution/timeline.hpp"

#include <array>
#include <limits>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::execution {

namespace {

using core::Duration;
using core::InvariantError;
using core::Time;

// A timeline with one process, one track and one counter.
struct Example {
  explicit Example(std::size_t limit = Timeline::kDefaultLimit) : timeline(limit) {
    process = timeline.add_process("replica 0");
    track = timeline.add_track(process, "steps");
    counter = timeline.add_counter(process, "batch", "sequences");
    name = timeline.name("step");
  }
  void slice(std::int64_t begin, std::int64_t end) {
    timeline.slice(track, name, name, Time{begin}, Time{end});
  }

  Timeline timeline;
  Timeline::Process process;
  Timeline::Track track;
  Timeline::Counter counter;
  Timeline::Name name;
};

}  // namespace

TEST_CASE("the same text has the same name") {
  Timeline timeline;
  const auto gemm = timeline.name("gemm");
  const auto norm = timeline.name("norm");
  CHECK(gemm.index != norm.index);
  CHECK(timeline.name(std::string("ge") + "mm").index == gemm.index);
  REQUIRE(timeline.names().size() == 2);
  CHECK(timeline.names()[norm.index] == "norm");
}

TEST_CASE("slices keep their times and arguments, and the time alone only where it differs") {
  Example example;
  Timeline& timeline = example.timeline;
  const auto tokens = timeline.name("tokens");
  const auto rows = timeline.name("rows");
  const std::array<Timeline::Argument, 2> arguments = {{{tokens, 7}, {rows, -1}}};
  example.slice(0, 10);
  timeline.slice(example.track, example.name, tokens, Time{10}, Time{30}, Duration{15}, arguments);
  timeline.slice(example.track, example.name, example.name, Time{30}, Time{40}, Duration{10});
  timeline.slice(example.track, example.name, example.name, Time{40}, Time{40}, {}, {arguments.data(), 1});

  const auto slices = timeline.slices();
  REQUIRE(slices.size() == 4);
  CHECK(timeline.arguments(0).empty());
  REQUIRE(timeline.arguments(1).size() == 2);
  CHECK(timeline.arguments(1)[0].name.index == tokens.index);
  CHECK(timeline.arguments(1)[1].value == -1);
  CHECK(timeline.arguments(2).empty());
  CHECK(timeline.arguments(3).size() == 1);
  CHECK(slices[1].begin == Time{10});
  CHECK(slices[1].end == Time{30});
  CHECK(slices[1].category == tokens.index);
  CHECK(slices[1].alone == Duration{15});
  CHECK(slices[0].alone.ps < 0);
  CHECK(slices[2].alone.ps < 0);
}

TEST_CASE("a counter value equal to the last one is dropped") {
  Example example;
  Timeline& timeline = example.timeline;
  const auto other = timeline.add_counter(example.process, "KV use", "%");
  timeline.count(example.counter, Time{0}, 0);
  timeline.count(example.counter, Time{1}, 3);
  timeline.count(other, Time{1}, 3);
  timeline.count(example.counter, Time{2}, 3);
  timeline.count(example.counter, Time{2}, 4);
  const auto values = timeline.counter_values();
  REQUIRE(values.size() == 4);
  CHECK(values[0].value == 0.0);
  CHECK(values[2].counter == other.index);
  CHECK(values[3].at == Time{2});
  CHECK(timeline.counters()[other.index].unit == "%");
  CHECK(timeline.counters()[other.index].process == example.process.index);
}

TEST_CASE("slices of a track come in the order of their ends and nest") {
  Example example;
  example.slice(10, 20);
  example.slice(20, 30);
  example.slice(10, 30);  // around both
  CHECK_THROWS_AS(example.slice(5, 29), InvariantError);
  CHECK_THROWS_AS(example.slice(29, 31), InvariantError);
  CHECK_THROWS_AS(example.slice(41, 40), InvariantError);
  CHECK_THROWS_AS(example.timeline.slice(example.track, example.name, example.name, Time{-1}, Time{40}),
                  InvariantError);
  CHECK_THROWS_AS(
      example.timeline.slice(example.track, example.name, example.name, Time{30}, Time{40}, Duration{-1}),
      InvariantError);
  example.slice(30, 50);
  example.slice(45, 50);  // inside, with the same end
  const auto other = example.timeline.add_track(example.process, "copy");
  example.timeline.slice(other, example.name, example.name, Time{15}, Time{25});  // tracks are independent
  CHECK(example.timeline.slices().size() == 6);
}

TEST_CASE("counter values come in the order of time and are finite") {
  Example example;
  example.timeline.count(example.counter, Time{5}, 1);
  CHECK_THROWS_AS(example.timeline.count(example.counter, Time{4}, 2), InvariantError);
  CHECK_THROWS_AS(example.timeline.count(example.counter, Time{6}, std::numeric_limits<double>::infinity()),
                  InvariantError);
}

TEST_CASE("handles of something else are refused") {
  Example example;
  Timeline& timeline = example.timeline;
  CHECK_THROWS_AS(timeline.add_track({7}, "x"), InvariantError);
  CHECK_THROWS_AS(timeline.add_counter({7}, "x", ""), InvariantError);
  CHECK_THROWS_AS(timeline.count({7}, Time{}, 1), InvariantError);
  CHECK_THROWS_AS(timeline.slice({7}, example.name, example.name, Time{}, Time{}), InvariantError);
  CHECK_THROWS_AS(timeline.slice(example.track, {7}, example.name, Time{}, Time{}), InvariantError);
  CHECK_THROWS_AS(timeline.slice(example.track, example.name, {7}, Time{}, Time{}), InvariantError);
}

TEST_CASE("a full timeline is complete up to the first instant that it left out") {
  Example example(3);
  example.slice(10, 20);
  example.timeline.count(example.counter, Time{10}, 1);
  example.slice(20, 30);
  CHECK_FALSE(example.timeline.full());  // nothing is missing yet
  example.timeline.count(example.counter, Time{31}, 1);
  CHECK_FALSE(example.timeline.full());  // it is no new value
  example.slice(35, 40);
  CHECK(example.timeline.full());
  CHECK(example.timeline.truncated_at() == Time{35});
  example.timeline.count(example.counter, Time{33}, 2);
  CHECK(example.timeline.truncated_at() == Time{33});
  example.slice(5, 50);  // began before all of them
  example.slice(60, 70);
  CHECK(example.timeline.truncated_at() == Time{5});
  CHECK(example.timeline.slices().size() == 2);
  CHECK(example.timeline.counter_values().size() == 1);
}

TEST_CASE("once something was left out nothing more is kept") {
  Timeline timeline(0);
  const auto process = timeline.add_process("p");
  const auto counter = timeline.add_counter(process, "c", "");
  timeline.count(counter, Time{1}, 1);
  CHECK(timeline.counter_values().empty());
  CHECK(timeline.truncated_at() == Time{1});
}

}  // namespace moesim::execution
