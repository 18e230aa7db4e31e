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

MatrixList attention_matrices(const GroupedQueryAttention& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t query_width = attention.query_heads / tp * attention.head_dim;
  const std::int64_t kv_width = kv_heads_per_rank(attention, tp) * attention.head_dim;
  MatrixList list;
  list.add({GemmRole::query_key_value, query_width + 2 * kv_width, hidden});
  list.add({GemmRole::attention_output, hidden, query_width});
  return list;
}

MatrixList attention_matrices(const LatentAttention& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t heads = attention.heads / tp;
  const std::int64_t query_inputs = attention.q_lora_rank > 0 ? attention.q_lora_rank : hidden;
  MatrixList list;
  list.add({GemmRole::latent_down, attention.q_lora_rank + attention.cached_dim(), hidden});
  list.add({GemmRole::query_up, heads * attention.naive_key_dim(), query_inputs});
  list.add({GemmRole::key_value_up, heads * (attention.nope_head_dim + attention.v_head_dim),
            attention.kv_lora_rank});
  list.add({GemmRole::attention_output, hidden, heads * attention.v_head_dim});
  return list;
}

std::int64_t attention_biases(const GroupedQueryAttention& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t heads = attention.query_heads / tp + 2 * kv_heads_per_rank(attention, tp);
  return (attention.qkv_bias ? heads * attention.head_dim : 0) + (attention.output_bias ? hidden : 0);
}

std::int64_t attention_biases(const LatentAttention&, std::int64_t, std::int64_t) { return 0; }

std::int64_t attention_norms(const GroupedQueryAttention& attention, std::int64_t tp) {
  if (!attention.query_key_norm) return 0;
  if (!attention.query_key_norm_over_heads) return 2 * attention.head_dim;
  return (attention.query_heads / tp + kv_heads_per_rank(attention, tp)) * attention.head_dim;
}

std::int64_t attention_norms(const LatentAttention& attention, std::int64_t) {
  return attention.q_lora_rank + attention.kv_lora_rank;
}

MatrixList gated_matrices(GemmRole gate_up, GemmRole down, std::int64_t hidden, std::int64_t width) {
  MatrixList list;
  list.add({gate_up, 2 * width, hidden});
  list.add({down, hidden, width});
  return list;
}

}  // namespace moesim::llm
