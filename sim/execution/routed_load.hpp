// The load of the slowest expert shard: drawn, not assumed.
//
// The load is a pure function of (seed, MoE layer class, bucket of tokens, epoch). The buckets are powers of
// 2^(1/4). For each, 256 routings are drawn, spread over the layers of the class (each layer has its own
// popularity). In each draw the slowest shard is found by its priced time, not by its rows; the draw whose
// slowest shard is nearest to the mean over the draws stands for the class, scaled from the bucket's tokens
// to the step's.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "models/cost/price.hpp"
#include "models/llm/lowering.hpp"
#include "models/llm/operator.hpp"
#include "sim/execution/step_model.hpp"

namespace moesim::execution {

// Number of the bucket of a token count >= 1, and the tokens that stand for it.
[[nodiscard]] std::int64_t token_bucket(std::int64_t tokens);
[[nodiscard]] std::int64_t bucket_tokens(std::int64_t bucket);

// Counts scaled by tokens / from, rounded so that the sum is the scaled sum rounded up; none passes `tokens`.
void scale_rows(std::span<std::int64_t> rows, std::int64_t tokens, std::int64_t from);

class RoutedLoads {
 public:
  static constexpr std::int64_t kDraws = 256;

  RoutedLoads(const ReplicaSetup& setup, const cost::DevicePricer& pricer, bool memo);

  // The slowest shard of layer group `group` when `tokens` tokens of all ranks are routed.
  [[nodiscard]] ShardLoad slowest(std::size_t group, std::int64_t tokens, std::int64_t epoch);

 private:
  using Key = std::tuple<std::size_t, std::int64_t, std::int64_t>;  // group, bucket, epoch

  [[nodiscard]] ShardLoad draw(std::size_t group, std::int64_t bucket, std::int64_t epoch);
  // The operators of one layer that work on routed rows, when `tokens` tokens of all ranks are routed.
  [[nodiscard]] std::vector<llm::Operator> routed_operators(std::size_t group, std::int64_t tokens);
  [[nodiscard]] core::Duration shard_time(std::vector<llm::Operator>& operators,
                                          std::span<const std::int64_t> rows) const;

  const ReplicaSetup* setup_;
  const cost::DevicePricer* pricer_;
  bool memo_;
  std::vector<std::int64_t> first_layer_;  // global index of each group's first layer
  std::map<Key, ShardLoad> loads_;
  std::map<std::tuple<std::int64_t, std::int64_t>, std::vector<double>> probabilities_;  // by layer, epoch
  llm::StepOperators lowered_;
};

}  // namespace moesim::execution
