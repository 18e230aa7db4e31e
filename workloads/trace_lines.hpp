// Lines of a trace file and errors that point into them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/diagnostics.hpp"
#include "sim/core/time.hpp"
#include "sim/io/csv.hpp"
#include "sim/io/error.hpp"
#include "sim/io/line_reader.hpp"

namespace moesim::workloads {

// A byte range of a line and what it is: an error in it can be told with its place.
struct LinePlace {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::string pointer;  // a JSON pointer into the line; empty for CSV
};

// The lines of one trace file that are not empty.
class TraceLines {
 public:
  // Throws config::InputError if the file cannot be read.
  explicit TraceLines(const std::filesystem::path& path);
  TraceLines(const TraceLines&) = delete;
  TraceLines& operator=(const TraceLines&) = delete;
  // The next line; false at the end. Throws config::InputError for damaged files and lines that are too long.
  [[nodiscard]] bool next();
  // The same for a record of comma-separated values (quoted fields may span lines; text() is the first of
  // them).
  [[nodiscard]] bool next(std::vector<io::CsvField>& fields);
  [[nodiscard]] std::string_view text() const { return text_; }
  [[nodiscard]] std::size_t number() const { return number_; }
  [[nodiscard]] const std::string& file() const { return lines_.name(); }

  // An error at a place of the present line.
  [[nodiscard]] config::InputError error(const LinePlace& place, std::string code, std::string message,
                                         std::string suggestion = "") const;
  // Throws it.
  [[noreturn]] void fail(const LinePlace& place, std::string code, std::string message,
                         std::string suggestion = "") const;
  // Throws the error of a file without a single record.
  [[noreturn]] void fail_empty() const;

 private:
  io::LineReader lines_;
  io::CsvReader csv_{lines_};
  std::string_view text_;
  std::size_t number_ = 0;
};

// An IoError of a trace file as bad input, at the line it names.
[[nodiscard]] config::InputError input_error_of(const io::IoError& error);
// The error for a trace file that is not there, with a similar name of its folder if there is one.
[[nodiscard]] config::InputError missing_file_error(const std::filesystem::path& path);

// Checks that arrivals never go back and fit simulated time.
class ArrivalOrder {
 public:
  // The arrival of the present record, `ticks` units of `tick` (> 0) after time 0, as simulated time. Throws
  // config::InputError at `place` if it is before the last one or after the end of simulated time.
  [[nodiscard]] core::Time check(const TraceLines& lines, const LinePlace& place, std::int64_t ticks,
                                 core::Duration tick);
  // Of the arrival last checked.
  [[nodiscard]] const LinePlace& place() const { return place_; }

 private:
  LinePlace place_;
  std::int64_t last_ = INT64_MIN;
  std::size_t last_line_ = 0;
};

}  // namespace moesim::workloads
