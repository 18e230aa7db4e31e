#include "sim/cli/arguments.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>
#include <map>

#include "sim/config/diagnostics.hpp"
#include "sim/config/quantity.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::cli {

using config::InputError;

std::vector<std::string> split_names(std::string_view names) {
  std::vector<std::string> all;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(','), names.size());
    all.emplace_back(names.substr(0, end));
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return all;
}

void Arguments::add(std::string names, std::string placeholder, std::string help, Target target) {
  flags_.push_back({std::move(names), std::move(placeholder), std::move(help), global_});
  targets_.push_back(target);
}

void Arguments::flag(std::string names, std::string help, bool& out) {
  Target target;
  target.kind = Kind::flag;
  target.flag = &out;
  add(std::move(names), "", std::move(help), target);
}

void Arguments::value(std::string names, std::string placeholder, std::string help,
                      std::optional<std::string>& out) {
  Target target;
  target.kind = Kind::value;
  target.value = &out;
  add(std::move(names), std::move(placeholder), std::move(help), target);
}

void Arguments::list(std::string names, std::string placeholder, std::string help,
                     std::vector<std::string>& out) {
  Target target;
  target.kind = Kind::list;
  target.list = &out;
  add(std::move(names), std::move(placeholder), std::move(help), target);
}

void Arguments::words(std::string placeholder, std::string help, std::vector<std::string>& out,
                      std::size_t least, std::size_t most) {
  word_spec_ = Spec{std::move(placeholder), "", std::move(help), false};
  words_ = &out;
  least_words_ = least;
  most_words_ = most;
}

void Arguments::check_leftovers(const std::vector<std::string>& leftovers) const {
  std::vector<std::string> known;
  for (const Spec& spec : flags_) {
    for (std::string& name : split_names(spec.names)) known.push_back(std::move(name));
  }
  for (const std::string& word : leftovers) {
    if (word.size() < 2 || word.front() != '-' || io::parse_double(word)) continue;
    const std::string name = word.substr(0, word.find('='));
    std::string meant = config::nearest(name, known);
    // One dash instead of two, or the other way round.
    if (std::find(known.begin(), known.end(), "-" + name) != known.end()) meant = "-" + name;
    throw InputError("unknown_flag", fmt::format("unknown flag \"{}\"", name), meant, "see: moesim help");
  }
  if (!leftovers.empty()) {
    throw InputError("too_many_words", fmt::format("\"{}\" is one word too many", leftovers.front()));
  }
}

namespace {

[[noreturn]] void fail_no_value(const Arguments::Spec& spec) {
  throw InputError("bad_flag",
                   fmt::format("{} needs a value: {}", split_names(spec.names).back(), spec.placeholder));
}

}  // namespace

void Arguments::parse(const std::vector<std::string>& line) {
  ::CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  std::vector<::CLI::Option*> options;
  std::deque<std::vector<std::string>> values;  // a deque keeps the addresses that CLI11 writes to
  for (std::size_t i = 0; i < flags_.size(); ++i) {
    values.emplace_back();
    if (targets_[i].kind == Kind::flag) {
      options.push_back(app.add_flag(flags_[i].names, *targets_[i].flag));
    } else {
      options.push_back(app.add_option(flags_[i].names, values.back())->allow_extra_args(false));
    }
  }
  std::vector<std::string> free_words;
  app.add_option("words", free_words)->expected(0, 1 << 20);
  std::vector<std::string> reversed(line.rbegin(), line.rend());  // CLI11 takes them from the back
  try {
    app.parse(reversed);
  } catch (const ::CLI::ParseError& error) {
    // CLI11 says "--set: 1 required TEXT missing".
    const std::string what = error.what();
    const std::string name = what.substr(0, what.find(':'));
    const bool missing = name.starts_with('-') && name.find(' ') == std::string::npos;
    throw InputError("bad_flag", missing ? fmt::format("{} needs a value", name) : what);
  }
  std::vector<std::string> leftovers = app.remaining();
  std::erase(leftovers, "--");
  check_leftovers(leftovers);
  std::map<const ::CLI::Option*, std::size_t> seen;
  for (const ::CLI::Option* option : app.parse_order()) {
    const auto found = std::find(options.begin(), options.end(), option);
    if (found == options.end()) continue;
    const auto index = static_cast<std::size_t>(found - options.begin());
    const std::size_t nth = seen[option]++;
    if (targets_[index].kind != Kind::flag && nth >= values[index].size()) fail_no_value(flags_[index]);
    if (nth < values[index].size())
      given_.emplace_back(split_names(flags_[index].names).back(), values[index][nth]);
  }
  for (std::size_t i = 0; i < flags_.size(); ++i) {
    if (values[i].empty()) continue;
    if (targets_[i].value != nullptr) *targets_[i].value = values[i].back();
    if (targets_[i].list != nullptr) *targets_[i].list = values[i];
  }
  if (words_ == nullptr) {
    check_leftovers(free_words);
    return;
  }
  if (free_words.size() > most_words_) check_leftovers({free_words[most_words_]});
  if (free_words.size() < least_words_) {
    throw InputError("missing_word", fmt::format("{} is missing: {}", word_spec_->names, word_spec_->help));
  }
  *words_ = std::move(free_words);
}

std::int64_t parse_count(std::string_view flag, std::string_view text, std::int64_t least) {
  const auto value = io::parse_int64(text);
  if (value && *value >= least) return *value;
  throw InputError("bad_value",
                   fmt::format("{} needs a whole number of at least {}, not \"{}\"", flag, least, text));
}

double parse_fraction(std::string_view flag, std::string_view text) {
  const auto value = io::parse_double(text);
  if (value && *value >= 0 && *value <= 1) return *value;
  throw InputError("bad_value", fmt::format("{} needs a number from 0 to 1, not \"{}\"", flag, text));
}

core::Duration parse_duration(std::string_view flag, std::string_view text) {
  std::string spaced(text);
  const std::size_t digit = spaced.find_last_of("0123456789");
  const std::size_t unit = digit == std::string::npos ? spaced.size() : digit + 1;
  if (unit < spaced.size() && spaced[unit] != ' ') spaced.insert(unit, " ");
  core::Duration duration;
  config::QuantityError error;
  if (!config::parse_exact(spaced, config::Dimension::duration, duration.ps, error)) {
    throw InputError("bad_unit", fmt::format("{}: {}", flag, error.message), error.suggestion);
  }
  if (duration.ps == 0) throw InputError("bad_value", fmt::format("{} must be above 0", flag));
  return duration;
}

}  // namespace moesim::cli
