#include "workloads/json_record.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/config/node.hpp"

namespace moesim::workloads {
namespace {

std::string_view kind_words(JsonKind kind) {
  switch (kind) {
    case JsonKind::null:
      return "null";
    case JsonKind::boolean:
      return "true or false";
    case JsonKind::integer:
    case JsonKind::real:
      return "a number";
    case JsonKind::string:
    case JsonKind::key:
      return "a string";
    case JsonKind::array:
      return "a list";
    case JsonKind::object:
      return "an object";
  }
  return "?";
}

}  // namespace

void parse_json_record(const TraceLines& lines, JsonLine& json) {
  if (auto error = json.parse(lines.text())) {
    const bool cut = error->code == "syntax" && error->begin >= lines.text().size();
    if (cut) error->message += "; the file may have been cut off";
    lines.fail({error->begin, error->end, ""}, std::move(error->code), std::move(error->message));
  }
}

JsonRecord::JsonRecord(const TraceLines& lines, const JsonLine& json, std::uint32_t index,
                       std::string pointer, std::span<const std::string_view> keys)
    : lines_(&lines), json_(&json), index_(index), pointer_(std::move(pointer)) {
  const std::vector<JsonValue>& values = json_->values();
  const JsonValue& self = values[index];
  if (self.kind != JsonKind::object) {
    lines.fail(place(), "wrong_type", fmt::format("expected an object, found {}", kind_words(self.kind)));
  }
  for (std::uint32_t at = index + 1; at < self.next; at = values[at + 1].next) {
    const std::string& name = json_->text(values[at]);
    if (std::find(keys.begin(), keys.end(), name) != keys.end()) continue;
    const std::vector<std::string> known(keys.begin(), keys.end());
    std::string suggestion = config::nearest(name, known);
    if (suggestion.empty()) suggestion = fmt::format("one of: {}", fmt::join(known, ", "));
    lines.fail({values[at].begin, values[at].end, config::pointer_join(pointer_, name)}, "unknown_key",
               fmt::format("unknown key \"{}\"", name), std::move(suggestion));
  }
}

const JsonValue* JsonRecord::find(std::string_view key) const {
  const std::vector<JsonValue>& values = json_->values();
  for (std::uint32_t at = index_ + 1; at < values[index_].next; at = values[at + 1].next) {
    if (json_->text(values[at]) == key) return &values[at + 1];
  }
  return nullptr;
}

std::uint32_t JsonRecord::index_of(const JsonValue& value) const {
  return static_cast<std::uint32_t>(&value - json_->values().data());
}

LinePlace JsonRecord::place() const {
  const JsonValue& self = json_->values()[index_];
  return {self.begin, self.end, pointer_};
}

LinePlace JsonRecord::place(std::string_view key) const {
  const JsonValue& value = required(key);
  return {value.begin, value.end, config::pointer_join(pointer_, key)};
}

const JsonValue& JsonRecord::required(std::string_view key) const {
  const JsonValue* value = find(key);
  if (value == nullptr) {
    lines_->fail(place(), "missing_key", fmt::format("the key \"{}\" is missing", key));
  }
  return *value;
}

std::int64_t JsonRecord::read_integer(const JsonValue& value, const std::string& pointer,
                                      std::string_view name, IntegerRange range) const {
  const LinePlace place{value.begin, value.end, pointer};
  if (value.kind != JsonKind::integer && value.kind != JsonKind::real) {
    lines_->fail(place, "wrong_type",
                 fmt::format("\"{}\" must be a whole number, found {}", name, kind_words(value.kind)));
  }
  const bool whole = value.kind == JsonKind::integer;
  if (!whole && value.real > static_cast<double>(range.low) && value.real < static_cast<double>(range.high)) {
    lines_->fail(place, "wrong_type", fmt::format("\"{}\" must be a whole number without a point", name));
  }
  if (!whole || value.integer < range.low || value.integer > range.high) {
    lines_->fail(place, "out_of_range",
                 fmt::format("\"{}\" must be from {} to {}", name, range.low, range.high));
  }
  return value.integer;
}

std::int64_t JsonRecord::integer(std::string_view key, IntegerRange range) const {
  return read_integer(required(key), config::pointer_join(pointer_, key), key, range);
}

std::optional<std::int64_t> JsonRecord::optional_integer(std::string_view key, IntegerRange range) const {
  const JsonValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  return read_integer(*value, config::pointer_join(pointer_, key), key, range);
}

const JsonValue& JsonRecord::list(std::string_view key) const {
  const JsonValue& value = required(key);
  if (value.kind != JsonKind::array) {
    lines_->fail(place(key), "wrong_type",
                 fmt::format("\"{}\" must be a list, found {}", key, kind_words(value.kind)));
  }
  return value;
}

void JsonRecord::integers(std::string_view key, IntegerRange range, std::vector<std::int64_t>& out) const {
  const std::vector<JsonValue>& values = json_->values();
  const JsonValue& array = list(key);
  out.clear();
  for (std::uint32_t at = index_of(array) + 1; at < array.next; at = values[at].next) {
    const JsonValue& item = values[at];
    const bool good =
        item.kind == JsonKind::integer && item.integer >= range.low && item.integer <= range.high;
    // The pointer of an item is only put together for an error: lists are long.
    out.push_back(good ? item.integer
                       : read_integer(item,
                                      config::pointer_join(config::pointer_join(pointer_, key),
                                                           std::to_string(out.size())),
                                      key, range));
  }
}

std::vector<std::uint32_t> JsonRecord::items(std::string_view key) const {
  const std::vector<JsonValue>& values = json_->values();
  const JsonValue& array = list(key);
  std::vector<std::uint32_t> indices;
  for (std::uint32_t at = index_of(array) + 1; at < array.next; at = values[at].next) indices.push_back(at);
  return indices;
}

}  // namespace moesim::workloads
