// Numbers and tables for people.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/time.hpp"

namespace moesim::reports {

// How text may look on the stream that it goes to.
struct Style {
  bool color = false;
  bool bars = false;     // on a terminal only
  bool unicode = false;  // block characters in bars; else ASCII
  std::size_t width = 100;
};

enum class Tone : std::uint8_t { good, bad, warning, heading, dim };

// The text in the tone's colour, or as it is.
[[nodiscard]] std::string paint(std::string_view text, Tone tone, const Style& style);

// A share as a bar of `cells` cells ("[####......]"), or "" where bars are not wanted.
[[nodiscard]] std::string bar(double share, std::size_t cells, const Style& style);

// "1.234 s", "38.2 ms", "12.5 us", "2.5 h": four significant digits in the unit that reads best.
[[nodiscard]] std::string human_seconds(double seconds);
// "139.6 GiB", "512 MiB", "0 B".
[[nodiscard]] std::string human_bytes(double bytes);
// "1,234", "12.35", "0.01234": whole numbers with separators, others with four significant digits.
[[nodiscard]] std::string human_number(double value);
// "1,234,567".
[[nodiscard]] std::string grouped(std::int64_t value);
// "12.3 %".
[[nodiscard]] std::string percent(double share);
// "12.34 USD": at least two decimals, and enough that a small price is not 0.00.
[[nodiscard]] std::string human_usd(double usd);
// A value in one of the units of serving::Metric, with the unit.
[[nodiscard]] std::string human_value(double value, std::string_view unit);

// A duration as decimal seconds, every digit exact: 1500000000000 ps -> "1.5".
[[nodiscard]] std::string exact_seconds(core::Duration duration);

// Breaks a text at spaces into lines of at most `width` characters; longer words stay whole, and a number
// stays with its unit.
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t width);
// The label, then the text, wrapped so that later lines stand below its first word.
[[nodiscard]] std::string hanging(std::string_view label, std::string_view text, std::size_t width);

// Characters that the text takes on a terminal (UTF-8, without escape codes).
[[nodiscard]] std::size_t display_width(std::string_view text);

// The same of the longest line.
[[nodiscard]] std::size_t widest_line(std::string_view text);

// A table with a header. Columns of numbers are aligned to the right.
class Table {
 public:
  struct Column {
    std::string title;
    bool numeric = false;
    int priority = 0;  // columns with the highest number are left out first when the width is short
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);
  // Lines with an ending each. A last column of words is wrapped; where columns had to go, a last line says
  // which.
  [[nodiscard]] std::string text(const Style& style, std::size_t indent = 0) const;
  [[nodiscard]] std::string csv() const;

 private:
  struct Fit;
  [[nodiscard]] Fit fit(std::size_t width, std::size_t indent) const;
  [[nodiscard]] std::string line(const std::vector<std::string>& cells, const Fit& fit,
                                 std::size_t indent) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace moesim::reports
