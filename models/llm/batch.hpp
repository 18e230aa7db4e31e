// What one rank computes in a step, summed up: exactly what its time depends on, and nothing else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/key_rule.hpp"

namespace moesim::llm {

// The tokens of one sequence in one step.
struct SequenceChunk {
  std::int64_t new_tokens = 0;      // >= 1
  std::int64_t context_tokens = 0;  // already in the KV cache
  bool needs_logits = true;         // false for a prompt chunk that is not the last
};

// Attention of the sequences that one kernel serves together. Additive.
struct AttentionLoad {
  std::int64_t sequences = 0;
  std::int64_t query_tokens = 0;
  std::int64_t pairs = 0;      // unmasked (query, key) pairs of one head
  std::int64_t kv_tokens = 0;  // keys read, once per sequence

  AttentionLoad& operator+=(const AttentionLoad& other);
  bool operator==(const AttentionLoad&) const = default;
};

// The attention of a batch under one rule of visible keys, by the kernel that serves it.
struct AttentionLoads {
  AttentionLoad prefill;
  // Sequences of the decode kernel: one new token, or (latent attention) few enough to be cheaper in absorbed
  // form.
  AttentionLoad decode;

  AttentionLoads& operator+=(const AttentionLoads& other);
  bool operator==(const AttentionLoads&) const = default;
};

// The work of one data-parallel rank in one step, and a memo key. Additive, so the order of chunks does not
// matter.
struct RankBatch {
  std::int64_t tokens = 0;
  std::int64_t logit_sequences = 0;
  std::int64_t sequences = 0;
  std::int64_t decode_sequences = 0;  // of one new token
  // Context parallelism: KV rows that this rank passes to the next one, those of prefill sequences.
  std::int64_t ring_tokens = 0;
  std::array<AttentionLoads, kMostKeyRules> loads;  // by BatchRule::rules

  RankBatch& operator+=(const RankBatch& other);
  bool operator==(const RankBatch&) const = default;
};

// How chunks of one model are counted.
struct BatchRule {
  // Context is rounded up to whole blocks of so many tokens; 1 counts exactly.
  std::int64_t block_tokens = 64;
  std::vector<KeyRule> rules = {KeyRule{}};  // at most kMostKeyRules
};

// The rule of a model: key_rules() of its layers.
[[nodiscard]] BatchRule batch_rule(const Architecture& architecture, std::int64_t block_tokens);

// Adds one chunk.
//  - One new token runs in the decode kernel, with context + 1 keys rounded up to whole blocks: kernels read
//  and
//    multiply whole tiles of 64 or 128 keys, and consecutive steps have equal batches until a block is
//    entered.
//  - More new tokens run in the prefill kernel: the context is rounded up to whole blocks, the new tokens'
//  own
//    pairs are exact. With latent attention the chunk moves to the decode kernel where that needs fewer
//    multiply-accumulates, or where its queries choose different keys (sparse attention).
// Throws core::InvariantError unless new_tokens >= 1, context_tokens >= 0, block_tokens >= 1.
void add_chunk(RankBatch& batch, const SequenceChunk& chunk, const BatchRule& rule);

// Adds one chunk to context-parallel ranks. New tokens are cut into 2 x ranks pieces, of which rank r
// computes the ones numbered r and 2 x ranks - 1 - r (zigzag, arXiv 2411.01783): under a causal mask every
// rank has the same number of pairs where the pieces are equal. One new token goes to the rank with fewest
// tokens. The last token's logits are computed where it is. Pairs and tokens of all ranks together are those
// of add_chunk.
void add_chunk(std::span<RankBatch> ranks, const SequenceChunk& chunk, const BatchRule& rule);

}  // namespace moesim::llm

template <>
struct std::hash<moesim::llm::RankBatch> {
  std::size_t operator()(const moesim::llm::RankBatch& batch) const noexcept;
};
