#include "models/hardware/fabric.hpp"

#include "models/hardware/limits.hpp"
#include "models/hardware/sources.hpp"

namespace moesim::hardware {

using config::above;
using config::at_least;
using config::between;
using config::Record;
using config::Type;

namespace {

void check_fabric(const Fabric& fabric, config::Problems& problems) {
  check_identifier(fabric.name, problems);
  SourceCheck source(fabric.sources, problems);
  source("/link_bandwidth", fabric.link_bandwidth);
  source("/switch_latency", fabric.switch_latency);
  source("/nodes_per_leaf", fabric.nodes_per_leaf);
  source("/oversubscription", fabric.oversubscription);
}

}  // namespace

const Record<Fabric>& record_of(Type<Fabric>) {
  static const auto record =
      Record<Fabric>("fabric", "The network between nodes: leaf switches and a spine")
          .required("name", &Fabric::name, "Identifier: lower case, with dashes", at_least(1))
          .required("kind", &Fabric::kind, "Which NICs share a leaf switch")
          .required("link_bandwidth", &Fabric::link_bandwidth, "Bandwidth of a NIC's port, per direction",
                    at_least(kMinBandwidth))
          .required("switch_latency", &Fabric::switch_latency, "Latency of one switch and its cable",
                    between(0, kMaxLinkLatency))
          .required("nodes_per_leaf", &Fabric::nodes_per_leaf, "Nodes that one leaf switch joins",
                    between(1, 65536))
          .required("oversubscription", &Fabric::oversubscription,
                    "Bandwidth of a leaf towards its nodes, divided by its bandwidth towards the spine",
                    between(1, 64))
          .required("sources", &Fabric::sources, "Text of every source that the numbers name")
          .check(check_fabric);
  return record;
}

config::Loaded<Fabric> load_fabric(std::string_view name, const config::Catalogue& catalogue) {
  return config::load_entry<Fabric>(name, catalogue);
}

}  // namespace moesim::hardware
