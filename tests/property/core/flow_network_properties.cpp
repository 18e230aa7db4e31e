// Max-min networks that change: the same rates as a solution from scratch, and flows that lose no unit.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "rapidcheck.h"
#include "sim/core/flow_network.hpp"
#include "sim/core/processor_sharing.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

struct Shape {
  std::vector<double> capacities;
  std::vector<FlowClass> classes;  // multiplicity is not used
};

// Small numbers, so that ties and near ties are common.
double fraction(int from, int to) {
  return *rc::gen::inRange(from, to) / static_cast<double>(*rc::gen::element(1, 3, 7));
}

// Some classes only have a bound, some use a resource more than once.
FlowClass arbitrary_class(std::uint32_t resources) {
  FlowClass one;
  const int uses = *rc::gen::inRange(0, 4);
  for (int u = 0; u < uses; ++u)
    one.uses.push_back({*rc::gen::inRange<std::uint32_t>(0, resources), fraction(1, 6)});
  if (uses == 0 || *rc::gen::inRange(0, 3) == 0) one.bound = 1e12 * fraction(1, 20);
  one.weight = fraction(1, 5);
  return one;
}

Shape arbitrary_shape() {
  Shape shape;
  const auto resources = *rc::gen::inRange<std::uint32_t>(1, 9);
  for (std::uint32_t r = 0; r < resources; ++r) shape.capacities.push_back(1e12 * fraction(1, 50));
  const int classes = *rc::gen::inRange(1, 16);
  for (int i = 0; i < classes; ++i) shape.classes.push_back(arbitrary_class(resources));
  return shape;
}

template <class Network>
void build(Network& network, const Shape& shape) {
  for (const double capacity : shape.capacities) network.add_resource(capacity);
  for (const FlowClass& one : shape.classes) network.add_class(one.uses, one.bound, one.weight);
}

bool close(double a, double b) { return std::fabs(a - b) <= 1e-9 * std::max(std::fabs(a), std::fabs(b)); }

TEST_CASE("rates that follow changes are those of a solution from scratch, with their certificate") {
  REQUIRE(rc::check([] {
    Shape shape = arbitrary_shape();
    MaxMinNetwork network;
    build(network, shape);
    std::vector<std::int64_t> flows(shape.classes.size(), 0);
    const int changes = *rc::gen::inRange(1, 30);
    for (int c = 0; c < changes; ++c) {
      if (*rc::gen::inRange(0, 6) == 0) {
        const auto r =
            *rc::gen::inRange<std::uint32_t>(0, static_cast<std::uint32_t>(shape.capacities.size()));
        shape.capacities[r] = 1e12 * *rc::gen::inRange(0, 9);
        network.set_capacity(r, shape.capacities[r]);
      }
      const auto id = *rc::gen::inRange<std::uint32_t>(0, static_cast<std::uint32_t>(flows.size()));
      if (*rc::gen::inRange(0, 3) == 0) {
        network.set_flows(id, 0);
        shape.classes[id] = arbitrary_class(static_cast<std::uint32_t>(shape.capacities.size()));
        network.redefine_class(id, shape.classes[id].uses, shape.classes[id].bound, shape.classes[id].weight);
        RC_ASSERT(network.rate(id) == 0.0);
      }
      flows[id] = *rc::gen::element<std::int64_t>(0, 0, 1, 2, 5);
      network.set_flows(id, flows[id]);
      if (*rc::gen::inRange(0, 3) == 0) continue;  // several changes, one solution
      std::vector<double> before;
      for (std::uint32_t i = 0; i < flows.size(); ++i) before.push_back(network.rate(i));
      std::vector<std::uint32_t> changed = network.solve();
      RC_ASSERT(network.is_fair());
      network.verify();
      std::sort(changed.begin(), changed.end());
      std::vector<std::uint32_t> expected;
      for (std::uint32_t i = 0; i < flows.size(); ++i) {
        if (network.rate(i) != before[i]) expected.push_back(i);
      }
      RC_ASSERT(changed == expected);
      std::vector<FlowClass> present;
      std::vector<std::uint32_t> ids;
      for (std::uint32_t i = 0; i < flows.size(); ++i) {
        if (flows[i] == 0) continue;
        present.push_back(shape.classes[i]);
        present.back().multiplicity = flows[i];
        ids.push_back(i);
      }
      const std::vector<double> rates = max_min_rates(shape.capacities, present);
      for (std::size_t i = 0; i < ids.size(); ++i) RC_ASSERT(close(network.rate(ids[i]), rates[i]));
      // To the bit the rates of a network that never had other flows.
      MaxMinNetwork fresh;
      build(fresh, shape);
      for (std::uint32_t i = 0; i < flows.size(); ++i) fresh.set_flows(i, flows[i]);
      fresh.solve();
      for (const std::uint32_t i : ids) RC_ASSERT(network.rate(i) == fresh.rate(i));
      for (std::uint32_t r = 0; r < shape.capacities.size(); ++r) RC_ASSERT(network.use(r) == fresh.use(r));
    }
  }));
}

std::int64_t flows_of(const FlowNetwork& network, const std::vector<std::uint32_t>& class_of,
                      std::uint32_t flow_class) {
  std::int64_t flows = 0;
  for (std::uint32_t id = 0; id < class_of.size(); ++id) {
    flows += network.active(id) && class_of[id] == flow_class ? 1 : 0;
  }
  return flows;
}

void assert_rates_of_a_fresh_network(const FlowNetwork& network, const Shape& shape,
                                     const std::vector<std::uint32_t>& class_of) {
  MaxMinNetwork fresh;
  build(fresh, shape);
  for (std::uint32_t i = 0; i < shape.classes.size(); ++i) {
    fresh.set_flows(i, flows_of(network, class_of, i));
  }
  fresh.solve();
  for (std::uint32_t i = 0; i < shape.classes.size(); ++i) {
    RC_ASSERT(fresh.flows(i) == network.rates().flows(i));
    if (fresh.flows(i) > 0) RC_ASSERT(fresh.rate(i) == network.rates().rate(i));
  }
}

TEST_CASE("no unit is lost, ends never come early, and time never goes back") {
  REQUIRE(rc::check([] {
    Shape shape = arbitrary_shape();
    FlowNetwork network;
    build(network, shape);
    network.verify_every(1);
    std::vector<std::uint32_t> class_of(12, 0);
    Int128 added = 0, taken = 0;
    Time now;
    const int steps = *rc::gen::inRange(1, 60);
    for (int s = 0; s < steps; ++s) {
      const auto id = *rc::gen::inRange<std::uint32_t>(0, 12);
      if (!network.active(id)) {
        const auto flow_class =
            *rc::gen::inRange<std::uint32_t>(0, static_cast<std::uint32_t>(shape.classes.size()));
        const auto units = *rc::gen::inRange<std::int64_t>(0, 1'000'000);
        if (flows_of(network, class_of, flow_class) == 0 && *rc::gen::inRange(0, 2) == 0) {
          FlowClass& one = shape.classes[flow_class];
          one = arbitrary_class(static_cast<std::uint32_t>(shape.capacities.size()));
          network.redefine_class(flow_class, one.uses, one.bound, one.weight);
        }
        if (*rc::gen::inRange(0, 6) == 0) {
          const auto r =
              *rc::gen::inRange<std::uint32_t>(0, static_cast<std::uint32_t>(shape.capacities.size()));
          shape.capacities[r] = 1e12 * *rc::gen::inRange(0, 9);
          network.set_capacity(now, r, shape.capacities[r]);
        }
        class_of[id] = flow_class;
        network.add(now, flow_class, id, units);
        added += units;
      } else if (*rc::gen::inRange(0, 4) == 0) {
        taken += network.remove(now, id);
      }
      const Time next = network.next_completion();
      RC_ASSERT(next >= now);
      RC_ASSERT(network.rates().is_fair());
      assert_rates_of_a_fresh_network(network, shape, class_of);
      if (next == kEndOfTime || *rc::gen::inRange(0, 2) == 0) continue;
      now = next;
      RC_ASSERT(!network.complete(now).empty());
    }
    Int128 left = 0;
    while (network.next_completion() != kEndOfTime) {
      now = network.next_completion();
      network.complete(now);
    }
    for (std::uint32_t id = 0; id < 12; ++id) {
      if (network.active(id)) left += network.remove(now, id);  // a resource that stands still held it
    }
    RC_ASSERT(network.size() == 0);
    RC_ASSERT((added == network.served() + taken + left));
  }));
}

TEST_CASE("over one resource a flow network is processor sharing, to a few picoseconds") {
  REQUIRE(rc::check([] {
    const auto capacity = *rc::gen::inRange<std::int64_t>(1, 4'000) * 1'000'000'000;
    ProcessorSharing sharing(capacity);
    FlowNetwork network;
    const ResourceUse use{network.add_resource(static_cast<double>(capacity)), 1.0};
    const std::uint32_t light = network.add_class({&use, 1}, std::numeric_limits<double>::infinity(), 1.0);
    const std::uint32_t heavy = network.add_class({&use, 1}, std::numeric_limits<double>::infinity(), 3.0);
    const auto flows = *rc::gen::inRange<std::uint32_t>(1, 20);
    std::vector<std::int64_t> ends(flows, 0);
    for (std::uint32_t id = 0; id < flows; ++id) {
      const auto units = *rc::gen::inRange<std::int64_t>(1, 10'000'000);
      const bool is_heavy = *rc::gen::arbitrary<bool>();
      sharing.add(Time{}, id, is_heavy ? 3 : 1, units);
      network.add(Time{}, is_heavy ? heavy : light, id, units);
    }
    while (sharing.size() > 0) {
      const Time now = sharing.next_completion();
      for (const std::uint32_t id : sharing.complete(now)) ends[id] = now.ps;
    }
    while (network.size() > 0) {
      const Time now = network.next_completion();
      // Each re-rating rounds a completion up by less than a tick, and a rate down by 2^-20 units a second.
      for (const std::uint32_t id : network.complete(now)) RC_ASSERT(std::abs(now.ps - ends[id]) <= 40);
    }
  }));
}

}  // namespace
}  // namespace moesim::core
