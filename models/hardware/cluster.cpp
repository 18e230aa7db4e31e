#include "models/hardware/cluster.hpp"

#include <fmt/format.h>

namespace moesim::hardware {

using config::between;
using config::Problems;
using config::Record;
using config::Type;

namespace {

// Indices of devices and links are 32-bit.
constexpr std::int64_t kMaxDevices = 1'000'000;

void check_cluster(const Cluster& cluster, Problems& problems) {
  const std::int64_t devices = device_count(cluster);
  if (devices > kMaxDevices) {
    problems.error("/nodes", fmt::format("{} GPUs: the limit is {}", devices, kMaxDevices));
  }
  if (domain_count(cluster) == 1) return;
  const std::int64_t joined = domain_gpus(cluster.node);
  if (!cluster.node.nics) {
    problems.error("/nodes",
                   fmt::format("{} has no \"nics\": GPUs beyond the {} of one domain cannot be reached",
                               cluster.node.name, joined),
                   fmt::format("an object with \"extends\": \"{}\" and \"nics\"", cluster.node.name));
  }
  if (!cluster.fabric) {
    problems.error("", fmt::format("{} GPUs in domains of {} need a \"fabric\"", devices, joined),
                   "\"fabric\": \"ib-ndr400-rail\"", "missing_fabric");
  }
}

}  // namespace

const Record<Cluster>& record_of(Type<Cluster>) {
  static const auto record =
      Record<Cluster>("cluster", "The hardware: equal nodes and the fabric between them")
          .required("node", &Cluster::node, "The node, by name")
          .required("nodes", &Cluster::nodes, "Number of nodes", between(1, 1'000'000))
          .optional("fabric", &Cluster::fabric, "The fabric, by name; needed when there are several domains")
          .check(check_cluster);
  return record;
}

std::int64_t device_count(const Cluster& cluster) { return cluster.nodes * cluster.node.gpus; }

std::int64_t domain_count(const Cluster& cluster) {
  const std::int64_t joined = domain_gpus(cluster.node);
  return (device_count(cluster) + joined - 1) / joined;
}

}  // namespace moesim::hardware
