// A CSV trace read by column names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "workloads/json_record.hpp"
#include "workloads/trace_lines.hpp"

namespace moesim::workloads {

class CsvTable {
 public:
  // Opens the file and reads its header, which must hold exactly `columns`, in any order. Throws
  // config::InputError otherwise.
  CsvTable(const std::filesystem::path& path, std::span<const std::string_view> columns);
  // Reads the next row; false at the end. Throws config::InputError for a row with too few or many fields,
  // and at the end of a file without a row.
  [[nodiscard]] bool next();
  [[nodiscard]] const TraceLines& lines() const { return lines_; }

  // Fields of the present row, by the index of their column in `columns`.
  [[nodiscard]] const std::string& text(std::size_t column) const { return field(column).text; }
  [[nodiscard]] LinePlace place(std::size_t column) const {
    return {field(column).begin, field(column).end, ""};
  }
  [[nodiscard]] std::int64_t integer(std::size_t column, IntegerRange range) const;

 private:
  void read_header();
  [[nodiscard]] const io::CsvField& field(std::size_t column) const { return fields_[position_[column]]; }

  TraceLines lines_;
  std::vector<std::string> columns_;
  std::vector<std::size_t> position_;  // of each column in a row
  std::vector<io::CsvField> fields_;
  bool any_ = false;
};

}  // namespace moesim::workloads
