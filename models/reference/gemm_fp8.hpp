// Products of FP8 codes with block scales.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "models/reference/gemm.hpp"

namespace moesim::reference {

inline constexpr std::int64_t kFp8Block = 128;

// Codes [rows, columns] and f32 scales [rows / scale_rows, columns / 128], both rounded up: one scale per 1 x
// 128 activations (scale_rows = 1) or per 128 x 128 weights.
struct Fp8Blocks {
  std::span<const std::uint8_t> codes;
  std::span<const float> scales;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t scale_rows = 1;

  [[nodiscard]] std::int64_t scale_columns() const { return (columns + kFp8Block - 1) / kFp8Block; }
  [[nodiscard]] std::int64_t scale_index(std::int64_t row, std::int64_t column) const {
    return row / scale_rows * scale_columns() + column / kFp8Block;
  }
  [[nodiscard]] float scale(std::int64_t row, std::int64_t column) const {
    return scales[static_cast<std::size_t>(scale_index(row, column))];
  }
};

namespace detail {

inline void check_blocks(const Fp8Blocks& x) {
  core::check(std::cmp_equal(x.codes.size(), x.rows * x.columns), "FP8 needs rows x columns codes");
  core::check(x.scale_rows >= 1 && std::cmp_equal(x.scales.size(), (x.rows + x.scale_rows - 1) /
                                                                       x.scale_rows * x.scale_columns()),
              "FP8 needs one scale per block");
}

// Decodes one block of 128 codes, zeros after the end.
template <Probe P>
void read_block(const Fp8Blocks& x, std::span<const float, 256> table, std::int64_t row, std::int64_t first,
                Operand operand, int tensor, int scale_tensor, float* out, P& probe) {
  const std::int64_t n = std::min(kFp8Block, x.columns - first);
  std::fill(out, out + kFp8Block, 0.0F);
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = table[x.codes[static_cast<std::size_t>(row * x.columns + first + i)]];
  }
  probe.touch(operand, tensor, row * x.columns + first, n, 8);
  probe.touch(operand, scale_tensor, x.scale_index(row, first), 1, 32);
}

}  // namespace detail

// C [M, N] from A [M, K] and B [N, K]: for each 128 of the depth an f32 sum of products (two blocks of 64 in
// gemm()'s order, added), times A's scale, times B's scale, added in f32 in rising order (DeepSeek-V3
// inference/kernel.py promotes every 128). `table` decodes a code. Products of E4M3 values are exact. The
// promotion is a part of the product and not counted. Throws core::InvariantError for sizes that do not fit.
template <class Result, Probe P>
void gemm_fp8_block(const Fp8Blocks& a, const Fp8Blocks& b, std::span<const float, 256> table,
                    std::span<Result> c, P& probe) {
  detail::check_blocks(a);
  detail::check_blocks(b);
  core::check(a.columns == b.columns, "a product needs operands of the same depth");
  core::check(std::cmp_equal(c.size(), a.rows * b.rows), "a product needs room for its result");
  float a_block[kFp8Block];
  float b_block[kFp8Block];
  std::vector<float> sums(static_cast<std::size_t>(b.rows));
  for (std::int64_t m = 0; m < a.rows; ++m) {
    std::fill(sums.begin(), sums.end(), 0.0F);
    for (std::int64_t first = 0; first < a.columns; first += kFp8Block) {
      detail::read_block(a, table, m, first, Operand::activations, detail::kTensorA, detail::kTensorScaleA,
                         a_block, probe);
      for (std::int64_t n = 0; n < b.rows; ++n) {
        detail::read_block(b, table, n, first, Operand::weights, detail::kTensorB, detail::kTensorScaleB,
                           b_block, probe);
        const float partial = detail::block_product(a_block, b_block) +
                              detail::block_product(a_block + kDepthBlock, b_block + kDepthBlock);
        sums[static_cast<std::size_t>(n)] += partial * a.scale(m, first) * b.scale(n, first);
      }
      probe.macs(b.rows * std::min(kFp8Block, a.columns - first), b.rows * kFp8Block);
    }
    for (std::int64_t n = 0; n < b.rows; ++n) {
      c[static_cast<std::size_t>(m * b.rows + n)] = stored_as<Result>(sums[static_cast<std::size_t>(n)]);
    }
    probe.touch(Operand::result, detail::kTensorC, m * b.rows, b.rows, kBitsOf<Result>);
  }
}

}  // namespace moesim::reference
