// RFC 4180 comma-separated values.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "sim/io/line_reader.hpp"

namespace moesim::io {

struct CsvField {
  std::string text;  // unquoted
  // Byte range in the first line of the record, quotes included. What lies on later lines of a record that
  // spans lines is cut to the end of the first.
  std::size_t begin = 0;
  std::size_t end = 0;
};

class CsvReader {
 public:
  // More fields than any table of ours has; keeps a line of commas from filling the memory.
  static constexpr std::size_t kMaxFields = std::size_t{1} << 16;

  // Keeps the address of `lines`, which must outlive the reader.
  explicit CsvReader(LineReader& lines) : lines_(&lines) {}
  // Reads one record; quoted fields may span lines (and keep their line ends). False at the end. An empty
  // line is a record of one empty field. Throws IoError (with the line and, in the message, the byte column)
  // for a quote that is not closed, text after a closing quote, a quote inside an unquoted field, a record
  // longer than LineReader::kMaxLineBytes or of more than kMaxFields fields, and whatever LineReader throws
  // for.
  [[nodiscard]] bool next(std::vector<CsvField>& fields);
  // Line where the last record started, from 1, and its text (the first line of it).
  [[nodiscard]] std::size_t line_number() const { return line_number_; }
  [[nodiscard]] const std::string& line_text() const { return line_text_; }

 private:
  struct Cursor;
  void parse_quoted(Cursor& cursor, std::string& text);
  void parse_unquoted(Cursor& cursor, std::string& text) const;
  [[noreturn]] void fail(std::size_t line, std::size_t offset, const std::string& what) const;

  LineReader* lines_;
  std::size_t line_number_ = 0;
  std::string line_text_;
};

// Appends one field to a record, after a comma unless the record is empty. Quoted where RFC 4180 asks for it
// (comma, quote, line end), and for other control bytes, a byte order mark in front, and an empty first
// field, which would otherwise leave no trace. The caller ends the record with "\n".
void append_csv_field(std::string& record, std::string_view field);

}  // namespace moesim::io
