#include "models/hardware/sources.hpp"

#include <fmt/format.h>

#include <vector>

namespace moesim::hardware {

void SourceCheck::check(std::string_view pointer, const std::string& source) {
  if (sources_->contains(source)) return;
  std::vector<std::string> known;
  for (const auto& [key, text] : *sources_) known.push_back(key);
  const std::string meant = config::nearest(source, known);
  problems_->error(fmt::format("{}/source", pointer),
                   fmt::format("source \"{}\" is not in \"sources\" of this file", source),
                   meant.empty() ? "" : fmt::format("\"{}\"", meant), "unknown_source");
}

void check_identifier(std::string_view name, config::Problems& problems) {
  bool good = !name.empty() && name.front() != '-' && name.back() != '-';
  char previous = ' ';
  for (const char c : name) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.';
    good = good && (word || (c == '-' && previous != '-'));
    previous = c;
  }
  if (good) return;
  std::string meant;
  for (const char c : name) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const bool word = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9') || lower == '.';
    if (word) {
      meant += lower;
    } else if (!meant.empty() && meant.back() != '-') {
      meant += '-';
    }
  }
  while (!meant.empty() && meant.back() == '-') meant.pop_back();
  problems.error(
      "/name",
      fmt::format("name \"{}\" is no identifier: lower case letters, digits and single dashes", name),
      meant.empty() ? "" : fmt::format("\"{}\"", meant), "bad_name");
}

}  // namespace moesim::hardware
