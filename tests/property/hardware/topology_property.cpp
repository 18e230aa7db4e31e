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

// A NIC for every rail, drawn from all of its node.
NicChoice some_choice(const Topology& topology) {
  NicChoice choice;
  for (std::int32_t rail = 0; rail < topology.nodes() * topology.nics_per_node(); ++rail) {
    choice.nics.push_back(static_cast<std::int32_t>(between(0, topology.nics_per_node() - 1)));
  }
  return choice;
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

TEST_CASE("a name finds what it names") {
  property("look-up", [] {
    const Topology topology(some_cluster());
    for (std::int32_t device = 0; device < topology.devices(); ++device) {
      RC_ASSERT(topology.find_device(topology.name(DeviceIndex{device})) == DeviceIndex{device});
      RC_ASSERT(!topology.find_link(topology.name(DeviceIndex{device})));
    }
    std::set<LinkKind> kinds;
    for (std::int32_t link = 0; link < static_cast<std::int32_t>(topology.links().size()); ++link) {
      const std::string name = topology.name(LinkIndex{link});
      RC_ASSERT(topology.find_link(name) == LinkIndex{link});
      RC_ASSERT(!topology.find_device(name));
      kinds.insert(topology.link({link}).kind);
    }
    const std::vector<LinkKind> listed = topology.link_kinds();
    RC_ASSERT(std::vector<LinkKind>(kinds.begin(), kinds.end()) == listed);
    for (std::int32_t node = 0; node < topology.nodes(); ++node) {
      for (std::int32_t nic = 0; nic < topology.nics_per_node(); ++nic) {
        const std::string name = "node" + std::to_string(node) + ".nic" + std::to_string(nic);
        RC_ASSERT(topology.name(topology.nic_out(node, nic)) == name + ".out");
        RC_ASSERT(topology.name(topology.nic_in(node, nic)) == name + ".in");
      }
    }
  });
}

TEST_CASE("a name with one letter changed is another name or none") {
  property("changed names", [] {
    const Topology topology(some_cluster());
    const auto link =
        static_cast<std::int32_t>(between(0, static_cast<std::int64_t>(topology.links().size()) - 1));
    std::string name = topology.name(LinkIndex{link});
    const auto at = static_cast<std::size_t>(between(0, static_cast<std::int64_t>(name.size()) - 1));
    name[at] = *rc::gen::elementOf(std::string("0123456789.-adeginoux "));
    const auto found = topology.find_link(name);
    RC_ASSERT((!found || topology.name(*found) == name));
    name.insert(at, "0");
    const auto longer = topology.find_link(name);
    RC_ASSERT((!longer || topology.name(*longer) == name));
  });
}

TEST_CASE("where every rail keeps its NIC, routes are the plain ones") {
  property("identity choice", [] {
    const Topology topology(some_cluster());
    NicChoice identity;
    for (std::int32_t node = 0; node < topology.nodes(); ++node) {
      for (std::int32_t nic = 0; nic < topology.nics_per_node(); ++nic) identity.nics.push_back(nic);
    }
    for (std::int32_t a = 0; a < topology.devices(); ++a) {
      for (std::int32_t b = 0; b < topology.devices(); ++b) {
        const Route plain = topology.route({a}, {b});
        for (const NicChoice& choice : {NicChoice{}, identity}) {
          const Route route = topology.route({a}, {b}, choice);
          RC_ASSERT(std::equal(plain.begin(), plain.end(), route.begin(), route.end()));
        }
      }
    }
  });
}

TEST_CASE("a route over other NICs uses these only and joins the same ends") {
  property("other NICs", [] {
    const Cluster cluster = some_cluster();
    const Topology topology(cluster);
    if (topology.devices() == 1) return;
    const NicChoice choice = some_choice(topology);
    const auto [from, to] = two_devices(topology);
    const Route plain = topology.route(from, to);
    const Route route = topology.route(from, to, choice);
    const DevicePlace source = topology.place(from);
    const DevicePlace target = topology.place(to);
    RC_ASSERT(*route.begin() == *plain.begin());
    RC_ASSERT(*(route.end() - 1) == *(plain.end() - 1));
    if (source.domain == target.domain) {
      RC_ASSERT(std::equal(plain.begin(), plain.end(), route.begin(), route.end()));
      return;
    }
    const auto nic = [&](const DevicePlace& place) {
      return choice.nics[static_cast<std::size_t>(place.node * topology.nics_per_node() + place.rail)];
    };
    std::vector<LinkIndex> expected = {*plain.begin(), topology.nic_out(source.node, nic(source)),
                                       topology.nic_in(target.node, nic(target)), *(plain.end() - 1)};
    // The leaf of a NIC: by group of nodes, and in a rail-optimised fabric by rail.
    const auto leaf = [&](const DevicePlace& place) {
      const auto group = place.node / cluster.fabric->nodes_per_leaf.value;
      return cluster.fabric->kind == FabricKind::fat_tree ? group
                                                          : group * topology.nics_per_node() + nic(place);
    };
    if (leaf(source) != leaf(target)) {
      const auto up = topology.find_link("leaf" + std::to_string(leaf(source)) + ".up");
      const auto down = topology.find_link("leaf" + std::to_string(leaf(target)) + ".down");
      RC_ASSERT(up && down);
      expected.insert(expected.begin() + 2, {*up, *down});
    }
    RC_ASSERT(std::equal(expected.begin(), expected.end(), route.begin(), route.end()));
  });
}

TEST_CASE("without a NIC its rails use the next one that works, and no route crosses it") {
  property("lost NICs", [] {
    const Topology topology(some_cluster());
    const std::int32_t nics = topology.nics_per_node();
    std::vector<std::int32_t> lost;
    for (std::int32_t node = 0; node < topology.nodes(); ++node) {
      const auto kept = static_cast<std::int32_t>(between(0, nics - 1));
      for (std::int32_t nic = 0; nic < nics; ++nic) {
        if (nic != kept && *rc::gen::arbitrary<bool>()) lost.push_back(node * nics + nic);
      }
    }
    const NicChoice choice = topology.without_nics(lost);
    RC_ASSERT(choice.nics.empty() == lost.empty());
    const std::set<std::int32_t> gone(lost.begin(), lost.end());
    for (std::size_t i = 0; i < choice.nics.size(); ++i) {
      const auto place = static_cast<std::int32_t>(i);
      const std::int32_t node = place / nics;
      RC_ASSERT(gone.count(node * nics + choice.nics[i]) == 0U);
      for (std::int32_t nic = place % nics; nic != choice.nics[i]; nic = (nic + 1) % nics) {
        RC_ASSERT(gone.count(node * nics + nic) == 1U);
      }
    }
  });
}

}  // namespace moesim::hardware
