// Where a value came from: the texts that were read and positions in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moesim::config {

// The layer a value comes from, weakest first.
enum class OriginKind : std::uint8_t {
  default_value,
  catalogue,
  file,
  flag,  // a value of a generated text that was asked for by a flag of its own ("--tp 8")
  merge,
  environment,
  command_line
};
// True for the layers that change a document from outside.
[[nodiscard]] inline bool is_override(OriginKind kind) { return kind >= OriginKind::flag; }

[[nodiscard]] std::string_view to_string(OriginKind kind);

// One text that was read: a file, the value of an environment variable, an argument.
struct Source {
  std::string name;  // as printed in messages: a path, "MOESIM_SET_seed", "--set seed=1"
  OriginKind kind = OriginKind::file;
  std::string text;
  std::size_t first_line = 1;  // line number of the text's first line (one line of a streamed file)
};

// A byte range of a source; source -1 means "nowhere" (a built-in default).
struct Location {
  int source = -1;
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct LineColumn {
  std::size_t line = 1;    // from 1
  std::size_t column = 1;  // from 1, in bytes
};

// All texts of one load. An append-only list.
class SourceSet {
 public:
  // Keeps the text and returns its index.
  int add(Source source);
  [[nodiscard]] const Source& at(int index) const { return sources_.at(static_cast<std::size_t>(index)); }
  [[nodiscard]] int size() const { return static_cast<int>(sources_.size()); }
  // Line and column of where.begin; {1, 1} for a location without a source.
  [[nodiscard]] LineColumn line_column(const Location& where) const;
  // The whole line that holds where.begin, without its line end.
  [[nodiscard]] std::string_view line_text(const Location& where) const;

 private:
  std::vector<Source> sources_;
};

}  // namespace moesim::config
