#include "sim/core/max_min_network.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/core/flow_network.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {

struct MaxMinNetworkTestAccess {
  static void set_rate(MaxMinNetwork& network, std::uint32_t flow_class, double rate) {
    network.classes_[flow_class].rate = rate;
  }
  // What filling reads of a class's use, beside the use as it was given.
  static void set_coefficient(MaxMinNetwork& network, std::uint32_t resource, std::size_t user,
                              double value) {
    network.resources_[resource].users[user].coefficient = value;
  }
  static std::size_t users(const MaxMinNetwork& network, std::uint32_t resource) {
    return network.resources_[resource].users.size();
  }
  // The room of everything that a change of flows or classes may fill.
  static std::size_t room(const MaxMinNetwork& network) {
    std::size_t room = network.uses_.capacity() + network.dirty_.capacity() +
                       network.dirty_classes_.capacity() + network.part_.capacity() +
                       network.bounded_.capacity() + network.full_.capacity() + network.touched_.capacity() +
                       network.stopping_.capacity() + network.changing_.capacity() +
                       network.changed_.capacity();
    for (const auto& resource : network.resources_) room += resource.users.capacity();
    return room;
  }
  static std::size_t uses_held(const MaxMinNetwork& network) { return network.uses_.size(); }
};

struct FlowNetworkTestAccess {
  static MaxMinNetwork& rates(FlowNetwork& network) { return network.network_; }
  static void double_rate(FlowNetwork& network, std::uint32_t flow_class) {
    network.classes_[flow_class].rate *= 2;
  }
};

namespace {

constexpr double kNoBound = std::numeric_limits<double>::infinity();

// What an action throws, or nothing.
template <class Action>
std::string complaint(Action&& action) {
  try {
    action();
  } catch (const InvariantError& error) {
    return error.what();
  }
  return {};
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("a class that is redefined leaves its resources and joins others") {
  MaxMinNetwork network;
  const std::uint32_t thin = network.add_resource(6.0);
  const std::uint32_t wide = network.add_resource(100.0);
  const ResourceUse on_thin[] = {{thin, 1.0}};
  const ResourceUse on_both[] = {{wide, 2.0}, {thin, 1.0}, {wide, 3.0}};
  const std::uint32_t first = network.add_class(on_thin);
  const std::uint32_t second = network.add_class(on_thin);
  network.set_flows(first, 1);
  network.set_flows(second, 2);
  network.solve();
  REQUIRE(network.rate(first) == 2.0);
  REQUIRE(network.use(thin) == 6.0);
  network.set_flows(first, 0);
  network.redefine_class(first, on_both);  // before its going is solved
  network.solve();
  REQUIRE(network.rate(first) == 0.0);
  REQUIRE(network.rate(second) == 3.0);
  network.set_flows(first, 1);
  network.set_flows(second, 0);
  network.solve();
  REQUIRE(network.rate(first) == 6.0);
  REQUIRE(network.use(wide) == 30.0);
  REQUIRE(network.use(thin) == 6.0);
  network.set_flows(first, 0);
  network.redefine_class(first, {}, 7.0);  // only its bound limits it
  REQUIRE(MaxMinNetworkTestAccess::users(network, wide) == 0);
  REQUIRE(MaxMinNetworkTestAccess::users(network, thin) == 1);
  network.set_flows(first, 4);
  network.solve();
  REQUIRE(network.rate(first) == 7.0);
  network.set_flows(first, 0);
  network.redefine_class(first, on_thin, 1.0);  // and again a resource, before the bound alone is forgotten
  network.set_flows(first, 1);
  network.set_flows(second, 1);
  network.set_capacity(thin, 1.0);
  network.solve();
  REQUIRE(network.rate(first) == 0.5);
  REQUIRE(network.is_fair());
}

TEST_CASE("a class that has flows is not redefined, nor is a broken definition taken") {
  FlowNetwork network;
  const ResourceUse use{network.add_resource(1e12), 1.0};
  const std::uint32_t flow_class = network.add_class({&use, 1});
  network.add(Time{0}, flow_class, 0, 10);
  CHECK_THROWS_AS(network.redefine_class(flow_class, {&use, 1}), InvariantError);
  CHECK_THROWS_AS(network.redefine_class(flow_class + 1, {&use, 1}), InvariantError);
  REQUIRE(network.complete(Time{10}).size() == 1);
  CHECK_THROWS_AS(network.redefine_class(flow_class, {}), InvariantError);
  const ResourceUse unknown{7, 1.0};
  CHECK_THROWS_AS(network.redefine_class(flow_class, {&unknown, 1}), InvariantError);
  network.redefine_class(flow_class, {&use, 1});  // in the instant of the completion
  network.add(Time{10}, flow_class, 0, 10);
  REQUIRE(network.next_completion() == Time{20});
  MaxMinNetwork rates;
  rates.set_flows(rates.add_class({}, 1.0), 1);
  CHECK_THROWS_AS(rates.redefine_class(0, {}, 2.0), InvariantError);
}

TEST_CASE("a redefined class starts at its own rate, also where that is the old one or none") {
  FlowNetwork network;
  network.verify_every(1);
  const std::uint32_t stopped = network.add_resource(0.0);
  const std::uint32_t link = network.add_resource(4e12);
  const ResourceUse on_link{link, 1.0};
  const ResourceUse on_stopped{stopped, 1.0};
  const std::uint32_t flow_class = network.add_class({&on_link, 1});
  network.add(Time{0}, flow_class, 0, 400);
  REQUIRE(network.next_completion() == Time{100});
  REQUIRE(network.complete(Time{100}).size() == 1);
  network.redefine_class(flow_class, {&on_stopped, 1});
  network.add(Time{200}, flow_class, 0, 400);
  REQUIRE(network.next_completion() == kEndOfTime);
  REQUIRE(network.remove(Time{300}, 0) == 400);
  network.redefine_class(flow_class, {&on_link, 1});
  network.add(Time{400}, flow_class, 0, 400);
  REQUIRE(network.next_completion() == Time{500});
  REQUIRE(network.rerated().size() == 1);
  REQUIRE(network.rerated()[0] == flow_class);
  REQUIRE(network.verified() == 5);  // one an instant: 0, 100, 200, 300, 400
}

TEST_CASE("a class that is redefined with ever as many uses takes no more room") {
  MaxMinNetwork network;
  std::vector<ResourceUse> uses;
  for (int r = 0; r < 8; ++r) uses.push_back({network.add_resource(1.0), 1.0});
  const std::uint32_t flow_class = network.add_class({uses.data(), 1});
  for (std::size_t count = 1; count <= uses.size(); ++count) {
    network.redefine_class(flow_class, {uses.data(), count});
  }
  const std::size_t held = MaxMinNetworkTestAccess::uses_held(network);
  REQUIRE(held == 1 + 2 + 4 + 8);
  for (std::size_t i = 0; i < 100; ++i) network.redefine_class(flow_class, {uses.data(), 1 + i % 8});
  REQUIRE(MaxMinNetworkTestAccess::uses_held(network) == held);
}

TEST_CASE("a pool of classes that go round through the same definitions allocates nothing more") {
  MaxMinNetwork network;
  std::vector<ResourceUse> uses;
  for (int r = 0; r < 6; ++r) uses.push_back({network.add_resource(10.0), 1.0});
  constexpr std::uint32_t kSlots = 5;
  for (std::uint32_t slot = 0; slot < kSlots; ++slot) network.add_class({}, 1.0);
  const auto go_round = [&] {
    for (std::uint32_t turn = 0; turn < 30; ++turn) {
      const std::uint32_t slot = turn % kSlots;
      network.set_flows(slot, 0);
      network.redefine_class(slot, {uses.data() + turn % 3, 1 + turn % 4}, turn % 2 == 0 ? 1.0 : kNoBound);
      network.set_flows(slot, 1 + turn % 2);
      network.solve();
    }
  };
  go_round();
  const std::size_t room = MaxMinNetworkTestAccess::room(network);
  for (int i = 0; i < 20; ++i) go_round();
  REQUIRE(MaxMinNetworkTestAccess::room(network) == room);
  REQUIRE(network.is_fair());
}

TEST_CASE("verification names the class, the resource and the rates that are not fair") {
  MaxMinNetwork network;
  const std::uint32_t apart = network.add_resource(5.0);
  const std::uint32_t link = network.add_resource(8.0);
  const ResourceUse on_apart{apart, 1.0};
  const ResourceUse on_link{link, 1.0};
  const std::uint32_t elsewhere = network.add_class({&on_apart, 1});
  const std::uint32_t bounded = network.add_class({&on_link, 1}, 1.5);
  const std::uint32_t free = network.add_class({&on_link, 1}, kNoBound, 2.0);
  network.set_flows(elsewhere, 1);
  network.solve();
  network.verify();
  MaxMinNetworkTestAccess::set_rate(network, elsewhere, 4.0);
  network.set_flows(bounded, 2);
  network.set_flows(free, 1);
  network.solve();
  network.verify();  // only the part that was solved
  REQUIRE_FALSE(network.is_fair());
  MaxMinNetworkTestAccess::set_rate(network, free, 6.5);
  const std::string over = complaint([&] { network.verify(); });
  CHECK(mentions(over, "resource 1 can do 8 a second and is used for 9.5"));
  MaxMinNetworkTestAccess::set_rate(network, free, 4.5);
  const std::string under = complaint([&] { network.verify(); });
  CHECK(mentions(under, "class 2 at rate 4.5, weight 2 and bound inf could have more"));
  CHECK(mentions(under, "resource 1 is used for 7.5 of 8 a second, by rates / weights up to 2.25"));
  MaxMinNetworkTestAccess::set_rate(network, bounded, 1.75);
  CHECK(mentions(complaint([&] { network.verify(); }), "class 1 at rate 1.75 has the bound 1.5"));
  network.set_flows(free, 2);
  CHECK(mentions(complaint([&] { network.verify(); }), "before they are solved"));
}

TEST_CASE("a class that only its bound limits is verified where it is named") {
  MaxMinNetwork network;
  const std::uint32_t flow_class = network.add_class({}, 3.0);
  network.set_flows(flow_class, 1);
  network.solve();
  MaxMinNetworkTestAccess::set_rate(network, flow_class, 2.0);
  network.verify();
  CHECK(mentions(complaint([&] { network.verify({&flow_class, 1}); }), "class 0 at rate 2"));
}

TEST_CASE("a flow network that fills with wrong coefficients fails at the solution that is verified") {
  for (const std::uint32_t every : {0U, 1U, 3U}) {
    FlowNetwork network;
    network.verify_every(every);
    const ResourceUse use{network.add_resource(6e12), 2.0};
    const std::uint32_t flow_class = network.add_class({&use, 1});
    const auto solve = [&](std::uint32_t id) {
      network.add(Time{0}, flow_class, id, 1'000'000);
      return complaint([&] { static_cast<void>(network.next_completion()); });
    };
    REQUIRE(solve(0).empty());
    REQUIRE(network.verified() == (every != 0 ? 1 : 0));  // the first one is
    MaxMinNetworkTestAccess::set_coefficient(FlowNetworkTestAccess::rates(network), use.resource, 0, 1.0);
    CHECK(mentions(solve(1), "resource 0 can do") == (every == 1));
    CHECK(mentions(solve(2), "is used for 12000000000000") == (every == 1));
    CHECK(mentions(solve(3), "is used for 12000000000000") == (every != 0));
    REQUIRE(network.verified() == (every != 0 ? 1 : 0));
  }
}

TEST_CASE("flows that go on at another rate than the one solved fail verification") {
  FlowNetwork network;
  network.verify_every(1);
  const ResourceUse use{network.add_resource(6e12), 1.0};
  const std::uint32_t flow_class = network.add_class({&use, 1}, 1e12);
  network.add(Time{0}, flow_class, 0, 1000);
  REQUIRE(network.next_completion() == Time{1000});
  FlowNetworkTestAccess::double_rate(network, flow_class);
  network.add(Time{1}, flow_class, 1, 1000);
  CHECK(mentions(complaint([&] { static_cast<void>(network.next_completion()); }), "another rate"));
}

}  // namespace
}  // namespace moesim::core
