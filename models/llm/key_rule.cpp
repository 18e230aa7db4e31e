#include "models/llm/key_rule.hpp"

#include <algorithm>

#include "sim/core/check.hpp"

namespace moesim::llm {

namespace {

// Sum of 1, ..., n.
std::int64_t triangle(std::int64_t n) { return n * (n + 1) / 2; }

// Sum of min(floor(m / ratio), limit) for m = 1, ..., n.
std::int64_t limited_sum(const KeyRule& rule, std::int64_t n) {
  const std::int64_t ratio = rule.ratio;
  const bool limited = rule.limit > 0 && n / ratio > rule.limit;
  // Up to this m the count still grows.
  const std::int64_t grows = limited ? rule.limit * ratio : n;
  const std::int64_t whole = grows / ratio;  // value at `grows`, reached by grows % ratio + 1 of them
  const std::int64_t sum = ratio * triangle(whole - 1) + whole * (grows % ratio + 1);
  return sum + (n - grows) * rule.limit;
}

// Sum of (p % chunk + 1) for p = 0, ..., n - 1. A chunk may be far longer than any context.
std::int64_t chunk_sum(std::int64_t chunk, std::int64_t n) {
  return n < chunk ? triangle(n) : n / chunk * triangle(chunk) + triangle(n % chunk);
}

void add(std::vector<KeyRule>& rules, const KeyRule& rule) {
  if (std::find(rules.begin(), rules.end(), rule) == rules.end()) rules.push_back(rule);
}

void add_rules(const GroupedQueryAttention& attention, std::vector<KeyRule>& rules) {
  add(rules, main_rule(attention));
  if (attention.block_indexer) add(rules, score_rule(1));
}

void add_rules(const LatentAttention& attention, std::vector<KeyRule>& rules) {
  add(rules, main_rule(attention));
  if (attention.indexer && !attention.indexer->shared) add(rules, score_rule(1));
}

void add_rules(const CompressedAttention& attention, std::vector<KeyRule>& rules) {
  add(rules, window_rule(attention));
  if (attention.ratio == 0) return;
  add(rules, pooled_rule(attention));
  if (attention.indexer) add(rules, score_rule(attention.ratio));
}

void add_rules(const RecurrentAttention&, std::vector<KeyRule>&) {}
void add_rules(const NoAttention&, std::vector<KeyRule>&) {}

}  // namespace

std::int64_t keys_of_query(const KeyRule& rule, std::int64_t position) {
  if (rule.chunk > 0) return position % rule.chunk + 1;
  const std::int64_t entries = (position + 1) / rule.ratio;
  return rule.limit > 0 ? std::min(entries, rule.limit) : entries;
}

std::int64_t visible_pairs(const KeyRule& rule, std::int64_t first, std::int64_t queries) {
  core::check(first >= 0 && queries >= 0, "queries stand at positions from 0");
  if (rule.chunk > 0) return chunk_sum(rule.chunk, first + queries) - chunk_sum(rule.chunk, first);
  return limited_sum(rule, first + queries) - limited_sum(rule, first);
}

std::int64_t visible_keys(const KeyRule& rule, std::int64_t first, std::int64_t queries) {
  if (queries == 0) return 0;
  const std::int64_t end = first + queries;
  if (rule.chunk > 0) return end - first / rule.chunk * rule.chunk;
  const std::int64_t entries = end / rule.ratio;
  if (rule.limit == 0) return entries;
  if (rule.latest) return std::min(entries, rule.limit + queries - 1);
  return std::min(entries, visible_pairs(rule, first, queries));
}

KeyRule main_rule(const GroupedQueryAttention& attention) {
  KeyRule rule;
  rule.chunk = attention.chunk_tokens;
  rule.limit = attention.window_tokens;
  rule.latest = attention.window_tokens > 0;
  if (attention.block_indexer) rule.limit = attention.block_indexer->kept_tokens();
  return rule;
}

// With latent rank r, rope width p, nope width n and value width v the absorbed form spends 2r + p per pair
// and the naive form n + p + v; expanding costs r (n + v) per key of the context (per new token both forms
// pay the same, the absorbed one for its queries and results).
KeyRule main_rule(const LatentAttention& attention) {
  KeyRule rule;
  rule.limit = attention.indexer ? attention.indexer->top_k : 0;
  rule.naive_saves_per_pair =
      attention.cached_dim() + attention.kv_lora_rank - attention.naive_key_dim() - attention.v_head_dim;
  rule.expand_per_key = attention.kv_lora_rank * (attention.nope_head_dim + attention.v_head_dim);
  return rule;
}

KeyRule window_rule(const CompressedAttention& attention) {
  KeyRule rule;
  rule.limit = attention.window_tokens;
  rule.latest = true;
  return rule;
}

KeyRule pooled_rule(const CompressedAttention& attention) {
  KeyRule rule;
  rule.ratio = attention.ratio;
  rule.limit = attention.indexer ? attention.indexer->top_k : 0;
  return rule;
}

KeyRule score_rule(std::int64_t ratio) {
  KeyRule rule;
  rule.ratio = ratio;
  return rule;
}

std::vector<KeyRule> key_rules(const Architecture& architecture) {
  std::vector<KeyRule> rules;
  const auto visit = [&](const AttentionShape& shape) {
    std::visit([&](const auto& attention) { add_rules(attention, rules); }, shape);
  };
  for (const LayerGroup& group : architecture.layers) visit(group.attention);
  if (architecture.prediction) visit(architecture.prediction->attention);
  return rules;
}

}  // namespace moesim::llm
