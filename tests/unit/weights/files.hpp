// The files of tests/support/weights and what their independent writers say is in them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "models/reference/weights/weight_set.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/config/document.hpp"
#include "sim/io/line_reader.hpp"
#include "tests/support/catch.hpp"

namespace moesim::reference::testing {

inline std::filesystem::path weights_folder() {
  return std::filesystem::path(MOESIM_SOURCE_DIR) / "tests/support/weights";
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

// A text with that part, for CHECK_THAT with Catch2 2 and 3.
inline auto contains(const std::string& part) {
#if __has_include(<catch2/catch_all.hpp>)
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

// The error of `body` as "code: message"; "" if it throws none.
template <class Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const config::InputError& error) {
    const config::Diagnostic& first = error.diagnostics().errors().front();
    return first.code + ": " + first.message;
  }
  return "";
}

// Holds every tensor of `set` against the writer's list: names, shapes, types and values, bit for bit.
inline void check_against(const WeightSet& set, const config::Node& expected) {
  for (const config::Member& member : expected.members) {
    INFO(member.key);
    const WeightTensor* tensor = set.find(member.key);
    REQUIRE(tensor != nullptr);
    const config::Node& shape = *member.value.find("shape");
    REQUIRE(tensor->shape.size() == shape.items.size());
    for (std::size_t i = 0; i < shape.items.size(); ++i) CHECK(tensor->shape[i] == shape.items[i].integer);
    if (const config::Node* type = member.value.find("type")) CHECK(tensor->type_name == type->text);
    const config::Node& values = *member.value.find("values");
    if (values.kind == config::Node::Kind::null) {
      CHECK(error_of([&] { static_cast<void>(set.to_floats(*tensor)); }).starts_with("unsupported_type"));
      continue;
    }
    const std::vector<float> read = set.to_floats(*tensor);
    REQUIRE(read.size() == values.items.size());
    for (std::size_t i = 0; i < read.size(); ++i) {
      const config::Node& value = values.items[i];
      const double wanted = value.kind == config::Node::Kind::integer   ? static_cast<double>(value.integer)
                            : value.kind == config::Node::Kind::boolean ? (value.boolean ? 1.0 : 0.0)
                                                                        : value.real;
      CHECK(read[i] == static_cast<float>(wanted));
    }
    // Rows on their own are the rows of the whole.
    for (std::int64_t row = 0; row < tensor->rows(); ++row) {
      const std::vector<float> one = set.to_floats(*tensor, row, 1);
      const auto begin = read.begin() + row * tensor->columns();
      CHECK(one == std::vector<float>(begin, begin + tensor->columns()));
    }
  }
}

inline config::Document expected_file(const std::string& name) {
  const std::filesystem::path file = weights_folder() / name;
  return config::parse_text(io::read_file(file, 1 << 20), file.string());
}

}  // namespace moesim::reference::testing
