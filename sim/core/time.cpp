#include "sim/core/time.hpp"

#include <algorithm>
#include <cmath>

#include "sim/core/check.hpp"

namespace moesim::core {
namespace {

constexpr UInt128 kMaximumTicks = INT64_MAX;

Duration checked_duration(UInt128 ticks) {
  check(ticks <= kMaximumTicks, "a duration passes 2^63 picoseconds");
  return {static_cast<std::int64_t>(ticks)};
}

UInt128 ticks_for(std::int64_t amount, std::int64_t per_second) {
  check(amount >= 0, "a duration for a negative amount");
  check(per_second > 0, "a duration at a rate that is not positive");
  // Below 2^63 * 2^40: the product and the rounding term fit in 128 bits.
  const UInt128 scaled = static_cast<UInt128>(amount) * static_cast<UInt128>(kPicosecondsPerSecond);
  const UInt128 divisor = static_cast<UInt128>(per_second);
  return (scaled + (divisor - 1)) / divisor;
}

}  // namespace

Duration duration_for(std::int64_t amount, std::int64_t per_second) {
  return checked_duration(ticks_for(amount, per_second));
}

Duration saturating_duration_for(std::int64_t amount, std::int64_t per_second) {
  return {static_cast<std::int64_t>(std::min(ticks_for(amount, per_second), kMaximumTicks))};
}

Duration duration_from_seconds(double seconds) {
  check(std::isfinite(seconds), "a duration in seconds is not finite");
  check(seconds >= 0.0, "a duration in seconds is negative");
  // 2^24 s are 194 days, beyond the range of a Duration; below it the exponent of the last bit is negative.
  check(seconds < 0x1p24, "a duration passes 2^63 picoseconds");
  if (seconds == 0.0) {
    return {0};
  }
  // seconds = mantissa * 2^-shift with a whole mantissa below 2^53: the product with 10^12 is exact in 93
  // bits.
  int exponent = 0;
  const double fraction = std::frexp(seconds, &exponent);
  const auto mantissa = static_cast<UInt128>(std::ldexp(fraction, 53));
  const int shift = 53 - exponent;
  const UInt128 scaled = mantissa * static_cast<UInt128>(kPicosecondsPerSecond);
  if (shift >= 127) {
    return {1};  // a positive time below one picosecond
  }
  const UInt128 divisor = static_cast<UInt128>(1) << shift;
  return checked_duration((scaled >> shift) + ((scaled & (divisor - 1)) != 0 ? 1U : 0U));
}

}  // namespace moesim::core
