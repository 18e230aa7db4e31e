// Errors and warnings about input, each with its place, collected so that all are told at once.
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/source.hpp"

namespace moesim::config {

struct Diagnostic {
  std::string code;     // stable identifier: "unknown_key", "wrong_type", "bad_unit", ...
  std::string pointer;  // JSON pointer of the value, "" for the whole document
  Location where;
  std::string message;        // one sentence without a full stop
  std::string suggestion;     // what to write instead, or empty
  std::string note;           // more lines, for example the known keys
  bool schema_level = false;  // also expressible in JSON Schema (see `moesim schema`)
  bool warning = false;
};

// At most 20 errors are kept; the rest are counted.
class Diagnostics {
 public:
  static constexpr std::size_t kMaxErrors = 20;

  void add(Diagnostic diagnostic);
  [[nodiscard]] bool has_errors() const { return error_count_ > 0; }
  [[nodiscard]] std::size_t error_count() const { return error_count_; }
  [[nodiscard]] const std::vector<Diagnostic>& errors() const { return errors_; }
  [[nodiscard]] const std::vector<Diagnostic>& warnings() const { return warnings_; }

 private:
  std::vector<Diagnostic> errors_;
  std::vector<Diagnostic> warnings_;
  std::size_t error_count_ = 0;
};

// Bad input (exit code 2). Carries everything that is needed to print it.
class InputError : public std::exception {
 public:
  InputError(SourceSet sources, Diagnostics diagnostics);
  // One error without a JSON document behind it, for example a bad flag or an unreadable file.
  InputError(std::string code, std::string message, std::string suggestion = "", std::string note = "");
  [[nodiscard]] const char* what() const noexcept override { return summary_.c_str(); }
  [[nodiscard]] const SourceSet& sources() const { return sources_; }
  [[nodiscard]] const Diagnostics& diagnostics() const { return diagnostics_; }

 private:
  SourceSet sources_;
  Diagnostics diagnostics_;
  std::string summary_;
};

// One error at a line of a streamed text file (a trace): name, line, column, the line itself and the range in
// it.
[[nodiscard]] InputError line_error(std::string file, std::size_t line_number, std::string_view line_text,
                                    std::size_t begin, std::size_t end, std::string code, std::string message,
                                    std::string suggestion = "", std::string pointer = "");

// The nearest of `candidates` by Damerau-Levenshtein distance (at most 2, or a third of the length;
// 1 for words of up to four letters), or "".
[[nodiscard]] std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace moesim::config
