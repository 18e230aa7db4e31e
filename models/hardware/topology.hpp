// Devices of a cluster, the directed links between them and the route of every pair.
//
// Links, in the order of their indices:
//   switched domain   GPU port out, GPU port in (per GPU); the switch itself never limits
//   full mesh         one link per ordered pair of GPUs of a domain, so a pair gets only its own link
//   host              host link out, host link in (per GPU): PCIe or NVLink-C2C
//   sockets           one link per ordered pair of CPU sockets of a node
//   host memory       one link per node, shared by both directions
//   network           NIC out, NIC in (per NIC); uplink, downlink (per leaf switch, when there is more than
//   one)
// A leaf's parallel cables to the spine are one link of their sum: traffic is taken to be spread evenly.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/hardware/cluster.hpp"
#include "sim/core/time.hpp"
#include "sim/core/units.hpp"

namespace moesim::hardware {

// Global number of a device: 0 .. devices - 1, node after node.
struct DeviceIndex {
  std::int32_t value = 0;
  constexpr auto operator<=>(const DeviceIndex&) const = default;
};

// Dense number of a directed link, stable for a given cluster.
struct LinkIndex {
  std::int32_t value = 0;
  constexpr auto operator<=>(const LinkIndex&) const = default;
};

enum class LinkKind : std::uint8_t {
  port_out,
  port_in,
  mesh,
  host_out,  // from the GPU
  host_in,   // to the GPU
  socket,
  host_memory,
  nic_out,
  nic_in,
  leaf_up,
  leaf_down,
};
inline constexpr std::size_t kLinkKinds = 11;

// How the links of a kind are named: "nodeN.gpuM.port-out".
[[nodiscard]] std::string_view name_form(LinkKind kind);

struct Link {
  LinkKind kind = LinkKind::port_out;
  core::BytesPerSecond capacity;  // bytes per second
  core::Duration latency;         // of an unloaded crossing
};

struct DevicePlace {
  std::int32_t node = 0;
  std::int32_t local_rank = 0;  // inside the node
  std::int32_t domain = 0;
  std::int32_t domain_rank = 0;  // inside the domain
  std::int32_t rail = 0;         // NIC of the node that the device uses; 0 without NICs
  std::int32_t socket = 0;       // CPU socket of the node
};

// Links in the order in which bytes cross them.
class Route {
 public:
  static constexpr std::size_t kMaxLinks = 8;
  // A view into this route; deleted for temporaries, which can be looped over directly.
  [[nodiscard]] std::span<const LinkIndex> links() const& { return {links_.data(), count_}; }
  std::span<const LinkIndex> links() const&& = delete;
  [[nodiscard]] const LinkIndex* begin() const { return links_.data(); }
  [[nodiscard]] const LinkIndex* end() const { return links_.data() + count_; }
  [[nodiscard]] std::size_t size() const { return count_; }
  [[nodiscard]] bool empty() const { return count_ == 0; }
  void add(LinkIndex link);

 private:
  std::array<LinkIndex, kMaxLinks> links_{};
  std::size_t count_ = 0;
};

// Which NIC carries what the GPUs of a rail send to and get from other domains, where that is not the rail's
// own.
struct NicChoice {
  // NIC of the same node, by node * nics_per_node() + rail. Empty: every rail its own.
  std::vector<std::int32_t> nics;
};

// What a collective needs to know about the devices of its group. Bandwidths are per second and direction.
struct GroupProfile {
  std::int64_t size = 0;
  std::vector<std::int64_t> domain_sizes;  // members per domain that has any, in order of the domains
  DomainKind domain_kind = DomainKind::switched;
  bool in_switch_reduction = false;  // the whole group is in one domain whose switch reduces

  // Of one member towards the others of its domain: its port, its host link, or its mesh links to the members
  // of the domain where it has fewest. 0 when no domain holds two members.
  core::BytesPerSecond domain_bandwidth;
  core::Duration domain_latency;  // of the longest route inside a domain
  // What collectives reach of domain_bandwidth, where the node says it (PCIe boxes).
  std::optional<config::Sourced<double>> domain_share;

  // Of one member towards other domains, all members of the group sending and nobody else: its share of its
  // NIC and of its leaf's way to the spine. 0 when the group is in one domain.
  core::BytesPerSecond network_bandwidth;
  core::Duration
      network_latency;         // of the longest route between two members of one rail in different domains
  bool crosses_spine = false;  // some pair of one rail is not on the same leaf switch

  [[nodiscard]] std::int64_t domains() const { return static_cast<std::int64_t>(domain_sizes.size()); }
};

class Topology {
 public:
  // Throws core::InvariantError when the cluster breaks a rule of its record (a fabric is missing).
  explicit Topology(const Cluster& cluster);

  [[nodiscard]] std::int32_t devices() const { return devices_; }
  [[nodiscard]] std::int32_t nodes() const { return nodes_; }
  [[nodiscard]] std::int32_t domains() const { return domains_; }
  [[nodiscard]] std::int32_t gpus_per_node() const { return gpus_; }
  // 0 for a cluster without a network, that is one whose nodes have no NICs or that has no fabric.
  [[nodiscard]] std::int32_t nics_per_node() const { return nics_; }
  [[nodiscard]] std::span<const Link> links() const { return links_; }
  [[nodiscard]] const Link& link(LinkIndex index) const {
    return links_[static_cast<std::size_t>(index.value)];
  }

  // Throws core::InvariantError for a device that does not exist; so do all functions below.
  [[nodiscard]] DevicePlace place(DeviceIndex device) const;
  // "node1.gpu3"
  [[nodiscard]] std::string name(DeviceIndex device) const;
  // "node1.gpu3.port-out", "domain0.mesh.2-5", "node0.nic1.in", "leaf3.up"
  [[nodiscard]] std::string name(LinkIndex index) const;
  // The device or link of that name, exactly as name() writes it; none when the cluster has no such.
  [[nodiscard]] std::optional<DeviceIndex> find_device(std::string_view name) const;
  [[nodiscard]] std::optional<LinkIndex> find_link(std::string_view name) const;
  // The kinds of links that the cluster has, in the order of LinkKind.
  [[nodiscard]] std::vector<LinkKind> link_kinds() const;

  // The two links of a NIC, by its number in the node.
  [[nodiscard]] LinkIndex nic_out(std::int32_t node, std::int32_t nic) const;
  [[nodiscard]] LinkIndex nic_in(std::int32_t node, std::int32_t nic) const;

  // From one GPU's memory to another's; empty when both are the same device.
  [[nodiscard]] Route route(DeviceIndex from, DeviceIndex to) const;
  // The same over other NICs, and over the leaf switches that these hang on. Throws core::InvariantError for
  // a choice of the wrong size or with a NIC that does not exist.
  [[nodiscard]] Route route(DeviceIndex from, DeviceIndex to, const NicChoice& choice) const;
  // What a node does without its NICs `lost` (node * nics_per_node() + NIC): a rail whose NIC is lost uses
  // the next one of the node that works, after the last the first. Throws core::InvariantError when none is
  // left.
  [[nodiscard]] NicChoice without_nics(std::span<const std::int32_t> lost) const;
  // From a GPU's memory to the memory of its own host, and back.
  [[nodiscard]] Route route_to_host(DeviceIndex from) const;
  [[nodiscard]] Route route_from_host(DeviceIndex to) const;

  // Smallest capacity on a route in bytes per second. Throws core::InvariantError for an empty route.
  [[nodiscard]] core::BytesPerSecond bottleneck(const Route& route) const;
  // Sum of the latencies of a route's links.
  [[nodiscard]] core::Duration latency(const Route& route) const;

  // Number of domains that hold a device of the group.
  [[nodiscard]] std::int64_t distinct_domains(std::span<const DeviceIndex> group) const;
  // Throws core::InvariantError when the group is empty or names a device twice.
  [[nodiscard]] GroupProfile group_profile(std::span<const DeviceIndex> group) const;

 private:
  struct Layout {  // index of the first link of each block
    std::int32_t port = 0, mesh = 0, host = 0, socket = 0, host_memory = 0, nic = 0, leaf = 0;
  };

  void add_domain_links(const Cluster& cluster);
  void add_host_links(const Cluster& cluster);
  void add_network_links(const Cluster& cluster);
  void add_spine_links(const Fabric& fabric, core::BytesPerSecond nic_bandwidth);
  [[nodiscard]] std::int32_t next_link() const { return static_cast<std::int32_t>(links_.size()); }
  [[nodiscard]] std::int32_t domain_size(std::int32_t domain) const;
  [[nodiscard]] std::int32_t first_mesh_link(std::int32_t domain) const;
  [[nodiscard]] LinkIndex mesh_link(const DevicePlace& from, const DevicePlace& to) const;
  [[nodiscard]] LinkIndex socket_link(std::int32_t node, std::int32_t from, std::int32_t to) const;
  // The place as seen from the network: its rail is that of the NIC which carries its traffic.
  [[nodiscard]] DevicePlace over_nic(DevicePlace place, const NicChoice& choice) const;
  [[nodiscard]] std::int32_t leaf_of(const DevicePlace& place) const;
  [[nodiscard]] std::string leaf_or_nic_name(LinkIndex index) const;
  [[nodiscard]] std::string mesh_name(LinkIndex index) const;
  // The link that a name would mean if the cluster had all kinds of links.
  [[nodiscard]] std::optional<LinkIndex> find_node_link(std::string_view text) const;
  [[nodiscard]] std::optional<LinkIndex> find_shared_link(std::string_view text) const;
  void add_network_hops(const DevicePlace& from, const DevicePlace& to, Route& route) const;
  void profile_domains(std::span<const DevicePlace> members, GroupProfile& profile) const;
  void profile_network(std::span<const DevicePlace> members, GroupProfile& profile) const;

  std::int32_t devices_ = 0, nodes_ = 0, domains_ = 0;
  std::int32_t gpus_ = 0;         // per node
  std::int32_t domain_gpus_ = 0;  // per full domain
  std::int32_t nics_ = 0;         // per node
  std::int32_t sockets_ = 1;      // per node
  std::int32_t leaves_ = 0;
  std::int32_t nodes_per_leaf_ = 0;
  bool has_host_memory_ = false;
  bool in_switch_reduction_ = false;
  HostLink host_link_;
  DomainKind domain_kind_ = DomainKind::switched;
  FabricKind fabric_kind_ = FabricKind::rail_optimised;
  Layout first_;
  std::vector<Link> links_;
};

}  // namespace moesim::hardware
