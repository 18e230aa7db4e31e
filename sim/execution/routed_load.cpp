#include "sim/execution/routed_load.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

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
  layer_numbers_.resize(setup.architecture.layers.size());
  std::int64_t layer = 0;
  for (const llm::LayerRun& run : llm::layer_runs(setup.architecture)) {
    for (std::int64_t i = 0; i < run.count; ++i) layer_numbers_[run.group].push_back(layer++);
  }
}

core::Duration RoutedLoads::shard_time(std::vector<llm::Operator>& operators,
                                       std::span<const std::int64_t> rows) const {
  llm::set_expert_rows(operators, rows);
  core::Duration time;
  for (const llm::Operator& op : operators) time = core::saturating_add(time, pricer_->price(op).time);
  return time;
}

// The operators hold as many gathered tokens as are routed: a draw must not depend on which step asked first.
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

core::Duration RoutedLoads::find_slowest(std::vector<llm::Operator>& operators, RoutedLoad& load) const {
  core::Duration longest{-1};
  for (std::int64_t shard = 0; shard < load.shards; ++shard) {
    const core::Duration time = shard_time(operators, load.rows_of(shard));
    if (time > longest) {
      longest = time;
      load.slowest_shard = shard;
    }
  }
  const auto rows = load.rows_of(load.slowest_shard);
  load.slowest_rows = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  return longest;
}

// The tokens that are drawn for a step of `tokens`: those of the bucket, unless a trace has a record of just
// this step.
std::int64_t RoutedLoads::drawn_tokens(std::size_t group, std::int64_t tokens) const {
  const std::vector<std::int64_t>& layers = layer_numbers_[group];
  const bool repeats = std::any_of(layers.begin(), layers.end(), [&](std::int64_t layer) {
    return routing::repeats_record(setup_->popularity, layer, tokens);
  });
  return repeats ? tokens : bucket_tokens(token_bucket(tokens));
}

RoutedLoads::Counts RoutedLoads::draw(std::size_t group, std::int64_t bucket, std::int64_t tokens,
                                      std::int64_t epoch) {
  const llm::LayerGroup& layers = setup_->architecture.layers[group];
  const auto& moe = std::get<llm::MoeFfn>(layers.ffn);
  std::vector<llm::Operator> routed = routed_operators(group, tokens);
  std::vector<Counts> drawn;
  std::vector<core::Duration> slowest_time;
  core::Int128 sum = 0;
  RoutedLoad load;
  load.shards = setup_->layout.ep;
  // Experts that cost nothing are drawn like the others, and then left out.
  const std::int64_t choices = moe.choices();
  Counts counts(static_cast<std::size_t>(choices));
  const std::vector<std::int64_t>& numbers = layer_numbers_[group];
  for (std::int64_t i = 0; i < kDraws; ++i) {
    const std::int64_t layer = numbers[static_cast<std::size_t>(i % layers.count)];
    auto& probabilities = probabilities_[{layer, epoch}];
    if (probabilities.empty()) {
      probabilities = routing::expert_probabilities(setup_->popularity, setup_->seed, layer, choices, epoch);
    }
    const auto id = (static_cast<std::uint64_t>(epoch) << 32) | (static_cast<std::uint64_t>(group) << 20) |
                    (static_cast<std::uint64_t>(bucket) << 8) | static_cast<std::uint64_t>(i);
    routing::draw_expert_counts(setup_->popularity, setup_->seed, layer, id, tokens, moe.top_k, probabilities,
                                counts);
    load.rows_by_expert.assign(counts.begin(), counts.begin() + moe.experts);
    slowest_time.push_back(find_slowest(routed, load));
    drawn.push_back(load.rows_by_expert);
    sum += slowest_time.back().ps;
  }
  const auto mean = static_cast<std::int64_t>(sum / kDraws);
  std::size_t nearest = 0;
  for (std::size_t i = 1; i < slowest_time.size(); ++i) {
    if (std::abs(slowest_time[i].ps - mean) < std::abs(slowest_time[nearest].ps - mean)) nearest = i;
  }
  return std::move(drawn[nearest]);
}

RoutedLoad RoutedLoads::load(std::size_t group, std::int64_t tokens, std::int64_t epoch) {
  const std::int64_t bucket = token_bucket(tokens);
  const std::int64_t drawn = drawn_tokens(group, tokens);
  RoutedLoad load;
  load.shards = setup_->layout.ep;
  if (memo_) {
    const Key key{group, bucket, drawn, epoch};
    auto found = counts_.find(key);
    if (found == counts_.end()) found = counts_.emplace(key, draw(group, bucket, drawn, epoch)).first;
    load.rows_by_expert = found->second;
  } else {
    load.rows_by_expert = draw(group, bucket, drawn, epoch);
  }
  scale_rows(load.rows_by_expert, tokens, drawn);
  std::vector<llm::Operator> routed = routed_operators(group, tokens);
  find_slowest(routed, load);
  return load;
}

}  // namespace moesim::execution
