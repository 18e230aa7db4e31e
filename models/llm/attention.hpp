// The kinds of attention that a layer may have.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "sim/config/record.hpp"

namespace moesim::llm {

// Scores blocks of keys and keeps the best (MiniMax-M3): queries read whole blocks, the own one always.
struct BlockIndexer {
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t block_tokens = 0;
  std::int64_t top_blocks = 0;    // chosen by score
  std::int64_t local_blocks = 0;  // the latest ones, always kept

  // Keys that a query reads once the context is longer.
  [[nodiscard]] std::int64_t kept_tokens() const { return (top_blocks + local_blocks) * block_tokens; }
  bool operator==(const BlockIndexer&) const = default;
};

// Multi-head, grouped-query and multi-query attention: every group of query heads shares one head of the KV
// cache.
struct GroupedQueryAttention {
  std::int64_t query_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t value_head_dim = 0;  // width of a value; 0: head_dim (MiMo-V2-Flash differs)
  bool query_key_norm = false;      // RMSNorm over each head of q and k (Qwen3)
  // The norm is over all heads at once, with a weight for each of their elements (OLMoE, MiniMax-M2).
  bool query_key_norm_over_heads = false;
  bool query_key_norm_weightless = false;  // the norm has no weights (Llama 4)
  bool qkv_bias = false;
  bool output_bias = false;
  bool position_free = false;      // no rotation (NoPE layers of Llama 4)
  std::int64_t rotated_dim = 0;    // elements of a head that are rotated (GLM-4.5: half of them); 0: all
  bool score_cap = false;          // scores pass through cap * tanh(score / cap) (Grok-1)
  bool sinks = false;              // a learned score per query head joins the sum of the softmax (gpt-oss)
  bool output_gate = false;        // the heads' output is multiplied by sigmoid of a projection (Qwen3-Next)
  std::int64_t window_tokens = 0;  // a query sees so many tokens, its own included; 0: all before it
  std::int64_t chunk_tokens = 0;   // a query sees the tokens of its own chunk of so many (Llama 4); 0: all
  std::optional<BlockIndexer> block_indexer = std::nullopt;

  // Elements of a head that are rotated, with the default applied.
  [[nodiscard]] std::int64_t rotation() const {
    if (position_free) return 0;
    return rotated_dim > 0 ? rotated_dim : head_dim;
  }
  [[nodiscard]] std::int64_t value_dim() const { return value_head_dim > 0 ? value_head_dim : head_dim; }
  bool operator==(const GroupedQueryAttention&) const = default;
};

// Scores all keys in a small space and keeps the best `top_k` (the lightning indexer of DeepSeek Sparse
// Attention, DeepSeek-V3.2).
struct TokenIndexer {
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t top_k = 0;
  // The layer uses the choice of an earlier layer and computes none (GLM-5.2). Its cache of index keys is
  // allocated all the same.
  bool shared = false;
  bool operator==(const TokenIndexer&) const = default;
};

// Multi-head latent attention (DeepSeek-V2/V3, arXiv 2405.04434): the cache holds one latent row and one
// rotated key per token, shared by all heads.
struct LatentAttention {
  std::int64_t heads = 0;
  std::int64_t q_lora_rank = 0;    // 0: queries are projected directly
  std::int64_t kv_lora_rank = 0;   // width of the cached latent row
  std::int64_t rope_head_dim = 0;  // width of the rotated part of a key, cached once for all heads
  std::int64_t nope_head_dim = 0;
  std::int64_t v_head_dim = 0;
  bool position_free = false;  // the part for the rotation is there but not rotated (Kimi K3)
  bool output_gate = false;    // the heads' output is multiplied by sigmoid of a projection (Kimi K3)
  std::optional<TokenIndexer> indexer = std::nullopt;

  // Width of one query or key when keys and values are expanded per head ("naive" form).
  [[nodiscard]] std::int64_t naive_key_dim() const { return nope_head_dim + rope_head_dim; }
  // Width of one cached row, and of a query in the absorbed form, where the latent row itself is key and
  // value.
  [[nodiscard]] std::int64_t cached_dim() const { return kv_lora_rank + rope_head_dim; }
  bool operator==(const LatentAttention&) const = default;
};

// Attention over a sliding window and over keys that were pooled (DeepSeek-V4): one shared head is key and
// value at once, with sinks. `ratio` tokens are pooled to one entry; with an indexer the best entries are
// kept (CSA), without one all are (HCA). Output by a grouped low-rank projection.
struct CompressedAttention {
  std::int64_t query_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t rope_head_dim = 0;
  std::int64_t q_lora_rank = 0;
  std::int64_t output_groups = 0;
  std::int64_t output_lora_rank = 0;
  std::int64_t window_tokens = 0;
  std::int64_t ratio = 0;    // tokens that become one entry; 0: the window only
  bool overlapping = false;  // an entry pools the tokens of two windows (ratio 4 of DeepSeek-V4)
  std::optional<TokenIndexer> indexer = std::nullopt;  // over the pooled entries

  bool operator==(const CompressedAttention&) const = default;
};

enum class RecurrentKind : std::uint8_t {
  gated_delta,  // gated delta rule (Qwen3-Next, arXiv 2412.06464)
  kimi_delta,   // Kimi delta attention: a decay per channel (Kimi Linear)
  mamba2,       // state-space duality (arXiv 2405.21060)
  lightning,    // linear attention with a fixed decay per head (MiniMax-01)
};

// Layers whose state has a constant size: linear attention and state-space layers. The state of a sequence is
// value_heads matrices of key_dim x value_dim, in fp32, and the last convolution - 1 inputs of each channel.
struct RecurrentAttention {
  RecurrentKind recurrence = RecurrentKind::gated_delta;
  std::int64_t key_heads = 0;    // heads of queries and keys; mamba2: groups of B and C
  std::int64_t value_heads = 0;  // heads of the state; mamba2: heads
  std::int64_t key_dim = 0;      // mamba2: state size
  std::int64_t value_dim = 0;    // mamba2: head dimension
  std::int64_t convolution = 0;  // width of the short convolution over queries, keys and values; 0: none
  std::int64_t gate_rank = 0;    // kimi_delta: rank of the output gate; 0: a full projection
  // Prompts are computed in chunks of so many tokens: the recurrence between chunks, products of matrices
  // inside. A choice of the kernels; 64 is that of flash-linear-attention (chunk_size of its delta rules).
  std::int64_t chunk_tokens = 64;

  // Channels that pass the convolution.
  [[nodiscard]] std::int64_t channels() const { return 2 * key_heads * key_dim + value_heads * value_dim; }
  bool operator==(const RecurrentAttention&) const = default;
};

// A layer without attention (Nemotron-H has such).
struct NoAttention {
  bool operator==(const NoAttention&) const = default;
};

using AttentionShape = std::variant<GroupedQueryAttention, LatentAttention, CompressedAttention,
                                    RecurrentAttention, NoAttention>;

[[nodiscard]] const config::Record<BlockIndexer>& record_of(config::Type<BlockIndexer>);
[[nodiscard]] const config::Record<TokenIndexer>& record_of(config::Type<TokenIndexer>);
[[nodiscard]] const config::Record<GroupedQueryAttention>& record_of(config::Type<GroupedQueryAttention>);
[[nodiscard]] const config::Record<LatentAttention>& record_of(config::Type<LatentAttention>);
[[nodiscard]] const config::Record<CompressedAttention>& record_of(config::Type<CompressedAttention>);
[[nodiscard]] const config::Record<RecurrentAttention>& record_of(config::Type<RecurrentAttention>);
[[nodiscard]] const config::Record<NoAttention>& record_of(config::Type<NoAttention>);

}  // namespace moesim::llm

template <>
struct moesim::config::EnumNames<moesim::llm::RecurrentKind> {
  using K = moesim::llm::RecurrentKind;
  static constexpr EnumName<K> table[] = {
      {K::gated_delta, "gated_delta", "gated delta rule (Qwen3-Next)"},
      {K::kimi_delta, "kimi_delta", "Kimi delta attention: a decay per channel"},
      {K::mamba2, "mamba2", "Mamba-2 state-space layer"},
      {K::lightning, "lightning", "linear attention with a fixed decay per head (MiniMax-01)"},
  };
};

template <>
struct moesim::config::VariantTag<moesim::llm::AttentionShape> {
  static constexpr std::string_view key = "kind";
  static constexpr std::string_view names[] = {"grouped_query", "latent", "compressed", "recurrent", "none"};
};
