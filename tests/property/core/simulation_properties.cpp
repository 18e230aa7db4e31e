#include <cstdint>
#include <set>
#include <vector>

#include "rapidcheck.h"
#include "sim/core/simulation.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

enum class Kind : std::uint8_t { first, second, third };

// The definition of a pending set: an ordered set.
class OrderedSet {
 public:
  void push(EventKey key) { keys_.insert(key); }
  [[nodiscard]] EventKey top() const { return *keys_.begin(); }
  EventKey pop() { return keys_.extract(keys_.begin()).value(); }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }

 private:
  std::set<EventKey> keys_;
};

// One handled event schedules these: delay 0 keeps the phase or takes a later one.
struct Child {
  std::int64_t delay = 0;
  unsigned phase = 0;
  unsigned kind = 0;
  unsigned target = 0;
  bool live = false;  // arms the timer of its target, which makes an earlier event of it stale
};

std::vector<Child> arbitrary_script() {
  return *rc::gen::container<std::vector<Child>>(rc::gen::construct<Child>(
      rc::gen::oneOf(rc::gen::just<std::int64_t>(0), rc::gen::inRange<std::int64_t>(0, 20),
                     rc::gen::just(std::int64_t{1} << 55)),
      rc::gen::inRange(0U, 4U), rc::gen::inRange(0U, 3U), rc::gen::inRange(0U, 5U),
      rc::gen::arbitrary<bool>()));
}

struct Outcome {
  std::vector<EventKey> keys;
  std::uint64_t hash = 0;
  std::uint64_t cancelled = 0;

  bool operator==(const Outcome&) const = default;
};

// Handles events; each takes the next children of the script. Asserts the laws after every step.
template <class Set>
Outcome play(const std::vector<Child>& script) {
  Simulation<Set> simulation;
  std::vector<LiveEvent> timers(5);
  std::vector<std::uint64_t> expected(5, UINT64_MAX);  // by target: the sequence that is live
  Outcome outcome;
  std::size_t next = 0;
  const auto spawn = [&](unsigned phase_now) {
    for (int i = 0; i < 2 && next < script.size(); ++i) {
      const Child& child = script[next++];
      const unsigned phase = child.delay == 0 && child.phase < phase_now ? phase_now : child.phase;
      const EventKey key =
          simulation.schedule(simulation.now() + Duration{child.delay}, static_cast<Phase>(phase),
                              static_cast<Kind>(child.kind), child.target);
      if (child.live) {
        timers[child.target].arm(key);
        expected[child.target] = key.sequence();
      }
    }
  };
  spawn(0);
  const auto handler = [&](EventKey key) {
    RC_ASSERT(simulation.now() == key.time());
    const bool live = script[key.sequence()].live;
    if (live) {
      const bool claimed = timers[key.target()].claim(key);
      RC_ASSERT(claimed == (expected[key.target()] == key.sequence()));
      if (!claimed) {
        return Handled::stale;
      }
      expected[key.target()] = UINT64_MAX;
    }
    RC_ASSERT((outcome.keys.empty() || outcome.keys.back() < key));
    outcome.keys.push_back(key);
    spawn(static_cast<unsigned>(key.phase()));
    return Handled::executed;
  };
  while (simulation.step(handler)) {
    RC_ASSERT(simulation.pending() + simulation.executed() + simulation.cancelled() ==
              simulation.scheduled());
  }
  RC_ASSERT(simulation.pending() == 0U);
  outcome.hash = simulation.order_hash();
  outcome.cancelled = simulation.cancelled();
  return outcome;
}

TEST_CASE(
    "random scripts run in strict order, keep the law of counts, and do not depend on the pending set") {
  REQUIRE(rc::check([] {
    const std::vector<Child> script = arbitrary_script();
    const Outcome heap = play<BinaryHeap>(script);
    const Outcome ladder = play<LadderQueue>(script);
    const Outcome ordered = play<OrderedSet>(script);
    RC_ASSERT((heap == ordered));
    RC_ASSERT((ladder == ordered));
  }));
}

TEST_CASE("the heap gives back any keys in order") {
  REQUIRE(rc::check([](const std::vector<std::uint16_t>& times) {
    BinaryHeap heap;
    OrderedSet ordered;
    std::uint64_t sequence = 0;
    for (const std::uint16_t at : times) {
      const EventKey key(Time{at / 16}, static_cast<Phase>(at % 4), sequence++, 0, 0);
      heap.push(key);
      ordered.push(key);
      if (at % 3 == 0) {
        RC_ASSERT((heap.pop() == ordered.pop()));
      }
    }
    while (ordered.size() > 0) {
      RC_ASSERT((heap.top() == ordered.top()));
      RC_ASSERT((heap.pop() == ordered.pop()));
    }
    RC_ASSERT(heap.size() == 0U);
  }));
}

}  // namespace
}  // namespace moesim::core
