#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "tests/unit/house/house.hpp"

namespace moesim::house {

namespace {

[[nodiscard]] bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

[[nodiscard]] std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// True if the quote at `at` separates digits, as in 1'000.
[[nodiscard]] bool separates_digits(std::string_view text, std::size_t at) {
  std::size_t begin = at;
  while (begin > 0 && (is_word(text[begin - 1]) || text[begin - 1] == '\'' || text[begin - 1] == '.')) {
    --begin;
  }
  return begin < at && std::isdigit(static_cast<unsigned char>(text[begin])) != 0;
}

// The end of the string or character literal whose opening quote is at `at`: one past its closing quote.
[[nodiscard]] std::size_t literal_end(std::string_view text, std::size_t at) {
  const char quote = text[at];
  if (quote == '"' && at > 0 && text[at - 1] == 'R' &&
      (at < 2 || !is_word(text[at - 2]) || text[at - 2] == '8')) {
    const std::size_t open = text.find('(', at);
    if (open == std::string_view::npos) {
      return text.size();
    }
    const std::string close = ")" + std::string(text.substr(at + 1, open - at - 1)) + "\"";
    const std::size_t end = text.find(close, open);
    return end == std::string_view::npos ? text.size() : end + close.size();
  }
  for (std::size_t i = at + 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == quote || text[i] == '\n') {
      return i + 1;
    }
  }
  return text.size();
}

void blank(std::string& text, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < std::min(end, text.size()); ++i) {
    if (text[i] != '\n') {
      text[i] = ' ';
    }
  }
}

// The text with comments blanked, and the insides of literals too if asked for. Lines stay where they are.
[[nodiscard]] std::string without_comments(const std::string& text, bool blank_literals) {
  std::string result = text;
  std::size_t i = 0;
  while (i < text.size()) {
    std::size_t end = i + 1;
    if (text.compare(i, 2, "//") == 0) {
      end = std::min(text.find('\n', i), text.size());
      blank(result, i, end);
    } else if (text.compare(i, 2, "/*") == 0) {
      const std::size_t close = text.find("*/", i + 2);
      end = close == std::string::npos ? text.size() : close + 2;
      blank(result, i, end);
    } else if (text[i] == '"' || (text[i] == '\'' && !separates_digits(text, i))) {
      end = literal_end(text, i);
      if (blank_literals) {
        blank(result, i + 1, end - 1);
      }
    }
    i = end;
  }
  return result;
}

[[nodiscard]] std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

[[nodiscard]] std::vector<Include> find_includes(const std::vector<std::string>& lines) {
  std::vector<Include> includes;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::string_view rest = trimmed(lines[i]);
    if (rest.substr(0, 1) != "#") {
      continue;
    }
    rest = trimmed(rest.substr(1));
    if (rest.substr(0, 7) != "include") {
      continue;
    }
    rest = trimmed(rest.substr(7));
    const bool quoted = rest.substr(0, 1) == "\"";
    const std::size_t end = rest.empty() ? std::string_view::npos : rest.find(quoted ? '"' : '>', 1);
    if (end != std::string_view::npos) {
      includes.push_back(Include{i + 1, quoted, std::string(rest.substr(1, end - 1))});
    }
  }
  return includes;
}

}  // namespace

bool SourceFile::is_header() const {
  const std::string extension = std::filesystem::path(path).extension().string();
  return extension == ".hpp" || extension == ".h";
}

SourceFile parse_source(std::string path, const std::string& text) {
  SourceFile file;
  file.path = std::move(path);
  file.lines = split_lines(text);
  file.code = split_lines(without_comments(text, true));
  file.includes = find_includes(split_lines(without_comments(text, false)));
  return file;
}

Sources read_sources(const std::string& root) {
  Sources sources;
  for (const char* wing : {"sim", "models", "workloads", "reports"}) {
    const std::filesystem::path folder = std::filesystem::path(root) / wing;
    if (!std::filesystem::exists(folder)) {
      continue;  // missing_folders tells
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      const std::string extension = entry.path().extension().string();
      if (!entry.is_regular_file() ||
          (extension != ".hpp" && extension != ".cpp" && extension != ".h" && extension != ".cc")) {
        continue;
      }
      std::ifstream stream(entry.path(), std::ios::binary);
      if (!stream) {
        throw std::runtime_error("cannot read " + entry.path().string());
      }
      const std::string text(std::istreambuf_iterator<char>(stream), {});
      sources.push_back(parse_source(std::filesystem::relative(entry.path(), root).generic_string(), text));
    }
  }
  std::sort(sources.begin(), sources.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  return sources;
}

std::string listing(const Offences& offences) {
  std::string text;
  for (const std::string& offence : offences) {
    text += offence + "\n";
  }
  return text;
}

}  // namespace moesim::house
