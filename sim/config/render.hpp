// Errors and warnings as text for people and as JSON for programs.
#pragma once

#include <string>
#include <string_view>

#include "sim/config/diagnostics.hpp"
#include "sim/config/node.hpp"

namespace moesim::config {

// The text with '?' for control characters and stray bytes, and a space for a tab: what came from a file may
// be shown on a terminal and cannot drive it.
[[nodiscard]] std::string printable(std::string_view text);

// One problem as text: message, place, the line with a caret, suggestion, notes. Control characters of the
// input never reach the output. `color` adds terminal colours.
[[nodiscard]] std::string render(const Diagnostic& diagnostic, const SourceSet& sources, bool color);

// All errors of an InputError, and how many more there were.
[[nodiscard]] std::string render(const InputError& error, bool color);

// {code, level, pointer, file, line, column, message, suggestion}; keys without a value are left out.
[[nodiscard]] Node to_node(const Diagnostic& diagnostic, const SourceSet& sources);

}  // namespace moesim::config
