// Small helpers on whole numbers.
#pragma once

#include <cstdint>

namespace moesim::core {

// The smallest integer that is not below value / divisor. Needs value >= 0, divisor > 0 and a sum of both
// that fits 63 bits.
[[nodiscard]] constexpr std::int64_t divide_up(std::int64_t value, std::int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace moesim::core
