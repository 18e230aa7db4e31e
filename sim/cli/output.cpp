#include "sim/cli/output.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sim/io/error.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::cli {

void Writer::fail() {
  if (errno == EPIPE) {
    gone_ = true;
    return;
  }
  throw io::IoError(name_, 0, std::string("cannot write: ") + std::strerror(errno));
}

void Writer::write(std::string_view text) {
  if (text_ != nullptr) {
    *text_ += text;
    return;
  }
  if (gone_ || text.empty()) return;
  if (std::fwrite(text.data(), 1, text.size(), stream_) != text.size()) fail();
}

void Writer::print(std::string_view text) {
  write(text);
  flush();
}

void Writer::flush() {
  if (stream_ == nullptr || gone_) return;
  if (std::fflush(stream_) != 0) fail();
}

Environment::Environment(const char* const* variables) : raw_(variables) {
  for (; variables != nullptr && *variables != nullptr; ++variables) {
    const std::string_view entry = *variables;
    const std::size_t equals = entry.find('=');
    if (equals != std::string_view::npos) values_.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
}

std::optional<std::string> Environment::get(const std::string& name) const {
  const auto found = values_.find(name);
  if (found == values_.end() || found->second.empty()) return std::nullopt;
  return found->second;
}

TerminalFacts terminal_facts(int descriptor) {
  TerminalFacts facts;
  facts.tty = ::isatty(descriptor) == 1;
  winsize size{};
  if (facts.tty && ::ioctl(descriptor, TIOCGWINSZ, &size) == 0) facts.columns = size.ws_col;
  return facts;
}

namespace {

bool utf8_locale(const Environment& environment) {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const auto value = environment.get(name);
    if (!value) continue;
    std::string lower = *value;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return lower.find("utf-8") != std::string::npos || lower.find("utf8") != std::string::npos;
  }
  return false;
}

std::size_t width_of(const TerminalFacts& terminal, const Environment& environment) {
  constexpr std::size_t kPiped = 100;
  constexpr std::size_t kUnknownTerminal = 80;
  constexpr std::size_t kNarrowest = 40;
  if (!terminal.tty) return kPiped;
  if (terminal.columns > 0) return std::max(terminal.columns, kNarrowest);
  const auto columns = environment.get("COLUMNS");
  const auto value = columns ? io::parse_int64(*columns) : std::nullopt;
  return value && *value > 0 ? std::max(static_cast<std::size_t>(*value), kNarrowest) : kUnknownTerminal;
}

}  // namespace

reports::Style style_for(const TerminalFacts& terminal, ColorMode mode, const Environment& environment) {
  reports::Style style;
  const bool dumb = environment.get("TERM") == "dumb";
  const auto forced = environment.get("CLICOLOR_FORCE");
  if (mode != ColorMode::automatic) {
    style.color = mode == ColorMode::always;
  } else if (forced && *forced != "0") {
    style.color = true;
  } else {
    style.color = terminal.tty && !environment.get("NO_COLOR") && !dumb;
  }
  style.bars = terminal.tty && !dumb;
  style.unicode = utf8_locale(environment);
  style.width = width_of(terminal, environment);
  return style;
}

}  // namespace moesim::cli
