#include "sim/serving/replica.hpp"

#include <utility>

#include "sim/core/check.hpp"

namespace moesim::serving {

Replica::Replica(std::vector<StepGroup> groups) : groups_(std::move(groups)) {
  core::check(!groups_.empty(), "a replica without ranks");
  group_size_ = groups_.front().ranks().size();
}

Replica::Binding Replica::enqueue(const Sequence& sequence) {
  const std::size_t ranks = groups_.size() * group_size_;
  std::size_t best = next_tie_;
  std::int64_t least = INT64_MAX;
  for (std::size_t i = 0; i < ranks; ++i) {
    const std::size_t index = (next_tie_ + i) % ranks;
    const EngineRank& rank = groups_[index / group_size_].ranks()[index % group_size_];
    const std::int64_t load = 4 * rank.waiting() + rank.running();
    if (load < least) {
      least = load;
      best = index;
    }
  }
  next_tie_ = (best + 1) % ranks;
  const std::size_t group = best / group_size_;
  groups_[group].enqueue(best % group_size_, sequence);
  return {group, static_cast<std::int64_t>(best)};
}

std::int64_t Replica::waiting() const {
  std::int64_t sum = 0;
  for_each_rank([&](const EngineRank& rank) { sum += rank.waiting(); });
  return sum;
}

std::int64_t Replica::running() const {
  std::int64_t sum = 0;
  for_each_rank([&](const EngineRank& rank) { sum += rank.running(); });
  return sum;
}

std::int64_t Replica::kv_blocks_used() const {
  std::int64_t sum = 0;
  for_each_rank([&](const EngineRank& rank) { sum += rank.kv().used(); });
  return sum;
}

}  // namespace moesim::serving
