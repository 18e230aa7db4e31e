#include "sim/execution/routed_load.hpp"

#include <algorithm>
#include <cmath>

#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::execution {

std::int64_t bucket_tokens(std::int64_t bucket) {
  return static_cast<std::int64_t>(std::llround(core::math::exp2(static_cast<double>(bucket) / 4)));
}

std::int64_t token_bucket(std::int64_t tokens) {
  core::check(tokens >= 1, "a bucket needs a token");
  return static_cast<std::int64_t>(std::llround(4 * core::math::log2(static_cast<double>(tokens))));
}

void scale_rows(std::span<std::int64_t> rows, std::int64_t tokens, std::int64_t from) {
  // Running sums are scaled and rounded up; their differences are the new counts.
  core::Int128 before = 0;
  std::int64_t scaled_before = 0;
  for (std::int64_t& count : rows) {
    before += count;
    const auto scaled = static_cast<std::int64_t>((before * tokens + from - 1) / from);
    count = std::min(scaled - scaled_before, tokens);
    scaled_before = scaled;
  }
}

RoutedLoads::RoutedLoads(const ReplicaSetup& setup, const cost::DevicePricer& pricer, bool memo)
    : setup_(&setup), pricer_(&pricer), memo_(memo) {
  std::int64_t first = 0;
  for (const llm::LayerGroup& group : setup.architecture.layers) {
    first_layer_.push_back(first);
    first += group.count;
  }
}

core::Duration RoutedLoads::shard_time(std::vector<llm::Operator>& operators,
                                       std::span<const std::int64_t> rows) const {
  llm::set_expert_rows(operators, rows);
  core::Duration time;
  for (const llm::Operator& op : operators) time = core::saturating_add(time, pricer_->price(op).time);
  return time;
}

// Of the bucket's tokens, not of the step's: the load must not depend on which step asked first.
std::vector<llm::Operator> RoutedLoads::routed_operators(std::size_t group, std::int64_t tokens) {
  llm::RankBatch batch;
  batch.tokens = tokens;
  llm::lower(setup_->architecture, setup_->layout, setup_->formats, batch, tokens, lowered_);
  std::vector<llm::Operator> routed;
  for (const llm::Operator& op : lowered_.layers[group].operators) {
    const bool on_rows =
        std::holds_alternative<llm::GroupedGemm>(op) || std::holds_alternative<llm::RoutedElementwise>(op);
    if (on_rows) routed.push_back(op);
  }
  return routed;
}

ShardLoad RoutedLoads::draw(std::size_t group, std::int64_t bucket, std::int64_t epoch) {
  const llm::LayerGroup& layers = setup_->architecture.layers[group];
  const auto& moe = std::get<llm::MoeFfn>(layers.ffn);
  const std::int64_t tokens = bucket_tokens(bucket);
  const std::int64_t shards = setup_->layout.ep;
  const auto per_shard = static_cast<std::size_t>(moe.experts / shards);
  std::vector<llm::Operator> routed = routed_operators(group, tokens);
  std::vector<std::vector<std::int64_t>> slowest_rows;
  std::vector<core::Duration> slowest_time;
  core::Int128 sum = 0;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(moe.experts));
  for (std::int64_t i = 0; i < kDraws; ++i) {
    const std::int64_t layer = first_layer_[group] + i % layers.count;
    auto& probabilities = probabilities_[{layer, epoch}];
    if (probabilities.empty()) {
      probabilities =
          routing::expert_probabilities(setup_->popularity, setup_->seed, layer, moe.experts, epoch);
    }
    const auto id = (static_cast<std::uint64_t>(epoch) << 32) | (static_cast<std::uint64_t>(group) << 20) |
                    (static_cast<std::uint64_t>(bucket) << 8) | static_cast<std::uint64_t>(i);
    routing::draw_expert_counts(setup_->popularity, setup_->seed, id, tokens, moe.top_k, probabilities,
                                counts);
    std::span<const std::int64_t> best;
    core::Duration longest{-1};
    for (std::int64_t shard = 0; shard < shards; ++shard) {
      const auto rows = std::span<const std::int64_t>(counts).subspan(
          static_cast<std::size_t>(shard) * per_shard, per_shard);
      const core::Duration time = shard_time(routed, rows);
      if (time > longest) {
        longest = time;
        best = rows;
      }
    }
    slowest_rows.emplace_back(best.begin(), best.end());
    slowest_time.push_back(longest);
    sum += longest.ps;
  }
  const auto mean = static_cast<std::int64_t>(sum / kDraws);
  std::size_t nearest = 0;
  for (std::size_t i = 1; i < slowest_time.size(); ++i) {
    if (std::abs(slowest_time[i].ps - mean) < std::abs(slowest_time[nearest].ps - mean)) nearest = i;
  }
  return {std::move(slowest_rows[nearest]), 0};
}

ShardLoad RoutedLoads::slowest(std::size_t group, std::int64_t tokens, std::int64_t epoch) {
  const std::int64_t bucket = token_bucket(tokens);
  ShardLoad load;
  if (memo_) {
    const Key key{group, bucket, epoch};
    auto found = loads_.find(key);
    if (found == loads_.end()) found = loads_.emplace(key, draw(group, bucket, epoch)).first;
    load = found->second;
  } else {
    load = draw(group, bucket, epoch);
  }
  scale_rows(load.rows_by_expert, tokens, bucket_tokens(bucket));
  for (const std::int64_t rows : load.rows_by_expert) load.rows += rows;
  return load;
}

}  // namespace moesim::execution
