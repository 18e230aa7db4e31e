#include "sim/core/ladder_queue.hpp"

#include <cstdint>
#include <vector>

#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

EventKey key(std::int64_t ps, std::uint64_t sequence) { return {Time{ps}, Phase::arrival, sequence, 1, 2}; }

TEST_CASE("a ladder queue of one key, and an emptied one") {
  LadderQueue queue;
  CHECK(queue.size() == 0);
  queue.push(key(5, 0));
  CHECK(queue.top() == key(5, 0));
  CHECK(queue.pop() == key(5, 0));
  CHECK(queue.size() == 0);
  queue.push(key(7, 1));
  CHECK(queue.pop() == key(7, 1));
}

TEST_CASE("the extremes of time and of the sequence keep their order") {
  LadderQueue queue;
  const EventKey last(Time{INT64_MAX}, Phase::statistics, kEventSequences - 1, kEventKinds - 1,
                      kEventTargets - 1);
  const EventKey first(Time{0}, Phase::completion, 0, 0, 0);
  queue.push(last);
  for (std::uint64_t i = 1; i <= 500; ++i) queue.push(key(static_cast<std::int64_t>(i) << 53, i));
  queue.push(first);
  CHECK(queue.pop() == first);
  for (std::uint64_t i = 1; i <= 500; ++i) CHECK(queue.pop() == key(static_cast<std::int64_t>(i) << 53, i));
  CHECK(queue.pop() == last);
}

TEST_CASE("keys that arrive ever earlier keep their order through any number of rungs") {
  LadderQueue queue;
  std::uint64_t sequence = 0;
  constexpr std::int64_t kFar = std::int64_t{1} << 40;
  for (int i = 0; i < 200; ++i) queue.push(key(kFar + i, sequence++));
  for (int i = 0; i < 150; ++i) CHECK(queue.pop().time().ps == kFar + i);  // rungs are set up
  // The next ones are all later than the last one taken, each earlier than the one before; then as many
  // rising.
  for (std::int64_t i = 0; i < 20'000; ++i) queue.push(key(kFar + 1'000'000 - i * 40, sequence++));
  for (std::int64_t i = 0; i < 20'000; ++i) queue.push(key(kFar + 200'100 + i, sequence++));
  EventKey last;
  while (queue.size() > 0) {
    const EventKey next = queue.pop();
    REQUIRE(last < next);
    last = next;
  }
}

TEST_CASE("memory stays within 24 bytes a pending key, and is reused") {
  LadderQueue queue;
  constexpr std::uint64_t kPending = 100'000;
  std::uint64_t sequence = 0;
  std::uint64_t state = 1;
  const auto draw = [&state] {
    state = state * 6364136223846793005U + 1442695040888963407U;  // Knuth's MMIX
    return static_cast<std::int64_t>(state >> 34);
  };
  for (; sequence < kPending; ++sequence) queue.push(key(draw(), sequence));
  const auto hold = [&](std::uint64_t times) {
    for (std::uint64_t i = 0; i < times; ++i) {
      const EventKey next = queue.pop();
      queue.push(key(next.time().ps + draw(), sequence++));
    }
  };
  hold(4 * kPending);
  const std::size_t warm = queue.memory_bytes();
  CHECK(warm <= 24 * kPending);
  hold(4 * kPending);
  CHECK(queue.memory_bytes() == warm);
}

}  // namespace
}  // namespace moesim::core
