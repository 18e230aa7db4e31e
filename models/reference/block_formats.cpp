// Blocks of small floats: MX, NVFP4 and FP8 with block scales.
#include "models/reference/block_formats.hpp"

#include <cstring>

#include "models/reference/block_parts.hpp"

namespace moesim::reference {

using block_parts::check_matrix;
using block_parts::divided_up;
using block_parts::each_run;
using block_parts::largest_magnitude;

namespace {

constexpr std::int64_t kBitsInByte = 8;
constexpr float kActivationFloor = 1e-4F;

// The E8M0 code of a block. NaN and infinities make it NaN.
std::uint8_t mx_scale(float largest, const SmallFloat& element, ScaleRule rule) {
  if (!std::isfinite(largest)) return kE8m0Nan;
  if (largest == 0.0F) return 0;
  int exponent = std::ilogb(largest) - element.largest_exponent();
  const double limit = std::ldexp(static_cast<double>(element.largest()), exponent);
  if (rule == ScaleRule::ceil && static_cast<double>(largest) > limit) ++exponent;
  return encode_e8m0(exponent);
}

// x / 2^exponent rounded to the element. Scaling by a power of two is exact in double; only results below
// float's normal numbers lose bits in the conversion, and those are far below every element.
std::uint8_t mx_code(const SmallFloat& element, float value, std::uint8_t scale) {
  if (scale == kE8m0Nan) return encode(element, decode_e8m0(scale));
  const double scaled = std::ldexp(static_cast<double>(value), kE8m0Bias - scale);
  const double limit = static_cast<double>(element.largest());
  return encode(element, static_cast<float>(std::clamp(scaled, -limit, limit)));
}

float fp8_power_of_two(float scale) {
  if (!std::isfinite(scale) || scale <= 0.0F) return scale;
  const int exponent = std::ilogb(scale);
  const float power = std::ldexp(1.0F, exponent);
  return power < scale ? 2.0F * power : power;
}

// Calls body(block, row, first column, n) for each row of each block.
template <class Body>
void each_fp8_run(const Fp8Matrix& matrix, Body&& body) {
  if (matrix.columns == 0) return;
  for (std::int64_t row = 0; row < matrix.rows; ++row) {
    for (std::int64_t across = 0; across < matrix.blocks_across(); ++across) {
      const std::int64_t column = across * matrix.block_columns;
      const std::int64_t n = std::min(matrix.block_columns, matrix.columns - column);
      const std::int64_t block = row / matrix.block_rows * matrix.blocks_across() + across;
      body(static_cast<std::size_t>(block), static_cast<std::size_t>(row * matrix.columns + column),
           static_cast<std::size_t>(n));
    }
  }
}

void encode_fp8(Fp8Matrix& matrix, std::span<const float> values) {
  matrix.codes.resize(values.size());
  each_fp8_run(matrix, [&](std::size_t block, std::size_t first, std::size_t n) {
    for (std::size_t i = first; i < first + n; ++i) {
      matrix.codes[i] = encode(kE4m3fn, values[i] / matrix.scales[block]);
    }
  });
}

}  // namespace

MxMatrix quantize_mx(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                     const SmallFloat& element, ScaleRule rule, std::int64_t block) {
  check_matrix(values.size(), rows, columns, block);
  MxMatrix matrix{&element, rule, rows, columns, block, {}, {}};
  matrix.codes.resize(values.size());
  matrix.scales.resize(static_cast<std::size_t>(rows * divided_up(columns, block)));
  each_run(rows, columns, block, [&](std::size_t index, std::size_t first, std::size_t n) {
    const std::uint8_t scale = mx_scale(largest_magnitude(values.subspan(first, n)), element, rule);
    matrix.scales[index] = scale;
    for (std::size_t i = first; i < first + n; ++i) matrix.codes[i] = mx_code(element, values[i], scale);
  });
  return matrix;
}

std::vector<double> dequantize_f64(const MxMatrix& matrix) {
  check_matrix(matrix.codes.size(), matrix.rows, matrix.columns, matrix.block);
  std::vector<double> values(matrix.codes.size());
  each_run(matrix.rows, matrix.columns, matrix.block,
           [&](std::size_t index, std::size_t first, std::size_t n) {
             const auto scale = static_cast<double>(decode_e8m0(matrix.scales[index]));
             for (std::size_t i = first; i < first + n; ++i) {
               values[i] = static_cast<double>(matrix.element->decode(matrix.codes[i])) * scale;
             }
           });
  return values;
}

std::vector<float> dequantize(const MxMatrix& matrix) {
  const std::vector<double> exact = dequantize_f64(matrix);
  std::vector<float> values(exact.size());
  std::transform(exact.begin(), exact.end(), values.begin(),
                 [](double value) { return static_cast<float>(value); });
  return values;
}

std::int64_t storage_bytes(const MxMatrix& matrix) {
  return divided_up(std::ssize(matrix.codes) * matrix.element->bits(), kBitsInByte) +
         std::ssize(matrix.scales);
}

Nvfp4Matrix quantize_nvfp4(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                           std::int64_t block) {
  check_matrix(values.size(), rows, columns, block);
  Nvfp4Matrix matrix{rows, columns, block, 0.0F, {}, {}};
  matrix.global_scale = largest_magnitude(values) / (kE4m3Largest * kE2m1.largest());
  matrix.codes.resize(values.size());
  matrix.scales.resize(static_cast<std::size_t>(rows * divided_up(columns, block)));
  each_run(rows, columns, block, [&](std::size_t index, std::size_t first, std::size_t n) {
    const float global = matrix.global_scale;
    const float largest = largest_magnitude(values.subspan(first, n));
    matrix.scales[index] = global == 0.0F ? 0 : encode(kE4m3fn, largest / kE2m1.largest() / global);
    const float scale = kE4m3fn.decode(matrix.scales[index]) * global;
    for (std::size_t i = first; i < first + n; ++i) {
      matrix.codes[i] = scale == 0.0F ? 0 : encode(kE2m1, values[i] / scale);
    }
  });
  return matrix;
}

std::vector<float> dequantize(const Nvfp4Matrix& matrix) {
  check_matrix(matrix.codes.size(), matrix.rows, matrix.columns, matrix.block);
  std::vector<float> values(matrix.codes.size());
  each_run(matrix.rows, matrix.columns, matrix.block,
           [&](std::size_t index, std::size_t first, std::size_t n) {
             const float scale = kE4m3fn.decode(matrix.scales[index]) * matrix.global_scale;
             for (std::size_t i = first; i < first + n; ++i) {
               values[i] = kE2m1.decode(matrix.codes[i]) * scale;
             }
           });
  return values;
}

std::int64_t storage_bytes(const Nvfp4Matrix& matrix) {
  return divided_up(std::ssize(matrix.codes), 2) + std::ssize(matrix.scales) + std::int64_t{sizeof(float)};
}

Fp8Matrix quantize_fp8_activations(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                                   bool power_of_two, std::int64_t block) {
  check_matrix(values.size(), rows, columns, block);
  Fp8Matrix matrix{rows, columns, 1, block, power_of_two, {}, {}};
  matrix.scales.resize(static_cast<std::size_t>(rows * matrix.blocks_across()));
  each_run(rows, columns, block, [&](std::size_t index, std::size_t first, std::size_t n) {
    const float largest = largest_magnitude(values.subspan(first, n), kActivationFloor);
    const float scale = largest * (1.0F / kE4m3Largest);
    matrix.scales[index] = power_of_two ? fp8_power_of_two(scale) : scale;
  });
  encode_fp8(matrix, values);
  return matrix;
}

Fp8Matrix quantize_fp8_weights(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                               std::int64_t block) {
  check_matrix(values.size(), rows, columns, block);
  Fp8Matrix matrix{rows, columns, block, block, false, {}, {}};
  matrix.scales.resize(static_cast<std::size_t>(divided_up(rows, block) * matrix.blocks_across()));
  each_fp8_run(matrix, [&](std::size_t index, std::size_t first, std::size_t n) {
    matrix.scales[index] = largest_magnitude(values.subspan(first, n), matrix.scales[index]);
  });
  for (float& scale : matrix.scales) scale = scale == 0.0F ? 1.0F : scale / kE4m3Largest;
  encode_fp8(matrix, values);
  return matrix;
}

std::vector<float> dequantize(const Fp8Matrix& matrix) {
  check_matrix(matrix.codes.size(), matrix.rows, matrix.columns, matrix.block_columns);
  std::vector<float> values(matrix.codes.size());
  each_fp8_run(matrix, [&](std::size_t block, std::size_t first, std::size_t n) {
    for (std::size_t i = first; i < first + n; ++i) {
      values[i] = kE4m3fn.decode(matrix.codes[i]) * matrix.scales[block];
    }
  });
  return values;
}

std::int64_t storage_bytes(const Fp8Matrix& matrix) {
  const std::int64_t scale_bytes = matrix.power_of_two ? 1 : std::int64_t{sizeof(float)};
  return std::ssize(matrix.codes) + std::ssize(matrix.scales) * scale_bytes;
}

void write_latent_row(std::span<const float> latent, std::span<const float> rotated,
                      std::span<std::uint8_t> row) {
  core::check(std::cmp_equal(latent.size(), kLatentValues) &&
                  std::cmp_equal(rotated.size(), kRotatedValues) &&
                  std::cmp_equal(row.size(), kLatentRowBytes),
              "a latent row needs 512 and 64 values and 656 bytes");
  const Fp8Matrix codes = quantize_fp8_activations(latent, 1, kLatentValues, false);
  std::uint8_t* at = row.data();
  std::memcpy(at, codes.codes.data(), codes.codes.size());
  at += codes.codes.size();
  std::memcpy(at, codes.scales.data(), codes.scales.size() * sizeof(float));
  at += codes.scales.size() * sizeof(float);
  for (const float value : rotated) {
    const Bf16 rounded = to_bf16(value);
    std::memcpy(at, &rounded.bits, sizeof rounded.bits);
    at += sizeof rounded.bits;
  }
}

void read_latent_row(std::span<const std::uint8_t> row, std::span<float> latent, std::span<float> rotated) {
  core::check(std::cmp_equal(latent.size(), kLatentValues) &&
                  std::cmp_equal(rotated.size(), kRotatedValues) &&
                  std::cmp_equal(row.size(), kLatentRowBytes),
              "a latent row needs 512 and 64 values and 656 bytes");
  constexpr std::size_t kScaleValues = 128;
  const std::uint8_t* scales = row.data() + kLatentValues;
  for (std::size_t i = 0; i < latent.size(); ++i) {
    float scale = 0.0F;
    std::memcpy(&scale, scales + i / kScaleValues * sizeof scale, sizeof scale);
    latent[i] = kE4m3fn.decode(row[i]) * scale;
  }
  const std::uint8_t* at = scales + latent.size() / kScaleValues * sizeof(float);
  for (float& value : rotated) {
    Bf16 stored;
    std::memcpy(&stored.bits, at, sizeof stored.bits);
    value = to_float(stored);
    at += sizeof stored.bits;
  }
}

std::vector<std::uint8_t> pack_nibbles(std::span<const std::uint8_t> codes) {
  std::vector<std::uint8_t> bytes((codes.size() + 1) / 2);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] | ((codes[i] & 0xFU) << (i % 2 * 4)));
  }
  return bytes;
}

std::vector<std::uint8_t> unpack_nibbles(std::span<const std::uint8_t> bytes, std::int64_t count) {
  core::check(count >= 0 && std::cmp_less_equal(divided_up(count, 2), bytes.size()),
              "more codes asked for than there are");
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<std::uint8_t>((bytes[i / 2] >> (i % 2 * 4)) & 0xFU);
  }
  return codes;
}

}  // namespace moesim::reference
