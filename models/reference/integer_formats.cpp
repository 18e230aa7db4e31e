// Blocks of integer codes: INT8, INT4, ggml's Q8_0 and Q4_0, KIVI's caches.
#include "models/reference/block_formats.hpp"
#include "models/reference/block_parts.hpp"

namespace moesim::reference {

using block_parts::check_matrix;
using block_parts::divided_up;
using block_parts::each_run;
using block_parts::largest_magnitude;
using block_parts::to_code;

namespace {

constexpr std::int64_t kBitsOfByte = 8;
constexpr std::int64_t kHalfBytes = 2;

IntMatrix quantize_integers(std::span<const float> values, IntMatrix matrix, float divisor, float low,
                            float high) {
  check_matrix(values.size(), matrix.rows, matrix.columns, matrix.group);
  matrix.codes.resize(values.size());
  matrix.scales.resize(static_cast<std::size_t>(matrix.rows * divided_up(matrix.columns, matrix.group)));
  each_run(matrix.rows, matrix.columns, matrix.group,
           [&](std::size_t index, std::size_t first, std::size_t n) {
             const float largest = largest_magnitude(values.subspan(first, n));
             const float scale = largest == 0.0F ? 1.0F : largest / divisor;
             matrix.scales[index] = scale;
             for (std::size_t i = first; i < first + n; ++i) {
               matrix.codes[i] = to_code(std::nearbyint(values[i] / scale), low, high);
             }
           });
  return matrix;
}

// The value of the largest magnitude, the first of several.
float largest_signed(std::span<const float> values) {
  float largest = 0.0F;
  for (const float value : values) {
    if (std::fabs(value) > std::fabs(largest)) largest = value;
  }
  return largest;
}

GgmlMatrix empty_ggml(std::size_t size, std::int64_t rows, std::int64_t columns, std::int64_t block,
                      int bits) {
  check_matrix(size, rows, columns, block);
  GgmlMatrix matrix{rows, columns, block, bits, {}, {}};
  matrix.codes.resize(size);
  matrix.scales.resize(static_cast<std::size_t>(rows * divided_up(columns, block)));
  return matrix;
}

// Calls body(group, first, n, step): n values that share a scale, `step` elements apart.
template <class Body>
void each_kivi_group(const KiviCache& cache, Body&& body) {
  if (cache.codes.empty()) return;
  std::size_t index = 0;
  if (cache.axis == KiviAxis::channels) {
    each_run(
        cache.heads * cache.tokens, cache.channels, cache.group,
        [&](std::size_t group, std::size_t first, std::size_t n) { body(group, first, n, std::size_t{1}); });
    return;
  }
  for (std::int64_t head = 0; head < cache.heads; ++head) {
    for (std::int64_t token = 0; token < cache.tokens; token += cache.group) {
      for (std::int64_t channel = 0; channel < cache.channels; ++channel, ++index) {
        const std::int64_t first = (head * cache.tokens + token) * cache.channels + channel;
        body(index, static_cast<std::size_t>(first),
             static_cast<std::size_t>(std::min(cache.group, cache.tokens - token)),
             static_cast<std::size_t>(cache.channels));
      }
    }
  }
}

void check_kivi(const KiviCache& cache, std::size_t size) {
  core::check(
      cache.heads >= 0 && cache.tokens >= 0 && (cache.tokens == 0 || cache.heads <= INT64_MAX / cache.tokens),
      "a cache needs sizes of at least 0");
  check_matrix(size, cache.heads * cache.tokens, cache.channels, cache.group);
}

}  // namespace

IntMatrix quantize_int8_rows(std::span<const float> values, std::int64_t rows, std::int64_t columns) {
  constexpr float kLargest = 127.0F;
  return quantize_integers(values, {rows, columns, std::max<std::int64_t>(columns, 1), 8, {}, {}}, kLargest,
                           -kLargest, kLargest);
}

IntMatrix quantize_int4(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                        std::int64_t group, float divisor) {
  core::check(divisor > 0.0F, "a scale needs a divisor above 0");
  return quantize_integers(values, {rows, columns, group, 4, {}, {}}, divisor, -8.0F, 7.0F);
}

std::vector<float> dequantize(const IntMatrix& matrix) {
  check_matrix(matrix.codes.size(), matrix.rows, matrix.columns, matrix.group);
  std::vector<float> values(matrix.codes.size());
  each_run(matrix.rows, matrix.columns, matrix.group,
           [&](std::size_t index, std::size_t first, std::size_t n) {
             for (std::size_t i = first; i < first + n; ++i) {
               values[i] = static_cast<float>(matrix.codes[i]) * matrix.scales[index];
             }
           });
  return values;
}

std::int64_t storage_bytes(const IntMatrix& matrix) {
  return divided_up(std::ssize(matrix.codes) * matrix.bits, kBitsOfByte) +
         std::ssize(matrix.scales) * std::int64_t{sizeof(float)};
}

GgmlMatrix quantize_q8_0(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                         std::int64_t block) {
  constexpr float kLargest = 127.0F;
  GgmlMatrix matrix = empty_ggml(values.size(), rows, columns, block, 8);
  each_run(rows, columns, block, [&](std::size_t index, std::size_t first, std::size_t n) {
    const float scale = std::fabs(largest_signed(values.subspan(first, n))) / kLargest;
    const float inverse = scale == 0.0F ? 0.0F : 1.0F / scale;
    matrix.scales[index] = to_fp16(scale);
    for (std::size_t i = first; i < first + n; ++i) {
      matrix.codes[i] = to_code(std::round(values[i] * inverse), -kLargest, kLargest);
    }
  });
  return matrix;
}

GgmlMatrix quantize_q4_0(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                         std::int64_t block) {
  constexpr float kOffset = 8.5F;
  constexpr float kTop = 15.0F;
  GgmlMatrix matrix = empty_ggml(values.size(), rows, columns, block, 4);
  each_run(rows, columns, block, [&](std::size_t index, std::size_t first, std::size_t n) {
    const float scale = largest_signed(values.subspan(first, n)) / -8.0F;
    const float inverse = scale == 0.0F ? 0.0F : 1.0F / scale;
    matrix.scales[index] = to_fp16(scale);
    for (std::size_t i = first; i < first + n; ++i) {
      matrix.codes[i] = to_code(std::trunc(values[i] * inverse + kOffset), 0.0F, kTop);
    }
  });
  return matrix;
}

std::vector<float> dequantize(const GgmlMatrix& matrix) {
  check_matrix(matrix.codes.size(), matrix.rows, matrix.columns, matrix.block);
  const int zero = matrix.bits == 4 ? 8 : 0;
  std::vector<float> values(matrix.codes.size());
  each_run(matrix.rows, matrix.columns, matrix.block,
           [&](std::size_t index, std::size_t first, std::size_t n) {
             const float scale = to_float(matrix.scales[index]);
             for (std::size_t i = first; i < first + n; ++i) {
               values[i] = static_cast<float>(matrix.codes[i] - zero) * scale;
             }
           });
  return values;
}

std::int64_t storage_bytes(const GgmlMatrix& matrix) {
  return divided_up(std::ssize(matrix.codes) * matrix.bits, kBitsOfByte) +
         std::ssize(matrix.scales) * kHalfBytes;
}

KiviCache quantize_kivi(std::span<const float> values, std::int64_t heads, std::int64_t tokens,
                        std::int64_t channels, int bits, KiviAxis axis, std::int64_t group) {
  core::check(bits >= 1 && bits <= 8, "codes have 1 to 8 bits");
  KiviCache cache{heads, tokens, channels, group, bits, axis, {}, {}, {}};
  check_kivi(cache, values.size());
  const std::int64_t groups = axis == KiviAxis::tokens ? heads * divided_up(tokens, group) * channels
                                                       : heads * tokens * divided_up(channels, group);
  cache.codes.resize(values.size());
  cache.scales.resize(static_cast<std::size_t>(groups));
  cache.zeros.resize(cache.scales.size());
  const auto top = static_cast<float>((1 << bits) - 1);
  each_kivi_group(cache, [&](std::size_t index, std::size_t first, std::size_t n, std::size_t step) {
    float low = values[first];
    float high = values[first];
    for (std::size_t i = 0; i < n; ++i) {
      const float value = values[first + i * step];
      if (!(value >= low)) low = value;  // NaN stays
      if (!(value <= high)) high = value;
    }
    const float scale = (high - low) / top;
    cache.scales[index] = scale;
    cache.zeros[index] = low;
    for (std::size_t i = 0; i < n; ++i) {
      const float share = scale == 0.0F ? 0.0F : (values[first + i * step] - low) / scale;
      const float code = std::isnan(share) ? 0.0F : std::nearbyint(std::clamp(share, 0.0F, top));
      cache.codes[first + i * step] = static_cast<std::uint8_t>(code);
    }
  });
  return cache;
}

std::vector<float> dequantize(const KiviCache& cache) {
  check_kivi(cache, cache.codes.size());
  std::vector<float> values(cache.codes.size());
  each_kivi_group(cache, [&](std::size_t index, std::size_t first, std::size_t n, std::size_t step) {
    for (std::size_t i = first; i < first + n * step; i += step) {
      values[i] = static_cast<float>(cache.codes[i]) * cache.scales[index] + cache.zeros[index];
    }
  });
  return values;
}

std::int64_t storage_bytes(const KiviCache& cache) {
  return divided_up(std::ssize(cache.codes) * cache.bits, kBitsOfByte) +
         (std::ssize(cache.scales) + std::ssize(cache.zeros)) * kHalfBytes;
}

}  // namespace moesim::reference
