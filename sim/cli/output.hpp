// Output streams, and how text may look on them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "reports/text.hpp"

namespace moesim::cli {

// A stream or, in tests, a string.
class Writer {
 public:
  // `name` is for messages: "standard output".
  Writer(std::FILE* stream, std::string name) : stream_(stream), name_(std::move(name)) {}
  explicit Writer(std::string& text) : text_(&text) {}
  // Adds text. When the reader of a pipe has gone, the rest is dropped without a word. Throws io::IoError for
  // any other failure, for example a full disk.
  void write(std::string_view text);
  // The same, and hands everything over to the system.
  void print(std::string_view text);
  void flush();

 private:
  void fail();
  std::FILE* stream_ = nullptr;
  std::string* text_ = nullptr;
  std::string name_;
  bool gone_ = false;
};

// The environment variables of the program.
class Environment {
 public:
  explicit Environment(const char* const* variables);
  // The value if the variable is set and not empty.
  [[nodiscard]] std::optional<std::string> get(const std::string& name) const;
  [[nodiscard]] const char* const* raw() const { return raw_; }

 private:
  const char* const* raw_;
  std::map<std::string, std::string> values_;
};

enum class ColorMode : std::uint8_t { automatic, always, never };

struct TerminalFacts {
  bool tty = false;
  std::size_t columns = 0;  // 0: unknown
};

// Asks the system about a stream.
[[nodiscard]] TerminalFacts terminal_facts(int descriptor);

// The style of a stream. --color wins, then CLICOLOR_FORCE, then: a terminal, NO_COLOR not set, TERM not
// "dumb". Block characters need a UTF-8 locale. Without a terminal lines are 100 wide.
[[nodiscard]] reports::Style style_for(const TerminalFacts& terminal, ColorMode mode,
                                       const Environment& environment);

}  // namespace moesim::cli
