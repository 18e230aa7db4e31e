#include "reports/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <utility>

#include "sim/io/csv.hpp"

namespace moesim::reports {

std::string paint(std::string_view text, Tone tone, const Style& style) {
  if (!style.color) return std::string(text);
  static constexpr std::array<std::string_view, 5> kCodes = {"1;32", "1;31", "1;33", "1", "2"};
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<std::size_t>(tone)], text);
}

std::string bar(double share, std::size_t cells, const Style& style) {
  if (!style.bars) return "";
  const double clamped = std::clamp(std::isfinite(share) ? share : 0.0, 0.0, 1.0);
  const auto full = static_cast<std::size_t>(std::lround(clamped * static_cast<double>(cells)));
  std::string out = style.unicode ? "" : "[";
  for (std::size_t i = 0; i < cells; ++i) {
    if (style.unicode) {
      out += i < full ? "\u2588" : "\u2591";
    } else {
      out += i < full ? '#' : '.';
    }
  }
  return style.unicode ? out : out + "]";
}

namespace {

// Four significant digits without an exponent; `value` is between 0.001 and 9999.5 in practice.
std::string significant(double value) {
  const double size = std::fabs(value);
  const int decimals = size >= 999.95 ? 0 : size >= 99.995 ? 1 : size >= 9.9995 ? 2 : 3;
  std::string text = fmt::format("{:.{}f}", value, decimals);
  if (text.find('.') != std::string::npos) {
    while (text.back() == '0') text.pop_back();
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

}  // namespace

std::string human_seconds(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  const double size = std::fabs(seconds);
  if (size == 0) return "0 s";
  if (size < 1e-6) return significant(seconds * 1e9) + " ns";
  if (size < 1e-3) return significant(seconds * 1e6) + " us";
  if (size < 1) return significant(seconds * 1e3) + " ms";
  if (size < 600) return significant(seconds) + " s";
  if (size < 7200) return significant(seconds / 60) + " min";
  return significant(seconds / 3600) + " h";
}

std::string human_bytes(double bytes) {
  static constexpr std::array<std::string_view, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = bytes;
  std::size_t unit = 0;
  // GiB up to 10 TiB: that is how device memory is talked about.
  while (unit + 1 < kUnits.size() && std::fabs(value) >= (unit == 3 ? 10240.0 : 1024.0)) {
    value /= 1024.0;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", value, unit == 0 ? 0 : unit < 3 ? 1 : 2, kUnits[unit]);
}

std::string grouped(std::int64_t value) {
  std::string digits = fmt::format("{}", value);
  const std::size_t first = digits.front() == '-' ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, ",");
  }
  return digits;
}

std::string human_number(double value) {
  if (!std::isfinite(value)) return "-";
  const double size = std::fabs(value);
  if (size >= 9.2e18) return fmt::format("{:.4g}", value);
  if (value == std::trunc(value) || size >= 999.95) return grouped(std::llround(value));
  if (size < 1e-3) return fmt::format("{:.4g}", value);
  return size < 1 ? fmt::format("{:.4g}", value) : significant(value);
}

std::string percent(double share) {
  if (!std::isfinite(share)) return "-";
  return fmt::format("{:.1f} %", share * 100.0);
}

std::string human_usd(double usd) {
  if (!std::isfinite(usd)) return "-";
  int decimals = 2;
  for (double size = std::fabs(usd); size > 0 && size < 1 && decimals < 9; size *= 10) ++decimals;
  return fmt::format("{:.{}f} USD", usd, decimals);
}

std::string human_value(double value, std::string_view unit) {
  if (unit == "s") return human_seconds(value);
  if (unit == "bytes") return human_bytes(value);
  if (unit == "usd") return human_usd(value);
  if (unit == "ratio") return human_number(value);
  if (unit == "1/s") return human_number(value) + " /s";
  if (unit == "count" || unit.empty()) return human_number(value);
  return fmt::format("{} {}", human_number(value), unit);
}

std::string exact_seconds(core::Duration duration) {
  constexpr auto kPs = static_cast<std::uint64_t>(core::kPicosecondsPerSecond);
  const bool negative = duration.ps < 0;
  const std::uint64_t size =
      negative ? ~static_cast<std::uint64_t>(duration.ps) + 1 : static_cast<std::uint64_t>(duration.ps);
  std::string text = fmt::format("{}{}", negative ? "-" : "", size / kPs);
  if (size % kPs == 0) return text;
  text += fmt::format(".{:012}", size % kPs);
  while (text.back() == '0') text.pop_back();
  return text;
}

namespace {

// "39.9" and "1,234", also behind a bracket.
bool is_number(std::string_view word) {
  if (word.starts_with('(')) word.remove_prefix(1);
  return !word.empty() && word.find_first_not_of("0123456789.,") == std::string_view::npos &&
         word.back() >= '0' && word.back() <= '9';
}

bool is_unit(std::string_view word) {
  static constexpr std::string_view kUnits[] = {"%", "/s",  "ps",  "ns",  "us",  "ms",  "s", "min",  "h",
                                                "B", "KiB", "MiB", "GiB", "TiB", "USD", "x", "TB/s", "GB/s"};
  while (!word.empty() && std::string_view(",;.:)").find(word.back()) != std::string_view::npos)
    word.remove_suffix(1);
  return std::find(std::begin(kUnits), std::end(kUnits), word) != std::end(kUnits);
}

// Takes the next word off the text; a number keeps its unit, so that no line ends between them.
std::string_view take_word(std::string_view& text) {
  std::size_t end = std::min(text.find(' '), text.size());
  if (end < text.size() && is_number(text.substr(0, end))) {
    const std::size_t next = std::min(text.find(' ', end + 1), text.size());
    if (is_unit(text.substr(end + 1, next - end - 1))) end = next;
  }
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

}  // namespace

std::string wrapped(std::string_view text, std::size_t width) {
  std::string out;
  std::size_t column = 0;
  while (!text.empty()) {
    const std::string_view word = take_word(text);
    if (word.empty()) continue;
    const std::size_t length = display_width(word);
    if (column > 0) {
      const bool breaks = column + 1 + length > width;
      out += breaks ? '\n' : ' ';
      column = breaks ? 0 : column + 1;
    }
    out += word;
    column += length;
  }
  return out;
}

std::string hanging(std::string_view label, std::string_view text, std::size_t width) {
  const std::size_t offset = display_width(label);
  constexpr std::size_t kNarrowest = 20;
  std::string out(label);
  for (const char c : wrapped(text, std::max(kNarrowest, width - std::min(width, offset)))) {
    out += c;
    if (c == '\n') out.append(offset, ' ');
  }
  return out;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      while (i < text.size() && text[i] != 'm') ++i;
      continue;
    }
    width += (static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U ? 0 : 1;
  }
  return width;
}

std::size_t widest_line(std::string_view text) {
  std::size_t widest = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    widest = std::max(widest, display_width(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return widest;
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

// Which columns fit, how wide each is, and which had to go.
struct Table::Fit {
  std::vector<std::size_t> widths;
  std::vector<bool> shown;
  std::vector<std::string> dropped;
  std::size_t wrap_width = 0;  // of the last column; 0: it fits as it is
};

Table::Fit Table::fit(std::size_t width, std::size_t indent) const {
  Fit fit;
  fit.shown.assign(columns_.size(), true);
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t widest = display_width(columns_[c].title);
    for (const auto& row : rows_) widest = std::max(widest, display_width(row[c]));
    fit.widths.push_back(widest);
  }
  const auto total = [&] {
    std::size_t sum = indent;
    for (std::size_t c = 0; c < columns_.size(); ++c)
      sum += fit.shown[c] ? fit.widths[c] + (c == 0 ? 0 : 2) : 0;
    return sum;
  };
  // Words in the last column are wrapped before anything is left out.
  constexpr std::size_t kNarrowest = 24;
  const std::size_t last = columns_.size() - 1;
  const auto wraps = [&] {
    const std::size_t before = total() - fit.widths[last];
    return !columns_[last].numeric && before + kNarrowest <= width;
  };
  while (total() > width && !wraps()) {
    std::size_t victim = columns_.size();
    for (std::size_t c = 1; c < columns_.size(); ++c) {
      if (!fit.shown[c] || columns_[c].priority == 0) continue;
      if (victim == columns_.size() || columns_[c].priority > columns_[victim].priority) victim = c;
    }
    if (victim == columns_.size()) return fit;
    fit.shown[victim] = false;
    fit.dropped.push_back(columns_[victim].title);
  }
  if (total() > width && fit.shown[last]) fit.wrap_width = width - (total() - fit.widths[last]);
  return fit;
}

std::string Table::line(const std::vector<std::string>& cells, const Fit& fit, std::size_t indent) const {
  std::string out(indent, ' ');
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    if (!fit.shown[c]) continue;
    if (c > 0) out += "  ";
    if (c + 1 == columns_.size() && fit.wrap_width > 0) {
      const std::size_t offset = display_width(out);
      out = hanging(out, cells[c], offset + fit.wrap_width);
      continue;
    }
    const std::string gap(fit.widths[c] - display_width(cells[c]), ' ');
    out += columns_[c].numeric ? gap + cells[c] : cells[c] + gap;
  }
  out.erase(out.find_last_not_of(' ') + 1);
  return out + "\n";
}

std::string Table::text(const Style& style, std::size_t indent) const {
  const Fit fitted = fit(style.width, indent);
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  std::string head = line(titles, fitted, indent);
  head.pop_back();
  std::string out = paint(head, Tone::heading, style) + "\n";
  for (const auto& row : rows_) out += line(row, fitted, indent);
  if (!fitted.dropped.empty()) {
    const std::string label = std::string(indent, ' ') + "left out for want of width: ";
    out += paint(hanging(label, fmt::format("{}", fmt::join(fitted.dropped, ", ")), style.width), Tone::dim,
                 style) +
           "\n";
  }
  return out;
}

std::string Table::csv() const {
  std::string out;
  std::string record;
  for (const Column& column : columns_) io::append_csv_field(record, column.title);
  out += record + "\n";
  for (const auto& row : rows_) {
    record.clear();
    for (const std::string& cell : row) io::append_csv_field(record, cell);
    out += record + "\n";
  }
  return out;
}

}  // namespace moesim::reports
