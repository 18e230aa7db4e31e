// Names of devices and links, for messages and timelines.
#include <fmt/format.h>

#include "models/hardware/topology.hpp"
#include "sim/core/check.hpp"

namespace moesim::hardware {

std::string Topology::name(DeviceIndex device) const {
  const DevicePlace where = place(device);
  return fmt::format("node{}.gpu{}", where.node, where.local_rank);
}

std::string Topology::mesh_name(LinkIndex index) const {
  const std::int32_t per_domain = domain_gpus_ * (domain_gpus_ - 1);
  const std::int32_t domain = (index.value - first_.mesh) / per_domain;
  const std::int32_t peers = domain_size(domain) - 1;
  const std::int32_t inside = index.value - first_mesh_link(domain);
  const std::int32_t from = inside / peers;
  const std::int32_t peer = inside % peers;
  return fmt::format("domain{}.mesh.{}-{}", domain, from, peer < from ? peer : peer + 1);
}

std::string Topology::leaf_or_nic_name(LinkIndex index) const {
  const LinkKind kind = link(index).kind;
  if (kind == LinkKind::leaf_up || kind == LinkKind::leaf_down) {
    return fmt::format("leaf{}.{}", (index.value - first_.leaf) / 2,
                       kind == LinkKind::leaf_up ? "up" : "down");
  }
  const std::int32_t nic = (index.value - first_.nic) / 2;
  return fmt::format("node{}.nic{}.{}", nic / nics_, nic % nics_, kind == LinkKind::nic_out ? "out" : "in");
}

std::string Topology::name(LinkIndex index) const {
  core::check(index.value >= 0 && index.value < next_link(), "the link is in the cluster");
  const auto gpu = [&](std::int32_t first, std::string_view what) {
    return fmt::format("{}.{}", name(DeviceIndex{(index.value - first) / 2}), what);
  };
  switch (link(index).kind) {
    case LinkKind::port_out:
      return gpu(first_.port, "port-out");
    case LinkKind::port_in:
      return gpu(first_.port, "port-in");
    case LinkKind::mesh:
      return mesh_name(index);
    case LinkKind::host_out:
      return gpu(first_.host, "host-out");
    case LinkKind::host_in:
      return gpu(first_.host, "host-in");
    case LinkKind::socket: {
      const std::int32_t row = (index.value - first_.socket) / (sockets_ - 1);
      const std::int32_t peer = (index.value - first_.socket) % (sockets_ - 1);
      const std::int32_t from = row % sockets_;
      return fmt::format("node{}.socket.{}-{}", row / sockets_, from, peer < from ? peer : peer + 1);
    }
    case LinkKind::host_memory:
      return fmt::format("node{}.host-memory", index.value - first_.host_memory);
    case LinkKind::nic_out:
    case LinkKind::nic_in:
    case LinkKind::leaf_up:
    case LinkKind::leaf_down:
      return leaf_or_nic_name(index);
  }
  core::fail_invariant("a link of an unknown kind");
}

}  // namespace moesim::hardware
