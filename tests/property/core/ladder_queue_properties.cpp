// The ladder queue against the binary heap: the same keys in the same order, whatever the script.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include "rapidcheck.h"
#include "sim/core/ladder_queue.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

// How far ahead of the last key the next ones are put.
enum class Law : std::uint8_t { equal, few, uniform, decreasing, power, jumps, bursts, packed };
constexpr std::uint8_t kLaws = 8;

struct Script {
  Law law = Law::equal;
  std::size_t pending = 0;  // kept about level
  std::size_t steps = 0;
  std::uint64_t seed = 0;
};

// A splitmix64 stream (Steele et al., OOPSLA 2014).
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

std::int64_t delay(Law law, Draws& draws, std::size_t step) {
  const std::uint64_t r = draws.next();
  switch (law) {
    case Law::equal:
      return 0;
    case Law::few:
      return static_cast<std::int64_t>(r % 3);
    case Law::uniform:
      return static_cast<std::int64_t>(r % 1'000'000);
    case Law::decreasing:  // each lands before those pushed earlier, as long as they are pending
      return static_cast<std::int64_t>(1'000'000 - step % 1'000'000);
    case Law::power:  // tail exponent 1/2: no mean
      return static_cast<std::int64_t>(
          std::min(1e17, 1.0 / std::pow(static_cast<double>(r >> 11) * 0x1p-53 + 1e-12, 2)));
    case Law::jumps:
      return r % 50 == 0 ? std::int64_t{1} << (40 + r / 64 % 22) : static_cast<std::int64_t>(r % 100);
    case Law::bursts:  // many at a few instants
      return static_cast<std::int64_t>(r % 4) * 1'000'000'000;
    case Law::packed:  // a dense cluster far away, so that rungs nest
      return (std::int64_t{1} << 50) + static_cast<std::int64_t>(r % 512);
  }
  return 0;
}

// Plays the script on both sets and compares every key that comes out. Returns the number of keys, or none if
// the sets differ.
std::optional<std::size_t> play(const Script& script) {
  LadderQueue ladder;
  BinaryHeap heap;
  Draws draws(script.seed);
  std::uint64_t sequence = 0;
  std::size_t taken = 0;
  Time now;
  unsigned phase_now = 0;
  bool equal = true;
  const auto push = [&] {
    const std::int64_t ahead = delay(script.law, draws, sequence);
    if (ahead > (std::int64_t{1} << 62) - now.ps / 2 - 1) return;
    // At the instant of the last key only later phases come after it.
    const unsigned phase = ahead == 0 ? phase_now : static_cast<unsigned>(draws.next() % 4);
    const EventKey key(now + Duration{ahead}, static_cast<Phase>(phase), sequence, 1, 2);
    ++sequence;
    ladder.push(key);
    heap.push(key);
  };
  const auto pop = [&] {
    equal = equal && ladder.top() == heap.top();
    const EventKey key = ladder.pop();
    equal = equal && key == heap.pop() && ladder.size() == heap.size();
    now = key.time();
    phase_now = static_cast<unsigned>(key.phase());
    ++taken;
  };
  // Twice, so that an emptied set takes keys again.
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < script.pending; ++i) push();
    for (std::size_t i = 0; i < script.steps && equal && heap.size() > 0; ++i) {
      pop();
      // Now and then none or a burst, so that the set shrinks and grows.
      const std::uint64_t r = draws.next() % 64;
      const std::size_t pushes = r == 0 ? script.pending / 2 : r < 16 ? 0 : r < 28 ? 2 : 1;
      for (std::size_t k = 0; k < pushes && heap.size() < 4 * script.pending + 8; ++k) push();
    }
    while (equal && heap.size() > 0) pop();
    equal = equal && ladder.size() == 0;
  }
  return equal ? std::optional(taken) : std::nullopt;
}

TEST_CASE("the ladder queue gives the keys of the binary heap, whatever the delays") {
  REQUIRE(rc::check([] {
    Script script;
    script.law = static_cast<Law>(*rc::gen::inRange<std::uint8_t>(0, kLaws));
    script.pending = *rc::gen::inRange<std::size_t>(1, 3000);
    script.steps = *rc::gen::inRange<std::size_t>(0, 6000);
    script.seed = *rc::gen::arbitrary<std::uint64_t>();
    RC_ASSERT(play(script).has_value());
  }));
}

TEST_CASE("large sets of every law drain in order") {
  for (std::uint8_t law = 0; law < kLaws; ++law) {
    CAPTURE(static_cast<int>(law));
    CHECK(play({static_cast<Law>(law), 40'000, 20'000, 1}).value_or(0) >= 40'000);
  }
}

}  // namespace
}  // namespace moesim::core
