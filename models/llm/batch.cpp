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
  ring_tokens += other.ring_tokens;
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

// Whether a chunk of latent attention needs fewer multiply-accumulates in absorbed form. Where its queries
// choose different keys there is no other form: sparse kernels read latent rows.
bool prefers_absorbed(const KeyRule& rule, std::int64_t context, std::int64_t new_tokens) {
  const bool chooses = rule.limit > 0 && context + new_tokens > rule.limit;
  if (chooses && rule.expand_per_key > 0) return true;
  return visible_pairs(rule, context, new_tokens) * rule.naive_saves_per_pair < context * rule.expand_per_key;
}

void add_load(AttentionLoads& loads, const KeyRule& rule, const SequenceChunk& chunk, std::int64_t block) {
  if (chunk.new_tokens == 1) {
    loads.decode += decode_load(rule, chunk.context_tokens, block);
    return;
  }
  const std::int64_t context = round_up(chunk.context_tokens, block);
  const AttentionLoad load{1, chunk.new_tokens, visible_pairs(rule, context, chunk.new_tokens),
                           visible_keys(rule, context, chunk.new_tokens)};
  (prefers_absorbed(rule, context, chunk.new_tokens) ? loads.decode : loads.prefill) += load;
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

void add_chunk(std::span<RankBatch> ranks, const SequenceChunk& chunk, const BatchRule& rule) {
  core::check(!ranks.empty(), "context parallelism needs at least one rank");
  if (ranks.size() == 1) {
    add_chunk(ranks.front(), chunk, rule);
    return;
  }
  if (chunk.new_tokens == 1) {
    add_chunk(*std::min_element(ranks.begin(), ranks.end(),
                                [](const RankBatch& a, const RankBatch& b) { return a.tokens < b.tokens; }),
              chunk, rule);
    return;
  }
  core::check(chunk.new_tokens >= 1 && chunk.context_tokens >= 0 && rule.block_tokens >= 1,
              "a chunk needs new tokens, a context and a block size");
  core::check(rule.rules.size() <= kMostKeyRules, "more rules of visible keys than a batch can hold");
  const auto count = static_cast<std::int64_t>(ranks.size());
  const std::int64_t context = round_up(chunk.context_tokens, rule.block_tokens);
  const std::int64_t pieces = 2 * count;
  const auto start = [&](std::int64_t piece) {
    return piece * (chunk.new_tokens / pieces) + std::min(piece, chunk.new_tokens % pieces);
  };
  for (std::int64_t r = 0; r < count; ++r) {
    RankBatch& batch = ranks[static_cast<std::size_t>(r)];
    std::int64_t tokens = 0;
    std::array<AttentionLoad, kMostKeyRules> loads{};
    for (const std::int64_t piece : {r, pieces - 1 - r}) {
      const std::int64_t first = start(piece), queries = start(piece + 1) - first;
      if (queries == 0) continue;
      tokens += queries;
      for (std::size_t i = 0; i < rule.rules.size(); ++i) {
        AttentionLoad& load = loads[i];
        load.sequences = 1;
        load.query_tokens += queries;
        load.pairs += visible_pairs(rule.rules[i], context + first, queries);
        // In windows and chunks the pieces see other keys; else both choose from those before the later
        // piece.
        const std::int64_t keys = load.kv_tokens + visible_keys(rule.rules[i], context + first, queries);
        const bool own_keys = rule.rules[i].chunk > 0 || rule.rules[i].latest;
        const std::int64_t all = (context + first + queries) / rule.rules[i].ratio;
        load.kv_tokens = own_keys ? keys : std::min(keys, all);
      }
    }
    batch.ring_tokens += core::divide_up(context, count) + tokens;
    if (tokens == 0) continue;
    for (std::size_t i = 0; i < rule.rules.size(); ++i) {
      const bool absorbed = prefers_absorbed(rule.rules[i], context, chunk.new_tokens);
      (absorbed ? batch.loads[i].decode : batch.loads[i].prefill) += loads[i];
    }
    batch.tokens += tokens;
    ++batch.sequences;
    // Rank 0 has the last piece, unless the pieces outnumber the tokens: then the last one that has any.
    const std::int64_t last = std::min(pieces, chunk.new_tokens) - 1;
    const bool has_last = r == std::min(last, pieces - 1 - last);
    batch.logit_sequences += chunk.needs_logits && has_last ? 1 : 0;
  }
}

}  // namespace moesim::llm

std::size_t std::hash<moesim::llm::RankBatch>::operator()(
    const moesim::llm::RankBatch& batch) const noexcept {
  using moesim::llm::mix;
  std::uint64_t state =
      mix(mix(mix(mix(0, batch.tokens), batch.logit_sequences), batch.decode_sequences), batch.ring_tokens);
  for (const moesim::llm::AttentionLoads& loads : batch.loads) {
    // Rules that the model does not have stay empty: leave them out, and say which ones are there.
    if (loads.prefill.sequences + loads.decode.sequences == 0) continue;
    state = mix(mix(mix(state, &loads - batch.loads.data()), loads.prefill), loads.decode);
  }
  return static_cast<std::size_t>(state);
}
