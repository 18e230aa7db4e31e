#include "sim/io/csv.hpp"

#include <algorithm>

#include "sim/io/error.hpp"

namespace moesim::io {

// Where the parser stands. `line` is the current line of the record (a view into the LineReader).
struct CsvReader::Cursor {
  std::string_view line;
  std::size_t position = 0;
  std::size_t record_bytes = 0;
  bool on_first_line = true;

  [[nodiscard]] bool at_end() const { return position == line.size(); }
};

void CsvReader::fail(std::size_t line, std::size_t offset, const std::string& what) const {
  throw IoError(lines_->name(), line, "column " + std::to_string(offset + 1) + ": " + what);
}

void CsvReader::parse_quoted(Cursor& cursor, std::string& text) {
  const std::size_t opening_line = lines_->line_number();
  const std::size_t opening = cursor.position;
  ++cursor.position;
  for (;;) {
    const std::size_t quote = cursor.line.find('"', cursor.position);
    if (quote != std::string_view::npos) {
      text.append(cursor.line, cursor.position, quote - cursor.position);
      cursor.position = quote + 1;
      if (cursor.at_end() || cursor.line[cursor.position] != '"') {
        break;
      }
      text.push_back('"');
      ++cursor.position;
      continue;
    }
    text.append(cursor.line, cursor.position);
    const std::string_view line_end = lines_->line_end();
    text.append(line_end);
    if (!lines_->next(cursor.line)) {
      fail(opening_line, opening, "quote is not closed");
    }
    cursor.record_bytes += line_end.size() + cursor.line.size();
    if (cursor.record_bytes > LineReader::kMaxLineBytes) {
      fail(opening_line, opening,
           "quoted field makes a record longer than " + std::to_string(LineReader::kMaxLineBytes) + " bytes");
    }
    cursor.position = 0;
    cursor.on_first_line = false;
  }
  if (!cursor.at_end() && cursor.line[cursor.position] != ',') {
    fail(lines_->line_number(), cursor.position, "text after a closing quote");
  }
}

void CsvReader::parse_unquoted(Cursor& cursor, std::string& text) const {
  const std::size_t stop = std::min(cursor.line.find_first_of(",\"", cursor.position), cursor.line.size());
  if (stop < cursor.line.size() && cursor.line[stop] == '"') {
    fail(lines_->line_number(), stop, "quote inside an unquoted field");
  }
  text.append(cursor.line, cursor.position, stop - cursor.position);
  cursor.position = stop;
}

bool CsvReader::next(std::vector<CsvField>& fields) {
  Cursor cursor;
  if (!lines_->next(cursor.line)) {
    fields.clear();
    return false;
  }
  line_number_ = lines_->line_number();
  line_text_.assign(cursor.line);
  cursor.record_bytes = cursor.line.size();
  const auto place = [&] { return cursor.on_first_line ? cursor.position : line_text_.size(); };
  std::size_t count = 0;
  for (;;) {
    if (count == kMaxFields) {
      fail(lines_->line_number(), cursor.position, "more than " + std::to_string(kMaxFields) + " fields");
    }
    // The strings of the last record are used again.
    if (count == fields.size()) {
      fields.emplace_back();
    }
    CsvField& field = fields[count];
    ++count;
    field.text.clear();
    field.begin = place();
    if (!cursor.at_end() && cursor.line[cursor.position] == '"') {
      parse_quoted(cursor, field.text);
    } else {
      parse_unquoted(cursor, field.text);
    }
    field.end = place();
    if (cursor.at_end()) {
      break;
    }
    ++cursor.position;  // the comma
  }
  fields.resize(count);
  return true;
}

void append_csv_field(std::string& record, std::string_view field) {
  const bool is_first = record.empty();
  if (!is_first) {
    record.push_back(',');
  }
  const auto needs_quotes = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return c == ',' || c == '"' || byte < 0x20U || byte == 0x7FU;
  };
  if (!(is_first && field.empty()) && !field.starts_with("\xef\xbb\xbf") &&
      std::none_of(field.begin(), field.end(), needs_quotes)) {
    record.append(field);
    return;
  }
  record.push_back('"');
  for (const char c : field) {
    if (c == '"') {
      record.push_back('"');
    }
    record.push_back(c);
  }
  record.push_back('"');
}

}  // namespace moesim::io
