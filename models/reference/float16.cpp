#include "models/reference/float16.hpp"

namespace moesim::reference {

namespace {

constexpr std::uint32_t kInfinity = 0x7F800000U;

}  // namespace

float to_float(Fp16 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16U;
  const std::uint32_t exponent = (value.bits >> 10U) & 0x1FU;
  const std::uint32_t fraction = value.bits & 0x3FFU;
  if (exponent == 0x1FU) {
    return std::bit_cast<float>(sign | kInfinity | (fraction << 13U));
  }
  if (exponent == 0) {
    // fraction x 2^-24, exact in float.
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23U) | (fraction << 13U));
}

Fp16 to_fp16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16U) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > kInfinity) {
    return Fp16{static_cast<std::uint16_t>(sign | 0x7E00U)};
  }
  if (magnitude >= 0x47800000U) {  // 65536 and above
    return Fp16{static_cast<std::uint16_t>(sign | 0x7C00U)};
  }
  if (magnitude < 0x38800000U) {  // below 2^-14: a multiple of 2^-24
    // 2^-24 x the nearest integer, ties to even: adding 0.5 rounds to a multiple of 2^-24 in float.
    const float rounded = (std::bit_cast<float>(magnitude) + 0.5F);
    return Fp16{static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(rounded) - 0x3F000000U))};
  }
  const std::uint32_t tie = (magnitude >> 13U) & 1U;
  const std::uint32_t rounded = magnitude + 0xFFFU + tie;
  // A carry out of the largest exponent lands on infinity by itself.
  return Fp16{static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13U))};
}

Bf16 to_bf16_stochastic(float value, std::uint32_t random) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & kInfinity) == kInfinity) {
    return to_bf16(value);
  }
  return Bf16{static_cast<std::uint16_t>((bits + (random & 0xFFFFU)) >> 16U)};
}

}  // namespace moesim::reference
