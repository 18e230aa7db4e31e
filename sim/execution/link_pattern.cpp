#include "sim/execution/link_pattern.hpp"

#include <algorithm>
#include <map>

#include "sim/core/check.hpp"

namespace moesim::execution {

using hardware::DeviceIndex;
using hardware::GroupProfile;
using hardware::LinkIndex;
using hardware::LinkKind;
using hardware::NicChoice;
using hardware::Route;
using hardware::Topology;

ResourceMap::ResourceMap(const Topology& topology)
    : first_link_(2 * static_cast<std::uint32_t>(topology.devices())),
      links_(static_cast<std::uint32_t>(topology.links().size())) {}

std::uint32_t ResourceMap::multiprocessors(DeviceIndex device) const {
  return 2 * static_cast<std::uint32_t>(device.value);
}
std::uint32_t ResourceMap::hbm(DeviceIndex device) const { return multiprocessors(device) + 1; }
std::uint32_t ResourceMap::link(LinkIndex link) const {
  return first_link_ + static_cast<std::uint32_t>(link.value);
}
LinkIndex ResourceMap::link_of(std::uint32_t resource) const {
  return {static_cast<std::int32_t>(resource - first_link_)};
}
DeviceIndex ResourceMap::device_of(std::uint32_t resource) const {
  return {static_cast<std::int32_t>(resource / 2)};
}

namespace {

// The members of each domain that has any, by rank.
std::vector<std::vector<std::size_t>> members_by_domain(const Topology& topology,
                                                        std::span<const DeviceIndex> devices) {
  std::map<std::int32_t, std::vector<std::size_t>> domains;
  for (std::size_t rank = 0; rank < devices.size(); ++rank) {
    domains[topology.place(devices[rank]).domain].push_back(rank);
  }
  std::vector<std::vector<std::size_t>> members;
  for (auto& [domain, ranks] : domains) members.push_back(std::move(ranks));
  return members;
}

class PatternBuilder {
 public:
  PatternBuilder(const Topology& topology, const NicChoice& nics, std::span<const DeviceIndex> devices,
                 CollectiveShape shape)
      : topology_(topology),
        nics_(nics),
        devices_(devices),
        shape_(shape),
        profile_(topology.group_profile(devices)),
        domains_(members_by_domain(topology, devices)) {}

  LinkPattern build() {
    pattern_.resize(devices_.size());
    for (const auto& domain : domains_) {
      if (domain.size() > 1) add_domain(domain);
    }
    if (domains_.size() > 1) add_network();
    return std::move(pattern_);
  }

 private:
  // A rank's bytes cross the link at `rate` bytes per second. Uses of one link add up.
  void add(std::size_t rank, LinkIndex link, bool network, double rate) {
    const double factor = rate / topology_.link(link).capacity.as_double();
    for (LinkUse& use : pattern_[rank]) {
      if (use.link != link || use.network != network) continue;
      use.factor += factor;
      return;
    }
    pattern_[rank].push_back({link, network, factor});
  }

  void add_domain(const std::vector<std::size_t>& domain) {
    const auto peers = static_cast<double>(domain.size() - 1);
    const double whole = profile_.domain_bandwidth.as_double();
    for (std::size_t i = 0; i < domain.size(); ++i) {
      const std::size_t rank = domain[i];
      const std::size_t next = domain[(i + 1) % domain.size()];
      if (profile_.domain_kind == hardware::DomainKind::full_mesh) {
        for (const std::size_t peer : domain) {
          if (peer == rank) continue;
          const Route route = topology_.route(devices_[rank], devices_[peer]);
          add(rank, route.links().front(), false, whole / peers);
        }
        continue;
      }
      const Route there = topology_.route(devices_[rank], devices_[next]);
      const Route back = topology_.route(devices_[next], devices_[rank]);
      add(rank, there.links().front(), false, whole);
      add(rank, back.links().back(), false, whole);
      if (shape_ == CollectiveShape::ring) {
        add_sockets(rank, next, whole);
        continue;
      }
      for (const std::size_t peer : domain) {
        if (peer != rank) add_sockets(rank, peer, whole / peers);
      }
    }
  }

  // What a PCIe box reaches counts the link between its sockets already: that one is used by the bytes alone.
  void add_sockets(std::size_t rank, std::size_t peer, double rate) {
    const double reached = profile_.domain_share ? profile_.domain_share->value : 1.0;
    const Route route = topology_.route(devices_[rank], devices_[peer]);
    for (const LinkIndex link : route) {
      if (topology_.link(link).kind == LinkKind::socket) add(rank, link, false, rate * reached);
    }
  }

  // A rank answers for the links on its own side of the network. In a ring it talks to the rank of its place
  // in the next domain, in an exchange to all of them.
  void add_network() {
    const double whole = profile_.network_bandwidth.as_double();
    for (std::size_t d = 0; d < domains_.size(); ++d) {
      const auto& domain = domains_[d];
      const auto& next = domains_[(d + 1) % domains_.size()];
      const auto& before = domains_[(d + domains_.size() - 1) % domains_.size()];
      for (std::size_t i = 0; i < domain.size(); ++i) {
        if (shape_ == CollectiveShape::ring) {
          add_own_side(domain[i], next[i % next.size()], true, whole);
          add_own_side(domain[i], before[i % before.size()], false, whole);
          continue;
        }
        const double each = whole / static_cast<double>(devices_.size() - domain.size());
        for (const auto& other : domains_) {
          if (&other == &domain) continue;
          for (const std::size_t peer : other) {
            add_own_side(domain[i], peer, true, each);
            add_own_side(domain[i], peer, false, each);
          }
        }
      }
    }
  }

  void add_own_side(std::size_t rank, std::size_t peer, bool outward, double rate) {
    const Route route = outward ? topology_.route(devices_[rank], devices_[peer], nics_)
                                : topology_.route(devices_[peer], devices_[rank], nics_);
    for (const LinkIndex link : route) {
      const LinkKind kind = topology_.link(link).kind;
      const bool goes_out =
          kind == LinkKind::host_out || kind == LinkKind::nic_out || kind == LinkKind::leaf_up;
      if (goes_out == outward) add(rank, link, true, rate);
    }
  }

  const Topology& topology_;
  const NicChoice& nics_;
  std::span<const DeviceIndex> devices_;
  CollectiveShape shape_;
  GroupProfile profile_;
  std::vector<std::vector<std::size_t>> domains_;
  LinkPattern pattern_;
};

}  // namespace

LinkPattern link_pattern(const Topology& topology, const NicChoice& nics,
                         std::span<const DeviceIndex> devices, CollectiveShape shape) {
  return PatternBuilder(topology, nics, devices, shape).build();
}

const LinkPattern& LinkPatterns::get(std::span<const DeviceIndex> devices, CollectiveShape shape) {
  const Key key{{devices.begin(), devices.end()}, shape};
  auto found = patterns_.find(key);
  if (found == patterns_.end()) {
    found = patterns_.emplace(key, link_pattern(*topology_, nics_, devices, shape)).first;
  }
  return found->second;
}

void LinkPatterns::use_nics(NicChoice nics) {
  nics_ = std::move(nics);
  patterns_.clear();
}

}  // namespace moesim::execution
