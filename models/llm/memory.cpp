#include "models/llm/memory.hpp"

#include <algorithm>

#include "models/llm/weights.hpp"
#include "sim/core/integers.hpp"

namespace moesim::llm {

namespace {

constexpr std::int64_t kBiasBytes = 2;       // biases and norms are bf16
constexpr std::int64_t kScoreBiasBytes = 4;  // e_score_correction_bias is f32

void add_ffn(const DenseFfn& ffn, std::int64_t layers, const Architecture& architecture, const Layout& layout,
             NumberFormat weights, ByCategory& bytes) {
  const auto list =
      gated_matrices(GemmRole::gate_up, GemmRole::down, architecture.hidden_size, ffn.width / layout.tp);
  bytes.dense_ffn += layers * list.bytes(weights);
}

void add_ffn(const MoeFfn& ffn, std::int64_t layers, const Architecture& architecture, const Layout& layout,
             NumberFormat weights, ByCategory& bytes) {
  const std::int64_t hidden = architecture.hidden_size;
  const auto expert = gated_matrices(GemmRole::expert_gate_up, GemmRole::expert_down, hidden,
                                     ffn.expert_width / layout.moe_tp());
  const auto shared = gated_matrices(GemmRole::shared_gate_up, GemmRole::shared_down, hidden,
                                     ffn.total_shared_width() / shared_expert_shards(layout));
  bytes.routed_experts += layers * (ffn.experts / layout.ep) * expert.bytes(weights);
  bytes.shared_experts += layers * (shared.bytes(weights) + (ffn.shared_gate ? hidden * kStreamBytes : 0));
  bytes.router +=
      layers * ffn.experts * (hidden * kStreamBytes + (ffn.router_score_bias ? kScoreBiasBytes : 0));
}

ByCategory bytes_of(const Architecture& architecture, const Layout& layout, NumberFormat weights,
                    std::int64_t vocab) {
  const std::int64_t hidden = architecture.hidden_size;
  ByCategory bytes;
  bytes.embedding = vocab * hidden * kStreamBytes;
  bytes.head = (architecture.tied_embeddings ? 0 : vocab * hidden * kStreamBytes) +
               (architecture.head_bias ? vocab * kBiasBytes : 0);
  bytes.norms = architecture.norm_weights() * kBiasBytes;
  for (const LayerGroup& group : architecture.layers) {
    std::visit(
        [&](const auto& attention) {
          bytes.attention += group.count * (attention_matrices(attention, hidden, layout.tp).bytes(weights) +
                                            attention_biases(attention, hidden, layout.tp) * kBiasBytes);
          bytes.norms += group.count *
                         (architecture.norms_per_layer() * architecture.norm_weights() +
                          attention_norms(attention, layout.tp)) *
                         kBiasBytes;
        },
        group.attention);
    std::visit([&](const auto& ffn) { add_ffn(ffn, group.count, architecture, layout, weights, bytes); },
               group.ffn);
  }
  return bytes;
}

std::int64_t layer_kv_bytes(const GroupedQueryAttention& attention, std::int64_t tp, NumberFormat kv) {
  return 2 * kv_heads_per_rank(attention, tp) * row_bytes(attention.head_dim, kv);
}

std::int64_t layer_kv_bytes(const LatentAttention& attention, std::int64_t, NumberFormat kv) {
  return row_bytes(attention.cached_dim(), kv);
}

std::int64_t kv_bytes(const Architecture& architecture, std::int64_t tp, NumberFormat kv) {
  std::int64_t bytes = 0;
  for (const LayerGroup& group : architecture.layers) {
    bytes +=
        group.count *
        std::visit([&](const auto& attention) { return layer_kv_bytes(attention, tp, kv); }, group.attention);
  }
  return bytes;
}

// Live bf16 elements per token in one layer's attention on one rank, without the residual stream.
std::int64_t attention_live(const GroupedQueryAttention& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t queries = attention.query_heads / tp * attention.head_dim;
  return hidden + 2 * queries + 2 * kv_heads_per_rank(attention, tp) * attention.head_dim;
}

std::int64_t attention_live(const LatentAttention& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t per_head = 2 * attention.naive_key_dim() + 2 * attention.v_head_dim;  // q, k, v, output
  return hidden + attention.q_lora_rank + attention.cached_dim() + attention.heads / tp * per_head;
}

// Live bytes of one layer's FFN on one rank, without the residual stream.
std::int64_t ffn_live(const DenseFfn& ffn, std::int64_t hidden, const Layout& layout, const Formats&,
                      std::int64_t tokens) {
  return tokens * (hidden + 3 * (ffn.width / layout.tp)) * kStreamBytes;
}

std::int64_t ffn_live(const MoeFfn& ffn, std::int64_t hidden, const Layout& layout, const Formats& formats,
                      std::int64_t tokens) {
  const MoeExchange exchange = moe_exchange(layout);
  const std::int64_t group_tokens = tokens * layout.dp;
  std::int64_t own_tokens = tokens;  // whose normed input, routed and shared experts are on this rank
  if (exchange == MoeExchange::dispatch) own_tokens = core::divide_up(tokens, layout.tp);
  if (exchange == MoeExchange::gather_scatter) own_tokens = group_tokens;
  const std::int64_t rows = core::divide_up(group_tokens * ffn.top_k, layout.ep);
  const std::int64_t width = ffn.expert_width / layout.moe_tp();
  const std::int64_t shared = ffn.total_shared_width() / shared_expert_shards(layout);
  const std::int64_t row =
      row_bytes(hidden, formats.linear_activations()) + (3 * width + hidden) * kStreamBytes;
  return tokens * hidden * kStreamBytes + own_tokens * (hidden + 3 * shared) * kStreamBytes + rows * row;
}

}  // namespace

ByCategory weight_bytes(const Architecture& architecture, const Formats& formats) {
  return bytes_of(architecture, Layout{}, formats.weights, architecture.vocab_size);
}

ByCategory weight_bytes_per_rank(const Architecture& architecture, const Layout& layout,
                                 const Formats& formats) {
  return bytes_of(architecture, layout, formats.weights, padded_vocab(architecture, layout) / layout.tp);
}

std::int64_t kv_bytes_per_token(const Architecture& architecture, NumberFormat kv) {
  return kv_bytes(architecture, 1, kv);
}

std::int64_t kv_bytes_per_token_per_rank(const Architecture& architecture, const Layout& layout,
                                         NumberFormat kv) {
  return kv_bytes(architecture, layout.tp, kv);
}

std::int64_t activation_peak_bytes(const Architecture& architecture, const Layout& layout,
                                   const Formats& formats, const StepShape& step) {
  const std::int64_t hidden = architecture.hidden_size;
  const std::int64_t vocab = padded_vocab(architecture, layout);
  // The rank's slice and the gathered row in bf16 (one and the same when tp = 1), and the fp32 copy.
  const std::int64_t slice = layout.tp > 1 ? vocab / layout.tp : 0;
  std::int64_t largest = step.logit_sequences * ((slice + vocab) * kStreamBytes + vocab * 4);
  for (const LayerGroup& group : architecture.layers) {
    const std::int64_t attention =
        step.tokens * kStreamBytes *
        std::visit([&](const auto& shape) { return attention_live(shape, hidden, layout.tp); },
                   group.attention);
    const std::int64_t ffn = std::visit(
        [&](const auto& shape) { return ffn_live(shape, hidden, layout, formats, step.tokens); }, group.ffn);
    largest = std::max({largest, attention, ffn});
  }
  return step.tokens * hidden * kStreamBytes + largest;
}

ExchangeBuffers exchange_buffers(const Architecture& architecture, const Layout& layout,
                                 const Formats& formats, std::int64_t max_tokens_per_rank) {
  ExchangeBuffers buffers;
  if (moe_exchange(layout) != MoeExchange::dispatch) return buffers;
  for (const LayerGroup& group : architecture.layers) {
    const auto* moe = std::get_if<MoeFfn>(&group.ffn);
    if (moe == nullptr) continue;
    const std::int64_t rows = moe->experts / layout.ep * max_tokens_per_rank * layout.ep;
    buffers.dispatch_bytes = std::max(
        buffers.dispatch_bytes, rows * row_bytes(architecture.hidden_size, formats.linear_activations()));
    buffers.combine_bytes = std::max(buffers.combine_bytes, rows * architecture.hidden_size * kStreamBytes);
  }
  return buffers;
}

}  // namespace moesim::llm
