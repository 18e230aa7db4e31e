// The scale-out network between boxes: InfiniBand or Ethernet with leaf and spine switches.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "sim/config/document.hpp"
#include "sim/config/record.hpp"

namespace moesim::hardware {

enum class FabricKind : std::uint8_t {
  rail_optimised,  // the i-th NICs of a group of nodes share one leaf switch
  fat_tree,        // all NICs of a node go to one leaf switch
};

struct Fabric {
  std::string name;
  FabricKind kind = FabricKind::rail_optimised;
  config::Sourced<core::BytesPerSecond> link_bandwidth;  // of a NIC's port into its leaf, per direction
  config::Sourced<core::Duration> switch_latency;        // of one switch and its cable
  config::Sourced<std::int64_t> nodes_per_leaf;
  config::Sourced<double> oversubscription;  // bandwidth of a leaf towards its nodes / towards the spine
  std::map<std::string, std::string> sources;
};

[[nodiscard]] const config::Record<Fabric>& record_of(config::Type<Fabric>);

// Reads hw_configs/fabrics/NAME.json. Throws config::InputError when there is no such file or it is wrong.
[[nodiscard]] config::Loaded<Fabric> load_fabric(std::string_view name, const config::Catalogue& catalogue);

}  // namespace moesim::hardware

namespace moesim::config {

template <>
struct CatalogueEntry<hardware::Fabric> {
  static constexpr std::string_view folder = "hw_configs/fabrics";
  static constexpr std::string_view noun = "fabric";
};

template <>
struct EnumNames<hardware::FabricKind> {
  static constexpr EnumName<hardware::FabricKind> table[] = {
      {hardware::FabricKind::rail_optimised, "rail-optimised", "NICs of equal rank share a leaf switch"},
      {hardware::FabricKind::fat_tree, "fat-tree", "all NICs of a node go to one leaf switch"},
  };
};

}  // namespace moesim::config
