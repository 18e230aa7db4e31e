#include "models/routing/replay.hpp"

#include <algorithm>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::routing {

ReplayLayer::ReplayLayer(std::int64_t experts, std::int64_t top_k)
    : top_k_(top_k), counts_(static_cast<std::size_t>(experts)) {
  core::check(experts >= 1 && top_k >= 1 && top_k <= experts,
              "a token cannot choose more experts than there are");
}

void ReplayLayer::add_record(std::span<const std::uint16_t> experts) {
  core::check(std::cmp_equal(experts.size() % static_cast<std::size_t>(top_k_), 0),
              "a record has whole tokens");
  if (experts.empty()) return;
  const auto tokens = static_cast<std::int64_t>(experts.size()) / top_k_;
  for (const std::uint16_t expert : experts) {
    core::check(expert < counts_.size(), "a record names the experts of the model");
    ++counts_[expert];
  }
  experts_.insert(experts_.end(), experts.begin(), experts.end());
  starts_.push_back(tokens_);
  starts_by_size_[tokens].push_back(tokens_);
  tokens_ += tokens;
}

std::span<const std::int64_t> ReplayLayer::starts_for(std::int64_t tokens) const {
  const auto found = starts_by_size_.find(tokens);
  return found == starts_by_size_.end() ? starts_ : found->second;
}

void ReplayLayer::count_from(std::int64_t first, std::int64_t tokens, std::span<std::int64_t> counts) const {
  core::check(tokens_ > 0 && first >= 0 && first < tokens_ && tokens >= 0,
              "a replay starts at a token of its layer");
  core::check(counts.size() == counts_.size(), "one count per expert");
  const std::int64_t rounds = tokens / tokens_;
  for (std::size_t e = 0; e < counts.size(); ++e) counts[e] = rounds * counts_[e];
  const auto add = [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from * top_k_; i < to * top_k_; ++i)
      ++counts[experts_[static_cast<std::size_t>(i)]];
  };
  const std::int64_t rest = tokens % tokens_;
  const std::int64_t before_end = std::min(rest, tokens_ - first);
  add(first, first + before_end);
  add(0, rest - before_end);
}

const ReplayLayer& Replay::layer(std::int64_t model_layer) const {
  core::check(model_layer >= 0 && std::cmp_less(model_layer, layer_of.size()) &&
                  layer_of[static_cast<std::size_t>(model_layer)] < layers.size(),
              "this layer of the model has no experts to replay");
  return layers[layer_of[static_cast<std::size_t>(model_layer)]];
}

}  // namespace moesim::routing
