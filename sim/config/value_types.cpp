#include "sim/config/value_types.hpp"

#include <fmt/format.h>

#include <cmath>

#include "sim/config/document.hpp"
#include "sim/config/internal.hpp"
#include "sim/config/schema_builder.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::config::detail {

namespace {

std::string shown(const Node& node) {
  if (node.kind == Node::Kind::array || node.kind == Node::Kind::object)
    return std::string(kind_words(node.kind));
  std::string text = to_json(node, -1);
  if (text.size() > 64) text = text.substr(0, 60) + "...";
  return text;
}

void wrong_type(const Node& in, Reader& reader, std::string_view expected, std::string suggestion = "") {
  reader.error("wrong_type", in, fmt::format("expected {}, found {}", expected, shown(in)),
               std::move(suggestion));
}

bool below(const Bounds& bounds, double value) {
  return bounds.minimum && (bounds.exclusive_minimum ? value <= *bounds.minimum : value < *bounds.minimum);
}

bool outside(const Bounds& bounds, double value) {
  return below(bounds, value) || (bounds.maximum && value > *bounds.maximum);
}

// For whole numbers, which a double would round: 2^53 + 1 is above 2^53.
bool outside(const Bounds& bounds, std::int64_t value) {
  constexpr double kRange = 9223372036854775808.0;  // 2^63
  const auto whole = [](double limit) { return static_cast<std::int64_t>(limit); };
  if (bounds.minimum && *bounds.minimum >= kRange) return true;
  if (bounds.minimum && *bounds.minimum >= -kRange) {
    const double least = bounds.exclusive_minimum ? std::floor(*bounds.minimum) : std::ceil(*bounds.minimum);
    if (bounds.exclusive_minimum ? value <= whole(least) : value < whole(least)) return true;
  }
  if (!bounds.maximum || *bounds.maximum >= kRange) return false;
  return *bounds.maximum < -kRange || value > whole(std::floor(*bounds.maximum));
}

std::string range_words(const Bounds& bounds, const std::function<std::string(double)>& show) {
  std::string words;
  if (bounds.minimum)
    words += fmt::format("{} {}", bounds.exclusive_minimum ? "above" : "at least", show(*bounds.minimum));
  if (bounds.maximum)
    words += fmt::format("{}at most {}", words.empty() ? "" : " and ", show(*bounds.maximum));
  return words;
}

std::string show_number(double value) { return io::format_double(value); }

}  // namespace

bool read_bool(const Node& in, Reader& reader, bool& out) {
  if (in.kind != Node::Kind::boolean) {
    const bool word = in.kind == Node::Kind::string && (in.text == "true" || in.text == "false");
    wrong_type(in, reader, "true or false", word ? in.text : "");
    return false;
  }
  out = in.boolean;
  return true;
}

bool read_integer(const Node& in, Reader& reader, const Bounds& bounds, std::int64_t& out) {
  // 8.0 is the whole number 8, for us as for JSON Schema. 2^53 is where doubles stop being exact.
  constexpr double kExact = 9007199254740992.0;
  if (in.kind == Node::Kind::real && std::trunc(in.real) == in.real && std::abs(in.real) > kExact) {
    reader.error("out_of_range", in, fmt::format("{} is out of range for a whole number", shown(in)));
    return false;
  }
  const bool whole_real =
      in.kind == Node::Kind::real && std::trunc(in.real) == in.real && std::abs(in.real) <= kExact;
  if (in.kind != Node::Kind::integer && !whole_real) {
    std::string suggestion;
    if (in.kind == Node::Kind::string && io::parse_int64(in.text)) suggestion = in.text + " without quotes";
    wrong_type(in, reader, "a whole number", suggestion);
    return false;
  }
  const std::int64_t value = whole_real ? static_cast<std::int64_t>(in.real) : in.integer;
  if (outside(bounds, value)) {
    reader.error("out_of_range", in,
                 fmt::format("{} is out of range: must be {}", value, range_words(bounds, show_number)));
    return false;
  }
  out = value;
  return true;
}

bool read_number(const Node& in, Reader& reader, const Bounds& bounds, double& out) {
  if (in.kind != Node::Kind::integer && in.kind != Node::Kind::real) {
    std::string suggestion;
    if (in.kind == Node::Kind::string && io::parse_double(in.text)) suggestion = in.text + " without quotes";
    wrong_type(in, reader, "a number", suggestion);
    return false;
  }
  const double value = in.kind == Node::Kind::integer ? static_cast<double>(in.integer) : in.real;
  if (outside(bounds, value)) {
    reader.error(
        "out_of_range", in,
        fmt::format("{} is out of range: must be {}", show_number(value), range_words(bounds, show_number)));
    return false;
  }
  out = value;
  return true;
}

bool read_string(const Node& in, Reader& reader, const Bounds& bounds, std::string& out) {
  if (in.kind != Node::Kind::string) {
    wrong_type(in, reader, "a string");
    return false;
  }
  if (outside(bounds, static_cast<double>(in.text.size()))) {
    reader.error("out_of_range", in,
                 fmt::format("the text has {} characters: must be {}", in.text.size(),
                             range_words(bounds, show_number)));
    return false;
  }
  out = in.text;
  return true;
}

namespace {

// A quantity must be a string; a bare number gets the units as help.
bool is_quantity_text(const Node& in, Reader& reader, Dimension dimension) {
  if (in.kind == Node::Kind::string) return true;
  const bool number = in.kind == Node::Kind::integer || in.kind == Node::Kind::real;
  if (number) {
    // The user's own number, where there is no doubt about the unit.
    const bool sure = dimension == Dimension::per_second || dimension == Dimension::usd;
    const std::string unit = unit_names(dimension).front();
    reader.error("missing_unit", in,
                 fmt::format("a {} needs a unit: one of {}; for example \"{}\"", dimension_noun(dimension),
                             fmt::join(unit_names(dimension), ", "), dimension_example(dimension)),
                 sure ? fmt::format("\"{}{}{}\"", shown(in), unit.starts_with('/') ? "" : " ", unit) : "");
  } else {
    wrong_type(in, reader,
               fmt::format("a {} such as \"{}\"", dimension_noun(dimension), dimension_example(dimension)));
  }
  return false;
}

void bad_quantity(const Node& in, Reader& reader, const QuantityError& error, bool form) {
  reader.error("bad_unit", in, error.message,
               error.suggestion.empty() ? "" : fmt::format("\"{}\"", error.suggestion), "", form);
}

// The one problem of parse_real that is not about the form of the text.
bool is_about_range(const QuantityError& error) {
  return error.message.find("out of range") != std::string::npos;
}

// True when the text's form is right, so that only its value can be wrong (which JSON Schema cannot see).
bool form_is_right(std::string_view text, Dimension dimension) {
  double ignored = 0;
  QuantityError error;
  return parse_real(text, dimension, ignored, error) || is_about_range(error);
}

}  // namespace

bool read_exact_quantity(const Node& in, Reader& reader, Dimension dimension, const Bounds& bounds,
                         std::int64_t& out) {
  if (!is_quantity_text(in, reader, dimension)) return false;
  QuantityError error;
  std::int64_t value = 0;
  if (!parse_exact(in.text, dimension, value, error)) {
    bad_quantity(in, reader, error, !form_is_right(in.text, dimension));
    return false;
  }
  // Bounds of durations are in seconds, the values in picoseconds.
  const double scale = dimension == Dimension::duration ? 1e12 : 1.0;
  if (outside(bounds, static_cast<double>(value) / scale)) {
    const auto show = [&](double limit) {
      return format_exact(static_cast<std::int64_t>(limit * scale), dimension);
    };
    reader.error("out_of_range", in,
                 fmt::format("{} is out of range: must be {}", in.text, range_words(bounds, show)), "", "",
                 false);
    return false;
  }
  out = value;
  return true;
}

bool read_real_quantity(const Node& in, Reader& reader, Dimension dimension, const Bounds& bounds,
                        double& out) {
  if (!is_quantity_text(in, reader, dimension)) return false;
  QuantityError error;
  double value = 0;
  if (!parse_real(in.text, dimension, value, error)) {
    bad_quantity(in, reader, error, !is_about_range(error));
    return false;
  }
  if (outside(bounds, value)) {
    const auto show = [&](double limit) { return format_real(limit, dimension); };
    reader.error("out_of_range", in,
                 fmt::format("{} is out of range: must be {}", in.text, range_words(bounds, show)), "", "",
                 false);
    return false;
  }
  out = value;
  return true;
}

namespace {

std::vector<std::string> strings(std::span<const std::string_view> names) {
  return {names.begin(), names.end()};
}

}  // namespace

bool read_choice(const Node& in, Reader& reader, std::span<const std::string_view> names,
                 std::size_t& index) {
  if (in.kind == Node::Kind::string) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == in.text) {
        index = i;
        return true;
      }
    }
  }
  const std::string meant = in.kind == Node::Kind::string ? nearest(in.text, strings(names)) : "";
  reader.error("bad_choice", in, fmt::format("{} is not one of {}", shown(in), choice_summary(names)),
               meant.empty() ? "" : fmt::format("\"{}\"", meant));
  return false;
}

bool read_array(const Node& in, Reader& reader) {
  if (in.kind == Node::Kind::array) return true;
  wrong_type(in, reader, "a list [...]");
  return false;
}

bool read_object(const Node& in, Reader& reader) {
  if (in.kind == Node::Kind::object) return true;
  wrong_type(in, reader, "an object {...}");
  return false;
}

bool is_overridden_number(const Node& in, const Reader& reader) {
  const Node* value = in.kind == Node::Kind::object ? in.find("value") : &in;
  return value != nullptr && value->where.source >= 0 && value->kind != Node::Kind::array &&
         value->kind != Node::Kind::null &&
         is_override(reader.document().sources.at(value->where.source).kind);
}

Node sourced_by_override(const Node& in, const Reader& reader) {
  const SourceSet& sources = reader.document().sources;
  const bool object = in.kind == Node::Kind::object;
  const Node& value = object ? *in.find("value") : in;
  const Node* source = object ? in.find("source") : nullptr;
  // Who names a source as well has said where the number is from.
  if (source != nullptr && source->where.source >= 0 && is_override(sources.at(source->where.source).kind))
    return in;
  Node number = Node::object();
  number.where = in.where;
  const auto add = [&](std::string_view key, Node node) {
    node.where = value.where;
    number.members.push_back({std::string(key), value.where, std::move(node)});
  };
  add("value", value);
  add("source", Node::of(std::string_view(origin_text(sources, value.where))));
  add("label", Node::of(enum_name(Label::assumed)));
  return number;
}

bool read_sourced(const Node& in, Reader& reader) {
  if (in.kind == Node::Kind::object) return true;
  const bool scalar = in.kind != Node::Kind::array && in.kind != Node::Kind::null;
  wrong_type(in, reader, "a number with its source",
             fmt::format("{{\"value\": {}, \"source\": \"an id of sources\", \"label\": \"assumed\"}}",
                         scalar ? shown(in) : "..."));
  return false;
}

namespace {

constexpr std::string_view kMapKeyPattern = "^[a-z0-9][a-z0-9._-]*$";

bool is_map_key(std::string_view key) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (key.empty() || !plain(key.front())) return false;
  for (const char c : key) {
    if (!plain(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

}  // namespace

bool read_map_key(const Member& member, Reader& reader) {
  if (is_map_key(member.key)) return true;
  Node at;
  at.where = member.key_where;
  return read_inside(reader, member.key, [&] {
    reader.error("bad_name", at, "a name is made of lower-case letters, digits, '.', '_' and '-'");
    return false;
  });
}

bool read_tag(const Node& in, Reader& reader, std::string_view key, std::span<const std::string_view> names,
              std::size_t& index) {
  if (!read_object(in, reader)) return false;
  const Node* tag = in.find(key);
  if (tag == nullptr) {
    Node at;
    at.where = {in.where.source, in.where.begin, in.where.begin + 1};
    reader.error("missing_key", at, fmt::format("\"{}\" is missing: one of {}", key, choice_summary(names)),
                 "", reader.removal_note(pointer_join(reader.pointer(), key)));
    return false;
  }
  return read_inside(reader, key, [&] { return read_choice(*tag, reader, names, index); });
}

namespace {

Node typed(std::string_view type) {
  Node node = Node::object();
  node.set("type", Node::of(type));
  return node;
}

// Whole bounds are written as integers, so that the schema reads as a person would write it.
Node bound_node(double value) {
  if (std::trunc(value) == value && std::abs(value) < 1e15) return Node::of(static_cast<std::int64_t>(value));
  return Node::of(value);
}

void add_bounds(Node& node, const Bounds& bounds) {
  if (bounds.minimum)
    node.set(bounds.exclusive_minimum ? "exclusiveMinimum" : "minimum", bound_node(*bounds.minimum));
  if (bounds.maximum) node.set("maximum", bound_node(*bounds.maximum));
}

Node choice_array(std::span<const std::string_view> names) {
  Node list = Node::array();
  for (const std::string_view name : names) list.items.push_back(Node::of(name));
  return list;
}

}  // namespace

Node boolean_schema() { return typed("boolean"); }

Node integer_schema(const Bounds& bounds) {
  Node node = typed("integer");
  add_bounds(node, bounds);
  return node;
}

Node number_schema(const Bounds& bounds) {
  Node node = typed("number");
  add_bounds(node, bounds);
  return node;
}

Node string_schema(const Bounds& bounds) {
  Node node = typed("string");
  if (bounds.minimum) node.set("minLength", bound_node(*bounds.minimum));
  if (bounds.maximum) node.set("maxLength", bound_node(*bounds.maximum));
  return node;
}

Node quantity_schema(Dimension dimension) {
  Node node = typed("string");
  node.set("pattern", Node::of(std::string_view(dimension_pattern(dimension))));
  Node examples = Node::array();
  examples.items.push_back(Node::of(dimension_example(dimension)));
  node.set("examples", std::move(examples));
  return node;
}

Node choice_schema(std::span<const std::string_view> names) {
  Node node = Node::object();
  node.set("enum", choice_array(names));
  return node;
}

Node array_schema(Node items) {
  Node node = typed("array");
  node.set("items", std::move(items));
  return node;
}

Node map_schema(Node values) {
  Node node = typed("object");
  Node names = Node::object();
  names.set("pattern", Node::of(kMapKeyPattern));
  node.set("propertyNames", std::move(names));
  node.set("additionalProperties", std::move(values));
  return node;
}

Node one_of_schema(std::vector<Node> alternatives) {
  Node node = Node::object();
  Node list = Node::array();
  list.items = std::move(alternatives);
  node.set("oneOf", std::move(list));
  return node;
}

Node record_schema(const RecordTable& record, SchemaBuilder& builder) {
  Node reference = builder.reference(record);
  if (record.catalogue_folder().empty()) return reference;
  Node by_name = typed("string");
  by_name.set("description", Node::of(std::string_view("Name or path of a " + record.catalogue_noun())));
  Node extended = typed("object");
  Node required = Node::array();
  required.items.push_back(Node::of(std::string_view("extends")));
  extended.set("required", std::move(required));
  Node any = Node::object();
  Node list = Node::array();
  list.items = {std::move(by_name), std::move(reference), std::move(extended)};
  any.set("anyOf", std::move(list));
  return any;
}

std::string integer_summary(const Bounds& bounds) {
  const std::string range = range_words(bounds, show_number);
  return range.empty() ? "a whole number" : "a whole number, " + range;
}

std::string number_summary(const Bounds& bounds) {
  const std::string range = range_words(bounds, show_number);
  return range.empty() ? "a number" : "a number, " + range;
}

std::string quantity_summary(Dimension dimension, const Bounds& bounds) {
  const double scale = dimension == Dimension::duration ? 1e12 : 1.0;
  const bool real =
      dimension == Dimension::per_second || dimension == Dimension::watts || dimension == Dimension::usd;
  const std::string range = range_words(bounds, [&](double limit) {
    return real ? format_real(limit, dimension)
                : format_exact(static_cast<std::int64_t>(limit * scale), dimension);
  });
  return fmt::format("a {} such as \"{}\"{}{}", dimension_noun(dimension), dimension_example(dimension),
                     range.empty() ? "" : ", ", range);
}

std::string choice_summary(std::span<const std::string_view> names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", names[i]);
  return text;
}

}  // namespace moesim::config::detail
