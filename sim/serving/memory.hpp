// The division of a device's memory in one pool.
#pragma once

#include <string>

#include "models/llm/memory.hpp"
#include "sim/serving/results.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::serving {

// Token budget, sequence limit and KV block size that hold for a scenario: its own or the engine's.
struct EffectiveLimits {
  std::int64_t max_num_batched_tokens = 0;
  std::int64_t max_num_seqs = 0;
  std::int64_t kv_block_tokens = 0;
};
[[nodiscard]] EffectiveLimits effective_limits(const Scenario& scenario);

// Divides what is left beside the other parts of a budget: fills `reserved` and `kv_budget`. Where graphs are
// not accounted for, they take memory that the rule keeps free, and `reserved` is negative if that is too
// little.
void divide_rest(MemoryBudget& budget, cost::BudgetRule rule, double fraction, cost::GraphAccounting graphs);
// Fills the blocks that `kv_budget` holds: none if it is too small for any sequence.
void count_blocks(MemoryBudget& budget, const llm::KvPages& pages);

// The budget of one device of a pool. kv_blocks is 0 when the model does not fit: kv_budget is negative or
// too small, or `reserved` is negative.
[[nodiscard]] MemoryBudget memory_budget(const Scenario& scenario, const std::string& name, const Pool& pool);

// What to change when a pool has no room for KV: the scenario's own memory.utilization or
// max_num_batched_tokens if the engine's make room, else the smallest legal tp, ep or dp_attention that does,
// or the largest part of the memory and what makes it smaller.
[[nodiscard]] std::string memory_remedy(const Scenario& scenario, const std::string& name, const Pool& pool);

}  // namespace moesim::serving
