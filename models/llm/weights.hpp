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
  std::array<WeightMatrix, 12> items_{};
  std::size_t size_ = 0;
};

// Whose format of weights the matrix of a role has. Throws core::InvariantError for the roles that have a
// format of their own whatever the deployment: head, gates of shared experts, hyper-connections, joins of
// prediction layers.
[[nodiscard]] WeightKind weight_kind(GemmRole role);

// Projections of one layer's attention on one of `tp` ranks (1: the whole layer). Indexers, pooling and
// low-rank down projections are on every rank.
[[nodiscard]] MatrixList attention_matrices(const AttentionShape& attention, std::int64_t hidden,
                                            std::int64_t tp);

// Elements of one layer's attention on one of `tp` ranks that are neither matrices nor norms: biases, sinks,
// convolutions, decays. The output bias is on every rank.
[[nodiscard]] std::int64_t attention_vectors(const AttentionShape& attention, std::int64_t hidden,
                                             std::int64_t tp);
// The biases among them, and the sinks.
[[nodiscard]] std::int64_t attention_biases(const AttentionShape& attention, std::int64_t hidden,
                                            std::int64_t tp);

// Weights of the norms inside one layer's attention on one of `tp` ranks. A norm over each head, or over
// latent rows, is on every rank; one over all heads is divided like the heads.
[[nodiscard]] std::int64_t attention_norms(const AttentionShape& attention, std::int64_t tp);

// The matrices of an FFN of `width` (already divided by the ranks that share it) over rows of `inputs`
// elements: `up` has twice the width where gate and up are fused.
[[nodiscard]] MatrixList ffn_matrices(GemmRole up, GemmRole down, bool gated, std::int64_t inputs,
                                      std::int64_t width);
// The projections into the latent space of the experts and out of it; empty without one.
[[nodiscard]] MatrixList latent_expert_matrices(const MoeFfn& ffn, std::int64_t hidden);
// Bias elements of all routed experts, cut over `slices` ranks (the bias of the second matrix is not cut).
[[nodiscard]] std::int64_t expert_biases(const MoeFfn& ffn, std::int64_t hidden, std::int64_t slices);
// Bias elements of the router.
[[nodiscard]] std::int64_t router_biases(const MoeFfn& ffn);

// Norms over the residual stream in one layer of a group.
[[nodiscard]] std::int64_t stream_norms(const LayerGroup& group, const Architecture& architecture);

// Weights of the hyper-connections around the attention and the FFN of one layer: with n streams of width d,
// each has projections of n d elements to n (read), n (write) and n^2 (mix) factors, as many biases, and
// three scales (arXiv 2512.24880, part 4). 0 for a plain residual stream.
[[nodiscard]] std::int64_t hyper_connection_weights(const LayerGroup& group,
                                                    const Architecture& architecture);

}  // namespace moesim::llm
