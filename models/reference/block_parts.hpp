// What the quantisers share (internal to models/reference).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::reference::block_parts {

inline std::int64_t divided_up(std::int64_t n, std::int64_t by) { return n / by + (n % by != 0 ? 1 : 0); }

// The sizes of a quantised matrix must fit together; `group` must be positive.
inline void check_matrix(std::size_t size, std::int64_t rows, std::int64_t columns, std::int64_t group) {
  core::check(rows >= 0 && columns >= 0, "a quantised matrix needs sizes of at least 0");
  // Far from where sums of sizes would overflow.
  core::check(group > 0 && group <= (std::int64_t{1} << 40), "a block needs 1 to 2^40 values");
  core::check(columns == 0 || rows <= INT64_MAX / columns, "a quantised matrix is too large");
  core::check(std::cmp_equal(size, rows * columns), "a quantised matrix needs rows x columns values");
}

// Calls body(block, first, n) for each run of at most `group` values of each row; `first` is an index into
// the matrix.
template <class Body>
void each_run(std::int64_t rows, std::int64_t columns, std::int64_t group, Body&& body) {
  if (columns == 0) return;
  std::size_t block = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; column += group, ++block) {
      const std::int64_t n = std::min(group, columns - column);
      body(block, static_cast<std::size_t>(row * columns + column), static_cast<std::size_t>(n));
    }
  }
}

// The largest magnitude, or NaN if there is one.
inline float largest_magnitude(std::span<const float> values, float at_least = 0.0F) {
  float largest = at_least;
  for (const float value : values) {
    const float magnitude = std::fabs(value);
    if (!(magnitude <= largest)) largest = magnitude;
    if (std::isnan(largest)) break;
  }
  return largest;
}

// A whole number in [low, high] as an integer; NaN gives 0.
inline std::int8_t to_code(float whole, float low, float high) {
  return std::isnan(whole) ? std::int8_t{0} : static_cast<std::int8_t>(std::clamp(whole, low, high));
}

}  // namespace moesim::reference::block_parts
