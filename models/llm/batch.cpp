#include "models/llm/batch.hpp"

#include <algorithm>

#include "sim/core/check.hpp"
#include "sim/core/integers.hpp"

namespace moesim::llm {

namespace {

std::int64_t round_up(std::int64_t value, std::int64_t unit) { return core::divide_up(value, unit) * unit; }

// Folds one field into a hash (splitmix64 finaliser, Steele et al., OOPSLA 2014).
std::uint64_t mix(std::uint64_t state, std::int64_t value) {
  std::uint64_t z = state + 0x9e3779b97f4a7c15ULL + static_cast<std::uint64_t>(value);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

std::uint64_t mix(std::uint64_t state, const AttentionLoad& load) {
  return mix(mix(mix(mix(state, load.sequences), load.query_tokens), load.pairs), load.kv_tokens);
}

}  // namespace

AttentionLoad& AttentionLoad::operator+=(const AttentionLoad& other) {
  sequences += other.sequences;
  query_tokens += other.query_tokens;
  pairs += other.pairs;
  kv_tokens += other.kv_tokens;
  return *this;
}

AttentionLoads& AttentionLoads::operator+=(const AttentionLoads& other) {
  prefill += other.prefill;
  decode += other.decode;
  return *this;
}

RankBatch& RankBatch::operator+=(const RankBatch& other) {
  tokens += other.tokens;
  logit_sequences += other.logit_sequences;
  sequences += other.sequences;
  decode_sequences += other.decode_sequences;
  for (std::size_t i = 0; i < loads.size(); ++i) loads[i] += other.loads[i];
  return *this;
}

BatchRule batch_rule(const Architecture& architecture, std::int64_t block_tokens) {
  return {block_tokens, key_rules(architecture)};
}

namespace {

// One new token behind `context` cached ones: the last query of the block that it enters.
AttentionLoad decode_load(const KeyRule& rule, std::int64_t context, std::int64_t block) {
  std::int64_t keys = keys_of_query(rule, round_up(context + 1, block) - 1);
  if (rule.chunk > 0) keys = std::min(rule.chunk, round_up(context % rule.chunk + 1, block));
  return {1, 1, keys, keys};
}

void add_load(AttentionLoads& loads, const KeyRule& rule, const SequenceChunk& chunk, std::int64_t block) {
  if (chunk.new_tokens == 1) {
    loads.decode += decode_load(rule, chunk.context_tokens, block);
    return;
  }
  const std::int64_t context = round_up(chunk.context_tokens, block);
  const AttentionLoad load{1, chunk.new_tokens, visible_pairs(rule, context, chunk.new_tokens),
                           visible_keys(rule, context, chunk.new_tokens)};
  const bool absorbed = load.pairs * rule.naive_saves_per_pair < context * rule.expand_per_key;
  (absorbed ? loads.decode : loads.prefill) += load;
}

}  // namespace

void add_chunk(RankBatch& batch, const SequenceChunk& chunk, const BatchRule& rule) {
  core::check(chunk.new_tokens >= 1 && chunk.context_tokens >= 0 && rule.block_tokens >= 1,
              "a chunk needs new tokens, a context and a block size");
  core::check(rule.rules.size() <= batch.loads.size(), "more rules of visible keys than a batch can hold");
  for (std::size_t i = 0; i < rule.rules.size(); ++i)
    add_load(batch.loads[i], rule.rules[i], chunk, rule.block_tokens);
  batch.tokens += chunk.new_tokens;
  batch.logit_sequences += chunk.needs_logits ? 1 : 0;
  ++batch.sequences;
  batch.decode_sequences += chunk.new_tokens == 1 ? 1 : 0;
}

}  // namespace moesim::llm

std::size_t std::hash<moesim::llm::RankBatch>::operator()(
    const moesim::llm::RankBatch& batch) const noexcept {
  using moesim::llm::mix;
  std::uint64_t state = mix(mix(mix(0, batch.tokens), batch.logit_sequences), batch.decode_sequences);
  for (const moesim::llm::AttentionLoads& loads : batch.loads) {
    // Rules that the model does not have stay empty: leave them out, and say which ones are there.
    if (loads.prefill.sequences + loads.decode.sequences == 0) continue;
    state = mix(mix(mix(state, &loads - batch.loads.data()), loads.prefill), loads.decode);
  }
  return static_cast<std::size_t>(state);
}
