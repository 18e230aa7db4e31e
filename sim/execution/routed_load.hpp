// The load of the expert shards: drawn, not assumed.
//
// The load is a pure function of (seed, MoE layer class, bucket of tokens, epoch). The buckets are powers of
// 2^(1/4). For each, 256 routings are drawn, spread over the layers of the class (each layer has its own
// popularity). In each draw the slowest shard is found by its priced time, not by its rows; the draw whose
// slowest shard is nearest to the mean over the draws stands for the class. All its counts are scaled from
// the bucket's tokens to the step's; then its slowest shard is found anew. A step of as many tokens as a
// record of a routing trace repeats a record: nothing is scaled then.
#pragma once

#include <cstdint>
#include <map>
#include <numeric>
#include <span>
#include <tuple>
#include <vector>

#include "models/cost/price.hpp"
#include "models/llm/lowering.hpp"
#include "models/llm/operator.hpp"
#include "sim/execution/replica_setup.hpp"

namespace moesim::execution {

// Number of the bucket of a token count >= 1, and the tokens that stand for it.
[[nodiscard]] std::int64_t token_bucket(std::int64_t tokens);
[[nodiscard]] std::int64_t bucket_tokens(std::int64_t bucket);

// Counts of at most `from` each scaled by tokens / from, rounded so that the sum is the scaled sum rounded
// up; none passes `tokens`.
void scale_rows(std::span<std::int64_t> rows, std::int64_t tokens, std::int64_t from);

// Rows of every expert of a layer when its tokens are routed: tokens x top_k together.
struct RoutedLoad {
  std::vector<std::int64_t> rows_by_expert;
  std::int64_t shards = 1;
  std::int64_t slowest_shard = 0;  // by priced time, the first of equals
  std::int64_t slowest_rows = 0;   // rows of that shard

  // Rows of all experts together: tokens x top_k, less those of experts that cost nothing.
  [[nodiscard]] std::int64_t rows() const {
    return std::accumulate(rows_by_expert.begin(), rows_by_expert.end(), std::int64_t{0});
  }
  [[nodiscard]] std::span<const std::int64_t> rows_of(std::int64_t shard) const {
    const std::size_t experts = rows_by_expert.size() / static_cast<std::size_t>(shards);
    return std::span<const std::int64_t>(rows_by_expert)
        .subspan(static_cast<std::size_t>(shard) * experts, experts);
  }
};

class RoutedLoads {
 public:
  static constexpr std::int64_t kDraws = 256;

  RoutedLoads(const ReplicaSetup& setup, const cost::DevicePricer& pricer, bool memo);

  // The load of layer group `group` when `tokens` tokens of all ranks are routed.
  [[nodiscard]] RoutedLoad load(std::size_t group, std::int64_t tokens, std::int64_t epoch);

 private:
  // Group, bucket, tokens that are drawn, epoch.
  using Key = std::tuple<std::size_t, std::int64_t, std::int64_t, std::int64_t>;
  using Counts = std::vector<std::int64_t>;  // by expert

  [[nodiscard]] std::int64_t drawn_tokens(std::size_t group, std::int64_t tokens) const;
  [[nodiscard]] Counts draw(std::size_t group, std::int64_t bucket, std::int64_t tokens, std::int64_t epoch);
  // The operators of one layer that work on routed rows, when `tokens` tokens of all ranks are routed.
  [[nodiscard]] std::vector<llm::Operator> routed_operators(std::size_t group, std::int64_t tokens);
  [[nodiscard]] core::Duration shard_time(std::vector<llm::Operator>& operators,
                                          std::span<const std::int64_t> rows) const;
  // Finds the slowest shard and returns its time.
  core::Duration find_slowest(std::vector<llm::Operator>& operators, RoutedLoad& load) const;

  const ReplicaSetup* setup_;
  const cost::DevicePricer* pricer_;
  bool memo_;
  std::vector<std::vector<std::int64_t>> layer_numbers_;  // of each group's layers, counted from 0
  std::map<Key, Counts> counts_;
  std::map<std::tuple<std::int64_t, std::int64_t>, std::vector<double>> probabilities_;  // by layer, epoch
  llm::StepOperators lowered_;
};

}  // namespace moesim::execution
