// Quantised matrices whose values share scales in blocks. Matrices are row-major; blocks lie along a row
// unless said otherwise, and the last block of a row may be shorter. Codes are held one to a byte;
// storage_bytes() says what the packed form takes.
//
// All arithmetic is float, in the order of the formula that is given, so that codes can be compared bit by
// bit with those of other implementations. A NaN makes its block NaN where the format can say so; integer
// codes of NaN are 0. All functions throw core::InvariantError for sizes that do not fit together.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/float16.hpp"
#include "models/reference/small_float.hpp"

namespace moesim::reference {

inline constexpr float kE4m3Largest = 448.0F;

// How the exponent of a power-of-two scale is chosen. It is stored with the tensor, since the codes do not
// tell.
enum class ScaleRule : std::uint8_t {
  floor,  // floor(log2 amax) - emax (OCP MX 6.3): numbers between the largest and 2^(emax + 1) saturate
  ceil    // the least exponent at which nothing saturates (DeepSeek's UE8M0)
};

// Microscaling formats: MXFP4 (E2M1), MXFP6 (E2M3, E3M2), MXFP8 (E4M3FN, E5M2). Block 32, E8M0 scales. A
// block of zeros has the scale code 0.
struct MxMatrix {
  const SmallFloat* element = &kE2m1;
  ScaleRule rule = ScaleRule::floor;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t block = 32;
  std::vector<std::uint8_t> codes;   // [rows, columns]
  std::vector<std::uint8_t> scales;  // E8M0 [rows, blocks of a row]
};
[[nodiscard]] MxMatrix quantize_mx(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                                   const SmallFloat& element, ScaleRule rule = ScaleRule::floor,
                                   std::int64_t block = 32);
// Exact in double; in float exact wherever the value is a float.
[[nodiscard]] std::vector<double> dequantize_f64(const MxMatrix& matrix);
[[nodiscard]] std::vector<float> dequantize(const MxMatrix& matrix);
[[nodiscard]] std::int64_t storage_bytes(const MxMatrix& matrix);

// NVFP4: E2M1 in blocks of 16 with E4M3FN scales, and one float scale g = amax / (448 x 6) for the matrix.
// s = E4M3(amax of the block / 6 / g), code = E2M1(x / (s g)); codes are 0 where s is 0. value = code x (s
// g).
struct Nvfp4Matrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t block = 16;
  float global_scale = 0.0F;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;  // E4M3FN
};
[[nodiscard]] Nvfp4Matrix quantize_nvfp4(std::span<const float> values, std::int64_t rows,
                                         std::int64_t columns, std::int64_t block = 16);
[[nodiscard]] std::vector<float> dequantize(const Nvfp4Matrix& matrix);
[[nodiscard]] std::int64_t storage_bytes(const Nvfp4Matrix& matrix);

// E4M3FN with a float scale for each block of block_rows x block_columns.
struct Fp8Matrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t block_rows = 1;
  std::int64_t block_columns = 128;
  bool power_of_two = false;  // the scales are (UE8M0, one byte each in storage)
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;  // [blocks down, blocks across]

  [[nodiscard]] std::int64_t blocks_across() const {
    return columns / block_columns + (columns % block_columns != 0 ? 1 : 0);
  }
  [[nodiscard]] float scale(std::int64_t row, std::int64_t column) const {
    return scales[static_cast<std::size_t>(row / block_rows * blocks_across() + column / block_columns)];
  }
};
// Activations as DeepSeek's act_quant: blocks of 1 x 128, amax at least 1e-4, s = amax x (1 / 448), or
// 2^ceil(log2 s) if `power_of_two`; code = E4M3(clamp(x / s)).
[[nodiscard]] Fp8Matrix quantize_fp8_activations(std::span<const float> values, std::int64_t rows,
                                                 std::int64_t columns, bool power_of_two,
                                                 std::int64_t block = 128);
// Weights as DeepSeek's weight_scale_inv: blocks of 128 x 128, s = amax / 448, or 1 for a block of zeros.
[[nodiscard]] Fp8Matrix quantize_fp8_weights(std::span<const float> values, std::int64_t rows,
                                             std::int64_t columns, std::int64_t block = 128);
[[nodiscard]] std::vector<float> dequantize(const Fp8Matrix& matrix);
[[nodiscard]] std::int64_t storage_bytes(const Fp8Matrix& matrix);

// Symmetric integers: value = code x scale, one scale for `group` values of a row.
struct IntMatrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t group = 0;
  int bits = 8;
  std::vector<std::int8_t> codes;
  std::vector<float> scales;  // [rows, groups of a row]
};
// scale = amax / divisor, or 1 for zeros; code = x / scale, rounded to nearest even, at most 127 in
// magnitude.
[[nodiscard]] IntMatrix quantize_int8_rows(std::span<const float> values, std::int64_t rows,
                                           std::int64_t columns);
// As compressed-tensors (Kimi K2.5): scale = amax / 7.5, codes from -8 to 7.
[[nodiscard]] IntMatrix quantize_int4(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                                      std::int64_t group = 32, float divisor = 7.5F);
[[nodiscard]] std::vector<float> dequantize(const IntMatrix& matrix);
[[nodiscard]] std::int64_t storage_bytes(const IntMatrix& matrix);  // float scales

// ggml's block formats of 32 values, scale d in half precision.
//  - Q8_0: d = amax / 127, code = x / d rounded half away from zero (x times the float 1 / d).
//  - Q4_0: d = m / -8 where m is the value of the largest magnitude (the first of several),
//    code = min(15, trunc(x / d + 8.5)), value = (code - 8) d.
struct GgmlMatrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t block = 32;
  int bits = 8;
  std::vector<std::int8_t> codes;  // Q4_0: 0 to 15
  std::vector<Fp16> scales;
};
[[nodiscard]] GgmlMatrix quantize_q8_0(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                                       std::int64_t block = 32);
[[nodiscard]] GgmlMatrix quantize_q4_0(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                                       std::int64_t block = 32);
[[nodiscard]] std::vector<float> dequantize(const GgmlMatrix& matrix);
[[nodiscard]] std::int64_t storage_bytes(const GgmlMatrix& matrix);

// KIVI's caches: asymmetric 2- or 4-bit codes. value = code x scale + zero with scale = (max - min) /
// (2^bits - 1) and zero = min. Keys share scales over `group` tokens of a channel, values over `group`
// channels of a token (jy-yuan/KIVI quant/new_pack.py). Tokens of the residual window stay in half precision
// outside of this.
enum class KiviAxis : std::uint8_t { tokens, channels };
struct KiviCache {
  std::int64_t heads = 0;
  std::int64_t tokens = 0;
  std::int64_t channels = 0;
  std::int64_t group = 32;
  int bits = 2;
  KiviAxis axis = KiviAxis::tokens;
  std::vector<std::uint8_t> codes;  // [heads, tokens, channels]
  std::vector<float> scales;        // [heads, groups, channels] or [heads, tokens, groups]
  std::vector<float> zeros;
};
[[nodiscard]] KiviCache quantize_kivi(std::span<const float> values, std::int64_t heads, std::int64_t tokens,
                                      std::int64_t channels, int bits, KiviAxis axis,
                                      std::int64_t group = 32);
[[nodiscard]] std::vector<float> dequantize(const KiviCache& cache);
[[nodiscard]] std::int64_t storage_bytes(const KiviCache& cache);  // scales and zeros in half precision

// One token of FlashMLA's FP8 cache (deepseek-ai/FlashMLA README): 512 E4M3FN values, 4 float scales for 128
// of them each (amax / 448, amax at least 1e-4), 64 bf16 values of the rotated key.
inline constexpr std::int64_t kLatentValues = 512;
inline constexpr std::int64_t kRotatedValues = 64;
inline constexpr std::int64_t kLatentRowBytes = 656;
// `latent` has 512 values, `rotated` 64, `row` 656 bytes.
void write_latent_row(std::span<const float> latent, std::span<const float> rotated,
                      std::span<std::uint8_t> row);
void read_latent_row(std::span<const std::uint8_t> row, std::span<float> latent, std::span<float> rotated);

// Two codes of 4 bits to a byte, the first in the low half; an odd last one is alone.
[[nodiscard]] std::vector<std::uint8_t> pack_nibbles(std::span<const std::uint8_t> codes);
[[nodiscard]] std::vector<std::uint8_t> unpack_nibbles(std::span<const std::uint8_t> bytes,
                                                       std::int64_t count);

}  // namespace moesim::reference
