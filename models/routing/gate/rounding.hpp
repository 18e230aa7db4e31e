// Rounding to the types in which routers compute.
#pragma once

#include <bit>
#include <cstdint>

namespace moesim::gate {

// The nearest f32, then the nearest bfloat16 (ties to even), as a cast from an f32 tensor does.
[[nodiscard]] inline double rounded_to_bf16(double value) {
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(value));
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return value;  // NaN
  const std::uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) & 0xFFFF0000U;
  return static_cast<double>(std::bit_cast<float>(rounded));
}

}  // namespace moesim::gate
