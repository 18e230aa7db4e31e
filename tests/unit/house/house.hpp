// The source files of the house and the rules they are held against. Every rule is a function from files to
// offences, so that the tests can also feed it files that break it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace moesim::house {

struct Include {
  std::size_t line = 0;  // from 1
  bool quoted = false;   // "..." and not <...>
  std::string path;
};

struct SourceFile {
  std::string path;                // from the root of the repository, with forward slashes
  std::vector<std::string> lines;  // as written
  std::vector<std::string> code;   // the same lines with comments and the insides of literals blanked
  std::vector<Include> includes;

  [[nodiscard]] bool is_header() const;
};

using Sources = std::vector<SourceFile>;
using Offences = std::vector<std::string>;  // "path:line: what is wrong", in the order of the files

// A source file as it would be read from `path`.
[[nodiscard]] SourceFile parse_source(std::string path, const std::string& text);

// All C++ files under sim/, models/, workloads/ and reports/ of the repository at `root`, sorted by path.
[[nodiscard]] Sources read_sources(const std::string& root);

// Part 3 of the design: quoted includes that the table does not allow, and files that are in no room.
[[nodiscard]] Offences forbidden_includes(const Sources& sources);

// Headers that are slow to compile: json.hpp in at most 12 .cpp files and no header, CLI11 in one .cpp file.
[[nodiscard]] Offences heavy_includes(const Sources& sources);

// Headers without #pragma once, with `using namespace`, <regex> or <iostream>.
[[nodiscard]] Offences header_manners(const Sources& sources);

// Random numbers that differ between standard libraries or runs.
[[nodiscard]] Offences unportable_random(const Sources& sources);

// Braces inside a co_await expression: gcc 12 destroys such temporaries too early.
[[nodiscard]] Offences braces_in_co_await(const Sources& sources);

// Files of more than 500 lines.
[[nodiscard]] Offences long_files(const Sources& sources);

// Marks of unfinished work.
[[nodiscard]] Offences unfinished_marks(const Sources& sources);

// Folders of the house that are missing under `root`.
[[nodiscard]] Offences missing_folders(const std::string& root);

// One offence a line.
[[nodiscard]] std::string listing(const Offences& offences);

}  // namespace moesim::house
