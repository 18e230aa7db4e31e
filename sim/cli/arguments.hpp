// The flags and words of one command: declared once, parsed and described from the same list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/core/time.hpp"

namespace moesim::cli {

class Arguments {
 public:
  // What help prints about one flag or word.
  struct Spec {
    std::string names;        // "-o,--output", or the placeholder of a word
    std::string placeholder;  // of the value; empty for a switch
    std::string help;
    bool global = false;
  };

  // A switch. `out` becomes true when it is given.
  void flag(std::string names, std::string help, bool& out);
  // A flag with a value; the last one given counts.
  void value(std::string names, std::string placeholder, std::string help, std::optional<std::string>& out);
  // A flag that may be given several times.
  void list(std::string names, std::string placeholder, std::string help, std::vector<std::string>& out);
  // Words without a flag: at least `least`, at most `most`.
  void words(std::string placeholder, std::string help, std::vector<std::string>& out, std::size_t least,
             std::size_t most);
  // Flags declared from now on belong to every command.
  void begin_global() { global_ = true; }

  // Fills what was declared. Throws config::InputError for an unknown flag (with the nearest known one), a
  // missing value or word, and too many words.
  void parse(const std::vector<std::string>& line);

  [[nodiscard]] const std::vector<Spec>& flags() const { return flags_; }
  [[nodiscard]] const std::optional<Spec>& word_spec() const { return word_spec_; }
  // Every flag with a value as it was given, in the order of the line: {"--set", "a=1"}.
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& given() const { return given_; }

 private:
  enum class Kind : std::uint8_t { flag, value, list };
  struct Target {
    Kind kind = Kind::flag;
    bool* flag = nullptr;
    std::optional<std::string>* value = nullptr;
    std::vector<std::string>* list = nullptr;
  };
  void add(std::string names, std::string placeholder, std::string help, Target target);
  void check_leftovers(const std::vector<std::string>& leftovers) const;

  bool global_ = false;
  std::vector<Spec> flags_;
  std::vector<Target> targets_;  // as flags_
  std::optional<Spec> word_spec_;
  std::vector<std::string>* words_ = nullptr;
  std::size_t least_words_ = 0;
  std::size_t most_words_ = 0;
  std::vector<std::pair<std::string, std::string>> given_;
};

// The single names of "-o,--output".
[[nodiscard]] std::vector<std::string> split_names(std::string_view names);

// A whole number of at least `least`. Throws config::InputError that names the flag.
[[nodiscard]] std::int64_t parse_count(std::string_view flag, std::string_view text, std::int64_t least);
[[nodiscard]] double parse_fraction(std::string_view flag, std::string_view text);
// A duration such as "30 s"; on the command line the space may be left out.
[[nodiscard]] core::Duration parse_duration(std::string_view flag, std::string_view text);

}  // namespace moesim::cli
