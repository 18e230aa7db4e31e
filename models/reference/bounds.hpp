// A-priori error bounds: unit roundoffs, gamma_n, and values that carry a bound of their error.
//
// Standard model of rounding (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., parts 2.2
// and 3.1): fl(x op y) = (x op y)(1 + d), |d| <= u, and n roundings in a row are within gamma_n = n u / (1 -
// n u). Results below the normal range add an absolute error of half the spacing there.
#pragma once

#include <cmath>
#include <cstdint>

#include "models/reference/float16.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

// u of each type: half the distance from 1 to the next number.
inline constexpr double kRoundoffF64 = 0x1p-53;
inline constexpr double kRoundoffF32 = 0x1p-24;
inline constexpr double kRoundoffFp16 = 0x1p-11;
inline constexpr double kRoundoffBf16 = 0x1p-8;
inline constexpr double kRoundoffE4m3 = 0x1p-4;
inline constexpr double kRoundoffE5m2 = 0x1p-3;
inline constexpr double kRoundoffE2m1 = 0x1p-2;

// Half the distance between two numbers below the normal range.
inline constexpr double kUnderflowF32 = 0x1p-150;
inline constexpr double kUnderflowFp16 = 0x1p-25;
inline constexpr double kUnderflowBf16 = 0x1p-134;

// gamma_n. Throws core::InvariantError where it is not defined (n u >= 1).
[[nodiscard]] inline double gamma(std::int64_t n, double roundoff) {
  const double nu = static_cast<double>(n) * roundoff;
  core::check(nu < 1.0, "gamma_n needs n u < 1");
  return nu / (1.0 - nu);
}

// u of a storage type.
template <class Value>
inline constexpr double kRoundoffOf = kRoundoffF32;
template <>
inline constexpr double kRoundoffOf<Bf16> = kRoundoffBf16;
template <>
inline constexpr double kRoundoffOf<Fp16> = kRoundoffFp16;

template <class Value>
inline constexpr double kUnderflowOf = kUnderflowF32;
template <>
inline constexpr double kUnderflowOf<Bf16> = kUnderflowBf16;
template <>
inline constexpr double kUnderflowOf<Fp16> = kUnderflowFp16;

// An exact value (to f64), and how far from it a kernel's value may be.
struct Bounded {
  double value = 0.0;
  double error = 0.0;

  // Largest magnitude that the kernel's value can have.
  [[nodiscard]] double magnitude() const { return std::fabs(value) + error; }
};

// After `n` more roundings to a type with that u.
[[nodiscard]] inline Bounded rounded(const Bounded& x, std::int64_t n, double roundoff, double underflow) {
  return {x.value, x.error + gamma(n, roundoff) * x.magnitude() + static_cast<double>(n) * underflow};
}
// After n f32 operations whose only error is rounding.
[[nodiscard]] inline Bounded rounded_f32(const Bounded& x, std::int64_t n = 1) {
  return rounded(x, n, kRoundoffF32, kUnderflowF32);
}
// After it was stored as Value; f32 values are stored as they are.
template <class Value>
[[nodiscard]] Bounded stored(const Bounded& x) {
  if constexpr (sizeof(Value) == sizeof(float)) {
    return x;
  } else {
    return rounded(x, 1, kRoundoffOf<Value>, kUnderflowOf<Value>);
  }
}

// x y and x + y without the rounding of the operation itself.
[[nodiscard]] inline Bounded product(const Bounded& x, const Bounded& y) {
  return {x.value * y.value, x.error * std::fabs(y.value) + y.error * std::fabs(x.value) + x.error * y.error};
}
[[nodiscard]] inline Bounded sum(const Bounded& x, const Bounded& y) {
  return {x.value + y.value, x.error + y.error};
}

}  // namespace moesim::reference
