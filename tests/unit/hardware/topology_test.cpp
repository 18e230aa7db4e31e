// Routes and group profiles of shipped machines, with every number worked out by hand.
#include "models/hardware/topology.hpp"

#include <set>
#include <string>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/unit/hardware/support.hpp"

namespace moesim::hardware {

namespace {

std::string path(const Topology& topology, const Route& route) {
  std::string all;
  for (const LinkIndex link : route.links()) all += (all.empty() ? "" : " > ") + topology.name(link);
  return all;
}

std::string path(const Topology& topology, std::int32_t from, std::int32_t to) {
  return path(topology, topology.route({from}, {to}));
}

std::vector<DeviceIndex> group_of(std::initializer_list<std::int32_t> devices) {
  std::vector<DeviceIndex> group;
  for (const std::int32_t device : devices) group.push_back({device});
  return group;
}

std::vector<DeviceIndex> all_of(const Topology& topology) {
  std::vector<DeviceIndex> group;
  for (std::int32_t device = 0; device < topology.devices(); ++device) group.push_back({device});
  return group;
}

}  // namespace

TEST_CASE("an HGX box: port, switch, port; NICs only between boxes") {
  const Topology topology(test::cluster_of("hgx-h200-8", 3, "ib-ndr400-rail"));
  CHECK(topology.devices() == 24);
  CHECK(topology.domains() == 3);
  CHECK(topology.name(DeviceIndex{9}) == "node1.gpu1");
  CHECK(path(topology, 1, 5) == "node0.gpu1.port-out > node0.gpu5.port-in");
  const Route inside = topology.route({1}, {5});
  CHECK(topology.bottleneck(inside).value == 450'000'000'000);
  CHECK(topology.latency(inside).ps == 1'000'000);

  CHECK(path(topology, 3, 11) == "node0.gpu3.host-out > node0.nic3.out > node1.nic3.in > node1.gpu3.host-in");
  const Route across = topology.route({3}, {11});
  CHECK(topology.bottleneck(across).value == 50'000'000'000);
  CHECK(topology.latency(across).ps == 2 * 500'000 + 2 * 700'000 + 280'000);

  // Another rail hangs on another leaf: over the spine.
  CHECK(path(topology, 3, 12) ==
        "node0.gpu3.host-out > node0.nic3.out > leaf3.up > leaf4.down > node1.nic4.in > node1.gpu4.host-in");
  CHECK(topology.latency(topology.route({3}, {12})).ps == 2 * 500'000 + 2 * 700'000 + 3 * 280'000);

  CHECK(path(topology, topology.route_to_host({10})) == "node1.gpu2.host-out > node1.host-memory");
  CHECK(path(topology, topology.route_from_host({10})) == "node1.host-memory > node1.gpu2.host-in");
  CHECK(topology.route({7}, {7}).empty());
}

TEST_CASE("an NVL72 rack is one domain of 18 nodes") {
  const Topology topology(test::cluster_of("gb200-nvl72", 20, "ib-ndr400-rail"));
  CHECK(topology.domains() == 2);
  CHECK(path(topology, 0, 71) == "node0.gpu0.port-out > node17.gpu3.port-in");
  CHECK(topology.place({75}).node == 18);
  CHECK(topology.place({75}).domain == 1);
  CHECK(topology.place({75}).domain_rank == 3);
  CHECK(path(topology, 3, 75) ==
        "node0.gpu3.host-out > node0.nic3.out > node18.nic3.in > node18.gpu3.host-in");
}

TEST_CASE("a full mesh gives every pair its own link") {
  const Topology topology(test::cluster_of("mi300x-8", 1));
  CHECK(path(topology, 2, 5) == "domain0.mesh.2-5");
  CHECK(path(topology, 5, 2) == "domain0.mesh.5-2");
  CHECK(topology.bottleneck(topology.route({2}, {5})).value == 64'000'000'000);
  CHECK(topology.group_profile(all_of(topology)).domain_bandwidth.value == 448'000'000'000);
  CHECK(topology.group_profile(group_of({0, 1, 2})).domain_bandwidth.value == 128'000'000'000);
  std::set<std::string> names;
  for (std::int32_t i = 0; i < 56; ++i) names.insert(topology.name(LinkIndex{i}));
  CHECK(names.size() == 56);
}

TEST_CASE("a PCIe box goes over the host bridge and between sockets") {
  const Topology topology(test::cluster_of("l40s-pcie-8", 1));
  CHECK(path(topology, 0, 3) == "node0.gpu0.host-out > node0.gpu3.host-in");
  CHECK(path(topology, 0, 4) == "node0.gpu0.host-out > node0.socket.0-1 > node0.gpu4.host-in");
  CHECK(path(topology, 4, 0) == "node0.gpu4.host-out > node0.socket.1-0 > node0.gpu0.host-in");
  const GroupProfile profile = topology.group_profile(all_of(topology));
  CHECK(profile.domain_kind == DomainKind::host_bridge);
  CHECK(profile.domains() == 1);
  CHECK(profile.domain_bandwidth.value == 32'000'000'000);
  CHECK(profile.domain_latency.ps == 2 * 500'000 + 200'000);
  CHECK(topology.group_profile(group_of({0, 1})).domain_latency.ps == 2 * 500'000);
  CHECK_FALSE(profile.in_switch_reduction);
}

TEST_CASE("GPUs that share a NIC share its bandwidth") {
  Cluster cluster = test::cluster_of("hgx-h100-8", 2, "ib-ndr400-rail");
  cluster.node.nics->count = 4;
  const Topology topology(cluster);
  CHECK(path(topology, 1, 9) == "node0.gpu1.host-out > node0.nic0.out > node1.nic0.in > node1.gpu1.host-in");
  CHECK(topology.group_profile(all_of(topology)).network_bandwidth.value == 25'000'000'000);
  CHECK(topology.group_profile(group_of({0, 8})).network_bandwidth.value == 50'000'000'000);
}

TEST_CASE("profiles of groups inside and across domains") {
  const Topology topology(test::cluster_of("hgx-h200-8", 2, "ib-ndr400-rail"));
  const GroupProfile inside = topology.group_profile(group_of({0, 1, 2, 3}));
  CHECK(inside.size == 4);
  CHECK(inside.domain_sizes == std::vector<std::int64_t>{4});
  CHECK(inside.in_switch_reduction);
  CHECK(inside.domain_bandwidth.value == 450'000'000'000);
  CHECK(inside.domain_latency.ps == 1'000'000);
  CHECK(inside.network_bandwidth.value == 0);

  const GroupProfile both = topology.group_profile(all_of(topology));
  CHECK(both.domain_sizes == std::vector<std::int64_t>{8, 8});
  CHECK_FALSE(both.in_switch_reduction);
  CHECK(both.network_bandwidth.value == 50'000'000'000);
  CHECK(both.network_latency.ps == 2 * 500'000 + 2 * 700'000 + 280'000);
  CHECK_FALSE(both.crosses_spine);

  const GroupProfile one_each = topology.group_profile(group_of({0, 8}));
  CHECK(one_each.domain_bandwidth.value == 0);
  CHECK(one_each.domain_sizes == std::vector<std::int64_t>{1, 1});
  CHECK(topology.group_profile(group_of({0, 9})).crosses_spine);
  CHECK(topology.distinct_domains(group_of({0, 7, 8})) == 2);
  CHECK_FALSE(topology.group_profile(group_of({3})).in_switch_reduction);
}

TEST_CASE("an oversubscribed fat tree narrows what crosses the spine") {
  // Four nodes a leaf, two to one: 8 nodes hang on 2 leaves.
  const Topology topology(test::cluster_of("hgx-h200-8", 8, "roce-400-fat-tree"));
  CHECK(path(topology, 0, 31) == "node0.gpu0.host-out > node0.nic0.out > node3.nic7.in > node3.gpu7.host-in");
  CHECK(path(topology, 0, 32) ==
        "node0.gpu0.host-out > node0.nic0.out > leaf0.up > leaf1.down > node4.nic0.in > node4.gpu0.host-in");
  const Route across = topology.route({0}, {32});
  CHECK(topology.link(across.links()[2]).capacity.value == 4 * 8 * 50'000'000'000 / 2);
  CHECK(topology.group_profile(all_of(topology)).network_bandwidth.value == 25'000'000'000);
  CHECK(topology.group_profile(group_of({0, 8, 16, 24})).network_bandwidth.value == 50'000'000'000);
}

TEST_CASE("names that are nearly right find nothing") {
  const Topology topology(test::cluster_of("hgx-h200-8", 2, "ib-ndr400-rail"));
  CHECK(topology.find_device("node1.gpu3") == DeviceIndex{11});
  for (const char* name : {"", "node1", "node1.gpu", "node1.gpu8", "node2.gpu0", "node01.gpu3", "node1.gpu3 ",
                           "node1.gpu3.port-out", "node-1.gpu3", "node+1.gpu3", "Node1.gpu3", "11",
                           "node99999999999999999999.gpu0", "node1.gpu2147483647"}) {
    INFO(name);
    CHECK_FALSE(topology.find_device(name));
  }
  CHECK(topology.name(*topology.find_link("node1.gpu3.port-in")) == "node1.gpu3.port-in");
  // One rail group of two nodes: leaf7 is the last. No mesh, and no sockets.
  CHECK(topology.find_link("leaf7.down"));
  for (const char* name : {"", "node1.gpu3", "node1.gpu3.port", "node1.gpu3.port-outs", "leaf8.up", "leaf7.",
                           "node1.nic8.out", "node1.nic3", "node0.socket.0-1", "domain0.mesh.0-1",
                           "node0.host-memory0", "node0.gpu00.host-in", "leaf07.up"}) {
    INFO(name);
    CHECK_FALSE(topology.find_link(name));
  }
  const Topology mesh(test::cluster_of("mi300x-8", 1));
  CHECK(mesh.find_link("domain0.mesh.7-0"));
  for (const char* name : {"domain0.mesh.3-3", "domain0.mesh.0-8", "domain1.mesh.0-1", "domain0.mesh.0-01",
                           "node0.gpu0.port-out", "node0.nic0.out", "leaf0.up"}) {
    INFO(name);
    CHECK_FALSE(mesh.find_link(name));
  }
  CHECK(mesh.nics_per_node() == 0);  // it has cards, but no fabric
}

TEST_CASE("every kind of link has a form of its own") {
  std::set<std::string> forms;
  for (std::size_t kind = 0; kind < kLinkKinds; ++kind) {
    forms.emplace(name_form(static_cast<LinkKind>(kind)));
  }
  CHECK(forms.size() == kLinkKinds);
  CHECK(name_form(LinkKind::port_out) == "nodeN.gpuM.port-out");
  CHECK(name_form(LinkKind::socket) == "nodeN.socket.A-B");
  CHECK(name_form(LinkKind::leaf_down) == "leafN.down");
}

TEST_CASE("a lost NIC's traffic takes the next one: over the spine on rails, beside it in a fat tree") {
  const Topology rails(test::cluster_of("hgx-h200-8", 2, "ib-ndr400-rail"));
  const std::vector<std::int32_t> lost = {7, 8 + 3};  // node0.nic7 and node1.nic3
  const NicChoice choice = rails.without_nics(lost);
  CHECK(path(rails, rails.route({7}, {8}, choice)) ==
        "node0.gpu7.host-out > node0.nic0.out > node1.nic0.in > node1.gpu0.host-in");
  CHECK(path(rails, rails.route({3}, {11}, choice)) ==
        "node0.gpu3.host-out > node0.nic3.out > leaf3.up > leaf4.down > node1.nic4.in > node1.gpu3.host-in");
  CHECK(path(rails, rails.route({11}, {10}, choice)) == "node1.gpu3.port-out > node1.gpu2.port-in");
  const Topology tree(test::cluster_of("hgx-h200-8", 2, "roce-400-fat-tree"));
  CHECK(path(tree, tree.route({3}, {11}, choice)) ==
        "node0.gpu3.host-out > node0.nic3.out > node1.nic4.in > node1.gpu3.host-in");

  std::vector<std::int32_t> all;
  for (std::int32_t nic = 8; nic < 16; ++nic) all.push_back(nic);
  CHECK_THROWS_AS(rails.without_nics(all), core::InvariantError);
  CHECK_THROWS_AS(rails.without_nics(std::vector<std::int32_t>{16}), core::InvariantError);
  CHECK_THROWS_AS(rails.route({0}, {8}, NicChoice{{0, 1}}), core::InvariantError);
  CHECK_THROWS_AS(rails.route({0}, {8}, NicChoice{std::vector<std::int32_t>(16, 8)}), core::InvariantError);
  CHECK_THROWS_AS(rails.nic_out(2, 0), core::InvariantError);
  CHECK_THROWS_AS(rails.nic_in(0, 8), core::InvariantError);
}

TEST_CASE("devices and groups that do not exist are broken invariants") {
  const Topology topology(test::cluster_of("hgx-h200-8", 1));
  CHECK_THROWS_AS(topology.route({0}, {8}), core::InvariantError);
  CHECK_THROWS_AS(topology.place({-1}), core::InvariantError);
  CHECK_THROWS_AS(topology.group_profile({}), core::InvariantError);
  CHECK_THROWS_AS(topology.group_profile(group_of({1, 1})), core::InvariantError);
  CHECK_THROWS_AS(topology.bottleneck(Route{}), core::InvariantError);
  CHECK_THROWS_AS(Topology(test::cluster_of("hgx-h200-8", 2)), core::InvariantError);
}

}  // namespace moesim::hardware
