#include "models/llm/operator.hpp"

#include "sim/core/check.hpp"

namespace moesim::llm {

namespace {

constexpr std::int64_t kScoreBytes = 4;   // router scores are f32
constexpr std::int64_t kChoiceBytes = 8;  // an int32 expert and an f32 weight
constexpr std::int64_t kTokenIdBytes = 4;

std::span<const std::int64_t> filled(std::span<const std::int64_t> rows_by_expert) {
  core::check(!rows_by_expert.empty(), "the rows of the experts were not filled in before work was counted");
  return rows_by_expert;
}

Work payload(std::int64_t bytes) {
  Work work;
  work.payload_bytes = bytes;
  return work;
}

}  // namespace

ExpertRows sum_rows(std::span<const std::int64_t> rows_by_expert) {
  ExpertRows sum;
  for (const std::int64_t rows : rows_by_expert) {
    sum.rows += rows;
    sum.distinct += rows > 0 ? 1 : 0;
  }
  return sum;
}

Work work_of(const Gemm& op) {
  Work work;
  work.compute = compute_format(op.weights, op.activations);
  work.matmul_flops = 2 * op.batch * op.rows * op.columns * op.depth;
  work.weight_read_bytes = op.batch * matrix_bytes(op.columns, op.depth, op.weights);
  work.activation_read_bytes = op.batch * op.rows * row_bytes(op.depth, op.activations);
  work.activation_write_bytes = op.batch * op.rows * op.columns * kStreamBytes;
  if (op.bias) {
    work.other_flops = op.batch * op.rows * op.columns;
    work.weight_read_bytes += op.batch * op.columns * kStreamBytes;
  }
  return work;
}

Work work_of(const GroupedGemm& op) {
  const ExpertRows sum = sum_rows(filled(op.rows_by_expert));
  Work work;
  work.compute = compute_format(op.weights, op.activations);
  work.matmul_flops = 2 * sum.rows * op.columns * op.depth;
  work.weight_read_bytes = sum.distinct * matrix_bytes(op.columns, op.depth, op.weights);
  work.activation_read_bytes = sum.rows * row_bytes(op.depth, op.activations);
  work.activation_write_bytes = sum.rows * op.columns * kStreamBytes;
  if (op.bias) {
    work.other_flops = sum.rows * op.columns;
    work.weight_read_bytes += sum.distinct * op.columns * kStreamBytes;
  }
  return work;
}

// Per score: scaling, running maximum, subtraction and sum (4); per result element: the division by the sum.
Work work_of(const Attention& op) {
  Work work;
  work.compute = op.compute;
  work.matmul_flops = 2 * op.query_heads * op.pairs * (op.qk_dim + op.v_dim);
  work.specials = op.query_heads * op.pairs;
  work.other_flops = 4 * op.query_heads * op.pairs + op.query_heads * op.query_tokens * op.v_dim;
  if (op.score_cap) {
    work.specials += op.query_heads * op.pairs;
    work.other_flops += 2 * op.query_heads * op.pairs;
  }
  if (op.sinks) {
    work.specials += op.query_heads * op.query_tokens;
    work.other_flops += op.query_heads * op.query_tokens;
    work.weight_read_bytes = op.query_heads * kStreamBytes;
  }
  work.activation_read_bytes = op.query_tokens * op.query_heads * op.qk_dim * kStreamBytes;
  work.activation_write_bytes = op.query_tokens * op.query_heads * op.v_dim * kStreamBytes;
  const std::int64_t key_bytes = row_bytes(op.qk_dim, op.kv);
  const std::int64_t value_bytes = row_bytes(op.v_dim, op.kv);
  switch (op.form) {
    case AttentionForm::grouped:
      work.kv_read_bytes = op.kv_tokens * op.kv_heads * (key_bytes + value_bytes);
      break;
    case AttentionForm::latent_naive:
      work.activation_read_bytes += op.kv_tokens * op.kv_heads * (key_bytes + value_bytes);
      break;
    case AttentionForm::latent_absorbed:
    case AttentionForm::compressed:
      work.kv_read_bytes = op.kv_tokens * key_bytes;
      break;
  }
  if (op.cached_row_bytes > 0) work.kv_read_bytes = op.kv_tokens * op.cached_row_bytes;
  return work;
}

// Per score and head: the rectification, the product with the head's weight and the sum.
Work work_of(const IndexScores& op) {
  Work work;
  work.compute = op.compute;
  work.matmul_flops = 2 * op.heads * op.pairs * op.head_dim;
  work.other_flops = 3 * op.heads * op.pairs;
  work.kv_read_bytes = op.keys * op.key_bytes;
  work.activation_read_bytes =
      op.query_tokens * op.heads * (row_bytes(op.head_dim, op.compute) + kStreamBytes);
  work.activation_write_bytes = op.pairs * kScoreBytes;
  return work;
}

// One comparison per candidate.
Work work_of(const KeyChoice& op) {
  Work work;
  work.other_flops = op.candidates;
  work.activation_read_bytes = op.candidates * kScoreBytes;
  work.activation_write_bytes = op.chosen * kTokenIdBytes;
  return work;
}

// Multiply-accumulates per token and state of k x v elements, by the recurrences of numerics.md 1.4:
//  - delta rules: the prediction from the state, the update and the result, 3 k v; others: update and result,
//    2 k v; and one product per element for the decay.
//  - in chunks of c tokens, from the products of the chunked forms (arXiv 2412.06464, part 3.3; arXiv
//    2405.21060, part 6): c (k + v) within the chunk and 2 k v with the state; delta rules another
//    c (2 k + v) + (c - 1) (2 c - 1) / 6 for the triangular system of the chunk (the sum of the squares below
//    c for its inverse) and k v for the prediction. Chunks are taken as whole. The products of
//    queries and keys within the chunk are made once per key head, except by delta rules, whose kernels
//    repeat key heads for each state.
// Delta rules norm queries and keys.
Work work_of(const Recurrence& op) {
  const std::int64_t k = op.key_dim, v = op.value_dim, c = op.chunk_tokens;
  const bool delta =
      op.recurrence == RecurrentKind::gated_delta || op.recurrence == RecurrentKind::kimi_delta;
  const std::int64_t states = op.tokens * op.value_heads;
  Work work;
  if (op.phase == Phase::decode) {
    work.matmul_flops = 2 * states * (delta ? 3 : 2) * k * v;
    work.compute = NumberFormat::fp32;
    work.other_flops = states * k * v;
  } else {
    const std::int64_t pair_states = delta ? states : op.tokens * op.key_heads;
    const std::int64_t macs = c * v + 2 * k * v + (delta ? c * (2 * k + v) + k * v : 0);
    const std::int64_t inverse = delta ? states * (c - 1) * (2 * c - 1) / 6 : 0;
    work.matmul_flops = 2 * (pair_states * c * k + states * macs + inverse);
    // Decays within the chunk, and of the state once per chunk.
    work.other_flops = states * 2 * c + states * k * v / c;
    work.specials = states * 2;
  }
  if (delta) {
    work.other_flops += 3 * 2 * op.tokens * op.key_heads * k;
    work.specials += 2 * op.tokens * op.key_heads;
  }
  constexpr std::int64_t kStateBytes = 4;
  const std::int64_t state_bytes = op.sequences * op.value_heads * k * v * kStateBytes;
  work.kv_read_bytes = state_bytes;
  work.kv_write_bytes = state_bytes;
  work.activation_read_bytes = op.tokens * (2 * op.key_heads * k + op.value_heads * v) * kStreamBytes;
  work.activation_write_bytes = op.tokens * op.value_heads * v * kStreamBytes;
  return work;
}

Work work_of(const Elementwise& op) {
  Work work;
  work.other_flops = op.other_flops;
  work.specials = op.specials;
  work.activation_read_bytes = op.read_bytes;
  work.activation_write_bytes = op.write_bytes;
  work.kv_write_bytes = op.kv_write_bytes;
  return work;
}

Work work_of(const RoutedElementwise& op) {
  const std::int64_t rows = sum_rows(filled(op.rows_by_expert)).rows;
  Work work;
  work.other_flops = rows * op.other_flops_per_row;
  work.specials = rows * op.specials_per_row;
  work.activation_read_bytes = rows * op.read_bytes_per_row + op.fixed_read_bytes;
  work.activation_write_bytes = rows * op.write_bytes_per_row + op.fixed_write_bytes;
  return work;
}

Work work_of(const Router& op) {
  Work work;
  work.matmul_flops = 2 * op.tokens * op.experts * op.hidden;
  work.weight_read_bytes = op.experts * op.hidden * kStreamBytes;
  work.activation_read_bytes = op.tokens * op.hidden * kStreamBytes;
  work.activation_write_bytes = op.tokens * op.experts * kScoreBytes;
  return work;
}

// Per score: maximum or bias, subtraction, sum and one comparison of the choice (4); per chosen expert: sum
// and division of the weights (2).
Work work_of(const TopK& op) {
  Work work;
  if (op.table) {
    work.activation_read_bytes = op.tokens * (kTokenIdBytes + op.top_k * kTokenIdBytes);
    work.activation_write_bytes = op.tokens * op.top_k * kChoiceBytes;
    return work;
  }
  work.other_flops = op.tokens * (4 * op.experts + 2 * op.top_k);
  work.specials = op.tokens * op.experts;
  work.activation_read_bytes = op.tokens * op.experts * kScoreBytes;
  work.activation_write_bytes = op.tokens * op.top_k * kChoiceBytes;
  return work;
}

Work work_of(const Embedding& op) {
  Work work;
  work.weight_read_bytes = op.tokens * op.hidden * kStreamBytes;
  work.activation_read_bytes = op.tokens * kTokenIdBytes;
  work.activation_write_bytes = op.tokens * op.hidden * kStreamBytes;
  return work;
}

// Per logit: maximum, subtraction and sum (3).
Work work_of(const Sampling& op) {
  Work work;
  work.other_flops = 3 * op.sequences * op.vocab;
  work.specials = op.sequences * op.vocab;
  work.activation_read_bytes = op.sequences * op.vocab * kStreamBytes;
  work.activation_write_bytes = op.sequences * kTokenIdBytes;
  return work;
}

Work work_of(const AllReduce& op) { return payload(op.bytes); }
Work work_of(const AllGather& op) { return payload(op.bytes); }
Work work_of(const ReduceScatter& op) { return payload(op.bytes); }
Work work_of(const RingPass& op) { return payload((op.ranks - 1) * op.bytes); }
Work work_of(const StageSend& op) { return payload(op.bytes); }
Work work_of(const Dispatch& op) { return payload(op.tokens * op.top_k * op.bytes_per_row); }
Work work_of(const Combine& op) { return payload(op.tokens * op.top_k * op.bytes_per_row); }

Work work_of(const Operator& op) {
  return std::visit([](const auto& which) { return work_of(which); }, op);
}

}  // namespace moesim::llm
