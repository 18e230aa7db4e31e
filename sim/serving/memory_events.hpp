// When KV blocks first ran out in each pool, and what would have avoided it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/serving/fleet.hpp"
#include "sim/serving/results.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::serving {

class MemoryWatch {
 public:
  explicit MemoryWatch(std::size_t pools) : pools_(pools) {}

  // Looks at a group of ranks behind a decision.
  void look(const Fleet& fleet, std::size_t group, core::Time now);
  // The first events of all pools in the order of time, with remedies.
  [[nodiscard]] std::vector<MemoryEvent> events(const Scenario& scenario, const Fleet& fleet) const;

 private:
  struct FirstEvents {
    std::optional<MemoryEvent> stall, preemption;
  };
  std::vector<FirstEvents> pools_;
};

// The smallest single change with which a pool would have held `demand` on a rank, and so had no event of
// this kind: a larger memory.utilization (to 0.98), against preemptions fewer sequences, an fp8 KV cache, or
// more replicas or a larger tp, whichever takes fewer GPUs. The sequences are taken to be of equal length.
[[nodiscard]] std::string demand_remedy(const Scenario& scenario, const std::string& name, const Pool& pool,
                                        const KvDemand& demand, MemoryEventKind kind);

}  // namespace moesim::serving
