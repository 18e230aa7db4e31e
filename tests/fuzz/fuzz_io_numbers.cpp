// Whatever reads as a number is written and read back as the same number; the rest is refused.
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sim/io/numbers.hpp"
#include "tests/fuzz/io_memory_file.hpp"

namespace io = moesim::io;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using io::testing::require;
  const std::string_view text = io::testing::as_text(data, size);
  const std::optional<double> number = io::parse_double(text);
  if (number.has_value()) {
    require(std::isfinite(*number));
    require(text.find_first_not_of("0123456789.-+eE") == std::string_view::npos);
    const std::optional<double> back = io::parse_double(io::format_double(*number));
    require(back.has_value());
    require(std::bit_cast<std::uint64_t>(*back) == std::bit_cast<std::uint64_t>(*number));
  }
  const std::optional<std::int64_t> integer = io::parse_int64(text);
  if (integer.has_value()) {
    // Every integer is a number too.
    require(number.has_value() && *number == static_cast<double>(*integer));
    require(io::parse_int64(std::to_string(*integer)) == integer);
  }
  return 0;
}
