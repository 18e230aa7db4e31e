// Rules that every route of every possible cluster keeps.
#include <rapidcheck.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "models/hardware/topology.hpp"
#include "tests/support/catch.hpp"

namespace moesim::hardware {

namespace {

constexpr std::int64_t kGiga = 1'000'000'000;

std::int64_t between(std::int64_t low, std::int64_t high) {
  return *rc::gen::inRange<std::int64_t>(low, high + 1);
}

core::BytesPerSecond some_bandwidth() { return {between(1, 1000) * kGiga}; }
core::Duration some_latency() { return {between(0, 3'000'000)}; }

Fabric some_fabric() {
  Fabric fabric;
  fabric.kind = *rc::gen::element(FabricKind::rail_optimised, FabricKind::fat_tree);
  fabric.link_bandwidth.value = some_bandwidth();
  fabric.switch_latency.value = some_latency();
  fabric.nodes_per_leaf.value = between(1, 5);
  fabric.oversubscription.value = static_cast<double>(between(4, 16)) / 4.0;
  return fabric;
}

void add_scale_up(Node& node) {
  ScaleUpNetwork network;
  network.kind = *rc::gen::element(DomainKind::switched, DomainKind::full_mesh);
  network.domain_gpus = node.gpus * between(1, 3);
  network.latency.value = some_latency();
  ScaleUpPorts ports;
  ports.links.value = std::max<std::int64_t>(1, network.domain_gpus - 1);
  ports.bandwidth_per_link.value = some_bandwidth();
  ports.bandwidth.value = ports.bandwidth_per_link.value * ports.links.value;
  network.in_switch_reduction = network.kind == DomainKind::switched && *rc::gen::arbitrary<bool>();
  node.gpu.scale_up = ports;
  node.scale_up = network;
}

// Any cluster that the checks of its record would accept.
Cluster some_cluster() {
  Cluster cluster;
  Node& node = cluster.node;
  const std::int64_t sockets = between(1, 3);
  node.gpus = sockets * between(1, 4);
  if (*rc::gen::arbitrary<bool>()) add_scale_up(node);
  node.host_link.bandwidth.value = some_bandwidth();
  node.host_link.latency.value = some_latency();
  if (sockets > 1) {
    SocketLink link;
    link.sockets = sockets;
    link.bandwidth.value = some_bandwidth();
    link.latency.value = some_latency();
    node.socket_link = link;
  }
  if (*rc::gen::arbitrary<bool>()) {
    HostMemory memory;
    memory.bandwidth.value = some_bandwidth();
    node.host_memory = memory;
  }
  Nics nics;
  nics.count = between(1, node.gpus);
  nics.bandwidth.value = some_bandwidth();
  nics.latency.value = some_latency();
  node.nics = nics;
  cluster.nodes = between(1, 8);
  cluster.fabric = some_fabric();
  return cluster;
}

// Two different devices.
std::pair<DeviceIndex, DeviceIndex> two_devices(const Topology& topology) {
  const auto first = static_cast<std::int32_t>(between(0, topology.devices() - 1));
  const auto step = static_cast<std::int32_t>(between(1, topology.devices() - 1));
  return {DeviceIndex{first}, DeviceIndex{(first + step) % topology.devices()}};
}

std::size_t count(const Topology& topology, const Route& route, LinkKind kind) {
  std::size_t n = 0;
  for (const LinkIndex link : route.links()) n += topology.link(link).kind == kind ? 1U : 0U;
  return n;
}

bool starts_with(const std::string& text, const std::string& prefix) { return text.rfind(prefix, 0) == 0; }

void property(const char* name, const std::function<void()>& body) { REQUIRE(rc::check(name, body)); }

}  // namespace

TEST_CASE("routes keep inside their domain or use one NIC at each end") {
  property("NIC use", [] {
    const Topology topology(some_cluster());
    if (topology.devices() == 1) return;
    const auto [from, to] = two_devices(topology);
    const Route route = topology.route(from, to);
    const bool inside = topology.place(from).domain == topology.place(to).domain;
    RC_ASSERT(count(topology, route, LinkKind::nic_out) == (inside ? 0U : 1U));
    RC_ASSERT(count(topology, route, LinkKind::nic_in) == (inside ? 0U : 1U));
    RC_ASSERT(count(topology, route, LinkKind::leaf_up) == count(topology, route, LinkKind::leaf_down));
    RC_ASSERT(count(topology, route, LinkKind::leaf_up) <= (inside ? 0U : 1U));
    RC_ASSERT(count(topology, route, LinkKind::host_memory) == 0U);
  });
}

TEST_CASE("a route begins at its source, ends at its target and crosses no link twice") {
  property("ends", [] {
    const Topology topology(some_cluster());
    if (topology.devices() == 1) return;
    const auto [from, to] = two_devices(topology);
    const Route route = topology.route(from, to);
    RC_ASSERT(!route.empty());
    const std::set<LinkIndex> distinct(route.links().begin(), route.links().end());
    RC_ASSERT(distinct.size() == route.links().size());
    const std::string first = topology.name(route.links().front());
    const std::string last = topology.name(route.links().back());
    if (topology.link(route.links().front()).kind == LinkKind::mesh) {
      const DevicePlace a = topology.place(from);
      const DevicePlace b = topology.place(to);
      RC_ASSERT(first == "domain" + std::to_string(a.domain) + ".mesh." + std::to_string(a.domain_rank) +
                             "-" + std::to_string(b.domain_rank));
    } else {
      RC_ASSERT(starts_with(first, topology.name(from) + "."));
      RC_ASSERT(starts_with(last, topology.name(to) + "."));
    }
  });
}

TEST_CASE("both directions are equally wide and equally long, over different links") {
  property("symmetry", [] {
    const Topology topology(some_cluster());
    if (topology.devices() == 1) return;
    const auto [from, to] = two_devices(topology);
    const Route there = topology.route(from, to);
    const Route back = topology.route(to, from);
    RC_ASSERT(topology.bottleneck(there) == topology.bottleneck(back));
    RC_ASSERT(topology.latency(there) == topology.latency(back));
    RC_ASSERT(there.links().size() == back.links().size());
    for (const LinkIndex link : there.links()) {
      RC_ASSERT(std::find(back.links().begin(), back.links().end(), link) == back.links().end());
    }
  });
}

TEST_CASE("links are numbered densely and have names of their own") {
  property("dense", [] {
    const Topology topology(some_cluster());
    std::set<std::string> names;
    for (std::int32_t link = 0; link < static_cast<std::int32_t>(topology.links().size()); ++link) {
      RC_ASSERT(topology.link({link}).capacity.value > 0);
      RC_ASSERT(topology.link({link}).latency.ps >= 0);
      names.insert(topology.name(LinkIndex{link}));
    }
    RC_ASSERT(names.size() == topology.links().size());
    for (std::int32_t a = 0; a < topology.devices(); ++a) {
      for (std::int32_t b = 0; b < topology.devices(); ++b) {
        for (const LinkIndex link : topology.route({a}, {b})) {
          RC_ASSERT(link.value >= 0);
          RC_ASSERT(static_cast<std::size_t>(link.value) < topology.links().size());
        }
      }
    }
  });
}

TEST_CASE("places count every device once") {
  property("places", [] {
    const Cluster cluster = some_cluster();
    const Topology topology(cluster);
    RC_ASSERT(topology.devices() == cluster.nodes * cluster.node.gpus);
    std::vector<std::int64_t> domains(static_cast<std::size_t>(topology.domains()), 0);
    for (std::int32_t device = 0; device < topology.devices(); ++device) {
      const DevicePlace place = topology.place({device});
      RC_ASSERT(place.node * cluster.node.gpus + place.local_rank == device);
      RC_ASSERT(place.rail < cluster.node.nics->count);
      RC_ASSERT(place.domain_rank == domains[static_cast<std::size_t>(place.domain)]);
      ++domains[static_cast<std::size_t>(place.domain)];
    }
    for (const std::int64_t size : domains) RC_ASSERT(size > 0 && size <= domain_gpus(cluster.node));
  });
}

TEST_CASE("a group's profile agrees with the routes of its members") {
  property("profile", [] {
    const Topology topology(some_cluster());
    std::vector<DeviceIndex> group;
    for (std::int32_t device = 0; device < topology.devices(); ++device) {
      if (*rc::gen::arbitrary<bool>()) group.push_back({device});
    }
    if (group.empty()) group.push_back({0});
    const GroupProfile profile = topology.group_profile(group);
    RC_ASSERT(profile.size == static_cast<std::int64_t>(group.size()));
    RC_ASSERT(profile.domains() == topology.distinct_domains(group));
    std::int64_t members = 0;
    for (const std::int64_t size : profile.domain_sizes) members += size;
    RC_ASSERT(members == profile.size);

    core::Duration longest_inside;
    std::int64_t narrowest_inside = INT64_MAX;
    for (const DeviceIndex a : group) {
      for (const DeviceIndex b : group) {
        if (a == b || topology.place(a).domain != topology.place(b).domain) continue;
        const Route route = topology.route(a, b);
        longest_inside = std::max(longest_inside, topology.latency(route));
        narrowest_inside = std::min(narrowest_inside, topology.bottleneck(route).value);
      }
    }
    RC_ASSERT(profile.domain_latency == longest_inside);
    if (narrowest_inside == INT64_MAX) {
      RC_ASSERT(profile.domain_bandwidth.value == 0);
    } else if (profile.domain_kind == DomainKind::full_mesh) {
      RC_ASSERT(profile.domain_bandwidth.value % narrowest_inside == 0);
    } else {
      RC_ASSERT(profile.domain_bandwidth.value == narrowest_inside);
    }
    RC_ASSERT((profile.network_bandwidth.value > 0) == (profile.domains() > 1));
  });
}

TEST_CASE("the network part of a profile is the longest route of a rail, and no wider than any") {
  property("network profile", [] {
    const Topology topology(some_cluster());
    std::vector<DeviceIndex> group;
    for (std::int32_t device = 0; device < topology.devices(); ++device) group.push_back({device});
    if (topology.domains() == 1) return;
    const GroupProfile profile = topology.group_profile(group);
    core::Duration longest;
    bool spine = false;
    for (const DeviceIndex a : group) {
      for (const DeviceIndex b : group) {
        const DevicePlace from = topology.place(a);
        const DevicePlace to = topology.place(b);
        if (from.domain == to.domain || from.rail != to.rail) continue;
        const Route route = topology.route(a, b);
        longest = std::max(longest, topology.latency(route));
        spine = spine || count(topology, route, LinkKind::leaf_up) > 0;
        RC_ASSERT(profile.network_bandwidth <= topology.bottleneck(route));
      }
    }
    RC_ASSERT(profile.network_latency == longest);
    RC_ASSERT(profile.crosses_spine == spine);
  });
}

// Conservation: when every GPU sends one byte to every other, what enters a node's NICs left other nodes'
// NICs, and what climbs to the spine comes down again.
TEST_CASE("bytes that leave are bytes that arrive") {
  property("conservation", [] {
    const Topology topology(some_cluster());
    std::vector<std::int64_t> bytes(topology.links().size(), 0);
    std::int64_t crossing = 0;
    for (std::int32_t a = 0; a < topology.devices(); ++a) {
      for (std::int32_t b = 0; b < topology.devices(); ++b) {
        crossing += topology.place({a}).domain != topology.place({b}).domain ? 1 : 0;
        for (const LinkIndex link : topology.route({a}, {b})) ++bytes[static_cast<std::size_t>(link.value)];
      }
    }
    std::map<LinkKind, std::int64_t> sums;
    for (std::size_t i = 0; i < bytes.size(); ++i) sums[topology.links()[i].kind] += bytes[i];
    RC_ASSERT(sums[LinkKind::nic_out] == crossing);
    RC_ASSERT(sums[LinkKind::nic_in] == crossing);
    RC_ASSERT(sums[LinkKind::leaf_up] == sums[LinkKind::leaf_down]);
    RC_ASSERT(sums[LinkKind::port_out] == sums[LinkKind::port_in]);
    RC_ASSERT(sums[LinkKind::host_out] == sums[LinkKind::host_in]);
    const std::int64_t pairs = std::int64_t{topology.devices()} * (topology.devices() - 1);
    const std::int64_t bridge = sums[LinkKind::host_out] - crossing;
    RC_ASSERT(sums[LinkKind::mesh] + sums[LinkKind::port_out] + bridge + crossing == pairs);
  });
}

}  // namespace moesim::hardware
