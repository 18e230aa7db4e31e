#include "sim/core/processor_sharing.hpp"

#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

using Ids = std::vector<std::uint32_t>;
constexpr std::int64_t kPerPicosecond = kPicosecondsPerSecond;  // one unit a picosecond

TEST_CASE("an activity that is alone ends at its uncontended time, to the picosecond") {
  for (const std::int64_t capacity : {std::int64_t{1}, std::int64_t{3}, std::int64_t{999'999'999'989},
                                      std::int64_t{3'350'000'000'000}, std::int64_t{989'000'000'000'000}}) {
    for (const std::int64_t work : {1, 2, 3, 1000, 8'388'607}) {
      for (const std::int64_t weight : {1, 3, 7, 1'000'003, 1 << 24}) {
        ProcessorSharing resource(capacity);
        const Time start{12'345};
        resource.add(start, 9, weight, work);
        const Time end = resource.next_completion();
        REQUIRE(end == start + duration_for(work, capacity));
        REQUIRE(resource.complete(Time{end.ps - 1}).empty());  // looking must not change the end
        REQUIRE(resource.next_completion() == end);
        REQUIRE(resource.complete(end) == Ids{9});
        REQUIRE(resource.served() == work);
        REQUIRE(resource.busy() == end - start);
      }
    }
  }
}

TEST_CASE("equal activities share equally and end by id") {
  ProcessorSharing resource(kPerPicosecond);
  resource.add(Time{0}, 7, 1, 100);
  resource.add(Time{0}, 3, 1, 100);
  resource.add(Time{0}, 5, 1, 40);
  REQUIRE(resource.next_completion() == Time{120});
  REQUIRE(resource.complete(Time{120}) == Ids{5});
  REQUIRE(resource.remaining(Time{150}, 3) == 45);
  REQUIRE(resource.next_completion() == Time{240});
  REQUIRE(resource.complete(Time{240}) == Ids{3, 7});
  REQUIRE(resource.next_completion() == kEndOfTime);
  REQUIRE(resource.size() == 0);
  REQUIRE(resource.total_weight() == 0);
}

TEST_CASE("weights divide the capacity") {
  ProcessorSharing resource(kPerPicosecond);
  resource.add(Time{0}, 0, 3, 300);
  resource.add(Time{0}, 1, 1, 300);
  REQUIRE(resource.next_completion() == Time{400});  // 3/4 of the capacity
  REQUIRE(resource.complete(Time{400}) == Ids{0});
  REQUIRE(resource.remaining(Time{400}, 1) == 200);
  REQUIRE(resource.next_completion() == Time{600});  // then all of it
}

TEST_CASE("a removed activity gives its remainder back and its share to the others") {
  ProcessorSharing resource(kPerPicosecond);
  resource.add(Time{0}, 0, 1, 100);
  resource.add(Time{0}, 1, 1, 100);
  REQUIRE(resource.remove(Time{50}, 1) == 75);
  REQUIRE(resource.next_completion() == Time{125});
  REQUIRE(resource.complete(Time{125}) == Ids{0});
  REQUIRE(resource.served() == 125);
  REQUIRE(resource.busy() == Duration{125});
}

TEST_CASE("one that starts as the other ends is not re-rated") {
  for (const bool add_first : {true, false}) {
    ProcessorSharing resource(7);
    resource.add(Time{0}, 0, 1, 10);
    const Time middle = resource.next_completion();
    if (add_first) {
      resource.add(middle, 1, 1, 10);
      REQUIRE(resource.next_completion() == middle);
      REQUIRE(resource.complete(middle) == Ids{0});
    } else {
      REQUIRE(resource.complete(middle) == Ids{0});
      resource.add(middle, 1, 1, 10);
    }
    REQUIRE(resource.next_completion() == middle + duration_for(10, 7));
  }
}

TEST_CASE("no work ends at once") {
  ProcessorSharing resource(5);
  resource.add(Time{3}, 0, 1, 100);
  resource.add(Time{4}, 1, 1, 0);
  REQUIRE(resource.next_completion() == Time{4});
  REQUIRE(resource.complete(Time{4}) == Ids{1});
}

TEST_CASE("an end just above a tick is not lost to rounding, however often one looks") {
  // 11 * work = 1 modulo the capacity, a prime: the exact end is 1 / capacity picoseconds above a tick, the
  // least there is. The weights are the heaviest, and no powers of two, so that every rounding in virtual
  // time is at work.
  constexpr std::int64_t kCapacity = 999'999'999'989;
  constexpr std::int64_t kWork = 909'090'909'081;
  const Duration alone = duration_for(kWork, kCapacity);
  for (std::int64_t weight = ProcessorSharing::kMaximumWeight - 200;
       weight < ProcessorSharing::kMaximumWeight; ++weight) {
    ProcessorSharing resource(kCapacity);
    resource.add(Time{0}, 0, weight, kWork);
    REQUIRE(resource.next_completion() == Time{0} + alone);
    for (const std::int64_t part : {7, 5, 3, 2}) {
      REQUIRE(resource.complete(Time{alone.ps / part}).empty());
      REQUIRE(resource.next_completion() == Time{0} + alone);
    }
    REQUIRE(resource.complete(Time{alone.ps - 1}).empty());
    REQUIRE(resource.complete(Time{alone.ps}) == Ids{0});
  }
}

TEST_CASE("a resource that is never idle does not run out of virtual time") {
  // Each step serves 2^59 units to each weight: virtual time passes its range of 2^62 units every 8 steps.
  constexpr std::int64_t kWork = std::int64_t{1} << 60;
  ProcessorSharing resource(kWork);
  Time now{0};
  resource.add(now, 0, 1, kWork / 2);
  for (std::uint32_t step = 1; step < 100; ++step) {
    resource.add(now, step, 1, kWork);
    // The older one has half its work left at half the capacity: it ends after a second.
    REQUIRE(resource.remaining(now, step - 1) == kWork / 2);
    now += Duration{kPicosecondsPerSecond};
    REQUIRE(resource.next_completion() == now);
    REQUIRE(resource.complete(now) == Ids{step - 1});
    REQUIRE(resource.remaining(now, step) == kWork / 2);
  }
  REQUIRE(resource.busy() == Duration{99 * kPicosecondsPerSecond});
}

TEST_CASE("a shared resource refuses what makes no sense") {
  REQUIRE_THROWS_AS(ProcessorSharing(0), InvariantError);
  ProcessorSharing resource(kPerPicosecond);
  REQUIRE_THROWS_AS(resource.add(Time{0}, ProcessorSharing::kMaximumActivities, 1, 1), InvariantError);
  REQUIRE_THROWS_AS(resource.add(Time{0}, 0, 0, 1), InvariantError);
  REQUIRE_THROWS_AS(resource.add(Time{0}, 0, ProcessorSharing::kMaximumWeight + 1, 1), InvariantError);
  REQUIRE_THROWS_AS(resource.add(Time{0}, 0, 1, -1), InvariantError);
  REQUIRE_THROWS_AS(resource.add(Time{0}, 0, 1, ProcessorSharing::kMaximumWork + 1), InvariantError);
  resource.add(Time{10}, 0, ProcessorSharing::kMaximumWeight, 100);
  REQUIRE_THROWS_AS(resource.add(Time{10}, 1, 1, 1), InvariantError);  // too much weight
  REQUIRE_THROWS_AS(resource.add(Time{10}, 0, 1, 1), InvariantError);  // the id is taken
  REQUIRE_THROWS_AS(resource.complete(Time{9}), InvariantError);       // the past
  REQUIRE_THROWS_AS(resource.complete(Time{111}), InvariantError);     // past a completion
  REQUIRE_THROWS_AS(resource.remove(Time{10}, 1), InvariantError);
  REQUIRE_THROWS_AS(resource.remaining(Time{10}, 1), InvariantError);
  ProcessorSharing slow(1);
  slow.add(Time{0}, 0, 1, ProcessorSharing::kMaximumWork);
  REQUIRE_THROWS_AS(slow.next_completion(), InvariantError);  // beyond 106 days
}

}  // namespace
}  // namespace moesim::core
