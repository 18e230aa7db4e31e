// One engine instance: its data-parallel ranks, in groups that step together.
//
// The ranks of a model with MoE layers meet in them and are one group. Those of a dense model share nothing
// but the queue in front of them, so each is a group of its own (vllm/v1/engine/core.py: only MoE models
// need the dummy batches that keep ranks in step).
#pragma once

#include <cstdint>
#include <vector>

#include "sim/serving/step_group.hpp"

namespace moesim::serving {

class Replica {
 public:
  // All groups have the same number of ranks, at least one.
  explicit Replica(std::vector<StepGroup> groups);

  // Where a request went.
  struct Binding {
    std::size_t group = 0;
    std::int64_t dp_rank = 0;  // counted over all groups
  };
  // Binds a request to a rank by vLLM's rule, the least 4 x waiting + running, ties in turn.
  Binding enqueue(const Sequence& sequence);

  [[nodiscard]] std::vector<StepGroup>& groups() { return groups_; }
  [[nodiscard]] const std::vector<StepGroup>& groups() const { return groups_; }
  template <class Body>
  void for_each_rank(Body body) const {
    for (const StepGroup& group : groups_) {
      for (const EngineRank& rank : group.ranks()) body(rank);
    }
  }
  [[nodiscard]] std::int64_t waiting() const;
  [[nodiscard]] std::int64_t running() const;
  [[nodiscard]] std::int64_t kv_blocks_used() const;

 private:
  std::vector<StepGroup> groups_;
  std::size_t group_size_ = 0;
  std::size_t next_tie_ = 0;
};

}  // namespace moesim::serving
