#include "models/hardware/topology.hpp"

#include <algorithm>
#include <cmath>

#include "sim/core/check.hpp"

namespace moesim::hardware {

namespace {

// The value as a device or link number; throws when there are too many.
std::int32_t index32(std::int64_t value) {
  core::check(value >= 0 && value <= INT32_MAX, "the cluster has fewer than 2^31 devices and links");
  return static_cast<std::int32_t>(value);
}

std::size_t position(std::int32_t value) { return static_cast<std::size_t>(value); }

}  // namespace

void Route::add(LinkIndex link) {
  core::check(count_ < kMaxLinks, "a route has at most 8 links");
  links_[count_++] = link;
}

Topology::Topology(const Cluster& cluster) {
  const Node& node = cluster.node;
  core::check(cluster.nodes > 0 && node.gpus > 0, "a cluster has GPUs");
  devices_ = index32(device_count(cluster));
  nodes_ = index32(cluster.nodes);
  gpus_ = index32(node.gpus);
  domain_kind_ = domain_kind(node);
  domain_gpus_ = index32(domain_gpus(node));
  core::check(domain_gpus_ % gpus_ == 0, "a domain is made of whole nodes");
  domains_ = index32(domain_count(cluster));
  host_link_ = node.host_link;
  in_switch_reduction_ = node.scale_up && node.scale_up->in_switch_reduction;
  if (node.socket_link) sockets_ = index32(node.socket_link->sockets);
  core::check(gpus_ % sockets_ == 0, "GPUs are divided evenly among sockets");
  core::check(domains_ == 1 || (node.nics && cluster.fabric), "several domains need NICs and a fabric");
  add_domain_links(cluster);
  add_host_links(cluster);
  if (node.nics && cluster.fabric) add_network_links(cluster);
}

void Topology::add_domain_links(const Cluster& cluster) {
  const Node& node = cluster.node;
  first_.port = next_link();
  first_.mesh = next_link();
  if (domain_kind_ == DomainKind::host_bridge) return;
  const core::Duration latency = node.scale_up->latency.value;
  if (domain_kind_ == DomainKind::full_mesh) {
    if (domain_gpus_ == 1) return;
    const core::BytesPerSecond capacity = mesh_link_bandwidth(node);
    for (std::int32_t domain = 0; domain < domains_; ++domain) {
      const std::int64_t size = domain_size(domain);
      const std::int64_t count = size * (size - 1);
      index32(std::int64_t{next_link()} + count);
      links_.insert(links_.end(), static_cast<std::size_t>(count), Link{LinkKind::mesh, capacity, latency});
    }
    return;
  }
  const core::BytesPerSecond capacity = domain_bandwidth(node);
  const core::Duration out{latency.ps / 2};
  for (std::int32_t device = 0; device < devices_; ++device) {
    links_.push_back({LinkKind::port_out, capacity, out});
    links_.push_back({LinkKind::port_in, capacity, latency - out});
  }
}

void Topology::add_host_links(const Cluster& cluster) {
  const Node& node = cluster.node;
  first_.host = next_link();
  for (std::int32_t device = 0; device < devices_; ++device) {
    for (const LinkKind kind : {LinkKind::host_out, LinkKind::host_in}) {
      links_.push_back({kind, node.host_link.bandwidth.value, node.host_link.latency.value});
    }
  }
  first_.socket = next_link();
  if (node.socket_link) {
    const Link link{LinkKind::socket, node.socket_link->bandwidth.value, node.socket_link->latency.value};
    links_.insert(links_.end(), position(index32(std::int64_t{nodes_} * sockets_ * (sockets_ - 1))), link);
  }
  first_.host_memory = next_link();
  has_host_memory_ = node.host_memory.has_value();
  if (has_host_memory_) {
    // The latency of host memory is part of the host link's: both are what a copy of a few bytes takes.
    links_.insert(links_.end(), position(nodes_),
                  {LinkKind::host_memory, node.host_memory->bandwidth.value, {}});
  }
}

void Topology::add_network_links(const Cluster& cluster) {
  const Nics& nics = *cluster.node.nics;
  const Fabric& fabric = *cluster.fabric;
  nics_ = index32(nics.count);
  fabric_kind_ = fabric.kind;
  nodes_per_leaf_ = index32(std::min<std::int64_t>(fabric.nodes_per_leaf.value, nodes_));
  const core::BytesPerSecond capacity = std::min(nics.bandwidth.value, fabric.link_bandwidth.value);
  first_.nic = next_link();
  for (std::int64_t nic = 0; nic < std::int64_t{nodes_} * nics_; ++nic) {
    links_.push_back({LinkKind::nic_out, capacity, nics.latency.value + fabric.switch_latency.value});
    links_.push_back({LinkKind::nic_in, capacity, nics.latency.value});
  }
  add_spine_links(fabric, capacity);
}

void Topology::add_spine_links(const Fabric& fabric, core::BytesPerSecond nic_bandwidth) {
  const bool rails = fabric_kind_ == FabricKind::rail_optimised;
  const std::int32_t groups = (nodes_ + nodes_per_leaf_ - 1) / nodes_per_leaf_;
  leaves_ = rails ? groups * nics_ : groups;
  first_.leaf = next_link();
  if (leaves_ == 1) return;
  for (std::int32_t leaf = 0; leaf < leaves_; ++leaf) {
    const std::int32_t group = rails ? leaf / nics_ : leaf;
    const std::int32_t nodes = std::min(nodes_per_leaf_, nodes_ - group * nodes_per_leaf_);
    // A leaf's way to the spine is sized for the NICs that hang on it.
    const double attached = static_cast<double>(rails ? nodes : nodes * nics_) * nic_bandwidth.as_double();
    const core::BytesPerSecond capacity{std::llround(attached / fabric.oversubscription.value)};
    links_.push_back({LinkKind::leaf_up, capacity, fabric.switch_latency.value});
    links_.push_back({LinkKind::leaf_down, capacity, fabric.switch_latency.value});
  }
}

std::int32_t Topology::domain_size(std::int32_t domain) const {
  return std::min(domain_gpus_, devices_ - domain * domain_gpus_);
}

DevicePlace Topology::place(DeviceIndex device) const {
  core::check(device.value >= 0 && device.value < devices_, "the device is in the cluster");
  DevicePlace place;
  place.node = device.value / gpus_;
  place.local_rank = device.value % gpus_;
  place.domain = device.value / domain_gpus_;
  place.domain_rank = device.value % domain_gpus_;
  place.rail = place.local_rank * nics_ / gpus_;
  place.socket = place.local_rank * sockets_ / gpus_;
  return place;
}

std::int32_t Topology::first_mesh_link(std::int32_t domain) const {
  return first_.mesh + domain * domain_gpus_ * (domain_gpus_ - 1);
}

LinkIndex Topology::mesh_link(const DevicePlace& from, const DevicePlace& to) const {
  // The links of one sender are next to each other; a sender has none to itself.
  const std::int32_t peer = to.domain_rank - (to.domain_rank > from.domain_rank ? 1 : 0);
  return {first_mesh_link(from.domain) + from.domain_rank * (domain_size(from.domain) - 1) + peer};
}

LinkIndex Topology::socket_link(std::int32_t node, std::int32_t from, std::int32_t to) const {
  const std::int32_t peer = to - (to > from ? 1 : 0);
  return {first_.socket + (node * sockets_ + from) * (sockets_ - 1) + peer};
}

std::int32_t Topology::leaf_of(const DevicePlace& place) const {
  const std::int32_t group = place.node / nodes_per_leaf_;
  return fabric_kind_ == FabricKind::rail_optimised ? group * nics_ + place.rail : group;
}

void Topology::add_network_hops(const DevicePlace& from, const DevicePlace& to, Route& route) const {
  route.add({first_.nic + 2 * (from.node * nics_ + from.rail)});
  const std::int32_t near_leaf = leaf_of(from);
  const std::int32_t far_leaf = leaf_of(to);
  if (near_leaf != far_leaf) {
    route.add({first_.leaf + 2 * near_leaf});
    route.add({first_.leaf + 2 * far_leaf + 1});
  }
  route.add({first_.nic + 2 * (to.node * nics_ + to.rail) + 1});
}

LinkIndex Topology::nic_out(std::int32_t node, std::int32_t nic) const {
  core::check(node >= 0 && node < nodes_ && nic >= 0 && nic < nics_, "the NIC is in the cluster");
  return {first_.nic + 2 * (node * nics_ + nic)};
}

LinkIndex Topology::nic_in(std::int32_t node, std::int32_t nic) const {
  return {nic_out(node, nic).value + 1};
}

NicChoice Topology::without_nics(std::span<const std::int32_t> lost) const {
  NicChoice choice;
  if (lost.empty()) return choice;
  const std::int32_t all = nodes_ * nics_;
  std::vector<bool> works(position(all), true);
  for (const std::int32_t nic : lost) {
    core::check(nic >= 0 && nic < all, "the NIC is in the cluster");
    works[position(nic)] = false;
  }
  choice.nics.reserve(position(all));
  for (std::int32_t node = 0; node < nodes_; ++node) {
    for (std::int32_t rail = 0; rail < nics_; ++rail) {
      std::int32_t nic = rail;
      while (!works[position(node * nics_ + nic)]) {
        nic = (nic + 1) % nics_;
        core::check(nic != rail, "a node keeps one NIC");
      }
      choice.nics.push_back(nic);
    }
  }
  return choice;
}

DevicePlace Topology::over_nic(DevicePlace place, const NicChoice& choice) const {
  if (choice.nics.empty()) return place;
  core::check(choice.nics.size() == position(nodes_) * position(nics_), "a choice names a NIC for each rail");
  place.rail = choice.nics[position(place.node * nics_ + place.rail)];
  core::check(place.rail >= 0 && place.rail < nics_, "the NIC is in the node");
  return place;
}

Route Topology::route(DeviceIndex from, DeviceIndex to) const { return route(from, to, NicChoice{}); }

Route Topology::route(DeviceIndex from, DeviceIndex to, const NicChoice& choice) const {
  const DevicePlace source = place(from);
  const DevicePlace target = place(to);
  Route route;
  if (from == to) return route;
  if (source.domain == target.domain && domain_kind_ == DomainKind::switched) {
    route.add({first_.port + 2 * from.value});
    route.add({first_.port + 2 * to.value + 1});
    return route;
  }
  if (source.domain == target.domain && domain_kind_ == DomainKind::full_mesh) {
    route.add(mesh_link(source, target));
    return route;
  }
  route.add({first_.host + 2 * from.value});
  if (source.domain != target.domain) {
    add_network_hops(over_nic(source, choice), over_nic(target, choice), route);
  } else if (source.socket != target.socket) {
    route.add(socket_link(source.node, source.socket, target.socket));
  }
  route.add({first_.host + 2 * to.value + 1});
  return route;
}

Route Topology::route_to_host(DeviceIndex from) const {
  const DevicePlace source = place(from);
  Route route;
  route.add({first_.host + 2 * from.value});
  if (has_host_memory_) route.add({first_.host_memory + source.node});
  return route;
}

Route Topology::route_from_host(DeviceIndex to) const {
  const DevicePlace target = place(to);
  Route route;
  if (has_host_memory_) route.add({first_.host_memory + target.node});
  route.add({first_.host + 2 * to.value + 1});
  return route;
}

core::BytesPerSecond Topology::bottleneck(const Route& route) const {
  core::check(!route.empty(), "a route between two devices has links");
  core::BytesPerSecond smallest{INT64_MAX};
  for (const LinkIndex index : route) smallest = std::min(smallest, link(index).capacity);
  return smallest;
}

core::Duration Topology::latency(const Route& route) const {
  core::Duration sum;
  for (const LinkIndex index : route) sum += link(index).latency;
  return sum;
}

}  // namespace moesim::hardware
