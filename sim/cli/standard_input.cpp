#include "sim/cli/standard_input.hpp"

#include <algorithm>

#include "sim/config/diagnostics.hpp"
#include "sim/config/document.hpp"
#include "sim/io/line_reader.hpp"

namespace moesim::cli {

bool is_standard_input(std::string_view word) { return word == "-"; }

void check_standard_input(const std::vector<std::string>& words) {
  if (std::count_if(words.begin(), words.end(), is_standard_input) < 2) return;
  throw config::InputError("too_many_words", "\"-\" is given twice: standard input can be read once only");
}

std::string read_standard_input() { return io::read_file("/dev/stdin", config::kMaxFileBytes); }

}  // namespace moesim::cli
