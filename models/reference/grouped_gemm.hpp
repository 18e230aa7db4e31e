// One product per expert.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "models/reference/gemm.hpp"

namespace moesim::reference {

// One expert's weights [columns, depth] inside those of all: rows `stride` elements apart (0: depth), the
// first at `first`. Shards of tensor parallelism are such parts.
template <class Value>
struct ExpertMatrices {
  std::span<const Value> values;
  std::int64_t experts = 0;
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  std::int64_t stride = 0;       // of rows
  std::int64_t expert_size = 0;  // elements from one expert to the next

  [[nodiscard]] MatrixView<Value> of(std::int64_t expert) const {
    return {values.data() + expert * expert_size, columns, depth, stride};
  }
};

// All of `values`: [experts, columns, depth]. Throws core::InvariantError if their number does not fit.
template <class Value>
[[nodiscard]] ExpertMatrices<Value> expert_matrices(std::span<const Value> values, std::int64_t experts,
                                                    std::int64_t columns, std::int64_t depth) {
  core::check(std::cmp_equal(values.size(), experts * columns * depth),
              "weights of experts need experts x columns x depth values");
  return {values, experts, columns, depth, depth, columns * depth};
}

// Y[r] = X[r] W[e]^T + bias[e] for the rows offsets[e] <= r < offsets[e + 1]. X [R, K], offsets [E + 1], bias
// [E, N] or empty, Y [R, N]. Bit for bit one gemm() per expert. An expert without rows is not read. Throws
// core::InvariantError for sizes that do not fit.
template <class A, class B, class Bias, class Result, Probe P>
void grouped_gemm(const MatrixView<A>& x, std::span<const std::int64_t> offsets,
                  const ExpertMatrices<B>& weights, std::span<const Bias> bias, std::span<Result> y, P& probe,
                  const GemmTiling& tiling = {}) {
  core::check(
      std::cmp_equal(offsets.size(), weights.experts + 1) && offsets.front() == 0 && offsets.back() == x.rows,
      "a grouped product needs the first row of each expert");
  core::check(x.columns == weights.depth, "a grouped product needs operands of the same depth");
  core::check(std::cmp_equal(y.size(), x.rows * weights.columns), "a product needs room for its result");
  core::check(bias.empty() || std::cmp_equal(bias.size(), weights.experts * weights.columns),
              "a grouped product needs a bias per expert and column");
  const auto product = [&](std::int64_t expert, std::int64_t weights_of, std::int64_t first,
                           std::int64_t end) {
    const MatrixView<A> rows{x.row(first), end - first, x.columns, x.stride};
    const detail::GemmPlace place{first * x.columns, weights_of * weights.columns * weights.depth,
                                  expert * weights.columns, first * weights.columns};
    const auto own_bias = bias.empty() ? bias
                                       : bias.subspan(static_cast<std::size_t>(expert * weights.columns),
                                                      static_cast<std::size_t>(weights.columns));
    detail::gemm_into(MatrixRows<A>{rows}, MatrixRows<B>{weights.of(weights_of)}, own_bias,
                      y.data() + first * weights.columns, place, tiling, probe);
  };
  for (std::int64_t e = 0; e < weights.experts; ++e) {
    const std::int64_t first = offsets[static_cast<std::size_t>(e)];
    const std::int64_t end = offsets[static_cast<std::size_t>(e) + 1];
    core::check(first <= end, "rows of experts must rise");
    if (first == end) continue;
    product(e, e, first, end);
    if constexpr (P::has(Fault::neighbour_expert)) product(e, (e + 1) % weights.experts, end - 1, end);
  }
}

}  // namespace moesim::reference
