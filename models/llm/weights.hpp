// The weight matrices of one layer on one rank: the one place that knows their shapes. Parameter counts,
// bytes and lowering are all derived from these lists.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "models/llm/architecture.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/operator.hpp"

namespace moesim::llm {

// [outputs, inputs] as stored by the linear layer of `role`.
struct WeightMatrix {
  GemmRole role = GemmRole::query_key_value;
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;
};

// A short list without heap memory.
class MatrixList {
 public:
  void add(const WeightMatrix& matrix) { items_.at(size_++) = matrix; }
  [[nodiscard]] const WeightMatrix* begin() const { return items_.data(); }
  [[nodiscard]] const WeightMatrix* end() const { return items_.data() + size_; }
  // The matrix of a role. Throws core::InvariantError if there is none.
  [[nodiscard]] const WeightMatrix& of(GemmRole role) const;
  [[nodiscard]] std::int64_t elements() const;
  [[nodiscard]] std::int64_t bytes(NumberFormat format) const;

 private:
  std::array<WeightMatrix, 6> items_{};
  std::size_t size_ = 0;
};

// Projections of one layer's attention on one of `tp` ranks (1: the whole layer).
[[nodiscard]] MatrixList attention_matrices(const GroupedQueryAttention& attention, std::int64_t hidden,
                                            std::int64_t tp);
[[nodiscard]] MatrixList attention_matrices(const LatentAttention& attention, std::int64_t hidden,
                                            std::int64_t tp);

// Bias elements of one layer's attention on one of `tp` ranks; the output bias is on every rank.
[[nodiscard]] std::int64_t attention_biases(const GroupedQueryAttention& attention, std::int64_t hidden,
                                            std::int64_t tp);
[[nodiscard]] std::int64_t attention_biases(const LatentAttention& attention, std::int64_t hidden,
                                            std::int64_t tp);

// Weights of the norms inside one layer's attention on one of `tp` ranks. A norm over each head, or over
// latent rows, is on every rank; one over all heads is divided like the heads.
[[nodiscard]] std::int64_t attention_norms(const GroupedQueryAttention& attention, std::int64_t tp);
[[nodiscard]] std::int64_t attention_norms(const LatentAttention& attention, std::int64_t tp);

// The two fused matrices of a gated FFN of `width` (already divided by the ranks that share it).
[[nodiscard]] MatrixList gated_matrices(GemmRole gate_up, GemmRole down, std::int64_t hidden,
                                        std::int64_t width);

}  // namespace moesim::llm
