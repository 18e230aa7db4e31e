// One row of activations times a matrix of four-bit weights, which become numbers in registers only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "models/reference/fast_gemm.hpp"
#include "models/reference/float16.hpp"

namespace moesim::reference {

inline constexpr std::int64_t kFourBitBlock = 32;  // weights that share a scale

// What a four-bit code means.
enum class FourBitCode : std::uint8_t {
  e2m1,         // OCP MX: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives
  int4_offset,  // code - 8
  int4_twos_complement,
};

// Which weights a byte holds.
enum class FourBitOrder : std::uint8_t {
  natural,     // byte i of a row: weight 2 i in the low half, 2 i + 1 in the high one
  split_half,  // ggml: byte i of a block: weight i in the low half, i + 16 in the high one
};

enum class FourBitScale : std::uint8_t { e8m0, bf16, f32 };

// weight[row][k] = value(code) x scale[row][k / 32]. MXFP4 is {e2m1, e8m0}; group-32 INT4 is {int4_*, bf16 or
// f32}.
struct FourBitWeights {
  std::int64_t rows = 0;
  std::int64_t columns = 0;  // a multiple of 32
  FourBitCode code = FourBitCode::e2m1;
  FourBitOrder order = FourBitOrder::natural;
  FourBitScale scale = FourBitScale::e8m0;
  std::span<const std::uint8_t> codes;  // [rows x columns / 2]
  std::span<const std::byte> scales;    // [rows x columns / 32], little-endian
};

// The value of a code, exact.
[[nodiscard]] float four_bit_value(FourBitCode code, std::uint8_t bits);
// The value of scale `index`, exact; an E8M0 of 255 is NaN.
[[nodiscard]] float four_bit_scale(const FourBitWeights& weights, std::int64_t index);

// out[row] = sum over k of weight[row][k] x[k], f32. Products of code and activation are exact (AVX-512
// flushes subnormal activations to zero); a block's products are summed in f32, scaled, and added to the
// row's sums, so |out - exact| <= gamma(columns + 32) sum |weight x|, plus 2^-126 for each |weight| that
// meets a subnormal activation. A row's bits do not depend on the other rows nor on the number of threads.
// Throws core::InvariantError for sizes that do not fit.
void quantised_gemv(const FourBitWeights& weights, std::span<const Bf16> x, std::span<float> out,
                    const FastOptions& options = {});

// The parts of it that come in two versions: `x` is in the order of FourBitPlanes.
struct FourBitRows {
  const FourBitWeights* weights = nullptr;
  const Line* planes = nullptr;  // activations as the wide path wants them
  std::span<const Bf16> x;       // as given
  std::int64_t first = 0;
  std::int64_t rows = 0;
  float* out = nullptr;  // of row 0
};
void portable_four_bit_rows(const FourBitRows& part);
// Null where it cannot be compiled.
[[nodiscard]] void (*avx512_four_bit_rows())(const FourBitRows& part);

}  // namespace moesim::reference
