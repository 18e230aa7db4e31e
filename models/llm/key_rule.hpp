// Which keys a query sees, and exact counts of (query, key) pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "models/llm/architecture.hpp"

namespace moesim::llm {

// The keys of a query at position p (from 0), its own token included:
//   chunk > 0:  p % chunk + 1
//   else:       floor((p + 1) / ratio) entries, at most `limit` of them where limit > 0.
// With `latest` the kept ones are the latest (a window); else any of them may be chosen (sparse attention).
struct KeyRule {
  std::int64_t ratio = 1;
  std::int64_t limit = 0;
  std::int64_t chunk = 0;
  bool latest = false;
  // Latent attention, per head: multiply-accumulates that the naive form saves per (query, key) pair, and
  // those that it spends to expand one key of the context. Zero for other layers.
  std::int64_t naive_saves_per_pair = 0;
  std::int64_t expand_per_key = 0;

  bool operator==(const KeyRule&) const = default;
};

// Different rules that one model may have.
inline constexpr std::size_t kMostKeyRules = 6;

// Keys of one query at `position` >= 0.
[[nodiscard]] std::int64_t keys_of_query(const KeyRule& rule, std::int64_t position);

// Pairs of the queries at positions first, ..., first + queries - 1: the sum of keys_of_query, in closed
// form.
[[nodiscard]] std::int64_t visible_pairs(const KeyRule& rule, std::int64_t first, std::int64_t queries);

// Keys that at least one of these queries may read, each once. Where keys are chosen by score it is an upper
// bound: the smaller of all keys and queries x limit.
[[nodiscard]] std::int64_t visible_keys(const KeyRule& rule, std::int64_t first, std::int64_t queries);

// The rules of the kernels of a layer's attention.
//  - grouped_query: one, of its window, chunk or blocks; with a block indexer a second for the scores.
//  - latent: one, limited by its indexer; with an indexer that is not shared a second for the scores.
//  - compressed: the window; with pooled entries those (limited by the indexer), and a third for its scores.
//  - others: none.
[[nodiscard]] KeyRule main_rule(const GroupedQueryAttention& attention);
[[nodiscard]] KeyRule main_rule(const LatentAttention& attention);
[[nodiscard]] KeyRule window_rule(const CompressedAttention& attention);
[[nodiscard]] KeyRule pooled_rule(const CompressedAttention& attention);
[[nodiscard]] KeyRule score_rule(std::int64_t ratio);

// All rules of a model's layers (and those for prediction), each once, in the order of the layers.
[[nodiscard]] std::vector<KeyRule> key_rules(const Architecture& architecture);

}  // namespace moesim::llm
