// The hardware of a scenario: equal nodes and the fabric between them. The record is what "cluster" holds.
#pragma once

#include <cstdint>
#include <optional>

#include "models/hardware/fabric.hpp"
#include "models/hardware/node.hpp"

namespace moesim::hardware {

struct Cluster {
  Node node;
  std::int64_t nodes = 1;
  std::optional<Fabric> fabric;  // may be left out while all GPUs are in one domain
};

[[nodiscard]] const config::Record<Cluster>& record_of(config::Type<Cluster>);

// GPUs of the cluster.
[[nodiscard]] std::int64_t device_count(const Cluster& cluster);

// Scale-up domains of the cluster; the last one may be part of a domain (2 trays of an NVL72 rack).
[[nodiscard]] std::int64_t domain_count(const Cluster& cluster);

}  // namespace moesim::hardware
