#include "models/llm/batch.hpp"

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

RankBatch& RankBatch::operator+=(const RankBatch& other) {
  tokens += other.tokens;
  logit_sequences += other.logit_sequences;
  prefill += other.prefill;
  decode += other.decode;
  return *this;
}

BatchRule batch_rule(const Architecture& architecture, std::int64_t block_tokens) {
  BatchRule rule{block_tokens, 0, 0};
  for (const LayerGroup& group : architecture.layers) {
    const auto* latent = std::get_if<LatentAttention>(&group.attention);
    if (latent == nullptr) continue;
    // All latent layers of an architecture have the same dimensions (checked when it is loaded).
    const std::int64_t absorbed = latent->cached_dim() + latent->kv_lora_rank;
    const std::int64_t naive = latent->naive_key_dim() + latent->v_head_dim;
    rule.naive_saves_per_pair = absorbed - naive;
    rule.expand_per_context_token = latent->kv_lora_rank * (latent->nope_head_dim + latent->v_head_dim);
    return rule;
  }
  return rule;
}

std::int64_t unmasked_pairs(std::int64_t queries, std::int64_t keys) {
  core::check(queries >= 0 && queries <= keys, "more queries than keys under a causal mask");
  return queries * keys - queries * (queries - 1) / 2;
}

void add_chunk(RankBatch& batch, const SequenceChunk& chunk, const BatchRule& rule) {
  core::check(chunk.new_tokens >= 1 && chunk.context_tokens >= 0 && rule.block_tokens >= 1,
              "a chunk needs new tokens, a context and a block size");
  AttentionLoad load{1, chunk.new_tokens, 0, 0};
  bool decode = chunk.new_tokens == 1;
  if (decode) {
    load.kv_tokens = round_up(chunk.context_tokens + 1, rule.block_tokens);
    load.pairs = load.kv_tokens;
  } else {
    const std::int64_t context = round_up(chunk.context_tokens, rule.block_tokens);
    load.kv_tokens = context + chunk.new_tokens;
    load.pairs = unmasked_pairs(chunk.new_tokens, load.kv_tokens);
    decode = load.pairs * rule.naive_saves_per_pair < context * rule.expand_per_context_token;
  }
  batch.tokens += chunk.new_tokens;
  batch.logit_sequences += chunk.needs_logits ? 1 : 0;
  (decode ? batch.decode : batch.prefill) += load;
}

}  // namespace moesim::llm

std::size_t std::hash<moesim::llm::RankBatch>::operator()(
    const moesim::llm::RankBatch& batch) const noexcept {
  using moesim::llm::mix;
  return static_cast<std::size_t>(
      mix(mix(mix(mix(0, batch.tokens), batch.logit_sequences), batch.prefill), batch.decode));
}
