// Rounding to the types in which routers compute.
#pragma once

#include <bit>
#include <cstdint>

#include "models/routing/gate/gate.hpp"

namespace moesim::gate {

// The nearest f32, then the nearest bfloat16 (ties to even), as a cast from an f32 tensor does.
[[nodiscard]] inline double rounded_to_bf16(double value) {
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return value;  // NaN
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) & 0xFFFF0000U;
  return static_cast<double>(std::bit_cast<float>(rounded));
}

// The nearest f32.
[[nodiscard]] inline double rounded_to_f32(double value) {
  return static_cast<double>(static_cast<float>(value));
}

[[nodiscard]] inline double rounded(double value, Precision precision) {
  switch (precision) {
    case Precision::f64:
      return value;
    case Precision::f32:
      return rounded_to_f32(value);
    case Precision::bf16:
      return rounded_to_bf16(value);
  }
  return value;
}

// In which type one operation on values of that precision is rounded: kernels compute bf16 values in f32 and
// round what they store.
[[nodiscard]] inline double computed(double value, Precision precision) {
  return precision == Precision::f64 ? value : rounded_to_f32(value);
}

}  // namespace moesim::gate
