// An object of a JSON-lines trace read by name, with errors that point at the very byte.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "workloads/json_line.hpp"
#include "workloads/trace_lines.hpp"

namespace moesim::workloads {

// Parses the present line. Throws config::InputError if it is no JSON object.
void parse_json_record(const TraceLines& lines, JsonLine& json);

// The limits of a number.
struct IntegerRange {
  std::int64_t low = 0;
  std::int64_t high = INT64_MAX;
};

// A view of one object of a parsed line.
class JsonRecord {
 public:
  // The object at `index` of `json`, with `pointer` in the line. Throws config::InputError if it is no object
  // or has a key that is not among `keys`.
  JsonRecord(const TraceLines& lines, const JsonLine& json, std::uint32_t index, std::string pointer,
             std::span<const std::string_view> keys);

  [[nodiscard]] bool has(std::string_view key) const { return find(key) != nullptr; }
  // The value of a key that must be there.
  [[nodiscard]] const JsonValue& required(std::string_view key) const;
  [[nodiscard]] std::int64_t integer(std::string_view key, IntegerRange range) const;
  [[nodiscard]] std::optional<std::int64_t> optional_integer(std::string_view key, IntegerRange range) const;
  // Replaces `out` with a list of whole numbers in the range.
  void integers(std::string_view key, IntegerRange range, std::vector<std::int64_t>& out) const;
  // Indices (in the parsed line) of the items of a list.
  [[nodiscard]] std::vector<std::uint32_t> items(std::string_view key) const;

  // Where the value of a key that is there stands, for errors.
  [[nodiscard]] LinePlace place(std::string_view key) const;
  // Where the object stands.
  [[nodiscard]] LinePlace place() const;

 private:
  [[nodiscard]] const JsonValue* find(std::string_view key) const;
  [[nodiscard]] std::uint32_t index_of(const JsonValue& value) const;
  [[nodiscard]] std::int64_t read_integer(const JsonValue& value, const std::string& pointer,
                                          std::string_view name, IntegerRange range) const;
  [[nodiscard]] const JsonValue& list(std::string_view key) const;

  const TraceLines* lines_;
  const JsonLine* json_;
  std::uint32_t index_;
  std::string pointer_;
};

}  // namespace moesim::workloads
