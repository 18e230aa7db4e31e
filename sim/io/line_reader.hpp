// Streams the lines of a text file, plain, gzip or zstd (told apart by their first bytes).
// Concatenated gzip members and zstd frames read as one text; other bytes after them are an error.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace moesim::io {

class LineReader {
 public:
  static constexpr std::size_t kMaxLineBytes = std::size_t{16} << 20;

  // Opens the file. Throws IoError if it cannot be read.
  explicit LineReader(const std::filesystem::path& path);
  ~LineReader();
  LineReader(LineReader&&) noexcept;
  LineReader& operator=(LineReader&&) noexcept;

  // The next line without its end (LF or CR LF), valid until the next call; false at the end of the file. A
  // last line without an end counts. A UTF-8 byte order mark at the start of the file is skipped; NUL bytes
  // and lone CRs are passed through. Throws IoError on a read error, damaged or truncated compressed data,
  // and a line longer than kMaxLineBytes. Memory use is bounded whatever the file holds.
  [[nodiscard]] bool next(std::string_view& line);
  // Number of the line last returned, from 1.
  [[nodiscard]] std::size_t line_number() const;
  // What ended the line last returned: "\n", "\r\n", or "" for a last line without an end.
  [[nodiscard]] std::string_view line_end() const;
  // The path as it was given.
  [[nodiscard]] const std::string& name() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The whole file (decompressed, otherwise byte for byte: a byte order mark and CRs stay); throws IoError if
// it cannot be read or is longer than max_bytes.
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace moesim::io
