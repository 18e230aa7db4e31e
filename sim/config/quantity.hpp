// Strings with a unit on input ("80 GiB", "3.35 TB/s"), exact in both directions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/time.hpp"
#include "sim/core/units.hpp"

namespace moesim::config {

enum class Dimension : std::uint8_t {
  bytes,
  bytes_per_second,
  flops_per_second,
  hertz,
  duration,
  per_second,
  watts,
  usd,
};

// What went wrong with a quantity's text: a sentence, and what was probably meant (or "").
struct QuantityError {
  std::string message;
  std::string suggestion;
};

// The text as a whole number of the dimension's base unit (bytes, B/s, op/s, Hz, ps), exactly. Returns false
// and fills `error` when the text is no quantity of this dimension, is not a whole number of base units, is
// negative or passes 2^63 - 1.
[[nodiscard]] bool parse_exact(std::string_view text, Dimension dimension, std::int64_t& value,
                               QuantityError& error);

// The same as a double, for per_second, watts and usd.
[[nodiscard]] bool parse_real(std::string_view text, Dimension dimension, double& value,
                              QuantityError& error);

// The shortest text in the largest unit that is exact: 85899345920 -> "80 GiB".
[[nodiscard]] std::string format_exact(std::int64_t value, Dimension dimension);
[[nodiscard]] std::string format_real(double value, Dimension dimension);

// Names of the dimension's units, smallest first, and an example: {"B", "kB", ...}, "80 GiB".
[[nodiscard]] std::vector<std::string> unit_names(Dimension dimension);
[[nodiscard]] std::string_view dimension_noun(Dimension dimension);
[[nodiscard]] std::string_view dimension_example(Dimension dimension);
// A regular expression (ECMA 262) that matches exactly the texts whose form parse_* accepts.
[[nodiscard]] std::string dimension_pattern(Dimension dimension);

// The dimension of a C++ type; `exact` says whether its representation is a whole number.
template <class Q>
struct DimensionOf;
template <>
struct DimensionOf<core::Bytes> {
  static constexpr Dimension value = Dimension::bytes;
};
template <>
struct DimensionOf<core::BytesPerSecond> {
  static constexpr Dimension value = Dimension::bytes_per_second;
};
template <>
struct DimensionOf<core::FlopsPerSecond> {
  static constexpr Dimension value = Dimension::flops_per_second;
};
template <>
struct DimensionOf<core::Hertz> {
  static constexpr Dimension value = Dimension::hertz;
};
template <>
struct DimensionOf<core::Duration> {
  static constexpr Dimension value = Dimension::duration;
};
template <>
struct DimensionOf<core::PerSecond> {
  static constexpr Dimension value = Dimension::per_second;
};
template <>
struct DimensionOf<core::Watts> {
  static constexpr Dimension value = Dimension::watts;
};
template <>
struct DimensionOf<core::Usd> {
  static constexpr Dimension value = Dimension::usd;
};

template <class Q>
concept QuantityType = requires {
  DimensionOf<Q>::value;
};

}  // namespace moesim::config
