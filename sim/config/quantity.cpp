#include "sim/config/quantity.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "sim/config/diagnostics.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::config {

namespace {

using core::Int128;

// One unit: its name and its size in base units, as the fraction numerator / denominator.
struct Unit {
  std::string_view name;
  std::int64_t numerator;
  std::int64_t denominator = 1;
};

constexpr std::int64_t kKilo = 1'000, kMega = 1'000'000, kGiga = 1'000'000'000, kTera = 1'000'000'000'000,
                       kPeta = 1'000'000'000'000'000;
constexpr std::int64_t kKibi = std::int64_t{1} << 10, kMebi = std::int64_t{1} << 20,
                       kGibi = std::int64_t{1} << 30, kTebi = std::int64_t{1} << 40;
constexpr std::int64_t kMinutePs = 60 * kTera, kHourPs = 3600 * kTera, kDayPs = 86400 * kTera;

constexpr Unit kBytes[] = {{"B", 1},      {"kB", kKilo},  {"KiB", kKibi}, {"MB", kMega}, {"MiB", kMebi},
                           {"GB", kGiga}, {"GiB", kGibi}, {"TB", kTera},  {"TiB", kTebi}};
constexpr Unit kByteRates[] = {{"B/s", 1},           {"kB/s", kKilo},     {"MB/s", kMega},
                               {"MiB/s", kMebi},     {"GB/s", kGiga},     {"GiB/s", kGibi},
                               {"TB/s", kTera},      {"TiB/s", kTebi},    {"Mbit/s", kMega, 8},
                               {"Gbit/s", kGiga, 8}, {"Tbit/s", kTera, 8}};
constexpr Unit kFlopRates[] = {{"FLOP/s", 1},      {"GFLOP/s", kGiga}, {"TFLOP/s", kTera},
                               {"PFLOP/s", kPeta}, {"TOP/s", kTera},   {"POP/s", kPeta}};
constexpr Unit kFrequencies[] = {{"Hz", 1}, {"kHz", kKilo}, {"MHz", kMega}, {"GHz", kGiga}};
constexpr Unit kDurations[] = {{"ps", 1},    {"ns", kKilo},      {"us", kMega},  {"ms", kGiga},
                               {"s", kTera}, {"min", kMinutePs}, {"h", kHourPs}, {"d", kDayPs}};
constexpr Unit kRates[] = {{"/s", 1}, {"/min", 1, 60}, {"/h", 1, 3600}};
constexpr Unit kPowers[] = {{"W", 1}, {"kW", kKilo}, {"MW", kMega}};
constexpr Unit kMoney[] = {{"USD", 1}};

struct DimensionFacts {
  std::span<const Unit> units;
  std::string_view noun;
  std::string_view example;
};

DimensionFacts facts(Dimension dimension) {
  switch (dimension) {
    case Dimension::bytes:
      return {kBytes, "size", "80 GiB"};
    case Dimension::bytes_per_second:
      return {kByteRates, "bandwidth", "3.35 TB/s"};
    case Dimension::flops_per_second:
      return {kFlopRates, "compute rate", "989 TFLOP/s"};
    case Dimension::hertz:
      return {kFrequencies, "frequency", "1.98 GHz"};
    case Dimension::duration:
      return {kDurations, "duration", "250 ns"};
    case Dimension::per_second:
      return {kRates, "rate", "12.5/s"};
    case Dimension::watts:
      return {kPowers, "power", "700 W"};
    case Dimension::usd:
      return {kMoney, "price", "2.49 USD"};
  }
  return {kBytes, "size", "80 GiB"};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Length of the unsigned JSON number at the start of the text, 0 if there is none.
std::size_t number_length(std::string_view text) {
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t from = i;
    while (i < text.size() && is_digit(text[i])) ++i;
    return i - from;
  };
  const std::size_t whole = digits();
  if (whole == 0 || (whole > 1 && text[0] == '0')) return 0;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (digits() == 0) return 0;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    const std::size_t before = i++;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) i = before;
  }
  return i;
}

struct Split {
  std::string_view number;
  const Unit* unit = nullptr;
};

std::string known_units(Dimension dimension) {
  return fmt::format("{}", fmt::join(unit_names(dimension), ", "));
}

const Unit* find_unit(Dimension dimension, std::string_view name) {
  for (const Unit& unit : facts(dimension).units) {
    if (unit.name == name) return &unit;
  }
  return nullptr;
}

// The unit a person probably meant by `name`, or "".
std::string meant_unit(std::string_view name, Dimension dimension) {
  // A small b is a bit, even where the rest is right: "Gb/s".
  if (dimension == Dimension::bytes_per_second && name.size() == 4 && name.ends_with("b/s")) {
    const std::string in_bits = fmt::format("{}bit/s", name.substr(0, 1));
    if (find_unit(dimension, in_bits) != nullptr) return in_bits;
  }
  std::string lower;
  for (const char c : name) lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const Unit& unit : facts(dimension).units) {
    std::string candidate;
    for (const char c : unit.name) candidate += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const bool same = candidate == lower;
    const bool prefix_only = !lower.empty() && candidate == lower + "b" && dimension == Dimension::bytes;
    const bool per_second_left_out = dimension == Dimension::bytes_per_second && candidate == lower + "/s";
    // "Gbps" means bits, "GBps" bytes.
    const bool bits = name.ends_with("bps");
    const bool ps_style = lower.size() > 3 && lower.ends_with("bps") &&
                          candidate == lower.substr(0, lower.size() - 3) + (bits ? "bit/s" : "b/s");
    const bool flops = lower == candidate.substr(0, candidate.find('/')) + "s" ||
                       lower == candidate.substr(0, candidate.find('/')) + "s/s" || lower + "/s" == candidate;
    if (same || prefix_only || per_second_left_out || ps_style || flops) return std::string(unit.name);
  }
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"sec", "s"},         {"secs", "s"},       {"second", "s"},    {"seconds", "s"},  {"m", "min"},
      {"mins", "min"},      {"minute", "min"},   {"minutes", "min"}, {"hr", "h"},       {"hour", "h"},
      {"hours", "h"},       {"day", "d"},        {"days", "d"},      {"msec", "ms"},    {"nsec", "ns"},
      {"usec", "us"},       {"\xc2\xb5s", "us"}, {"req/s", "/s"},    {"rps", "/s"},     {"qps", "/s"},
      {"requests/s", "/s"}, {"$", "USD"},        {"dollars", "USD"}, {"dollar", "USD"}, {"watt", "W"},
      {"watts", "W"},       {"gbps", "Gbit/s"},  {"gb/sec", "GB/s"}, {"kib", "KiB"},    {"bytes", "B"}};
  for (const auto& [word, unit] : kWords) {
    if (word == lower && find_unit(dimension, unit) != nullptr) return std::string(unit);
  }
  return nearest(name, unit_names(dimension));
}

std::string_view separator(Dimension dimension) { return dimension == Dimension::per_second ? "" : " "; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Splits "80 GiB" into number and unit; explains what is wrong otherwise.
bool split(std::string_view text, Dimension dimension, Split& out, QuantityError& error) {
  const DimensionFacts about = facts(dimension);
  const std::string_view clean = trimmed(text);
  const bool negative = !clean.empty() && clean.front() == '-';
  if (negative) {
    error = {fmt::format("a {} must not be negative", about.noun), ""};
    return false;
  }
  const std::size_t length = number_length(clean);
  if (length == 0) {
    error = {
        fmt::format("not a {}: expected a number and a unit, for example \"{}\"", about.noun, about.example),
        ""};
    return false;
  }
  out.number = clean.substr(0, length);
  const std::string_view name = trimmed(clean.substr(length));
  if (name.empty()) {
    error = {fmt::format("the unit is missing: a {} is one of {}", about.noun, known_units(dimension)), ""};
    return false;
  }
  out.unit = find_unit(dimension, name);
  if (out.unit == nullptr) {
    const std::string meant = meant_unit(name, dimension);
    error = {fmt::format("unknown unit \"{}\" for a {}: known units are {}", name, about.noun,
                         known_units(dimension)),
             meant.empty() ? "" : fmt::format("{}{}{}", out.number, separator(dimension), meant)};
    return false;
  }
  const std::string canonical = fmt::format("{}{}{}", out.number, separator(dimension), name);
  if (text != canonical) {
    error = {fmt::format("a {} is written as a number, {} and the unit", about.noun,
                         separator(dimension).empty() ? "no space" : "one space"),
             canonical};
    return false;
  }
  return true;
}

// mantissa * 10^exponent of an unsigned decimal number; false when it has more than 30 significant digits or
// an exponent out of range (then no exact whole number of base units can come of it).
bool decimal_parts(std::string_view number, Int128& mantissa, int& exponent) {
  mantissa = 0;
  exponent = 0;
  bool after_point = false;
  int digits = 0;
  std::size_t i = 0;
  for (; i < number.size() && number[i] != 'e' && number[i] != 'E'; ++i) {
    if (number[i] == '.') {
      after_point = true;
      continue;
    }
    if (mantissa != 0 || number[i] != '0') ++digits;
    if (digits > 30) return false;
    mantissa = mantissa * 10 + (number[i] - '0');
    if (after_point) --exponent;
  }
  if (i < number.size()) {
    std::string_view tail = number.substr(i + 1);
    if (!tail.empty() && tail.front() == '+') tail.remove_prefix(1);
    const auto written = io::parse_int64(tail);
    if (!written || *written > 400 || *written < -400) return false;
    exponent += static_cast<int>(*written);
  }
  return true;
}

}  // namespace

bool parse_exact(std::string_view text, Dimension dimension, std::int64_t& value, QuantityError& error) {
  Split parts;
  if (!split(text, dimension, parts, error)) return false;
  const std::string_view noun = facts(dimension).noun;
  const std::string_view base = facts(dimension).units.front().name;
  Int128 mantissa = 0;
  int exponent = 0;
  if (!decimal_parts(parts.number, mantissa, exponent)) {
    error = {fmt::format("the {} has too many digits or is out of range", noun), ""};
    return false;
  }
  constexpr Int128 kLimit = Int128{1} << 120;
  const auto too_large = [&] {
    error = {fmt::format("the {} is too large: the limit is {} {}", noun, INT64_MAX, base), ""};
    return false;
  };
  if (mantissa == 0) {
    value = 0;
    return true;
  }
  // Cancel powers of ten against the unit first, so that the product stays inside 128 bits.
  Int128 numerator = parts.unit->numerator;
  for (; exponent < 0 && mantissa % 10 == 0; ++exponent) mantissa /= 10;
  for (; exponent < 0 && numerator % 10 == 0; ++exponent) numerator /= 10;
  for (; exponent > 0; --exponent) {
    if (mantissa > kLimit / 10) return too_large();
    mantissa *= 10;
  }
  if (mantissa > kLimit / numerator) return too_large();
  const Int128 product = mantissa * numerator;
  // "1.79 GiB" is no whole number of bytes: round to the nearest, once. What rounds to nothing is refused.
  Int128 divisor = parts.unit->denominator;
  for (; exponent < 0 && divisor < kLimit / 10; ++exponent) divisor *= 10;
  const Int128 rounded = exponent < 0 ? 0 : (2 * product + divisor) / (2 * divisor);
  if (rounded == 0) {
    error = {fmt::format("the {} is smaller than 1 {}", noun, base), ""};
    return false;
  }
  if (rounded > INT64_MAX) return too_large();
  value = static_cast<std::int64_t>(rounded);
  return true;
}

bool parse_real(std::string_view text, Dimension dimension, double& value, QuantityError& error) {
  Split parts;
  if (!split(text, dimension, parts, error)) return false;
  const auto number = io::parse_double(parts.number);
  if (!number) {
    error = {fmt::format("the {} is out of range", facts(dimension).noun), ""};
    return false;
  }
  value = *number * static_cast<double>(parts.unit->numerator) / static_cast<double>(parts.unit->denominator);
  return true;
}

std::string format_exact(std::int64_t value, Dimension dimension) {
  const DimensionFacts about = facts(dimension);
  std::string best = fmt::format("{} {}", value, about.units.front().name);
  if (value == 0) return best;
  for (const Unit& unit : about.units) {
    if (unit.denominator != 1 || unit.numerator > value) continue;
    // value / unit as a decimal, if it ends within 12 digits.
    std::int64_t rest = value % unit.numerator;
    std::string text = fmt::format("{}", value / unit.numerator);
    if (rest != 0) text += '.';
    for (int digits = 0; rest != 0 && digits < 12; ++digits) {
      const Int128 scaled = Int128{rest} * 10;
      text += static_cast<char>('0' + static_cast<int>(scaled / unit.numerator));
      rest = static_cast<std::int64_t>(scaled % unit.numerator);
    }
    const std::string candidate = fmt::format("{} {}", text, unit.name);
    if (rest == 0 && candidate.size() <= best.size()) best = candidate;
  }
  return best;
}

std::string format_real(double value, Dimension dimension) {
  return fmt::format("{}{}{}", io::format_double(value), separator(dimension),
                     facts(dimension).units.front().name);
}

std::vector<std::string> unit_names(Dimension dimension) {
  std::vector<std::string> names;
  for (const Unit& unit : facts(dimension).units) names.emplace_back(unit.name);
  return names;
}

std::string_view dimension_noun(Dimension dimension) { return facts(dimension).noun; }

std::string_view dimension_example(Dimension dimension) { return facts(dimension).example; }

std::string dimension_pattern(Dimension dimension) {
  return fmt::format("^(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?{}({})$", separator(dimension),
                     fmt::join(unit_names(dimension), "|"));
}

}  // namespace moesim::config
