// f64 oracles and error bounds of products.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "models/reference/bounds.hpp"
#include "models/reference/gemm.hpp"
#include "models/reference/gemm_fp8.hpp"
#include "models/reference/matrix.hpp"

namespace moesim::reference {

// The most additions that a product passes through in gemm(): those of its lane, of the lanes, of the blocks
// (the first of each chain is to 0 and exact).
[[nodiscard]] constexpr std::int64_t additions_of_depth(std::int64_t depth) {
  const std::int64_t blocks = (depth + kDepthBlock - 1) / kDepthBlock;
  const std::int64_t lanes = kDepthLanes == 8 ? 3 : kDepthLanes;
  return (kDepthBlock / kDepthLanes - 1) + lanes + (blocks > 0 ? blocks - 1 : 0);
}

// Error of an f32 sum over `depth` relative to the sum of magnitudes: gamma_n with n additions, and the
// rounding of the product unless it is exact (two bf16 or smaller significands fit into f32). Includes the
// f64 oracle's own error.
template <class A, class B>
[[nodiscard]] double gemm_error_factor(std::int64_t depth, std::int64_t more_roundings = 0) {
  constexpr bool exact = std::is_same_v<A, Bf16> && std::is_same_v<B, Bf16>;
  return gamma(additions_of_depth(depth) + (exact ? 0 : 1) + more_roundings, kRoundoffF32) +
         gamma(depth + 1, kRoundoffF64);
}

// One element of a product in f64, and the error that gemm() may make in f32, before bias and storage:
// |fl - exact| <= factor x sum |a b|, and half a spacing below the normal range per product.
template <class A, class B>
[[nodiscard]] Bounded bounded_dot(const A* a, const B* b, std::int64_t depth,
                                  std::int64_t more_roundings = 0) {
  Bounded result;
  double magnitude = 0.0;
  for (std::int64_t k = 0; k < depth; ++k) {
    const double p = static_cast<double>(to_float(a[k])) * static_cast<double>(to_float(b[k]));
    result.value += p;
    magnitude += std::fabs(p);
  }
  result.error = gemm_error_factor<A, B>(depth, more_roundings) * magnitude +
                 static_cast<double>(depth + 1) * 2.0 * kUnderflowF32;
  return result;
}

// The same for gemm() with its bias and stored as Result.
template <class Result, class A, class B, class Bias>
[[nodiscard]] std::vector<Bounded> bounded_gemm(const MatrixView<A>& a, const MatrixView<B>& b,
                                                std::span<const Bias> bias) {
  std::vector<Bounded> c;
  for (std::int64_t m = 0; m < a.rows; ++m) {
    for (std::int64_t n = 0; n < b.rows; ++n) {
      Bounded x = bounded_dot(a.row(m), b.row(n), a.columns);
      if (!bias.empty()) {
        x.value += static_cast<double>(to_float(bias[static_cast<std::size_t>(n)]));
        x = rounded_f32(x);
      }
      c.push_back(stored<Result>(x));
    }
  }
  return c;
}

// gemm_fp8_block(): per block of 128 the sum of exact products (one addition more than a block of 64), two
// products with scales, and the additions of blocks.
[[nodiscard]] inline std::vector<Bounded> bounded_gemm_fp8(const Fp8Blocks& a, const Fp8Blocks& b,
                                                           std::span<const float, 256> table) {
  const std::int64_t roundings = additions_of_depth(kDepthBlock) + 1 + 2 + a.scale_columns();
  std::vector<Bounded> c;
  for (std::int64_t m = 0; m < a.rows; ++m) {
    for (std::int64_t n = 0; n < b.rows; ++n) {
      Bounded x;
      double magnitude = 0.0;
      for (std::int64_t k = 0; k < a.columns; ++k) {
        const double p = static_cast<double>(table[a.codes[static_cast<std::size_t>(m * a.columns + k)]]) *
                         static_cast<double>(table[b.codes[static_cast<std::size_t>(n * b.columns + k)]]) *
                         static_cast<double>(a.scale(m, k)) * static_cast<double>(b.scale(n, k));
        x.value += p;
        magnitude += std::fabs(p);
      }
      x.error = (gamma(roundings, kRoundoffF32) + gamma(a.columns + 4, kRoundoffF64)) * magnitude +
                static_cast<double>(a.columns + 1) * 2.0 * kUnderflowF32;
      c.push_back(x);
    }
  }
  return c;
}

}  // namespace moesim::reference
