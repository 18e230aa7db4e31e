// One line of JSON as a flat list of values with their places in the line. The only door to the JSON library
// here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace moesim::workloads {

enum class JsonKind : std::uint8_t { null, boolean, integer, real, string, array, object, key };

// A value or an object's key. Values inside an array or object follow it, up to `next`; in an object keys and
// values alternate.
struct JsonValue {
  JsonKind kind = JsonKind::null;
  std::uint32_t begin = 0;  // byte range in the line
  std::uint32_t end = 0;
  std::uint32_t next = 0;    // index after this value and all values inside it
  std::int64_t integer = 0;  // kind integer
  double real = 0.0;         // kinds integer and real
  std::uint32_t text = 0;    // kinds string and key: index for JsonLine::text
};

// What was wrong with a line of JSON.
struct JsonLineError {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::string code;  // "syntax", "duplicate_key", "too_deep", "too_large" or "out_of_range"
  std::string message;
};

// Parses lines; its memory is used again from line to line. Numbers that are written as integers but do not
// fit 64 bits become kind real.
class JsonLine {
 public:
  static constexpr std::size_t kMaxDepth = 8;
  static constexpr std::size_t kMaxKeys = 64;  // in one object

  // Returns what is wrong if the line is not exactly one JSON value, repeats a key, nests deeper than
  // kMaxDepth or has an object of more than kMaxKeys keys.
  [[nodiscard]] std::optional<JsonLineError> parse(std::string_view line);
  [[nodiscard]] const std::vector<JsonValue>& values() const { return values_; }
  [[nodiscard]] const std::string& text(const JsonValue& value) const { return texts_[value.text]; }

 private:
  friend class JsonLineBuilder;
  std::vector<JsonValue> values_;
  std::vector<std::string> texts_;
};

}  // namespace moesim::workloads
