// A box of GPUs and how its GPUs reach each other, the host and the network.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/hardware/gpu.hpp"

namespace moesim::hardware {

// How the GPUs of a domain are joined.
enum class DomainKind : std::uint8_t {
  switched,     // every GPU has one wide port into a switch (NVSwitch)
  full_mesh,    // one link, or a few, between every pair of GPUs (MI300X)
  host_bridge,  // PCIe only: over the host's root complex. Never written in a file: it is what a box without
                // "scale_up" has
};

// The scale-up network of a box. A domain may span several boxes (GB200 NVL72: 4 GPUs a box, 72 a domain).
struct ScaleUpNetwork {
  DomainKind kind = DomainKind::switched;
  std::int64_t domain_gpus = 8;
  // Per GPU and direction. Left out: the sum of the GPU's own links.
  std::optional<config::Sourced<core::BytesPerSecond>> bandwidth;
  config::Sourced<core::Duration>
      latency;                       // from one GPU's memory to another's, all hops of an unloaded transfer
  bool in_switch_reduction = false;  // the switch adds and multicasts (NVLink SHARP)
};

enum class HostLinkKind : std::uint8_t { pcie, nvlink_c2c };

// The share of each GPU's host link that a collective over up to `gpus` of them reaches.
struct CollectiveShare {
  std::int64_t gpus = 2;
  config::Sourced<double> fraction;
};

// The link of each GPU towards the host and its NIC.
struct HostLink {
  HostLinkKind kind = HostLinkKind::pcie;
  std::optional<std::int64_t> generation;           // of PCIe
  config::Sourced<core::BytesPerSecond> bandwidth;  // per GPU and direction
  config::Sourced<core::Duration> latency;
  // In boxes whose GPUs talk over PCIe: what collectives reach, by the number of GPUs, rising. The root
  // complex and the links between sockets are shared, so that it falls with the GPUs.
  std::vector<CollectiveShare> collectives;
};

// What joins the CPU sockets of a box; GPUs are divided evenly, in order of their local rank.
struct SocketLink {
  std::int64_t sockets = 2;
  config::Sourced<core::BytesPerSecond> bandwidth;  // between two sockets, per direction
  config::Sourced<core::Duration> latency;
};

struct HostMemory {
  config::Sourced<core::Bytes> capacity;            // of the box
  config::Sourced<core::BytesPerSecond> bandwidth;  // of the box, reads and writes together
};

// Network cards. GPU g of n uses card g * count / n: with as many cards as GPUs, each GPU has its own rail.
struct Nics {
  std::int64_t count = 8;
  config::Sourced<core::BytesPerSecond> bandwidth;  // per card and direction
  config::Sourced<core::Duration> latency;          // of one card: from the host link to the wire
};

struct Node {
  std::string name;
  Gpu gpu;
  std::int64_t gpus = 8;
  std::optional<ScaleUpNetwork> scale_up;
  HostLink host_link;
  std::optional<SocketLink> socket_link;
  std::optional<HostMemory> host_memory;
  std::optional<Nics> nics;
  std::map<std::string, std::string> sources;
};

[[nodiscard]] const config::Record<ScaleUpNetwork>& record_of(config::Type<ScaleUpNetwork>);
[[nodiscard]] const config::Record<CollectiveShare>& record_of(config::Type<CollectiveShare>);
[[nodiscard]] const config::Record<HostLink>& record_of(config::Type<HostLink>);
[[nodiscard]] const config::Record<SocketLink>& record_of(config::Type<SocketLink>);
[[nodiscard]] const config::Record<HostMemory>& record_of(config::Type<HostMemory>);
[[nodiscard]] const config::Record<Nics>& record_of(config::Type<Nics>);
[[nodiscard]] const config::Record<Node>& record_of(config::Type<Node>);

// The share for a collective over so many GPUs: that of the first entry with as many, else the last. None if
// the node says nothing.
[[nodiscard]] std::optional<config::Sourced<double>> collective_share(const HostLink& link,
                                                                      std::int64_t gpus);

[[nodiscard]] DomainKind domain_kind(const Node& node);

// GPUs of a full domain: those of the scale-up network, or of the box when it has only PCIe.
[[nodiscard]] std::int64_t domain_gpus(const Node& node);

// Bytes per second that one GPU can send inside a full domain: its switch port, all its mesh links, or its
// host link.
[[nodiscard]] core::BytesPerSecond domain_bandwidth(const Node& node);

// Bytes per second and direction between two GPUs of a full mesh. Only for DomainKind::full_mesh.
[[nodiscard]] core::BytesPerSecond mesh_link_bandwidth(const Node& node);

// Reads hw_configs/nodes/NAME.json. Throws config::InputError when there is no such file or it is wrong.
[[nodiscard]] config::Loaded<Node> load_node(std::string_view name, const config::Catalogue& catalogue);

}  // namespace moesim::hardware

namespace moesim::config {

template <>
struct CatalogueEntry<hardware::Node> {
  static constexpr std::string_view folder = "hw_configs/nodes";
  static constexpr std::string_view noun = "node";
};

template <>
struct EnumNames<hardware::DomainKind> {
  static constexpr EnumName<hardware::DomainKind> table[] = {
      {hardware::DomainKind::switched, "switched", "each GPU has one wide port into a switch"},
      {hardware::DomainKind::full_mesh, "full-mesh", "a link between every pair of GPUs"},
      {hardware::DomainKind::host_bridge, "host-bridge", "over the PCIe root complex of the host"},
  };
};

template <>
struct EnumNames<hardware::HostLinkKind> {
  static constexpr EnumName<hardware::HostLinkKind> table[] = {
      {hardware::HostLinkKind::pcie, "pcie", "PCI Express"},
      {hardware::HostLinkKind::nvlink_c2c, "nvlink-c2c", "NVLink chip-to-chip (Grace)"},
  };
};

}  // namespace moesim::config
