// Matrix products with a declared order of summation.
//
// C = A B^T + bias, A [M, K], B [N, K]. Each element is summed on its own, in f32: the depth is cut into
// blocks of kDepthBlock; within a block product k goes to lane k mod kDepthLanes, in rising order; the lanes
// are added as ((0+4)+(2+6))+((1+5)+(3+7)); blocks are added in rising order, the bias last. The order
// depends on K alone, so a row's bits do not depend on the other rows, columns or tiles (batch invariance),
// and column-parallel shards are exact.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "models/reference/float16.hpp"
#include "models/reference/matrix.hpp"
#include "models/reference/probe.hpp"
#include "models/reference/storage.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

inline constexpr std::int64_t kDepthBlock = 64;
inline constexpr std::int64_t kDepthLanes = 8;

// Results of one tile. `whole`: the padding of a tile is computed too, as GPU kernels do (and not stored);
// else only the padding of the last depth block is. The bits of the result are the same.
struct GemmTiling {
  std::int64_t rows = 128;
  std::int64_t columns = 128;
  bool whole = false;
};

// Operands of a product: rows that can be read piece by piece as f32.
template <class Value>
struct MatrixRows {
  MatrixView<Value> view;

  [[nodiscard]] std::int64_t rows() const { return view.rows; }
  [[nodiscard]] std::int64_t columns() const { return view.columns; }
  [[nodiscard]] static constexpr int bits() { return kBitsOf<Value>; }
  void read(std::int64_t row, std::int64_t first, std::int64_t n, float* out) const {
    const Value* from = view.row(row) + first;
    for (std::int64_t i = 0; i < n; ++i) out[i] = to_float(from[i]);
  }
};

// Quantised rows: `decode(row, first, n, out)` writes n values as f32. Each element takes `element_bits`
// bits; scales are not counted.
template <class Decode>
struct DecodedRows {
  std::int64_t row_count = 0;
  std::int64_t column_count = 0;
  int element_bits = 8;
  Decode decode;

  [[nodiscard]] std::int64_t rows() const { return row_count; }
  [[nodiscard]] std::int64_t columns() const { return column_count; }
  [[nodiscard]] int bits() const { return element_bits; }
  void read(std::int64_t row, std::int64_t first, std::int64_t n, float* out) const {
    decode(row, first, n, out);
  }
};

namespace detail {

// Tensors of a product, as probes tell them apart.
inline constexpr int kTensorB = 0;
inline constexpr int kTensorA = 1;
inline constexpr int kTensorC = 2;
inline constexpr int kTensorBias = 3;
inline constexpr int kTensorScaleA = 4;
inline constexpr int kTensorScaleB = 5;

// First element of each operand in the tensor that it is a part of.
struct GemmPlace {
  std::int64_t a = 0;
  std::int64_t b = 0;
  std::int64_t bias = 0;
  std::int64_t c = 0;
};

// Sum of kDepthBlock products, in the declared order.
[[nodiscard]] inline float block_product(const float* a, const float* b) {
  float lanes[kDepthLanes] = {};
  for (std::int64_t k = 0; k < kDepthBlock; k += kDepthLanes) {
    for (std::int64_t lane = 0; lane < kDepthLanes; ++lane) lanes[lane] += a[k + lane] * b[k + lane];
  }
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// Copies a tile of one depth block, zeros around it. The copy is what counts as reading.
template <class Rows, Probe P>
void load_tile(const Rows& from, std::int64_t first_row, std::int64_t rows, std::int64_t first_depth,
               std::int64_t depth, Operand operand, int tensor, std::int64_t place, std::vector<float>& tile,
               P& probe) {
  std::fill(tile.begin(), tile.end(), 0.0F);
  for (std::int64_t r = 0; r < rows; ++r) {
    from.read(first_row + r, first_depth, depth, tile.data() + r * kDepthBlock);
    probe.touch(operand, tensor, place + (first_row + r) * from.columns() + first_depth, depth, from.bits());
  }
}

// One tile of results: sums [tile rows, tile columns].
struct TileExtent {
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::int64_t first_column = 0;
  std::int64_t columns = 0;
};

template <Probe P>
void multiply_tile(const std::vector<float>& a, const std::vector<float>& b, std::int64_t rows,
                   std::int64_t columns, std::int64_t stride, std::vector<float>& sums, P& /*probe*/) {
  for (std::int64_t r = 0; r < rows; ++r) {
    float* out = sums.data() + r * stride;
    for (std::int64_t c = 0; c < columns; ++c) {
      out[c] += block_product(a.data() + r * kDepthBlock, b.data() + c * kDepthBlock);
      if constexpr (P::has(Fault::bf16_accumulator)) out[c] = rounded_to_bf16(out[c]);
    }
  }
}

template <class Bias, class Result, Probe P>
void store_tile(const std::vector<float>& sums, const TileExtent& extent, std::int64_t stride,
                std::span<const Bias> bias, Result* c, std::int64_t c_columns, const GemmPlace& place,
                P& probe) {
  for (std::int64_t r = 0; r < extent.rows; ++r) {
    const std::int64_t at = (extent.first_row + r) * c_columns + extent.first_column;
    for (std::int64_t column = 0; column < extent.columns; ++column) {
      float value = sums[static_cast<std::size_t>(r * stride + column)];
      if (!bias.empty()) value += to_float(bias[static_cast<std::size_t>(extent.first_column + column)]);
      c[at + column] = stored_as<Result>(value);
    }
    probe.touch(Operand::result, kTensorC, place.c + at, extent.columns, kBitsOf<Result>);
  }
  if (!bias.empty()) {
    probe.flops(extent.rows * extent.columns);
    probe.touch(Operand::weights, kTensorBias, place.bias + extent.first_column, extent.columns,
                kBitsOf<Bias>);
  }
}

template <class ARows, class BRows, class Bias, class Result, Probe P>
void gemm_into(const ARows& a, const BRows& b, std::span<const Bias> bias, Result* c, const GemmPlace& place,
               const GemmTiling& tiling, P& probe) {
  const std::int64_t depth = a.columns();
  std::vector<float> a_tile(static_cast<std::size_t>(tiling.rows * kDepthBlock));
  std::vector<float> b_tile(static_cast<std::size_t>(tiling.columns * kDepthBlock));
  std::vector<float> sums(static_cast<std::size_t>(tiling.rows * tiling.columns));
  TileExtent at;
  for (at.first_row = 0; at.first_row < a.rows(); at.first_row += tiling.rows) {
    at.rows = std::min(tiling.rows, a.rows() - at.first_row);
    for (at.first_column = 0; at.first_column < b.rows(); at.first_column += tiling.columns) {
      at.columns = std::min(tiling.columns, b.rows() - at.first_column);
      const std::int64_t rows = tiling.whole ? tiling.rows : at.rows;
      const std::int64_t columns = tiling.whole ? tiling.columns : at.columns;
      std::fill(sums.begin(), sums.end(), 0.0F);
      for (std::int64_t first = 0; first < depth; first += kDepthBlock) {
        std::int64_t n = std::min(kDepthBlock, depth - first);
        if constexpr (P::has(Fault::drop_depth_tail)) n -= first + n == depth ? 1 : 0;
        load_tile(a, at.first_row, at.rows, first, n, Operand::activations, kTensorA, place.a, a_tile, probe);
        load_tile(b, at.first_column, at.columns, first, n, Operand::weights, kTensorB, place.b, b_tile,
                  probe);
        multiply_tile(a_tile, b_tile, rows, columns, tiling.columns, sums, probe);
        probe.macs(at.rows * at.columns * n, rows * columns * kDepthBlock);
      }
      store_tile(sums, at, tiling.columns, bias, c, b.rows(), place, probe);
    }
  }
}

}  // namespace detail

// C = A B^T + bias for operands of any kind (MatrixRows, DecodedRows). `bias` [N] or empty; `c` [M, N].
// Result float or Bf16 (rounded once, at the end). Counts: 2 FLOP a product, one per element for the bias.
// Throws core::InvariantError for sizes that do not fit.
template <class ARows, class BRows, class Bias, class Result, Probe P>
void gemm_rows(const ARows& a, const BRows& b, std::span<const Bias> bias, std::span<Result> c, P& probe,
               const GemmTiling& tiling = {}) {
  core::check(a.columns() == b.columns(), "a product needs operands of the same depth");
  core::check(std::cmp_equal(c.size(), a.rows() * b.rows()), "a product needs room for its result");
  core::check(bias.empty() || std::cmp_equal(bias.size(), b.rows()), "a product needs a bias per column");
  core::check(tiling.rows > 0 && tiling.columns > 0, "a tile cannot be empty");
  detail::gemm_into(a, b, bias, c.data(), {}, tiling, probe);
}

// The same for two matrices.
template <class A, class B, class Bias, class Result, Probe P>
void gemm(const MatrixView<A>& a, const MatrixView<B>& b, std::span<const Bias> bias, std::span<Result> c,
          P& probe, const GemmTiling& tiling = {}) {
  gemm_rows(MatrixRows<A>{a}, MatrixRows<B>{b}, bias, c, probe, tiling);
}
template <class A, class B, class Result>
void gemm(const MatrixView<A>& a, const MatrixView<B>& b, std::span<Result> c) {
  NoProbe probe;
  gemm(a, b, std::span<const B>{}, c, probe);
}

// Router logits: x [T, H], weights [E, H] -> f32 [T, E].
template <class Value, Probe P>
void router_logits(const MatrixView<Value>& x, const MatrixView<Value>& weights, std::span<float> logits,
                   P& probe) {
  gemm(x, weights, std::span<const Value>{}, logits, probe);
}

}  // namespace moesim::reference
