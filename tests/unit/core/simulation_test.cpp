#include "sim/core/simulation.hpp"

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

enum class Kind : std::uint8_t { arrival, departure, timer, last = 63 };
enum class WideKind : int { negative = -1, fine = 63, too_big = 64 };

// Another pending set behind the same interface.
class SortedSet {
 public:
  void push(EventKey key) { keys_.insert(key); }
  [[nodiscard]] EventKey top() const { return *keys_.begin(); }
  EventKey pop() { return keys_.extract(keys_.begin()).value(); }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }

 private:
  std::set<EventKey> keys_;
};

// Gives back the largest key first: the loop must notice.
class BackwardSet {
 public:
  void push(EventKey key) { keys_.insert(key); }
  [[nodiscard]] EventKey top() const { return *keys_.rbegin(); }
  EventKey pop() { return keys_.extract(std::prev(keys_.end())).value(); }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }

 private:
  std::set<EventKey> keys_;
};

TEST_CASE("an event key keeps its fields") {
  const EventKey key(Time{INT64_MAX}, Phase::statistics, kEventSequences - 1, 63, kEventTargets - 1);
  REQUIRE(key.time() == Time{INT64_MAX});
  REQUIRE(key.phase() == Phase::statistics);
  REQUIRE(key.sequence() == kEventSequences - 1);
  REQUIRE(key.kind<Kind>() == Kind::last);
  REQUIRE(key.target() == kEventTargets - 1);
  const EventKey other(Time{5}, Phase::arrival, 77, 2, 12345);
  REQUIRE(other.time() == Time{5});
  REQUIRE(other.phase() == Phase::arrival);
  REQUIRE(other.sequence() == 77);
  REQUIRE(other.kind<Kind>() == Kind::timer);
  REQUIRE(other.target() == 12345);
}

TEST_CASE("events run by time, then phase, then order of scheduling") {
  Simulation<> simulation;
  simulation.schedule(Time{20}, Phase::completion, Kind::timer, 5);
  simulation.schedule(Time{10}, Phase::statistics, Kind::timer, 4);
  simulation.schedule(Time{10}, Phase::arrival, Kind::timer, 1);
  simulation.schedule(Time{10}, Phase::arrival, Kind::arrival, 2);
  simulation.schedule(Time{10}, Phase::decision, Kind::timer, 3);
  simulation.schedule(Time{10}, Phase::completion, Kind::timer, 0);
  std::vector<std::uint32_t> order;
  REQUIRE(simulation.run([&](EventKey key) {
    REQUIRE(simulation.now() == key.time());
    order.push_back(key.target());
  }) == RunEnd::no_more_events);
  REQUIRE(order == std::vector<std::uint32_t>{0, 1, 2, 3, 4, 5});
  REQUIRE(simulation.now() == Time{20});
}

TEST_CASE("schedule refuses what it cannot hold") {
  Simulation<> simulation(SimulationLimits{UINT64_MAX, 3});
  REQUIRE_THROWS_AS(simulation.schedule(Time{-1}, Phase::arrival, Kind::timer, 0), InvariantError);
  REQUIRE_THROWS_AS(simulation.schedule(Time{1}, Phase::arrival, Kind::timer, kEventTargets), InvariantError);
  REQUIRE_THROWS_AS(simulation.schedule(Time{1}, Phase::arrival, WideKind::too_big, 0), InvariantError);
  REQUIRE_THROWS_AS(simulation.schedule(Time{1}, Phase::arrival, WideKind::negative, 0), InvariantError);
  REQUIRE(simulation.scheduled() == 0);
  simulation.schedule(Time{1}, Phase::arrival, WideKind::fine, kEventTargets - 1);
  simulation.schedule(Time{1}, Phase::arrival, Kind::timer, 0);
  simulation.schedule(Time{1}, Phase::arrival, Kind::timer, 0);
  REQUIRE_THROWS_AS(simulation.schedule(Time{1}, Phase::arrival, Kind::timer, 0), InvariantError);
  REQUIRE(simulation.scheduled() == 3);
  REQUIRE_THROWS_AS(Simulation<>(SimulationLimits{0, kEventSequences + 1}), InvariantError);
}

TEST_CASE("an event cannot precede the one that caused it") {
  Simulation<> simulation;
  simulation.schedule(Time{10}, Phase::decision, Kind::timer, 0);
  int seen = 0;
  simulation.run([&](EventKey key) {
    ++seen;
    if (key.target() == 0) {
      REQUIRE_THROWS_AS(simulation.schedule(Time{9}, Phase::decision, Kind::timer, 1), InvariantError);
      REQUIRE_THROWS_AS(simulation.schedule(Time{10}, Phase::arrival, Kind::timer, 1), InvariantError);
      simulation.schedule(Time{10}, Phase::decision, Kind::timer, 1);
      simulation.schedule(Time{10}, Phase::statistics, Kind::timer, 2);
    }
  });
  REQUIRE(seen == 3);
}

TEST_CASE("run_until takes the events up to its end, inclusive, and sets the clock") {
  Simulation<> simulation;
  for (const std::int64_t at : {10, 20, 30}) {
    simulation.schedule(Time{at}, Phase::arrival, Kind::timer, 0);
  }
  const auto ignore = [](EventKey) {};
  REQUIRE(simulation.run_until(Time{20}, ignore) == RunEnd::time_reached);
  REQUIRE(simulation.executed() == 2);
  REQUIRE(simulation.run_until(Time{25}, ignore) == RunEnd::time_reached);
  REQUIRE(simulation.now() == Time{25});
  REQUIRE(simulation.executed() == 2);
  REQUIRE_THROWS_AS(simulation.schedule(Time{24}, Phase::arrival, Kind::timer, 0), InvariantError);
  REQUIRE_THROWS_AS(simulation.run_until(Time{24}, ignore), InvariantError);
  REQUIRE(simulation.run_until(Time{40}, ignore) == RunEnd::no_more_events);
  REQUIRE(simulation.now() == Time{40});
  REQUIRE(simulation.last_executed_at() == Time{30});
}

TEST_CASE("the limit on events stops a run in good order, and it can be seen") {
  Simulation<> simulation(SimulationLimits{2, kEventSequences});
  for (std::uint32_t i = 0; i < 4; ++i) {
    simulation.schedule(Time{10 * static_cast<std::int64_t>(i)}, Phase::arrival, Kind::timer, i);
  }
  const auto ignore = [](EventKey) {};
  REQUIRE(simulation.run(ignore) == RunEnd::event_limit);
  REQUIRE(simulation.now() == Time{10});
  REQUIRE(simulation.run_until(Time{30}, ignore) == RunEnd::event_limit);
  REQUIRE(simulation.now() == Time{10});
  REQUIRE_FALSE(simulation.step(ignore));
  REQUIRE(simulation.pending() == 2);
}

TEST_CASE("a stale event is skipped and counted as cancelled") {
  Simulation<> simulation;
  LiveEvent timer;
  REQUIRE_FALSE(timer.armed());
  timer.arm(simulation.schedule(Time{10}, Phase::completion, Kind::timer, 0));
  timer.arm(simulation.schedule(Time{5}, Phase::completion, Kind::timer, 0));  // makes the first stale
  const EventKey forgotten = simulation.schedule(Time{20}, Phase::completion, Kind::timer, 0);
  int fired = 0;
  const auto handler = [&](EventKey key) {
    if (!timer.claim(key)) {
      return Handled::stale;
    }
    ++fired;
    REQUIRE(key.time() == Time{5});
    REQUIRE_FALSE(timer.claim(key));  // a claim counts once
    return Handled::executed;
  };
  simulation.run(handler);
  REQUIRE(fired == 1);
  REQUIRE(simulation.scheduled() == 3);
  REQUIRE(simulation.executed() == 1);
  REQUIRE(simulation.cancelled() == 2);
  REQUIRE(simulation.pending() == 0);
  REQUIRE(simulation.now() == Time{20});
  REQUIRE(simulation.last_executed_at() == Time{5});
  timer.arm(forgotten);
  timer.cancel();
  REQUIRE_FALSE(timer.armed());
  REQUIRE_FALSE(timer.claim(forgotten));
}

TEST_CASE("the order hash covers executed events only, in their order") {
  const auto hash_of = [](std::vector<std::int64_t> times, Phase phase, std::uint64_t stale_from) {
    Simulation<> simulation;
    for (const std::int64_t at : times) {
      simulation.schedule(Time{at}, phase, Kind::timer, 0);
    }
    simulation.run(
        [&](EventKey key) { return key.sequence() < stale_from ? Handled::executed : Handled::stale; });
    return simulation.order_hash();
  };
  const std::uint64_t base = hash_of({1, 2, 3}, Phase::arrival, 9);
  REQUIRE(hash_of({1, 2, 3}, Phase::arrival, 9) == base);
  REQUIRE(hash_of({1, 2, 3, 4}, Phase::arrival, 3) == base);
  REQUIRE(hash_of({1, 3, 2}, Phase::arrival, 9) != base);
  REQUIRE(hash_of({1, 2, 3}, Phase::decision, 9) != base);
  REQUIRE(hash_of({1, 2}, Phase::arrival, 9) != base);
  REQUIRE(base == 0x391a1813552ac0aeU);  // the documented mixing: a change shows
}

TEST_CASE("a simulation is a movable value, and any pending set gives the same order") {
  const auto drive = [](auto& simulation, std::uint64_t steps) {
    const auto handler = [&simulation](EventKey key) {
      if (simulation.scheduled() < 5000) {
        const auto spread = static_cast<std::int64_t>((key.sequence() * 2654435761U) % 97);
        const auto phase = static_cast<Phase>(key.sequence() % 4);
        simulation.schedule(simulation.now() + Duration{spread + 1}, phase, Kind::timer, key.target() + 1);
        simulation.schedule(simulation.now() + Duration{spread / 2 + 1}, phase, Kind::arrival, key.target());
      }
    };
    while (steps-- > 0 && simulation.step(handler)) {
    }
  };
  Simulation<> heap;
  Simulation<SortedSet> sorted;
  heap.schedule(Time{0}, Phase::arrival, Kind::timer, 0);
  sorted.schedule(Time{0}, Phase::arrival, Kind::timer, 0);
  drive(heap, 100);
  Simulation<> moved = std::move(heap);
  drive(moved, UINT64_MAX);
  drive(sorted, UINT64_MAX);
  REQUIRE(moved.executed() >= 5000);
  REQUIRE(moved.order_hash() == sorted.order_hash());
  REQUIRE(moved.now() == sorted.now());
}

TEST_CASE("a pending set that breaks the order is found out") {
  Simulation<BackwardSet> simulation;
  simulation.schedule(Time{1}, Phase::arrival, Kind::timer, 0);
  simulation.schedule(Time{2}, Phase::arrival, Kind::timer, 0);
  REQUIRE_THROWS_AS(simulation.run([](EventKey) {}), InvariantError);
}

}  // namespace
}  // namespace moesim::core
