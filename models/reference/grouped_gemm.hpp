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
// [E, N] or empty, Y [R, N]. `rows_of(e)`: the weights [N, K] of expert e, as gemm_rows() takes them (decoded
// on the fly, say). Bit for bit one gemm() per expert. An expert without rows is not read. Throws
// core::InvariantError for sizes that do not fit.
template <class A, class RowsOf, class Bias, class Result, Probe P>
void grouped_gemm_rows(const MatrixView<A>& x, std::span<const std::int64_t> offsets, const RowsOf& rows_of,
                       std::int64_t columns, std::span<const Bias> bias, std::span<Result> y, P& probe,
                       const GemmTiling& tiling = {}) {
  core::check(!offsets.empty() && offsets.front() == 0 && offsets.back() == x.rows,
              "a grouped product needs the first row of each expert");
  const auto experts = static_cast<std::int64_t>(offsets.size()) - 1;
  core::check(std::cmp_equal(y.size(), x.rows * columns), "a product needs room for its result");
  core::check(bias.empty() || std::cmp_equal(bias.size(), experts * columns),
              "a grouped product needs a bias per expert and column");
  const auto product = [&](std::int64_t expert, std::int64_t weights_of, std::int64_t first,
                           std::int64_t end) {
    const auto weights = rows_of(weights_of);
    core::check(weights.rows() == columns && weights.columns() == x.columns,
                "a grouped product needs operands of the same depth");
    const MatrixView<A> rows{x.row(first), end - first, x.columns, x.stride};
    const detail::GemmPlace place{first * x.columns, weights_of * columns * x.columns, expert * columns,
                                  first * columns};
    const auto own_bias = bias.empty() ? bias
                                       : bias.subspan(static_cast<std::size_t>(expert * columns),
                                                      static_cast<std::size_t>(columns));
    detail::gemm_into(MatrixRows<A>{rows}, weights, own_bias, y.data() + first * columns, place, tiling,
                      probe);
  };
  for (std::int64_t e = 0; e < experts; ++e) {
    const std::int64_t first = offsets[static_cast<std::size_t>(e)];
    const std::int64_t end = offsets[static_cast<std::size_t>(e) + 1];
    core::check(first <= end, "rows of experts must rise");
    if (first == end) continue;
    product(e, e, first, end);
    if constexpr (P::has(Fault::neighbour_expert)) product(e, (e + 1) % experts, end - 1, end);
  }
}

// The same for plain weights.
template <class A, class B, class Bias, class Result, Probe P>
void grouped_gemm(const MatrixView<A>& x, std::span<const std::int64_t> offsets,
                  const ExpertMatrices<B>& weights, std::span<const Bias> bias, std::span<Result> y, P& probe,
                  const GemmTiling& tiling = {}) {
  core::check(std::cmp_equal(offsets.size(), weights.experts + 1),
              "a grouped product needs the first row of each expert");
  grouped_gemm_rows(
      x, offsets, [&](std::int64_t e) { return MatrixRows<B>{weights.of(e)}; }, weights.columns, bias, y,
      probe, tiling);
}

}  // namespace moesim::reference
