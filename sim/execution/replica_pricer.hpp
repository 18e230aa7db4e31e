// The price of every operator of a replica: what both fidelities run on.
#pragma once

#include <cstdint>

#include "models/cost/price.hpp"
#include "models/cost/price_memo.hpp"
#include "models/llm/batch.hpp"
#include "models/llm/operator.hpp"
#include "sim/execution/replica_setup.hpp"
#include "sim/execution/routed_load.hpp"
#include "sim/execution/step_time.hpp"

namespace moesim::execution {

// The part of a step that an operator of a layer belongs to.
[[nodiscard]] Part part_of(const llm::Operator& op);

// True for the operators at which all data-parallel ranks wait for each other.
[[nodiscard]] bool is_meeting(const llm::Operator& op);
// True for the operators that work on the rows of the rank's experts.
[[nodiscard]] bool is_routed(const llm::Operator& op);

// Collectives among the devices of a group.
[[nodiscard]] cost::CollectivePricer pricer_of(const ReplicaSetup& setup,
                                               const hardware::GroupProfile& group);

class ReplicaPricer {
 public:
  ReplicaPricer(ReplicaSetup setup, bool memo);
  ReplicaPricer(const ReplicaPricer&) = delete;
  ReplicaPricer& operator=(const ReplicaPricer&) = delete;

  [[nodiscard]] const ReplicaSetup& setup() const { return setup_; }
  [[nodiscard]] const llm::BatchRule& batch_rule() const { return rule_; }

  // The price of any operator but Dispatch and Combine; routed ones need their rows.
  [[nodiscard]] cost::Price price(const llm::Operator& op) const;
  // The price of an operator at which all data-parallel ranks meet, when they have `tokens` tokens together
  // and their experts have `load`. A Dispatch or Combine is that of the rank with most tokens.
  [[nodiscard]] cost::Price meeting_price(const llm::Operator& op, std::int64_t tokens,
                                          const RoutedLoad& load) const;

  // The rows of all experts of layer group `group` when `tokens` tokens of all ranks are routed.
  [[nodiscard]] RoutedLoad routed_load(std::size_t group, std::int64_t tokens, std::int64_t epoch) {
    return routed_.load(group, tokens, routing::drifts(setup_.popularity) ? epoch : 0);
  }

  [[nodiscard]] const cost::DevicePricer& device() const { return device_; }
  [[nodiscard]] const cost::CollectivePricer& group(llm::Group which) const;

 private:
  ReplicaSetup setup_;
  llm::BatchRule rule_;
  cost::DevicePricer device_;
  cost::CollectivePricer tensor_, data_, expert_, decode_context_;
  RoutedLoads routed_;
  // Looking a price up does not change what it is. A replica belongs to one run, and so to one thread.
  mutable cost::PriceMemo memo_;
};

}  // namespace moesim::execution
