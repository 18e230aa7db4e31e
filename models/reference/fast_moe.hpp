// The fast path of a layer of experts: gather, two products with SwiGLU between, combine.
#pragma once

#include "models/reference/fast_gemm.hpp"

namespace moesim::reference {

// One SwiGLU expert: y = (silu(x gate^T) x (x up^T)) down^T, gate and up [width x hidden], down
// [hidden x width].
template <class Value>
struct PackedExpert {
  PackedWeights<Value> gate;
  PackedWeights<Value> up;
  PackedWeights<Value> down;
};

// Which experts each token goes to: [tokens x top_k], an expert at most once a token.
struct FastRouting {
  std::int64_t top_k = 1;
  std::span<const std::int32_t> experts;
  std::span<const float> weights;
};

// out[token] = sum over the token's choices, in their order, of weight x expert(x[token]), in f32; x is
// [tokens x hidden], out [tokens x hidden] without gaps. What enters the second product is rounded to Value.
// A token's bits do not depend on the other tokens nor on the number of threads. An expert's products are
// those of fast_gemm and silu errs by kFastExpUlps, so the error is bounded by the propagation of the bounds
// of its parts (numerics.md 2.2). Throws core::InvariantError for sizes that do not fit or unknown experts.
template <class Value>
void fast_moe_layer(std::span<const PackedExpert<Value>> experts, MatrixView<Value> x,
                    const FastRouting& routing, std::span<float> out, const FastOptions& options = {});

}  // namespace moesim::reference
