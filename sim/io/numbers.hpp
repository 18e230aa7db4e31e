// Strict number parsing and shortest round-trip formatting, the same in every locale.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moesim::io {

// The whole text as a decimal integer ("-12"; no spaces, no '+'), or nullopt (also when out of range).
[[nodiscard]] std::optional<std::int64_t> parse_int64(std::string_view text);

// The whole text as a finite decimal number (no "nan", "inf", hex, '+' in front or spaces), or nullopt (also
// when too large or too small for a double).
[[nodiscard]] std::optional<double> parse_double(std::string_view text);

// The shortest decimal text that reads back as the same double: plain digits from 1e-4 up to below 1e16
// ("0.1", "3350000000000", "1" for 1.0), an exponent elsewhere ("6.02e+23"). "nan" and "inf" do not read
// back.
[[nodiscard]] std::string format_double(double value);

}  // namespace moesim::io
