// What a collective needs to know about its group.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "models/hardware/topology.hpp"
#include "sim/core/check.hpp"

namespace moesim::hardware {

namespace {

// True when two places differ in domain and in leaf switch. Enough to see two of each: if (d1, l1) and a
// second domain and a second leaf occur, some pair differs in both.
struct Spread {
  std::set<std::int32_t> domains;
  std::set<std::int32_t> leaves;
  [[nodiscard]] bool several_domains() const { return domains.size() > 1; }
  [[nodiscard]] bool crosses_spine() const { return domains.size() > 1 && leaves.size() > 1; }
};

}  // namespace

std::int64_t Topology::distinct_domains(std::span<const DeviceIndex> group) const {
  std::set<std::int32_t> domains;
  for (const DeviceIndex device : group) domains.insert(place(device).domain);
  return static_cast<std::int64_t>(domains.size());
}

void Topology::profile_domains(std::span<const DevicePlace> members, GroupProfile& profile) const {
  std::map<std::int32_t, std::int64_t> sizes;
  std::map<std::int32_t, std::set<std::int32_t>> sockets;
  for (const DevicePlace& member : members) {
    ++sizes[member.domain];
    sockets[member.domain].insert(member.socket);
  }
  std::int64_t smallest = 0;
  bool crosses_sockets = false;
  for (const auto& [domain, size] : sizes) {
    profile.domain_sizes.push_back(size);
    if (size > 1) smallest = smallest == 0 ? size : std::min(smallest, size);
    crosses_sockets = crosses_sockets || sockets[domain].size() > 1;
  }
  profile.in_switch_reduction = in_switch_reduction_ && profile.domains() == 1 && profile.size > 1;
  if (smallest == 0) return;
  if (domain_kind_ == DomainKind::host_bridge) {
    const Link& host = links_[static_cast<std::size_t>(first_.host)];
    profile.domain_bandwidth = host.capacity;
    profile.domain_latency = host.latency * 2;
    profile.domain_share = collective_share(
        host_link_, *std::max_element(profile.domain_sizes.begin(), profile.domain_sizes.end()));
    if (crosses_sockets && first_.socket != first_.host_memory) {
      const Link& socket = links_[static_cast<std::size_t>(first_.socket)];
      profile.domain_bandwidth = std::min(profile.domain_bandwidth, socket.capacity);
      profile.domain_latency += socket.latency;
    }
    return;
  }
  const Link& link = links_[static_cast<std::size_t>(first_.port)];
  profile.domain_bandwidth = link.capacity;
  profile.domain_latency = link.latency;
  if (domain_kind_ == DomainKind::full_mesh) {
    profile.domain_bandwidth = link.capacity * (smallest - 1);
  } else {
    profile.domain_latency += links_[static_cast<std::size_t>(first_.port) + 1].latency;
  }
}

void Topology::profile_network(std::span<const DevicePlace> members, GroupProfile& profile) const {
  std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t> nic_users;
  std::map<std::int32_t, std::int64_t> leaf_users;
  std::map<std::int32_t, Spread> rails;
  Spread all;
  for (const DevicePlace& member : members) {
    ++nic_users[{member.node, member.rail}];
    ++leaf_users[leaf_of(member)];
    for (Spread* spread : {&rails[member.rail], &all}) {
      spread->domains.insert(member.domain);
      spread->leaves.insert(leaf_of(member));
    }
  }
  std::int64_t most = 1;
  for (const auto& [nic, users] : nic_users) most = std::max(most, users);
  bool rail_suffices = false;
  for (const auto& [rail, spread] : rails) {
    rail_suffices = rail_suffices || spread.several_domains();
    profile.crosses_spine = profile.crosses_spine || spread.crosses_spine();
  }
  // No rail reaches a second domain (one GPU here, another rank there): bytes must change rails.
  if (!rail_suffices) profile.crosses_spine = all.crosses_spine();

  const Link& host = links_[static_cast<std::size_t>(first_.host)];
  const Link& out = links_[static_cast<std::size_t>(first_.nic)];
  const Link& in = links_[static_cast<std::size_t>(first_.nic) + 1];
  double share = out.capacity.as_double() / static_cast<double>(most);
  profile.network_latency = host.latency * 2 + out.latency + in.latency;
  if (profile.crosses_spine) {
    // All members on a leaf may send upwards at once.
    for (const auto& [leaf, users] : leaf_users) {
      const Link& up = links_[static_cast<std::size_t>(first_.leaf + 2 * leaf)];
      share = std::min(share, up.capacity.as_double() / static_cast<double>(users));
    }
    profile.network_latency += links_[static_cast<std::size_t>(first_.leaf)].latency * 2;
  }
  profile.network_bandwidth = std::min(host.capacity, {static_cast<std::int64_t>(share)});
}

GroupProfile Topology::group_profile(std::span<const DeviceIndex> group) const {
  core::check(!group.empty(), "a communication group has members");
  const std::set<DeviceIndex> distinct(group.begin(), group.end());
  core::check(distinct.size() == group.size(), "a communication group names each device once");
  std::vector<DevicePlace> members;
  members.reserve(group.size());
  for (const DeviceIndex device : distinct) members.push_back(place(device));
  GroupProfile profile;
  profile.size = static_cast<std::int64_t>(group.size());
  profile.domain_kind = domain_kind_;
  profile_domains(members, profile);
  if (profile.domains() > 1) profile_network(members, profile);
  return profile;
}

}  // namespace moesim::hardware
