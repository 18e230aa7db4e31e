// Floating-point numbers of 8 bits and fewer: FP8, FP6 and FP4 elements and the E8M0 scale.
//
// Sources: OCP 8-bit Floating Point Specification (E4M3FN, E5M2); OCP Microscaling Formats v1.0 (E2M1, E2M3,
// E3M2, E8M0); the FNUZ forms of AMD MI300. Codes are one to a byte: sign, exponent, fraction from high to
// low, without unused high bits set.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace moesim::reference {

// What the codes at the top of a format mean.
enum class SmallSpecials : std::uint8_t {
  none,       // every code is finite (FP6, FP4)
  ieee,       // the largest exponent is infinity and NaN (E5M2)
  one_nan,    // only the largest code of each sign is NaN, there is no infinity (E4M3FN)
  minus_zero  // only the code of -0 is NaN, there is no infinity and no -0 (FNUZ)
};

// One format. Its numbers are (-1)^s x 1.f x 2^(e - bias), and 0.f x 2^(1 - bias) where e is 0.
struct SmallFloat {
  std::string_view name;
  int exponent_bits = 0;
  int fraction_bits = 0;
  int bias = 0;
  SmallSpecials specials = SmallSpecials::none;
  std::array<float, 256> values{};  // of each code; codes above `codes()` are unused

  [[nodiscard]] constexpr int bits() const { return 1 + exponent_bits + fraction_bits; }
  [[nodiscard]] constexpr int codes() const { return 1 << bits(); }
  [[nodiscard]] constexpr std::uint8_t sign_bit() const {
    return static_cast<std::uint8_t>(1 << (bits() - 1));
  }
  // The code of the largest finite number.
  [[nodiscard]] constexpr std::uint8_t largest_code() const {
    const int top = (1 << (bits() - 1)) - 1;
    if (specials == SmallSpecials::ieee) return static_cast<std::uint8_t>(top - (1 << fraction_bits));
    return static_cast<std::uint8_t>(specials == SmallSpecials::one_nan ? top - 1 : top);
  }
  [[nodiscard]] constexpr float largest() const { return values[largest_code()]; }
  // The exponent of the largest finite number: 8 for E4M3FN, whose largest is 1.75 x 2^8.
  [[nodiscard]] constexpr int largest_exponent() const { return (largest_code() >> fraction_bits) - bias; }
  // The smallest number above 0.
  [[nodiscard]] constexpr float smallest() const { return values[1]; }
  [[nodiscard]] constexpr float decode(std::uint8_t code) const { return values[code]; }
  // True for a code that is no number.
  [[nodiscard]] constexpr bool is_nan(std::uint8_t code) const { return values[code] != values[code]; }
};

namespace small_float_detail {

constexpr std::uint32_t kFloatFraction = 23;
constexpr int kFloatBias = 127;

// 2^exponent, exact in float: -149 to 127.
constexpr float power_of_two(int exponent) {
  if (exponent < 1 - kFloatBias) return std::bit_cast<float>(std::uint32_t{1} << (exponent + 149));
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + kFloatBias) << kFloatFraction);
}

constexpr float value_of(const SmallFloat& format, int code) {
  const int magnitude = code & (format.sign_bit() - 1);
  const bool negative = (code & format.sign_bit()) != 0;
  const float kNan = std::bit_cast<float>(0x7FC00000U);
  const float kInfinity = std::bit_cast<float>(0x7F800000U);
  if (format.specials == SmallSpecials::minus_zero && code == format.sign_bit()) return kNan;
  if (magnitude > format.largest_code()) {
    const bool infinite = format.specials == SmallSpecials::ieee && magnitude == format.largest_code() + 1;
    if (!infinite) return kNan;
    return negative ? -kInfinity : kInfinity;
  }
  const int exponent = magnitude >> format.fraction_bits;
  const int fraction = magnitude & ((1 << format.fraction_bits) - 1);
  const int significand = exponent == 0 ? fraction : fraction + (1 << format.fraction_bits);
  const int scale = (exponent == 0 ? 1 : exponent) - format.bias - format.fraction_bits;
  const float value = static_cast<float>(significand) * power_of_two(scale);
  return negative ? -value : value;
}

constexpr SmallFloat make_format(std::string_view name, int exponent_bits, int fraction_bits, int bias,
                                 SmallSpecials specials) {
  SmallFloat format{name, exponent_bits, fraction_bits, bias, specials, {}};
  for (int code = 0; code < format.codes(); ++code) {
    format.values[static_cast<std::size_t>(code)] = value_of(format, code);
  }
  return format;
}

}  // namespace small_float_detail

inline constexpr SmallFloat kE4m3fn =
    small_float_detail::make_format("e4m3fn", 4, 3, 7, SmallSpecials::one_nan);
inline constexpr SmallFloat kE4m3fnuz =
    small_float_detail::make_format("e4m3fnuz", 4, 3, 8, SmallSpecials::minus_zero);
inline constexpr SmallFloat kE5m2 = small_float_detail::make_format("e5m2", 5, 2, 15, SmallSpecials::ieee);
inline constexpr SmallFloat kE5m2fnuz =
    small_float_detail::make_format("e5m2fnuz", 5, 2, 16, SmallSpecials::minus_zero);
inline constexpr SmallFloat kE2m1 = small_float_detail::make_format("e2m1", 2, 1, 1, SmallSpecials::none);
inline constexpr SmallFloat kE2m3 = small_float_detail::make_format("e2m3", 2, 3, 1, SmallSpecials::none);
inline constexpr SmallFloat kE3m2 = small_float_detail::make_format("e3m2", 3, 2, 3, SmallSpecials::none);

inline constexpr const SmallFloat* kSmallFloats[] = {&kE4m3fn, &kE4m3fnuz, &kE5m2, &kE5m2fnuz,
                                                     &kE2m1,   &kE2m3,     &kE3m2};

// The format of that name ("e4m3fn"), or nullptr.
[[nodiscard]] const SmallFloat* find_small_float(std::string_view name);

// What becomes of numbers that are too large, and of infinities.
enum class Overflow : std::uint8_t {
  saturate,  // the largest finite number
  special    // infinity where the format has it, else NaN. Formats without either saturate
};

namespace small_float_detail {

// Sign, then a code that may lie beyond the largest one.
[[nodiscard]] inline std::uint8_t finish_code(const SmallFloat& format, bool negative, std::uint64_t code,
                                              Overflow overflow) {
  if (code > format.largest_code()) {
    if (overflow == Overflow::saturate || format.specials == SmallSpecials::none) {
      code = format.largest_code();
    } else if (format.specials == SmallSpecials::minus_zero) {
      return format.sign_bit();
    } else {
      code = format.largest_code() + 1U;  // infinity, or the only NaN
    }
  }
  if (code == 0 && format.specials == SmallSpecials::minus_zero) return 0;
  return static_cast<std::uint8_t>(code | (negative ? format.sign_bit() : 0U));
}

// A value's place between the codes: code = significand >> shift, with `shift` bits to round away.
struct Place {
  std::uint64_t significand = 0;
  std::uint64_t base = 0;  // added to the rounded significand
  int shift = 0;
};

// Of a finite value's magnitude bits that are a normal number of float.
[[nodiscard]] inline Place place_of(const SmallFloat& format, std::uint32_t magnitude) {
  const int exponent = static_cast<int>(magnitude >> kFloatFraction) - kFloatBias;
  const int least = 1 - format.bias;
  const int held = exponent < least ? least : exponent;
  Place place;
  place.significand = (magnitude & 0x7FFFFFU) | 0x800000U;
  place.shift = static_cast<int>(kFloatFraction) - format.fraction_bits + (held - exponent);
  place.base = static_cast<std::uint64_t>(held - least) << format.fraction_bits;
  return place;
}

// The code of a value that rounding has nothing to do with, or -1: NaN, infinities, and what is far below the
// smallest number (all formats here lie inside float's normal numbers).
[[nodiscard]] inline int special_code(const SmallFloat& format, std::uint32_t bits, Overflow overflow) {
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  const bool negative = bits != magnitude;
  if (magnitude > 0x7F800000U) {
    if (format.specials == SmallSpecials::minus_zero) return format.sign_bit();
    // As NVIDIA's saturating conversion to formats without NaN: the largest positive number.
    if (format.specials == SmallSpecials::none) return format.largest_code();
    const auto nan = static_cast<std::uint8_t>(
        format.largest_code() +
        (format.specials == SmallSpecials::ieee ? 1 << (format.fraction_bits - 1) : 0) + 1);
    return nan | (negative ? format.sign_bit() : 0);
  }
  if (magnitude == 0x7F800000U) return finish_code(format, negative, 0xFFU, overflow);
  if (magnitude < 0x00800000U) return finish_code(format, negative, 0, overflow);
  return -1;
}

}  // namespace small_float_detail

// The nearest code, ties to the even one. NaN stays NaN; formats without NaN give their largest number.
[[nodiscard]] inline std::uint8_t encode(const SmallFloat& format, float value,
                                         Overflow overflow = Overflow::saturate) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (const int code = small_float_detail::special_code(format, bits, overflow); code >= 0) {
    return static_cast<std::uint8_t>(code);
  }
  const auto place = small_float_detail::place_of(format, bits & 0x7FFFFFFFU);
  constexpr int kAllGone = 26;  // less than half of the smallest number
  std::uint64_t rounded = 0;
  if (place.shift < kAllGone) {
    const std::uint64_t odd = (place.significand >> place.shift) & 1U;
    const std::uint64_t half = std::uint64_t{1} << (place.shift - 1);
    rounded = (place.significand + half - 1U + odd) >> place.shift;
  }
  return small_float_detail::finish_code(format, (bits >> 31U) != 0, place.base + rounded, overflow);
}

// Rounds up or down, up with the probability of the distance to the lower number: unbiased over all `random`
// wherever the format has neighbours on both sides and the value is at least 2^-8 of its smallest number (of
// smaller ones, bits are lost). Infinities, NaN and overflow as in encode.
[[nodiscard]] inline std::uint8_t encode_stochastic(const SmallFloat& format, float value,
                                                    std::uint32_t random,
                                                    Overflow overflow = Overflow::saturate) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (const int code = small_float_detail::special_code(format, bits, overflow); code >= 0) {
    return static_cast<std::uint8_t>(code);
  }
  auto place = small_float_detail::place_of(format, bits & 0x7FFFFFFFU);
  constexpr int kRandomBits = 32;
  if (place.shift > kRandomBits) {
    const int lost = place.shift - kRandomBits;
    place.significand = lost < 64 ? place.significand >> lost : 0;
    place.shift = kRandomBits;
  }
  const std::uint64_t below = random & ((std::uint64_t{1} << place.shift) - 1U);
  const std::uint64_t rounded = (place.significand + below) >> place.shift;
  return small_float_detail::finish_code(format, (bits >> 31U) != 0, place.base + rounded, overflow);
}

// The value after rounding to the format and back.
[[nodiscard]] inline float rounded_to(const SmallFloat& format, float value) {
  return format.decode(encode(format, value));
}

// E8M0: the scale 2^(code - 127); 255 is NaN. 2^-127 is a denormal of float.
inline constexpr int kE8m0Bias = 127;
inline constexpr std::uint8_t kE8m0Nan = 255;
[[nodiscard]] inline float decode_e8m0(std::uint8_t code) {
  return code == kE8m0Nan ? std::bit_cast<float>(0x7FC00000U)
                          : small_float_detail::power_of_two(code - kE8m0Bias);
}
// The code of 2^exponent, with exponents beyond [-127, 127] cut off.
[[nodiscard]] inline std::uint8_t encode_e8m0(int exponent) {
  const int cut = exponent < -kE8m0Bias ? -kE8m0Bias : exponent > kE8m0Bias ? kE8m0Bias : exponent;
  return static_cast<std::uint8_t>(cut + kE8m0Bias);
}

}  // namespace moesim::reference
