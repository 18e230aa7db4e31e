// bfloat16 and IEEE half precision: storage types and their exact conversions.
#pragma once

#include <bit>
#include <cstdint>

namespace moesim::reference {

// Storage of a bfloat16 value (8 bits of significand).
struct Bf16 {
  std::uint16_t bits = 0;
  bool operator==(const Bf16&) const = default;
};

// Storage of an IEEE binary16 value (11 bits of significand).
struct Fp16 {
  std::uint16_t bits = 0;
  bool operator==(const Fp16&) const = default;
};

// Exact.
[[nodiscard]] inline float to_float(Bf16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16U);
}
[[nodiscard]] inline float to_float(float value) { return value; }

// Rounds to nearest, ties to even. Overflow gives an infinity; a NaN stays a (quiet) NaN.
[[nodiscard]] inline Bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
    return Bf16{static_cast<std::uint16_t>((bits >> 16U) | 0x40U)};
  }
  const std::uint32_t tie = (bits >> 16U) & 1U;
  return Bf16{static_cast<std::uint16_t>((bits + 0x7FFFU + tie) >> 16U)};
}

// The value after rounding to bfloat16 and back.
[[nodiscard]] inline float rounded_to_bf16(float value) { return to_float(to_bf16(value)); }

// Exact.
[[nodiscard]] float to_float(Fp16 value);
// Rounds to nearest, ties to even; denormals are kept, overflow gives an infinity.
[[nodiscard]] Fp16 to_fp16(float value);

// bits = (f32 bits + (random & 0xFFFF)) >> 16: unbiased over all random numbers. Infinities and NaN stay.
[[nodiscard]] Bf16 to_bf16_stochastic(float value, std::uint32_t random);

}  // namespace moesim::reference
