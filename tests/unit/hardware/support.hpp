// Shared by the tests of this room: the shipped catalogue, and files changed in one place.
#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "models/hardware/cluster.hpp"
#include "sim/config/document.hpp"
#include "tests/support/catch.hpp"

namespace moesim::hardware::test {

inline const config::Catalogue& catalogue() {
  static const config::Catalogue shipped({std::filesystem::path(MOESIM_SOURCE_DIR)});
  return shipped;
}

inline std::string shipped_text(std::string_view folder, std::string_view name) {
  std::ifstream in(catalogue().find(folder, name));
  REQUIRE(in.good());
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The text with the first `from` replaced; fails when there is none.
inline std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  INFO("looking for " << from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

template <class T>
config::Loaded<T> read_text(std::string text) {
  return config::read_document<T>(config::load_text(std::move(text), "test.json", catalogue()), catalogue());
}

// Everything that is wrong with a text: "POINTER: message [suggestion]" for each error, one per line.
template <class T>
std::string errors_of(std::string text) {
  try {
    (void)read_text<T>(std::move(text));
  } catch (const config::InputError& error) {
    std::string all;
    for (const auto& problem : error.diagnostics().errors()) {
      all += problem.pointer + ": " + problem.message + " [" + problem.suggestion + "]\n";
    }
    return all;
  }
  return "";
}

inline std::string warnings_of(const std::vector<config::Diagnostic>& warnings) {
  std::string all;
  for (const auto& problem : warnings) {
    all += problem.pointer + ": " + problem.message + " [" + problem.suggestion + "]\n";
  }
  return all;
}

// A cluster of shipped parts.
inline Cluster cluster_of(std::string_view node, std::int64_t nodes, std::string_view fabric = "") {
  Cluster cluster;
  cluster.node = load_node(node, catalogue()).value;
  cluster.nodes = nodes;
  if (!fabric.empty()) cluster.fabric = load_fabric(fabric, catalogue()).value;
  return cluster;
}

}  // namespace moesim::hardware::test
