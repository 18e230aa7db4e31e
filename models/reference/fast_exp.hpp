// Constants of the polynomial exp of the fast kernels, and its version in plain C++.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace moesim::reference::fast_exp {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kLog2E = 1.44269504088896341F;
inline constexpr float kLn2High = 0.693359375F;  // few bits: n x this is exact
inline constexpr float kLn2Low = -2.12194440e-4F;
inline constexpr float kExp[6] = {1.9875691500e-4F, 1.3981999507e-3F, 8.3334519073e-3F,
                                  4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F};

// 2^n, -126 <= n <= 127.
[[nodiscard]] inline float power_of_two(std::int32_t n) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(n + 127) << 23U);
}

// exp(x) as exp16 of kernels_avx512.cpp, without fused operations.
[[nodiscard]] inline float exp1(float x) {
  if (!(x == x)) return x;
  x = x < -104.0F ? -104.0F : x;
  x = x > 89.0F ? 89.0F : x;
  const float whole = x * kLog2E;
  const auto n = static_cast<std::int32_t>(whole + (whole < 0.0F ? -0.5F : 0.5F));
  const auto count = static_cast<float>(n);
  const float r = (x - count * kLn2High) - count * kLn2Low;
  float p = kExp[0];
  for (int i = 1; i < 6; ++i) p = p * r + kExp[i];
  const float result = (r * r * p + r) + 1.0F;
  // In two steps: 2^n itself may be too small or too large for an f32.
  const std::int32_t half = n / 2;
  return result * power_of_two(half) * power_of_two(n - half);
}

}  // namespace moesim::reference::fast_exp
