#include "sim/config/source.hpp"

#include <algorithm>
#include <utility>

namespace moesim::config {

std::string_view to_string(OriginKind kind) {
  switch (kind) {
    case OriginKind::default_value:
      return "default";
    case OriginKind::catalogue:
      return "catalogue";
    case OriginKind::file:
      return "file";
    case OriginKind::flag:
      return "flag";
    case OriginKind::merge:
      return "merge";
    case OriginKind::environment:
      return "environment";
    case OriginKind::command_line:
      return "command line";
  }
  return "?";
}

int SourceSet::add(Source source) {
  sources_.push_back(std::move(source));
  return static_cast<int>(sources_.size()) - 1;
}

LineColumn SourceSet::line_column(const Location& where) const {
  if (where.source < 0) return {};
  const Source& source = at(where.source);
  const std::size_t end = std::min(where.begin, source.text.size());
  const std::string_view before(source.text.data(), end);
  const auto lines = static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t line_start = before.rfind('\n');
  const std::size_t column = line_start == std::string_view::npos ? end : end - line_start - 1;
  return {source.first_line + lines, column + 1};
}

std::string_view SourceSet::line_text(const Location& where) const {
  if (where.source < 0) return {};
  const std::string_view text = at(where.source).text;
  const std::size_t at_byte = std::min(where.begin, text.size());
  const std::size_t before = at_byte == 0 ? std::string_view::npos : text.rfind('\n', at_byte - 1);
  const std::size_t begin = before == std::string_view::npos ? 0 : before + 1;
  std::size_t end = text.find('\n', begin);
  if (end == std::string_view::npos) end = text.size();
  if (end > begin && text[end - 1] == '\r') --end;
  return text.substr(begin, end - begin);
}

}  // namespace moesim::config
