// Which links the ranks of a collective use: closed forms for each kind of domain and fabric.
#include "sim/execution/link_pattern.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "sim/core/integers.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/kernel_rig.hpp"

using namespace moesim;
using execution::CollectiveShape;
using hardware::DeviceIndex;
using test::KernelRig;

namespace {

constexpr double kTolerance = 1e-9;

hardware::Cluster cluster_of(std::string_view node, std::int64_t nodes = 1,
                             std::string_view fabric = "ib-ndr400-rail") {
  const auto catalogue = test::source_catalogue();
  hardware::Cluster cluster;
  cluster.node = hardware::load_node(node, catalogue).value;
  cluster.nodes = nodes;
  cluster.fabric = hardware::load_fabric(fabric, catalogue).value;
  return cluster;
}

std::vector<DeviceIndex> indices(const std::vector<std::int32_t>& numbers) {
  std::vector<DeviceIndex> devices;
  for (const std::int32_t number : numbers) devices.push_back({number});
  return devices;
}

// What each rank uses, by the names of the links.
std::vector<std::map<std::string, double>> uses(const hardware::Topology& topology,
                                                const std::vector<std::int32_t>& devices,
                                                CollectiveShape shape) {
  std::vector<std::map<std::string, double>> named;
  for (const auto& rank : execution::link_pattern(topology, {}, indices(devices), shape)) {
    std::map<std::string, double>& links = named.emplace_back();
    for (const execution::LinkUse& use : rank) links[topology.name(use.link)] += use.factor;
  }
  return named;
}

void check_uses(const std::map<std::string, double>& uses, const std::map<std::string, double>& want) {
  CHECK(uses.size() == want.size());
  for (const auto& [link, factor] : want) {
    INFO(link);
    REQUIRE(uses.count(link) == 1);
    CHECK(std::abs(uses.at(link) - factor) < kTolerance);
  }
}

}  // namespace

// The profile of a group is that of its smallest domain: two ranks there have one link to each other, three
// in the other domain two each, which they then use by half.
TEST_CASE("a rank of a full mesh divides its bytes among its peers") {
  const hardware::Topology topology(cluster_of("mi300x-8", 2));
  for (const auto shape : {CollectiveShape::ring, CollectiveShape::exchange}) {
    const auto even = uses(topology, {0, 3, 5}, shape);
    check_uses(even[1], {{"domain0.mesh.3-0", 1.0}, {"domain0.mesh.3-5", 1.0}});
    const auto uneven = uses(topology, {0, 3, 5, 8, 9}, shape);
    CHECK(std::abs(uneven[1].at("domain0.mesh.3-0") - 0.5) < kTolerance);
    CHECK(std::abs(uneven[1].at("domain0.mesh.3-5") - 0.5) < kTolerance);
    CHECK(std::abs(uneven[3].at("domain1.mesh.0-1") - 1.0) < kTolerance);
  }
}

// A leaf of two nodes has 2 / 8 of a NIC towards the spine. A ring stays on its rails; an exchange sends half
// of its bytes to the rank on the other rail.
TEST_CASE("an exchange crosses the spine of a rail fabric, a ring does not") {
  auto cluster = cluster_of("hgx-h100-8", 2);
  cluster.fabric->oversubscription.value = 8.0;
  const hardware::Topology topology(cluster);
  const double port = 400e9 / 8;
  const double host =
      port / topology.link(topology.find_link("node0.gpu0.host-out").value()).capacity.as_double();
  const double own = topology.group_profile(indices({0, 1, 8, 9})).domain_bandwidth.as_double() /
                     topology.link(topology.find_link("node0.gpu0.port-out").value()).capacity.as_double();
  const auto ring = uses(topology, {0, 1, 8, 9}, CollectiveShape::ring);
  check_uses(ring[0], {{"node0.gpu0.port-out", own},
                       {"node0.gpu0.port-in", own},
                       {"node0.gpu0.host-out", host},
                       {"node0.nic0.out", 1.0},
                       {"node0.nic0.in", 1.0},
                       {"node0.gpu0.host-in", host}});
  const auto exchange = uses(topology, {0, 1, 8, 9}, CollectiveShape::exchange);
  check_uses(exchange[3], {{"node1.gpu1.port-out", own},
                           {"node1.gpu1.port-in", own},
                           {"node1.gpu1.host-out", host},
                           {"node1.nic1.out", 1.0},
                           {"leaf1.up", 0.5 * 4},
                           {"leaf1.down", 0.5 * 4},
                           {"node1.nic1.in", 1.0},
                           {"node1.gpu1.host-in", host}});
}

// No rail has ranks in both nodes. The way to the spine bounds the ring, which leaves 3/4 of its NICs idle.
TEST_CASE("a ring of ranks on different rails keeps their ways to the spine busy") {
  auto cluster = cluster_of("hgx-h100-8", 2);
  cluster.fabric->oversubscription.value = 8.0;
  const hardware::Topology topology(cluster);
  for (const auto shape : {CollectiveShape::ring, CollectiveShape::exchange}) {
    const auto ring = uses(topology, {0, 9}, shape);
    CHECK(std::abs(ring[0].at("leaf0.up") - 1.0) < kTolerance);
    CHECK(std::abs(ring[0].at("leaf0.down") - 1.0) < kTolerance);
    CHECK(std::abs(ring[0].at("node0.nic0.out") - 0.25) < kTolerance);
    CHECK(std::abs(ring[1].at("leaf1.up") - 1.0) < kTolerance);
    CHECK(ring[0].size() == 6);
  }
}

// Nodes 0 to 3 hang on leaf 0, nodes 4 to 7 on leaf 1; a leaf has 4 x 8 / 2 NICs towards the spine.
TEST_CASE("on a fat tree a rank uses the spine for the peers on other leaves, in each direction") {
  const hardware::Topology topology(cluster_of("hgx-h100-8", 8, "roce-400-fat-tree"));
  const std::vector<std::int32_t> devices{0, 8, 32, 40};  // of the nodes 0, 1, 4, 5
  const auto spine = [](const std::map<std::string, double>& rank) {
    std::map<std::string, double> kept;
    for (const auto& [name, factor] : rank) {
      if (name.rfind("leaf", 0) == 0) kept[name] = factor;
    }
    return kept;
  };
  const auto ring = uses(topology, devices, CollectiveShape::ring);
  check_uses(spine(ring[0]), {{"leaf0.down", 1.0 / 16}});
  check_uses(spine(ring[1]), {{"leaf0.up", 1.0 / 16}});
  check_uses(spine(ring[2]), {{"leaf1.down", 1.0 / 16}});
  check_uses(spine(ring[3]), {{"leaf1.up", 1.0 / 16}});
  const auto exchange = uses(topology, devices, CollectiveShape::exchange);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    const std::string leaf = rank < 2 ? "leaf0" : "leaf1";
    check_uses(spine(exchange[rank]), {{leaf + ".up", 2.0 / 3 / 16}, {leaf + ".down", 2.0 / 3 / 16}});
  }
}

// GPUs 0 to 3 hang on socket 0, 4 to 7 on socket 1.
TEST_CASE("the link between the sockets of a PCIe box is used by the bytes that cross it") {
  const hardware::Topology topology(cluster_of("l40s-pcie-8"));
  const std::vector<std::int32_t> devices{0, 1, 2, 3, 4, 5, 6, 7};
  const auto profile = topology.group_profile(indices(devices));
  REQUIRE(profile.domain_share.has_value());
  const auto crossing = [&](const std::map<std::string, double>& rank) {
    double bytes = 0;  // per second
    for (const auto& [name, factor] : rank) {
      const hardware::Link& link = topology.link(topology.find_link(name).value());
      if (link.kind == hardware::LinkKind::socket) bytes += factor * link.capacity.as_double();
    }
    return bytes / (profile.domain_bandwidth.as_double() * profile.domain_share->value);
  };
  const auto ring = uses(topology, devices, CollectiveShape::ring);
  const auto exchange = uses(topology, devices, CollectiveShape::exchange);
  for (std::size_t rank = 0; rank < 8; ++rank) {
    INFO("rank " << rank);
    CHECK(std::abs(crossing(ring[rank]) - (rank % 4 == 3 ? 1.0 : 0.0)) < kTolerance);
    CHECK(std::abs(crossing(exchange[rank]) - 4.0 / 7) < kTolerance);
  }
}

// n ranks, all of a domain, send each other the same: once as one price and once pair by pair. The price of a
// PCIe box takes the slower of the host link and the link between the sockets for all of it; pairs on one
// socket have the host link.
TEST_CASE("an exchange of equal bytes takes the same with and without pairs on every type of node") {
  for (const auto& file : std::filesystem::directory_iterator(MOESIM_SOURCE_DIR "/hw_configs/nodes")) {
    const std::string node = file.path().stem().string();
    INFO(node);
    auto cluster = cluster_of(node);
    cluster.nodes = hardware::domain_gpus(cluster.node) / cluster.node.gpus;
    KernelRig rig(cluster), other(cluster);
    const std::int64_t n = rig.topology.devices(), each = 1'234'567;
    std::vector<std::int32_t> devices;
    for (std::int32_t device = 0; device < n; ++device) devices.push_back(device);
    const auto profile = rig.topology.group_profile(indices(devices));
    const double share = profile.domain_share ? profile.domain_share->value : 0.75;
    execution::KernelOp priced = test::collective(0, 1, (n - 1) * each);
    priced.alone = priced.scale_up_busy =
        core::duration_for((n - 1) * each, cost::share_of(profile.domain_bandwidth.value, share));
    priced.shape = CollectiveShape::exchange;
    priced.hbm_rate = 1'000'000'000'000'000;
    priced.scale_up_efficiency = share;
    execution::KernelOp pairs = priced;
    auto bytes = std::make_shared<execution::PairBytes>();
    bytes->ranks = n;
    bytes->bytes.assign(static_cast<std::size_t>(n * n), each);
    for (std::int64_t rank = 0; rank < n; ++rank) bytes->bytes[static_cast<std::size_t>(rank * (n + 1))] = 0;
    pairs.pairs = bytes;
    const auto one = rig.time_of(test::same_on_all(devices, {priced})).total;
    const auto two = other.time_of(test::same_on_all(devices, {pairs})).total;
    CHECK(one == priced.alone);
    core::Duration want = one;
    if (cluster.node.socket_link) {
      want = core::duration_for((n - 1) * each,
                                cost::share_of(cluster.node.host_link.bandwidth.value.value, share));
    }
    CHECK(std::abs(two.ps - want.ps) <= n);
  }
}
