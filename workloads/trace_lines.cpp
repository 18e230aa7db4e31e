#include "workloads/trace_lines.hpp"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "workloads/time_limit.hpp"

namespace moesim::workloads {
namespace {

io::LineReader open_lines(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) throw missing_file_error(path);
  try {
    return io::LineReader(path);
  } catch (const io::IoError& error) {
    throw input_error_of(error);
  }
}

}  // namespace

TraceLines::TraceLines(const std::filesystem::path& path) : lines_(open_lines(path)) {}

bool TraceLines::next() {
  try {
    while (lines_.next(text_)) {
      number_ = lines_.line_number();
      if (text_.find_first_not_of(" \t\r") != std::string_view::npos) return true;
    }
    return false;
  } catch (const io::IoError& error) {
    throw input_error_of(error);
  }
}

bool TraceLines::next(std::vector<io::CsvField>& fields) {
  try {
    while (csv_.next(fields)) {
      text_ = csv_.line_text();
      number_ = csv_.line_number();
      if (!text_.empty()) return true;
    }
    return false;
  } catch (const io::IoError& error) {
    throw input_error_of(error);
  }
}

config::InputError TraceLines::error(const LinePlace& place, std::string code, std::string message,
                                     std::string suggestion) const {
  return config::line_error(file(), number(), text_, place.begin, place.end, std::move(code),
                            std::move(message), std::move(suggestion), place.pointer);
}

void TraceLines::fail(const LinePlace& place, std::string code, std::string message,
                      std::string suggestion) const {
  throw error(place, std::move(code), std::move(message), std::move(suggestion));
}

void TraceLines::fail_empty() const {
  throw config::line_error(file(), 1, "", 0, 0, "empty_file", "the trace holds no request");
}

config::InputError input_error_of(const io::IoError& error) {
  if (error.line() == 0) return {"cannot_read", error.what()};
  return config::line_error(error.path(), error.line(), "", 0, 0, "cannot_read", error.message());
}

config::InputError missing_file_error(const std::filesystem::path& path) {
  // Enough for any real folder; a bound, so that a typo in a path never lists a file system.
  constexpr std::size_t kMaxNames = 1000;
  std::vector<std::string> names;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry(path.parent_path(), failure), end;
       !failure && entry != end && names.size() < kMaxNames; entry.increment(failure)) {
    names.push_back(entry->path().filename().string());
  }
  const std::string near = config::nearest(path.filename().string(), names);
  return {"cannot_read", fmt::format("the trace file {} does not exist", path.string()),
          near.empty() ? "" : (path.parent_path() / near).string()};
}

core::Time ArrivalOrder::check(const TraceLines& lines, const LinePlace& place, std::int64_t ticks,
                               core::Duration tick) {
  place_ = place;
  // The next record is compared with this one even if this one is wrong: one stray time is one error.
  const std::int64_t before = std::exchange(last_, ticks);
  const std::size_t line_before = std::exchange(last_line_, lines.number());
  if (ticks < before) {
    lines.fail(
        place, "time_goes_back",
        fmt::format("this arrival is before the one of line {}; sort the records by arrival", line_before));
  }
  if (ticks > kLatestArrival.ps / tick.ps) {
    lines.fail(place, "out_of_range",
               "this arrival is after the 53 days that a run can last; times count from the start of the "
               "trace");
  }
  return core::Time{ticks * tick.ps};
}

}  // namespace moesim::workloads
