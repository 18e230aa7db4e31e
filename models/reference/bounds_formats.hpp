// A-priori bounds on the error of quantised values, in double.
#pragma once

#include <algorithm>
#include <cmath>

#include "models/reference/small_float.hpp"

namespace moesim::reference {

inline constexpr double kFloatRoundoff = 0x1p-24;

// |value - decode(encode(value))| with saturation is at most this: half the gap between the codes around the
// value, or what lies beyond the largest number. Grows with |value|.
[[nodiscard]] inline double element_error_bound(const SmallFloat& format, double value) {
  const double largest = static_cast<double>(format.largest());
  const double magnitude = std::min(std::fabs(value), largest);
  const int least = 1 - format.bias;
  const int exponent = magnitude > 0.0 ? std::max(std::ilogb(magnitude), least) : least;
  const double half_gap = std::ldexp(0.5, exponent - format.fraction_bits);
  return std::max(half_gap, std::fabs(value) - largest);
}

// The same where codes are of the float quotient value / scale, and the result is the float product
// code x scale (FP8 with block scales, NVFP4, MX). Both roundings cost a unit roundoff of the value, and at
// most a denormal.
[[nodiscard]] inline double scaled_error_bound(const SmallFloat& format, double value, double scale) {
  constexpr double kDenormal = 0x1p-149;
  const double quotient = std::fabs(value) / scale * (1.0 + 2.0 * kFloatRoundoff) + kDenormal;
  return scale * element_error_bound(format, quotient) * (1.0 + kFloatRoundoff) +
         3.0 * kFloatRoundoff * std::fabs(value) + (1.0 + scale) * kDenormal;
}

// The same for integer codes from `low` to `high`: half a step, or what lies beyond the range.
// `scale_error` is the relative error of the stored scale (2^-11 for half precision, 0 for float).
[[nodiscard]] inline double integer_error_bound(double value, double scale, double low, double high,
                                                double scale_error = 0.0) {
  const double quotient = value / scale;
  const double beyond = std::max({0.0, quotient - high, low - quotient});
  const double roundings = 4.0 * kFloatRoundoff + scale_error;
  return std::fabs(scale) * (std::max(0.5, beyond) + (std::fabs(quotient) + 1.0) * roundings);
}

}  // namespace moesim::reference
