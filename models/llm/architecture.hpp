// The shape of a large language model: what is computed, with no word about devices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/llm/formats.hpp"
#include "sim/config/record.hpp"

namespace moesim::llm {

// Multi-head, grouped-query and multi-query attention: every group of query heads shares one head of the KV
// cache.
struct GroupedQueryAttention {
  std::int64_t query_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  bool query_key_norm = false;  // RMSNorm over each head of q and k before the rotation (Qwen3)
  // The norm is over all heads at once, with a weight for each of their elements (OLMoE, MiniMax-M2).
  bool query_key_norm_over_heads = false;
  bool qkv_bias = false;
  bool output_bias = false;
  std::int64_t rotated_dim = 0;  // elements of a head that are rotated (GLM-4.5: half of them); 0: all
  bool score_cap = false;        // scores pass through cap * tanh(score / cap) (Grok-1)

  // Elements of a head that are rotated, with the default applied.
  [[nodiscard]] std::int64_t rotation() const { return rotated_dim > 0 ? rotated_dim : head_dim; }
  bool operator==(const GroupedQueryAttention&) const = default;
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

  // Width of one query or key when keys and values are expanded per head ("naive" form).
  [[nodiscard]] std::int64_t naive_key_dim() const { return nope_head_dim + rope_head_dim; }
  // Width of one cached row, and of a query in the absorbed form, where the latent row itself is key and
  // value.
  [[nodiscard]] std::int64_t cached_dim() const { return kv_lora_rank + rope_head_dim; }
  bool operator==(const LatentAttention&) const = default;
};

using AttentionShape = std::variant<GroupedQueryAttention, LatentAttention>;

// A gated feed-forward layer (SwiGLU): down(silu(gate(x)) * up(x)), three matrices.
struct DenseFfn {
  std::int64_t width = 0;
  bool operator==(const DenseFfn&) const = default;
};

// A mixture of gated experts; each token goes to `top_k` of `experts`, and to every shared expert.
struct MoeFfn {
  std::int64_t experts = 0;
  std::int64_t top_k = 0;
  std::int64_t expert_width = 0;
  std::int64_t shared_experts = 0;
  std::int64_t shared_width = 0;   // of each shared expert
  bool router_score_bias = false;  // a correction per expert that chooses but does not weigh (DeepSeek-V3)
  // The shared experts' result is multiplied by sigmoid(x . v), v of hidden_size weights (Qwen2-MoE).
  bool shared_gate = false;

  // Width of all shared experts side by side, as engines fuse them; 0 without shared experts.
  [[nodiscard]] std::int64_t total_shared_width() const { return shared_experts * shared_width; }
  bool operator==(const MoeFfn&) const = default;
};

using FfnShape = std::variant<DenseFfn, MoeFfn>;

// `count` equal transformer layers in a row. Every layer has a norm before attention and one before the FFN.
struct LayerGroup {
  std::int64_t count = 0;
  AttentionShape attention;
  FfnShape ffn;
  bool operator==(const LayerGroup&) const = default;
};

struct Architecture {
  std::string name;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  bool tied_embeddings = false;  // the output head is the embedding matrix
  bool head_bias = false;        // the output head has a bias (Phi-3.5-MoE)
  bool layer_norm = false;       // LayerNorm in place of RMSNorm before attention, FFN and head
  bool norm_bias = false;        // of these LayerNorms
  bool post_norms = false;       // norms also behind attention and FFN, before the residual add (Grok-1)
  std::int64_t max_context_tokens = 0;
  NumberFormat published_weights = NumberFormat::bf16;  // of the linear layers, in the published checkpoint
  std::vector<LayerGroup> layers;                       // in the order of the network
  std::map<std::string, std::string> sources;           // where the numbers come from

  // Number of transformer layers.
  [[nodiscard]] std::int64_t layer_count() const;
  // Weights of one norm over the residual stream.
  [[nodiscard]] std::int64_t norm_weights() const { return hidden_size * (norm_bias ? 2 : 1); }
  // Norms over the residual stream in each layer.
  [[nodiscard]] std::int64_t norms_per_layer() const { return post_norms ? 4 : 2; }
};

[[nodiscard]] const config::Record<GroupedQueryAttention>& record_of(config::Type<GroupedQueryAttention>);
[[nodiscard]] const config::Record<LatentAttention>& record_of(config::Type<LatentAttention>);
[[nodiscard]] const config::Record<DenseFfn>& record_of(config::Type<DenseFfn>);
[[nodiscard]] const config::Record<MoeFfn>& record_of(config::Type<MoeFfn>);
[[nodiscard]] const config::Record<LayerGroup>& record_of(config::Type<LayerGroup>);
[[nodiscard]] const config::Record<Architecture>& record_of(config::Type<Architecture>);

}  // namespace moesim::llm

template <>
struct moesim::config::VariantTag<moesim::llm::AttentionShape> {
  static constexpr std::string_view key = "kind";
  static constexpr std::string_view names[] = {"grouped_query", "latent"};
};

template <>
struct moesim::config::VariantTag<moesim::llm::FfnShape> {
  static constexpr std::string_view key = "kind";
  static constexpr std::string_view names[] = {"dense", "moe"};
};

template <>
struct moesim::config::CatalogueEntry<moesim::llm::Architecture> {
  static constexpr std::string_view folder = "models/zoo";
  static constexpr std::string_view noun = "model";
};
