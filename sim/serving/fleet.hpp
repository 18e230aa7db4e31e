// The replicas of a scenario and the balancer in front of them.
#pragma once

#include <cstdint>
#include <vector>

#include "models/hardware/topology.hpp"
#include "sim/serving/replica.hpp"
#include "sim/serving/scenario.hpp"
#include "sim/serving/simulate.hpp"

namespace moesim::serving {

// What the prices of ranks depend on that sit on the devices from `first` on.
[[nodiscard]] execution::ReplicaSetup replica_setup(const Scenario& scenario, const llm::Layout& layout,
                                                    const hardware::Topology& topology, std::int64_t first);

struct FleetMember {
  Replica replica;
  std::size_t pool = 0;              // index in the order of the scenario's pools
  std::int64_t tp = 1;               // devices that hold each KV block
  std::int64_t block_bytes = 0;      // of one KV block on one device
  std::int64_t capacity_tokens = 0;  // most tokens a sequence can have
  std::size_t first_group = 0;       // index of its first group in the fleet's list
};

class Fleet {
 public:
  // Places the replicas on the cluster's devices in order: pool after pool, replica after replica.
  // Throws InfeasibleError when a model does not fit.
  Fleet(const Scenario& scenario, const std::vector<MemoryBudget>& budgets, execution::StepOptions options);

  // The replica that takes the next request, one of those that can hold its `tokens`; some replica must.
  [[nodiscard]] std::size_t choose(std::int64_t tokens);
  // Most tokens that a sequence can have on any replica.
  [[nodiscard]] std::int64_t capacity_tokens() const;
  [[nodiscard]] std::vector<FleetMember>& members() { return members_; }
  [[nodiscard]] const std::vector<FleetMember>& members() const { return members_; }
  [[nodiscard]] std::int64_t gpus() const { return gpus_; }
  struct GroupPlace {
    std::size_t member = 0;
    std::size_t group = 0;  // of the member
  };
  // The groups of ranks of all members, in one list.
  [[nodiscard]] std::size_t groups() const { return groups_.size(); }
  [[nodiscard]] StepGroup& group(std::size_t index) {
    return members_[groups_[index].member].replica.groups()[groups_[index].group];
  }
  [[nodiscard]] GroupPlace place(std::size_t index) const { return groups_[index]; }
  [[nodiscard]] std::size_t group_index(std::size_t member, std::size_t group) const {
    return members_[member].first_group + group;
  }

 private:
  Balancer balancer_;
  std::vector<FleetMember> members_;
  std::size_t next_ = 0;
  std::vector<GroupPlace> groups_;
  std::int64_t gpus_ = 0;
};

}  // namespace moesim::serving
