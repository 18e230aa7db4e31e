// Small floats against a search over all codes in double; blocks against their a-priori bounds.
#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <vector>

#include "models/reference/block_formats.hpp"
#include "models/reference/bounds_formats.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

double wide(float value) { return static_cast<double>(value); }

// The nearest code by looking at all of them; beyond the largest number lies one more step of the grid, which
// stands for overflow. Ties go to the even code.
std::uint8_t nearest_by_search(const SmallFloat& format, float value, Overflow overflow) {
  // Far beyond every format, distances would round to the same double.
  const double magnitude = std::min(std::fabs(wide(value)), 0x1p20);
  const int top = format.largest_code() + (overflow == Overflow::special ? 1 : 0);
  int best = 0;
  double best_distance = INFINITY;
  for (int code = 0; code <= top; ++code) {
    const double step =
        wide(format.largest()) - wide(format.decode(static_cast<std::uint8_t>(format.largest_code() - 1)));
    const double at = code <= format.largest_code() ? wide(format.decode(static_cast<std::uint8_t>(code)))
                                                    : wide(format.largest()) + step;
    const double distance = std::fabs(magnitude - at);
    if (distance < best_distance || (distance == best_distance && code % 2 == 0)) {
      best = code;
      best_distance = distance;
    }
  }
  if (best > format.largest_code() && format.specials == SmallSpecials::none) best = format.largest_code();
  if (format.specials == SmallSpecials::minus_zero) {
    if (best > format.largest_code()) return format.sign_bit();
    if (best == 0) return 0;
  }
  return static_cast<std::uint8_t>(best | (std::signbit(value) ? format.sign_bit() : 0));
}

const SmallFloat& any_format() {
  return *kSmallFloats[*rc::gen::inRange<std::size_t>(0, std::size(kSmallFloats))];
}

// Any finite float, or one at or beside the middle of two codes.
float any_value(const SmallFloat& format) {
  if (*rc::gen::arbitrary<bool>()) {
    for (;;) {
      const float value = std::bit_cast<float>(*rc::gen::arbitrary<std::uint32_t>());
      if (std::isfinite(value)) return value;
    }
  }
  const int code = *rc::gen::inRange(0, static_cast<int>(format.largest_code()));
  const float low = format.decode(static_cast<std::uint8_t>(code));
  const float high = format.decode(static_cast<std::uint8_t>(code + 1));
  const float middle = low + (high - low) / 2.0F;
  const float around[] = {middle, std::nextafter(middle, low), std::nextafter(middle, high), low,
                          high,   std::nextafter(low, -1.0F),  high + (high - low) / 2.0F};
  const float value = around[*rc::gen::inRange<std::size_t>(0, std::size(around))];
  return *rc::gen::arbitrary<bool>() ? -value : value;
}

// A matrix with values of very different size, zeros and whole rows of zeros.
std::vector<float> any_values(std::size_t count) {
  const int spread = *rc::gen::inRange(0, 30);
  std::vector<float> values(count);
  for (float& value : values) {
    const auto significand = static_cast<float>(*rc::gen::inRange(-1 << 20, 1 << 20));
    value = std::ldexp(significand, -20 + *rc::gen::inRange(-spread, spread + 1));
  }
  if (*rc::gen::inRange(0, 4) == 0) std::fill_n(values.begin(), count / 2, 0.0F);
  return values;
}

struct Sizes {
  std::int64_t rows = *rc::gen::inRange<std::int64_t>(1, 5);
  std::int64_t columns = *rc::gen::inRange<std::int64_t>(1, 150);
  [[nodiscard]] std::size_t count() const { return static_cast<std::size_t>(rows * columns); }
  // The index of an element's block.
  [[nodiscard]] std::size_t block(std::size_t i, std::int64_t block) const {
    const auto row = static_cast<std::int64_t>(i) / columns;
    const auto column = static_cast<std::int64_t>(i) % columns;
    return static_cast<std::size_t>(row * ((columns + block - 1) / block) + column / block);
  }
};

TEST_CASE("encoding finds the nearest code, ties to even") {
  CHECK(rc::check("saturating and not", [] {
    const SmallFloat& format = any_format();
    const float value = any_value(format);
    const std::uint8_t saturated = encode(format, value);
    RC_ASSERT(int{saturated} == int{nearest_by_search(format, value, Overflow::saturate)});
    RC_ASSERT(int{encode(format, value, Overflow::special)} ==
              int{nearest_by_search(format, value, Overflow::special)});
    RC_ASSERT(std::fabs(wide(value) - wide(format.decode(saturated))) <=
              element_error_bound(format, wide(value)));
  }));
  CHECK(rc::check("encoding is monotone", [] {
    const SmallFloat& format = any_format();
    const float a = any_value(format);
    const float b = any_value(format);
    RC_ASSERT(format.decode(encode(format, std::min(a, b))) <= format.decode(encode(format, std::max(a, b))));
  }));
}

TEST_CASE("stochastic rounding of small floats is unbiased") {
  // The mean over evenly spread random numbers differs from the value by less than their spacing.
  CHECK(rc::check("between two numbers", [] {
    const SmallFloat& format = any_format();
    const int code = *rc::gen::inRange(0, static_cast<int>(format.largest_code()));
    const double low = wide(format.decode(static_cast<std::uint8_t>(code)));
    const double high = wide(format.decode(static_cast<std::uint8_t>(code + 1)));
    const auto value = static_cast<float>(low + (high - low) * *rc::gen::inRange(1, 1 << 12) / (1 << 12));
    constexpr std::uint32_t kDraws = 1024;
    double sum = 0.0;
    for (std::uint32_t i = 0; i < kDraws; ++i) {
      // Multiples of 2^32 / golden ratio: evenly spread in the low bits, which are those that count.
      const std::uint32_t spread = i * 2654435769U;
      const double drawn = wide(format.decode(encode_stochastic(format, value, spread)));
      RC_ASSERT(drawn == low || drawn == high);
      sum += drawn;
    }
    RC_ASSERT(std::fabs(sum / kDraws - wide(value)) <= (high - low) * 0.01);
  }));
}

TEST_CASE("MX blocks keep their bound and are stable") {
  CHECK(rc::check("floor and ceil", [] {
    const SmallFloat* elements[] = {&kE2m1, &kE2m3, &kE3m2, &kE4m3fn, &kE5m2};
    const SmallFloat& element = *elements[*rc::gen::inRange<std::size_t>(0, std::size(elements))];
    const Sizes sizes;
    const std::vector<float> values = any_values(sizes.count());
    for (const ScaleRule rule : {ScaleRule::floor, ScaleRule::ceil}) {
      const MxMatrix matrix = quantize_mx(values, sizes.rows, sizes.columns, element, rule);
      const std::vector<float> back = dequantize(matrix);
      for (std::size_t i = 0; i < back.size(); ++i) {
        const double scale = wide(decode_e8m0(matrix.scales[sizes.block(i, matrix.block)]));
        RC_ASSERT(std::fabs(wide(values[i]) - wide(back[i])) <=
                  scaled_error_bound(element, wide(values[i]), scale));
        if (rule == ScaleRule::ceil) {
          RC_ASSERT(std::fabs(wide(values[i])) <= scale * wide(element.largest()));
        }
      }
      // The values of codes have the same codes again, if the largest one kept its exponent.
      const MxMatrix again = quantize_mx(back, sizes.rows, sizes.columns, element, rule);
      RC_ASSERT(dequantize(again) == back);
    }
  }));
}

TEST_CASE("FP8 blocks and NVFP4 keep their bounds") {
  CHECK(rc::check("FP8 activations and weights", [] {
    const Sizes sizes;
    const std::vector<float> values = any_values(sizes.count());
    const std::int64_t block = *rc::gen::inRange<std::int64_t>(1, 140);
    for (const Fp8Matrix& matrix : {quantize_fp8_activations(values, sizes.rows, sizes.columns, false, block),
                                    quantize_fp8_activations(values, sizes.rows, sizes.columns, true, block),
                                    quantize_fp8_weights(values, sizes.rows, sizes.columns, block)}) {
      const std::vector<float> back = dequantize(matrix);
      for (std::size_t i = 0; i < back.size(); ++i) {
        const auto at = static_cast<std::int64_t>(i);
        const double scale = wide(matrix.scale(at / sizes.columns, at % sizes.columns));
        RC_ASSERT(std::fabs(wide(values[i]) - wide(back[i])) <=
                  scaled_error_bound(kE4m3fn, wide(values[i]), scale));
        // Nothing saturates: the scale fits the block.
        RC_ASSERT(std::fabs(wide(values[i])) <= scale * 448.0 * (1.0 + 0x1p-22));
      }
    }
  }));
  CHECK(rc::check("NVFP4", [] {
    const Sizes sizes;
    const std::vector<float> values = any_values(sizes.count());
    const Nvfp4Matrix matrix = quantize_nvfp4(values, sizes.rows, sizes.columns);
    const std::vector<float> back = dequantize(matrix);
    for (std::size_t i = 0; i < back.size(); ++i) {
      const double scale =
          wide(kE4m3fn.decode(matrix.scales[sizes.block(i, matrix.block)])) * wide(matrix.global_scale);
      if (scale == 0.0) {
        // Only blocks below half of the smallest scale.
        RC_ASSERT(back[i] == 0.0F);
        RC_ASSERT(std::fabs(wide(values[i])) <= 6.0 * 0x1p-10 * wide(matrix.global_scale) * (1.0 + 0x1p-20));
        continue;
      }
      // The product of the two scales is rounded too.
      RC_ASSERT(std::fabs(wide(values[i]) - wide(back[i])) <=
                scaled_error_bound(kE2m1, wide(values[i]), scale * (1.0 + 0x1p-24)) +
                    2.0 * kFloatRoundoff * std::fabs(wide(values[i])));
    }
  }));
}

TEST_CASE("integer blocks keep their bounds") {
  CHECK(rc::check("INT8, INT4, Q8_0, Q4_0", [] {
    const Sizes sizes;
    const std::vector<float> values = any_values(sizes.count());
    const auto within = [&](const std::vector<float>& back, std::int64_t group, auto&& scale_of, double low,
                            double high, double scale_error) {
      for (std::size_t i = 0; i < back.size(); ++i) {
        const double scale = scale_of(sizes.block(i, group));
        const double allowed = scale == 0.0
                                   ? std::fabs(wide(values[i]))
                                   : integer_error_bound(wide(values[i]), scale, low, high, scale_error);
        RC_ASSERT(std::fabs(wide(values[i]) - wide(back[i])) <= allowed);
      }
    };
    const IntMatrix bytes = quantize_int8_rows(values, sizes.rows, sizes.columns);
    within(
        dequantize(bytes), sizes.columns, [&](std::size_t i) { return wide(bytes.scales[i]); }, -127, 127, 0);
    const IntMatrix nibbles = quantize_int4(values, sizes.rows, sizes.columns);
    within(
        dequantize(nibbles), 32, [&](std::size_t i) { return wide(nibbles.scales[i]); }, -8, 7, 0);
    // Half precision: relative 2^-11, or worse where the scale is a denormal, which these tests leave out.
    const auto half = [](const GgmlMatrix& matrix, std::size_t i) {
      return wide(to_float(matrix.scales[i]));
    };
    const GgmlMatrix q8 = quantize_q8_0(values, sizes.rows, sizes.columns);
    const GgmlMatrix q4 = quantize_q4_0(values, sizes.rows, sizes.columns);
    const auto normal = [&](const GgmlMatrix& matrix) {
      return std::all_of(matrix.scales.begin(), matrix.scales.end(), [](Fp16 scale) {
        const int exponent = (scale.bits >> 10) & 31;
        return (scale.bits & 0x7FFF) == 0 || (exponent > 0 && exponent < 31);
      });
    };
    if (normal(q8)) {
      within(
          dequantize(q8), 32, [&](std::size_t i) { return half(q8, i); }, -127, 127, 0x1p-10);
    }
    if (normal(q4)) {
      within(
          dequantize(q4), 32, [&](std::size_t i) { return half(q4, i); }, -8, 7, 0x1p-10);
    }
  }));
  CHECK(rc::check("KIVI", [] {
    const std::int64_t heads = *rc::gen::inRange<std::int64_t>(1, 3);
    const std::int64_t tokens = *rc::gen::inRange<std::int64_t>(1, 70);
    const std::int64_t channels = *rc::gen::inRange<std::int64_t>(1, 40);
    const std::vector<float> values = any_values(static_cast<std::size_t>(heads * tokens * channels));
    for (const KiviAxis axis : {KiviAxis::tokens, KiviAxis::channels}) {
      for (const int bits : {2, 4}) {
        const KiviCache cache = quantize_kivi(values, heads, tokens, channels, bits, axis);
        const std::vector<float> back = dequantize(cache);
        for (std::size_t i = 0; i < back.size(); ++i) {
          const auto at = static_cast<std::int64_t>(i);
          const std::int64_t head = at / channels / tokens;
          const std::int64_t token = at / channels % tokens;
          const std::int64_t channel = at % channels;
          const std::int64_t index = axis == KiviAxis::tokens
                                         ? (head * ((tokens + 31) / 32) + token / 32) * channels + channel
                                         : (head * tokens + token) * ((channels + 31) / 32) + channel / 32;
          const double scale = wide(cache.scales[static_cast<std::size_t>(index)]);
          const double zero = wide(cache.zeros[static_cast<std::size_t>(index)]);
          const double largest = std::fabs(zero) + scale * ((1 << bits) - 1);
          RC_ASSERT(std::fabs(wide(values[i]) - wide(back[i])) <= 0.5 * scale + 6 * kFloatRoundoff * largest);
        }
      }
    }
  }));
}

}  // namespace
}  // namespace moesim::reference
