#include "sim/core/flow_network.hpp"

#include <cstdint>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

using Ids = std::vector<std::uint32_t>;

TEST_CASE("a flow that is never re-rated ends at its uncontended time, to the picosecond") {
  for (const std::int64_t rate : {std::int64_t{1}, std::int64_t{3}, std::int64_t{49'999'999'999},
                                  std::int64_t{3'350'000'000'000}, std::int64_t{900'000'000'000'000}}) {
    for (const std::int64_t work : {1, 2, 3, 1000, 8'388'607, 2'000'011}) {
      FlowNetwork network;
      const std::uint32_t link = network.add_resource(static_cast<double>(rate));
      const ResourceUse use{link, 1.0};
      const std::uint32_t flow_class = network.add_class({&use, 1});
      const Time start{12'345};
      network.add(start, flow_class, 9, work);
      const Time end = network.next_completion();
      REQUIRE(end == start + duration_for(work, rate));
      REQUIRE(network.complete(Time{end.ps - 1}).empty());
      REQUIRE(network.complete(end) == Ids{9});
      REQUIRE(network.served() == work);
      REQUIRE(network.size() == 0);
    }
  }
}

TEST_CASE("an activity that only its bound limits takes its ticks") {
  FlowNetwork network;
  const std::uint32_t flow_class = network.add_class({}, 1e12);  // one unit a picosecond
  network.add(Time{5}, flow_class, 0, 123'456'789);
  network.add(Time{7}, flow_class, 1, 100);
  REQUIRE(network.next_completion() == Time{107});
  REQUIRE(network.complete(Time{107}) == Ids{1});
  REQUIRE(network.next_completion() == Time{5 + 123'456'789});
}

TEST_CASE("flows over two links share the tighter one and release the rest") {
  FlowNetwork network;
  const std::uint32_t thin = network.add_resource(2e12);
  const std::uint32_t wide = network.add_resource(10e12);
  const ResourceUse both[] = {{thin, 1.0}, {wide, 1.0}};
  const ResourceUse wide_only[] = {{wide, 1.0}};
  const std::uint32_t long_route = network.add_class(both);
  const std::uint32_t short_route = network.add_class(wide_only);
  network.add(Time{0}, long_route, 0, 100);  // 1 unit a picosecond each
  network.add(Time{0}, long_route, 1, 300);
  network.add(Time{0}, short_route, 2, 800);  // 8 units a picosecond
  REQUIRE(network.next_completion() == Time{100});
  REQUIRE(network.complete(Time{100}) == Ids{0, 2});
  REQUIRE(network.remaining(Time{100}, 1) == 200);
  REQUIRE(network.next_completion() == Time{200});  // alone on the thin link: 2 units a picosecond
  REQUIRE(network.remove(Time{150}, 1) == 100);
  REQUIRE(network.next_completion() == kEndOfTime);
  REQUIRE(network.served() == 100 + 800 + 200);
}

TEST_CASE("an all-to-all takes (n-1)/n of its bytes over the bandwidth of a port, a ring twice that") {
  constexpr std::uint32_t kRanks = 8;
  constexpr std::int64_t kPort = 7'000'000'000'000;  // 7 units a picosecond
  constexpr std::int64_t kBytes = 8 * 1'000'000;
  FlowNetwork network;
  std::vector<std::uint32_t> out, in;
  for (std::uint32_t r = 0; r < kRanks; ++r) out.push_back(network.add_resource(kPort));
  for (std::uint32_t r = 0; r < kRanks; ++r) in.push_back(network.add_resource(kPort));
  std::uint32_t id = 0;
  for (std::uint32_t a = 0; a < kRanks; ++a) {
    for (std::uint32_t b = 0; b < kRanks; ++b) {
      if (a == b) continue;
      const ResourceUse route[] = {{out[a], 1.0}, {in[b], 1.0}};
      network.add(Time{0}, network.add_class(route), id++, kBytes / kRanks);
    }
  }
  const Time all_to_all = network.next_completion();
  REQUIRE(all_to_all - Time{} == duration_for(kBytes * (kRanks - 1) / kRanks, kPort));
  REQUIRE(network.complete(all_to_all).size() == kRanks * (kRanks - 1));

  // 2 (n-1) steps of one flow a rank to its neighbour.
  std::vector<std::uint32_t> neighbour;
  for (std::uint32_t r = 0; r < kRanks; ++r) {
    const ResourceUse route[] = {{out[r], 1.0}, {in[(r + 1) % kRanks], 1.0}};
    neighbour.push_back(network.add_class(route));
  }
  Time now = all_to_all;
  for (std::uint32_t step = 0; step < 2 * (kRanks - 1); ++step) {
    for (std::uint32_t r = 0; r < kRanks; ++r) network.add(now, neighbour[r], r, kBytes / kRanks);
    now = network.next_completion();
    REQUIRE(network.complete(now).size() == kRanks);
  }
  REQUIRE(now - all_to_all == 2 * (kRanks - 1) * duration_for(kBytes / kRanks, kPort));
}

TEST_CASE("a class that is never empty goes on beyond the range of its virtual time") {
  FlowNetwork network;
  const std::uint32_t flow_class = network.add_class({}, 1e18);
  constexpr std::int64_t kWork = std::int64_t{1} << 61;  // 2.3 s at that rate
  const Duration length = duration_for(kWork, 1'000'000'000'000'000'000);
  std::vector<Time> start(2);
  network.add(start[0], flow_class, 0, kWork);
  Time now{0};
  for (std::uint32_t i = 1; i < 400; ++i) {
    now += Duration{kPicosecondsPerSecond / 2};
    start[i % 2] = now;
    network.add(now, flow_class, i % 2, kWork);  // before the other one ends
    now = network.next_completion();
    REQUIRE(now == start[(i + 1) % 2] + length);
    REQUIRE(network.complete(now) == Ids{(i + 1) % 2});
  }
}

TEST_CASE("a class that is added between solutions has its bound") {
  FlowNetwork network;
  const ResourceUse use{network.add_resource(8e12), 1.0};
  network.add(Time{0}, network.add_class({&use, 1}), 0, 800);
  REQUIRE(network.next_completion() == Time{100});
  network.add(Time{0}, network.add_class({&use, 1}, 1e12), 1, 50);
  REQUIRE(network.next_completion() == Time{50});
}

TEST_CASE("a rate that is no whole number delays an end by its rounding only") {
  FlowNetwork network;
  const ResourceUse use{network.add_resource(1000.0), 1.0};
  const std::uint32_t flow_class = network.add_class({&use, 1});
  for (std::uint32_t id = 0; id < 3; ++id)
    network.add(Time{0}, flow_class, id, 1000);  // 333.3 units a second
  const Time end = network.next_completion();
  REQUIRE(end.ps >= 3 * kPicosecondsPerSecond);
  REQUIRE(end.ps < 3 * kPicosecondsPerSecond + 3 * kPicosecondsPerSecond / 333 / (1 << 20) + 2);
}

TEST_CASE("a resource that slows down, stops and comes back loses nothing") {
  FlowNetwork network;
  const std::uint32_t link = network.add_resource(4e12);
  const ResourceUse use{link, 1.0};
  const std::uint32_t flow_class = network.add_class({&use, 1});
  network.add(Time{0}, flow_class, 0, 1000);
  network.set_capacity(Time{100}, link, 1e12);  // 600 left
  REQUIRE(network.next_completion() == Time{700});
  network.set_capacity(Time{300}, link, 0.0);  // 400 left
  REQUIRE(network.next_completion() == kEndOfTime);
  network.set_capacity(Time{1'000'000}, link, 4e12);
  REQUIRE(network.next_completion() == Time{1'000'100});
  REQUIRE(network.complete(Time{1'000'100}) == Ids{0});
  REQUIRE(network.served() == 1000);
}

TEST_CASE("changes out of order and ids in use are refused") {
  FlowNetwork network;
  const std::uint32_t link = network.add_resource(1e12);
  const ResourceUse use{link, 1.0};
  const std::uint32_t flow_class = network.add_class({&use, 1});
  network.add(Time{10}, flow_class, 0, 100);
  CHECK_THROWS_AS(network.add(Time{10}, flow_class, 0, 1), InvariantError);
  CHECK_THROWS_AS(network.add(Time{9}, flow_class, 1, 1), InvariantError);
  CHECK_THROWS_AS(network.add(Time{111}, flow_class, 1, 1), InvariantError);  // misses the completion
  CHECK_THROWS_AS(network.add(Time{10}, 1, 1, 1), InvariantError);
  CHECK_THROWS_AS(network.remove(Time{10}, 7), InvariantError);
  CHECK_THROWS_AS(network.add_class({}), InvariantError);
  CHECK_THROWS_AS(network.add_resource(-1.0), InvariantError);
}

}  // namespace
}  // namespace moesim::core
