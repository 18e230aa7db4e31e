// Inside of the lowering: what its parts share. Not for other rooms.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/batch.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "models/llm/operator.hpp"
#include "models/llm/weights.hpp"
#include "sim/core/integers.hpp"

namespace moesim::llm::lowering {

// What every part of the lowering needs, and where it writes.
struct Emitter {
  const Architecture& architecture;
  const Layout& layout;
  const Formats& formats;
  const RankBatch& batch;
  std::span<const KeyRule> rules;  // of batch.loads
  std::int64_t group_tokens;
  std::vector<Operator>& out;

  [[nodiscard]] std::int64_t hidden() const { return architecture.hidden_size; }
  [[nodiscard]] std::int64_t tokens() const { return batch.tokens; }
  // Tokens whose part of the residual stream is on this rank.
  [[nodiscard]] std::int64_t stream_tokens() const;
  // New KV rows that this rank keeps: the ranks of a decode context group share them.
  [[nodiscard]] std::int64_t own_rows() const { return core::divide_up(tokens(), layout.dcp); }
  // The attention of the batch under a rule.
  [[nodiscard]] const AttentionLoads& loads(const KeyRule& rule) const;

  void linear(const WeightMatrix& matrix, std::int64_t rows, bool bias = false) const;
  void all_reduce(Group group, std::int64_t bytes) const;
  void all_gather(Group group, std::int64_t bytes) const;
  void reduce_scatter(Group group, std::int64_t bytes) const;
  // The tensor group adds up its partial results of all tokens: an all-reduce, or with sequence-parallel
  // norms a reduce-scatter that leaves each rank its own tokens.
  void add_partial_results() const { add_partial_results(hidden()); }
  // The same for rows of `width` elements.
  void add_partial_results(std::int64_t width) const;
  // With sequence-parallel norms, every rank gets the normed rows of all tokens.
  void gather_stream() const;
  // RMSNorm of `rows` rows: two products and a sum per element and one reciprocal root per row; with a
  // residual also one addition, one more tensor read and one more written.
  void norm(ElementwiseRole role, std::int64_t rows, std::int64_t width, bool residual) const;
  // A norm over the residual stream. LayerNorm also sums and subtracts the mean, and adds a bias if it has
  // one.
  void stream_norm(ElementwiseRole role, bool residual) const;
  // silu(gate) * up: negation-free sigmoid (add, divide), two products and one exponential per element.
  // Without a gate a rectification: one comparison.
  void activation(ElementwiseRole role, bool gated, std::int64_t rows, std::int64_t width) const;
  // Heads' output times sigmoid(gate): add, divide, product and an exponential per element.
  void output_gate(std::int64_t elements) const;
  void ffn(GemmRole up, ElementwiseRole role, GemmRole down, bool gated, std::int64_t rows,
           std::int64_t width) const;
};

// The format of the attention products: kernels for an 8-bit floating-point cache convert the queries
// (FlashAttention-3 and TensorRT-LLM); integers are widened.
[[nodiscard]] inline NumberFormat attention_compute(NumberFormat kv) {
  return kv == NumberFormat::int8 ? NumberFormat::bf16 : kv;
}

// Rotation: 4 products and 2 sums per pair of elements.
inline constexpr std::int64_t kRopeFlopsPerElement = 3;

void emit_attention(const AttentionShape& shape, const Emitter& emit);
void emit_ffn(const FfnShape& shape, const Emitter& emit);

}  // namespace moesim::llm::lowering
