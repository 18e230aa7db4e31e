// The word "-" of a command line, which stands for a file that comes through standard input.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moesim::cli {

[[nodiscard]] bool is_standard_input(std::string_view word);

// Throws config::InputError if standard input is named twice: the second reading would find nothing.
void check_standard_input(const std::vector<std::string>& words);

// All of it, within the limit of a file: pipes have no size to ask for first.
[[nodiscard]] std::string read_standard_input();

}  // namespace moesim::cli
