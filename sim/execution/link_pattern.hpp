// Which links a collective uses, and how much of each when its ranks move bytes as fast as they can.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "models/hardware/topology.hpp"
#include "sim/execution/kernel_program.hpp"
#include "sim/execution/machine.hpp"

namespace moesim::execution {

// Numbers of a cluster's resources in a Machine: two per device, then the links.
class ResourceMap {
 public:
  explicit ResourceMap(const hardware::Topology& topology);
  [[nodiscard]] std::uint32_t multiprocessors(hardware::DeviceIndex device) const;
  [[nodiscard]] std::uint32_t hbm(hardware::DeviceIndex device) const;
  [[nodiscard]] std::uint32_t link(hardware::LinkIndex link) const;
  [[nodiscard]] std::uint32_t size() const { return first_link_ + links_; }
  [[nodiscard]] bool is_link(std::uint32_t resource) const { return resource >= first_link_; }
  [[nodiscard]] hardware::LinkIndex link_of(std::uint32_t resource) const;
  [[nodiscard]] hardware::DeviceIndex device_of(std::uint32_t resource) const;
  [[nodiscard]] bool is_hbm(std::uint32_t resource) const { return !is_link(resource) && resource % 2 == 1; }

 private:
  std::uint32_t first_link_ = 0;
  std::uint32_t links_ = 0;
};

// A link that one rank's bytes cross. While the rank keeps its way into the domain (or its share of the
// network) busy, it uses `factor` of the link.
struct LinkUse {
  hardware::LinkIndex link;
  bool network = false;  // in proportion to KernelOp::network_busy, else to scale_up_busy
  double factor = 1.0;
};

// By rank of the communicator.
using LinkPattern = std::vector<std::vector<LinkUse>>;

// The pattern of a collective among `devices` whose ranks all move the same bytes. Inside a domain a rank
// uses its own port both ways (or its mesh links to all others), and the links between sockets of a PCIe box.
// Across domains a rank of a ring talks to the rank of its place in the next domain (one rail per rank), one
// of an exchange to all ranks there, over the spine where they hang on another leaf. Bandwidths are those of
// hardware::GroupProfile, on which prices rest.
[[nodiscard]] LinkPattern link_pattern(const hardware::Topology& topology, const hardware::NicChoice& nics,
                                       std::span<const hardware::DeviceIndex> devices, CollectiveShape shape);

// Patterns that were asked for, until the network changes.
class LinkPatterns {
 public:
  explicit LinkPatterns(const hardware::Topology& topology) : topology_(&topology) {}
  [[nodiscard]] const LinkPattern& get(std::span<const hardware::DeviceIndex> devices, CollectiveShape shape);
  void use_nics(hardware::NicChoice nics);
  [[nodiscard]] const hardware::NicChoice& nics() const { return nics_; }

 private:
  using Key = std::pair<std::vector<hardware::DeviceIndex>, CollectiveShape>;
  const hardware::Topology* topology_;
  hardware::NicChoice nics_;
  std::map<Key, LinkPattern> patterns_;
};

}  // namespace moesim::execution
