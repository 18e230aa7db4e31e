#include "sim/config/render.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace moesim::config {

namespace {

constexpr std::size_t kMaxShown = 100;  // bytes of an input line that are shown

// Length of the well-formed UTF-8 sequence at the start of the text, 0 if there is none (RFC 3629).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t length = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if ((first >= 0x80 && first < 0xC2) || first > 0xF4 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
  }
  const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  const bool outside = (first == 0xED && byte(1) >= 0xA0) || (first == 0xF4 && byte(1) >= 0x90);
  return overlong || outside ? 0 : length;
}

// True for what drives a terminal: the controls of ASCII, and those of Latin-1 (U+0080 to U+009F) as UTF-8.
bool is_control(std::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence.front());
  if (sequence.size() == 1) return first < 0x20 || first == 0x7f;
  return sequence.size() == 2 && first == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;
}

// Printable UTF-8: stray bytes become '?', and control characters too unless JSON will escape them, so that
// hostile input can neither drive the terminal nor break a JSON document.
enum class Controls : bool { replace, keep };
std::string masked(std::string_view text, Controls controls) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const std::string_view sequence = text.substr(0, std::max<std::size_t>(length, 1));
    if (length == 0) {
      out += '?';
    } else if (controls == Controls::keep || !is_control(sequence)) {
      out += sequence;
    } else {
      out += sequence == "\t" ? ' ' : '?';
    }
    text.remove_prefix(sequence.size());
  }
  return out;
}

constexpr std::size_t kMaxText = 400;  // bytes of a message, pointer, suggestion or note

std::string shortened(std::string_view text, Controls controls = Controls::replace) {
  if (text.size() <= kMaxText) return masked(text, controls);
  std::size_t end = kMaxText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return masked(text.substr(0, end), controls) + "...";
}

struct Shown {
  std::string line;
  std::size_t caret = 0;  // bytes before the caret in `line`
  std::size_t width = 1;
};

// The part of a line around the marked range, at most kMaxShown bytes, never cutting a UTF-8 character.
Shown window(std::string_view line, std::size_t column, std::size_t length) {
  const std::size_t at = std::min(column, line.size());
  std::size_t begin = at > kMaxShown / 2 && line.size() > kMaxShown ? at - kMaxShown / 2 : 0;
  std::size_t end = std::min(line.size(), begin + kMaxShown);
  const auto continuation = [&](std::size_t i) {
    return (static_cast<unsigned char>(line[i]) & 0xC0U) == 0x80U;
  };
  while (begin < end && continuation(begin)) ++begin;
  while (end > begin && end < line.size() && continuation(end)) --end;
  Shown shown;
  const std::string before = begin > 0 ? "..." : "";
  shown.line = before + printable(line.substr(begin, end - begin)) + (end < line.size() ? "..." : "");
  // Carets count characters, not bytes.
  std::size_t characters = 0;
  for (std::size_t i = begin; i < std::min(at, end); ++i) characters += continuation(i) ? 0 : 1;
  shown.caret = before.size() + characters;
  shown.width = std::clamp<std::size_t>(std::min(length, end > at ? end - at : 1), 1, kMaxShown);
  return shown;
}

std::string paint(std::string_view text, std::string_view code, bool color) {
  return color ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

}  // namespace

std::string printable(std::string_view text) { return masked(text, Controls::replace); }

std::string render(const Diagnostic& diagnostic, const SourceSet& sources, bool color) {
  std::string out = diagnostic.warning ? paint("warning: ", "1;33", color) : paint("error: ", "1;31", color);
  out += shortened(diagnostic.message) + "\n";
  bool suggested = diagnostic.suggestion.empty();
  if (diagnostic.where.source >= 0) {
    const LineColumn place = sources.line_column(diagnostic.where);
    out += fmt::format(
        "  --> {}:{}:{}{}\n", printable(sources.at(diagnostic.where.source).name), place.line, place.column,
        diagnostic.pointer.empty() ? "" : fmt::format("   ({})", shortened(diagnostic.pointer)));
    const std::size_t length = diagnostic.where.end - diagnostic.where.begin;
    const std::string_view line = sources.line_text(diagnostic.where);
    const Shown shown = window(line, place.column - 1, length);
    const std::string gutter = fmt::format("{:>5} | ", place.line);
    out += gutter + shown.line + "\n";
    out += fmt::format("{:>5} | {}{}", "", std::string(shown.caret, ' '),
                       paint(std::string(shown.width, '^'), "1;31", color));
    if (!suggested) {
      out += fmt::format(" did you mean {}?", shortened(diagnostic.suggestion));
      suggested = true;
    }
    out += "\n";
  } else if (!diagnostic.pointer.empty()) {
    out += fmt::format("  --> {}\n", shortened(diagnostic.pointer));
  }
  if (!suggested) out += fmt::format("  did you mean {}?\n", shortened(diagnostic.suggestion));
  if (!diagnostic.note.empty())
    out += fmt::format("  {}\n", printable(diagnostic.note.substr(0, 4 * kMaxText)));
  return out;
}

std::string render(const InputError& error, bool color) {
  std::string out;
  for (const Diagnostic& diagnostic : error.diagnostics().errors())
    out += render(diagnostic, error.sources(), color);
  const std::size_t more = error.diagnostics().error_count() - error.diagnostics().errors().size();
  if (more > 0) out += fmt::format("... {} more errors\n", more);
  return out;
}

Node to_node(const Diagnostic& diagnostic, const SourceSet& sources) {
  Node node = Node::object();
  const auto put = [&](std::string_view key, std::string_view value) {
    if (!value.empty()) node.set(key, Node::of(std::string_view(shortened(value, Controls::keep))));
  };
  put("code", diagnostic.code);
  put("level", diagnostic.schema_level ? "schema" : "semantic");
  node.set("pointer", Node::of(std::string_view(shortened(diagnostic.pointer, Controls::keep))));
  if (diagnostic.where.source >= 0) {
    const LineColumn place = sources.line_column(diagnostic.where);
    put("file", sources.at(diagnostic.where.source).name);
    node.set("line", Node::of(static_cast<std::int64_t>(place.line)));
    node.set("column", Node::of(static_cast<std::int64_t>(place.column)));
  }
  put("message", diagnostic.message);
  put("suggestion", diagnostic.suggestion);
  put("note", diagnostic.note);
  return node;
}

}  // namespace moesim::config
