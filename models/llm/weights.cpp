#include "models/llm/weights.hpp"

#include "models/llm/layout.hpp"
#include "sim/core/check.hpp"

namespace moesim::llm {

const WeightMatrix& MatrixList::of(GemmRole role) const {
  for (const WeightMatrix& matrix : *this) {
    if (matrix.role == role) return matrix;
  }
  core::fail_invariant("the layer has no matrix of this role");
}

WeightKind weight_kind(GemmRole role) {
  using R = GemmRole;
  switch (role) {
    case R::query_key_value:
    case R::latent_down:
    case R::query_up:
    case R::key_value_up:
    case R::query_absorb:
    case R::value_absorb:
    case R::attention_output:
    case R::attention_gate:
    case R::index_query:
    case R::index_down:
    case R::output_down:
    case R::pooling:
    case R::recurrent_in:
    case R::recurrent_gate_down:
    case R::recurrent_gate_up:
    case R::decay_down:
    case R::decay_up:
      return WeightKind::attention;
    case R::gate_up:
    case R::down:
    case R::shared_gate_up:
    case R::shared_down:
    case R::expert_latent_down:
    case R::expert_latent_up:
    case R::prediction_join:
      return WeightKind::dense;
    case R::expert_gate_up:
    case R::expert_down:
      return WeightKind::experts;
    case R::head:
    case R::shared_gate:
    case R::hyper_connection:
      break;
  }
  core::fail_invariant("the matrix has a format of its own, not that of the deployment");
}

std::int64_t MatrixList::elements() const {
  std::int64_t sum = 0;
  for (const WeightMatrix& matrix : *this) sum += matrix.outputs * matrix.inputs;
  return sum;
}

std::int64_t MatrixList::bytes(NumberFormat format) const {
  std::int64_t sum = 0;
  for (const WeightMatrix& matrix : *this) sum += matrix_bytes(matrix.outputs, matrix.inputs, format);
  return sum;
}

namespace {

using Grouped = GroupedQueryAttention;
using Latent = LatentAttention;
using Compressed = CompressedAttention;
using Recurrent = RecurrentAttention;

MatrixList matrices(const Grouped& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t heads = attention.query_heads / tp;
  const std::int64_t values = heads * attention.value_dim();
  const std::int64_t kv_width =
      kv_heads_per_rank(attention, tp) * (attention.head_dim + attention.value_dim());
  const std::int64_t gate = attention.output_gate ? values : 0;
  MatrixList list;
  list.add({GemmRole::query_key_value, heads * attention.head_dim + gate + kv_width, hidden});
  list.add({GemmRole::attention_output, hidden, values});
  if (const auto& indexer = attention.block_indexer)
    list.add({GemmRole::index_down, (indexer->heads + 1) * indexer->head_dim, hidden});
  return list;
}

MatrixList matrices(const Latent& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t heads = attention.heads / tp;
  const std::int64_t query_inputs = attention.q_lora_rank > 0 ? attention.q_lora_rank : hidden;
  MatrixList list;
  list.add({GemmRole::latent_down, attention.q_lora_rank + attention.cached_dim(), hidden});
  list.add({GemmRole::query_up, heads * attention.naive_key_dim(), query_inputs});
  list.add({GemmRole::key_value_up, heads * (attention.nope_head_dim + attention.v_head_dim),
            attention.kv_lora_rank});
  list.add({GemmRole::attention_output, hidden, heads * attention.v_head_dim});
  if (attention.output_gate) list.add({GemmRole::attention_gate, heads * attention.v_head_dim, hidden});
  if (attention.indexer && !attention.indexer->shared) {
    // Keys and the weights of the heads come from the layer's input.
    list.add({GemmRole::index_query, attention.indexer->heads * attention.indexer->head_dim, query_inputs});
    list.add({GemmRole::index_down, attention.indexer->head_dim + attention.indexer->heads, hidden});
  }
  return list;
}

// Entries are pooled from values and gates; overlapping entries have two of each.
std::int64_t pooled_width(const Compressed& attention, std::int64_t width) {
  return (attention.overlapping ? 4 : 2) * width;
}

MatrixList matrices(const Compressed& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t groups = attention.output_groups / tp;
  const std::int64_t group_width = attention.query_heads / attention.output_groups * attention.head_dim;
  MatrixList list;
  list.add({GemmRole::latent_down, attention.q_lora_rank + attention.head_dim, hidden});
  list.add({GemmRole::query_up, attention.query_heads / tp * attention.head_dim, attention.q_lora_rank});
  list.add({GemmRole::output_down, groups * attention.output_lora_rank, group_width});
  list.add({GemmRole::attention_output, hidden, groups * attention.output_lora_rank});
  if (attention.ratio > 0) list.add({GemmRole::pooling, pooled_width(attention, attention.head_dim), hidden});
  if (const auto& indexer = attention.indexer) {
    list.add({GemmRole::index_query, indexer->heads * indexer->head_dim, attention.q_lora_rank});
    list.add({GemmRole::index_down, indexer->heads + pooled_width(attention, indexer->head_dim), hidden});
  }
  return list;
}

MatrixList matrices(const Recurrent& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t heads = attention.value_heads / tp;
  const std::int64_t values = heads * attention.value_dim;
  const std::int64_t keys = attention.key_heads / tp * attention.key_dim;
  const std::int64_t channels = 2 * keys + values;
  MatrixList list;
  const auto in = [&](std::int64_t gates, std::int64_t scalars) {
    list.add({GemmRole::recurrent_in, channels + gates + scalars, hidden});
  };
  switch (attention.recurrence) {
    case RecurrentKind::gated_delta:
      in(values, 2 * heads);  // gate of the output, beta and decay
      break;
    case RecurrentKind::kimi_delta:
      in(attention.gate_rank > 0 ? 0 : values, heads);
      if (attention.gate_rank > 0) {
        list.add({GemmRole::recurrent_gate_down, attention.gate_rank, hidden});
        list.add({GemmRole::recurrent_gate_up, values, attention.gate_rank});
      }
      list.add({GemmRole::decay_down, attention.value_dim, hidden});
      list.add({GemmRole::decay_up, keys, attention.value_dim});
      break;
    case RecurrentKind::mamba2:
      in(values, heads);  // gate, and the step
      break;
    case RecurrentKind::lightning:
      in(values, 0);
      break;
  }
  list.add({GemmRole::attention_output, hidden, values});
  return list;
}

MatrixList matrices(const NoAttention&, std::int64_t, std::int64_t) { return {}; }

std::int64_t biases(const Grouped& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t heads = attention.query_heads / tp;
  const std::int64_t projected =
      heads * (attention.head_dim + (attention.output_gate ? attention.value_dim() : 0)) +
      kv_heads_per_rank(attention, tp) * (attention.head_dim + attention.value_dim());
  return (attention.qkv_bias ? projected : 0) + (attention.output_bias ? hidden : 0) +
         (attention.sinks ? heads : 0);
}
std::int64_t biases(const Latent&, std::int64_t, std::int64_t) { return 0; }
std::int64_t biases(const Compressed& attention, std::int64_t, std::int64_t tp) {
  return attention.query_heads / tp;  // sinks
}
std::int64_t biases(const Recurrent&, std::int64_t, std::int64_t) { return 0; }
std::int64_t biases(const NoAttention&, std::int64_t, std::int64_t) { return 0; }

std::int64_t other_vectors(const Grouped&, std::int64_t) { return 0; }
std::int64_t other_vectors(const Latent&, std::int64_t) { return 0; }
// A position embedding for each token of a pooled window.
std::int64_t other_vectors(const Compressed& attention, std::int64_t) {
  std::int64_t width = attention.ratio > 0 ? attention.head_dim : 0;
  if (attention.indexer) width += attention.indexer->head_dim;
  return attention.ratio * (attention.overlapping ? 2 : 1) * width;
}
std::int64_t other_vectors(const Recurrent& attention, std::int64_t tp) {
  const std::int64_t heads = attention.value_heads / tp;
  const std::int64_t channels = attention.channels() / tp;
  const std::int64_t convolution = channels * attention.convolution;
  switch (attention.recurrence) {
    case RecurrentKind::gated_delta:
      return convolution + 2 * heads;  // A_log and dt_bias
    case RecurrentKind::kimi_delta:
      return convolution + heads + attention.key_heads / tp * attention.key_dim;
    case RecurrentKind::mamba2:
      return convolution + channels + 3 * heads;  // with a bias; A_log, D and dt_bias
    case RecurrentKind::lightning:
      return convolution;
  }
  core::fail_invariant("unknown recurrence");
}
std::int64_t other_vectors(const NoAttention&, std::int64_t) { return 0; }

std::int64_t norms(const Grouped& attention, std::int64_t tp) {
  if (!attention.query_key_norm || attention.query_key_norm_weightless) return 0;
  if (!attention.query_key_norm_over_heads) return 2 * attention.head_dim;
  return (attention.query_heads / tp + kv_heads_per_rank(attention, tp)) * attention.head_dim;
}
std::int64_t norms(const Latent& attention, std::int64_t) {
  // The LayerNorm of index keys has weights and biases.
  const bool scores = attention.indexer && !attention.indexer->shared;
  return attention.q_lora_rank + attention.kv_lora_rank + (scores ? 2 * attention.indexer->head_dim : 0);
}
std::int64_t norms(const Compressed& attention, std::int64_t) {
  return attention.q_lora_rank + attention.head_dim + (attention.ratio > 0 ? attention.head_dim : 0) +
         (attention.indexer ? attention.indexer->head_dim : 0);
}
std::int64_t norms(const Recurrent& attention, std::int64_t tp) {
  const bool over_heads =
      attention.recurrence == RecurrentKind::mamba2 || attention.recurrence == RecurrentKind::lightning;
  return attention.value_dim * (over_heads ? attention.value_heads / tp : 1);
}
std::int64_t norms(const NoAttention&, std::int64_t) { return 0; }

}  // namespace

MatrixList attention_matrices(const AttentionShape& attention, std::int64_t hidden, std::int64_t tp) {
  return std::visit([&](const auto& shape) { return matrices(shape, hidden, tp); }, attention);
}

std::int64_t attention_biases(const AttentionShape& attention, std::int64_t hidden, std::int64_t tp) {
  return std::visit([&](const auto& shape) { return biases(shape, hidden, tp); }, attention);
}

std::int64_t attention_vectors(const AttentionShape& attention, std::int64_t hidden, std::int64_t tp) {
  return std::visit([&](const auto& shape) { return biases(shape, hidden, tp) + other_vectors(shape, tp); },
                    attention);
}

std::int64_t attention_norms(const AttentionShape& attention, std::int64_t tp) {
  return std::visit([&](const auto& shape) { return norms(shape, tp); }, attention);
}

MatrixList ffn_matrices(GemmRole up, GemmRole down, bool gated, std::int64_t inputs, std::int64_t width) {
  MatrixList list;
  list.add({up, (gated ? 2 : 1) * width, inputs});
  list.add({down, inputs, width});
  return list;
}

MatrixList latent_expert_matrices(const MoeFfn& ffn, std::int64_t hidden) {
  MatrixList list;
  if (ffn.latent_width == 0) return list;
  list.add({GemmRole::expert_latent_down, ffn.latent_width, hidden});
  list.add({GemmRole::expert_latent_up, hidden, ffn.latent_width});
  return list;
}

std::int64_t expert_biases(const MoeFfn& ffn, std::int64_t hidden, std::int64_t slices) {
  if (!ffn.expert_bias) return 0;
  return ffn.experts * ((ffn.gated ? 2 : 1) * (ffn.expert_width / slices) + ffn.row_width(hidden));
}

std::int64_t router_biases(const MoeFfn& ffn) {
  return ((ffn.router_bias ? 1 : 0) + (ffn.router_score_bias ? 1 : 0)) * ffn.choices();
}

std::int64_t stream_norms(const LayerGroup& group, const Architecture& architecture) {
  const std::int64_t parts = (std::holds_alternative<NoAttention>(group.attention) ? 0 : 1) +
                             (std::holds_alternative<NoFfn>(group.ffn) ? 0 : 1) +
                             (group.cross_attention ? 1 : 0);
  return parts * (architecture.post_norms ? 2 : 1);
}

std::int64_t hyper_connection_weights(const LayerGroup& group, const Architecture& architecture) {
  const std::int64_t streams = architecture.residual_streams;
  if (streams == 1) return 0;
  const std::int64_t factors = streams * (streams + 2);
  const std::int64_t parts = (std::holds_alternative<NoAttention>(group.attention) ? 0 : 1) +
                             (std::holds_alternative<NoFfn>(group.ffn) ? 0 : 1);
  return parts * (factors * (streams * architecture.hidden_size + 1) + 3);
}

}  // namespace moesim::llm
