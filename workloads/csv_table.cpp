#include "workloads/csv_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "sim/io/numbers.hpp"

namespace moesim::workloads {

CsvTable::CsvTable(const std::filesystem::path& path, std::span<const std::string_view> columns)
    : lines_(path), columns_(columns.begin(), columns.end()) {
  read_header();
}

void CsvTable::read_header() {
  if (!lines_.next(fields_)) lines_.fail_empty();
  constexpr std::size_t kMissing = SIZE_MAX;
  position_.assign(columns_.size(), kMissing);
  const std::string header = fmt::format("{}", fmt::join(columns_, ","));
  for (std::size_t at = 0; at < fields_.size(); ++at) {
    const io::CsvField& name = fields_[at];
    const LinePlace place{name.begin, name.end, ""};
    const auto column = std::find(columns_.begin(), columns_.end(), name.text);
    if (column == columns_.end()) {
      std::string suggestion = config::nearest(name.text, columns_);
      if (suggestion.empty()) suggestion = "the header " + header;
      lines_.fail(place, "unknown_column", fmt::format("unknown column \"{}\"", name.text),
                  std::move(suggestion));
    }
    std::size_t& position = position_[static_cast<std::size_t>(column - columns_.begin())];
    if (position != kMissing) {
      lines_.fail(place, "duplicate_column", fmt::format("the column \"{}\" is given twice", name.text));
    }
    position = at;
  }
  for (std::size_t column = 0; column < columns_.size(); ++column) {
    if (position_[column] == kMissing) {
      lines_.fail({0, lines_.text().size(), ""}, "missing_column",
                  fmt::format("the column \"{}\" is missing", columns_[column]), "the header " + header);
    }
  }
}

bool CsvTable::next() {
  if (!lines_.next(fields_)) {
    if (!any_) lines_.fail_empty();
    return false;
  }
  any_ = true;
  if (fields_.size() != columns_.size()) {
    lines_.fail({0, lines_.text().size(), ""}, "wrong_field_count",
                fmt::format("this row has {} fields, the header {}{}", fields_.size(), columns_.size(),
                            fields_.size() < columns_.size() ? "; the file may have been cut off" : ""));
  }
  return true;
}

std::int64_t CsvTable::integer(std::size_t column, IntegerRange range) const {
  const std::optional<std::int64_t> value = io::parse_int64(text(column));
  if (!value && !io::parse_double(text(column))) {
    lines_.fail(place(column), "wrong_type",
                fmt::format("{} must be a whole number, found \"{:.40}\"", columns_[column], text(column)));
  }
  if (!value && text(column).find_first_of(".eE") != std::string::npos) {
    lines_.fail(place(column), "wrong_type",
                fmt::format("{} must be a whole number without a point", columns_[column]));
  }
  if (!value || *value < range.low || *value > range.high) {
    lines_.fail(place(column), "out_of_range",
                fmt::format("{} must be from {} to {}", columns_[column], range.low, range.high));
  }
  return *value;
}

}  // namespace moesim::workloads
