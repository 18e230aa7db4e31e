// Vidur request traces (microsoft/vidur data/processed_traces): CSV with arrivals in seconds.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include "workloads/csv_table.hpp"
#include "workloads/trace_reader.hpp"

namespace moesim::workloads {

struct VidurRow {
  double arrived_at = 0.0;  // seconds from the start of the trace
  std::int64_t num_prefill_tokens = 0;
  std::int64_t num_decode_tokens = 0;
  bool operator==(const VidurRow&) const = default;
};

// Arrivals are rounded to the nearest picosecond.
class VidurReader final : public TraceReader {
 public:
  explicit VidurReader(const std::filesystem::path& path);
  // Reads the next row; false at the end.
  [[nodiscard]] bool next_row(VidurRow& row);
  [[nodiscard]] bool next(TraceRecord& record) override;
  [[nodiscard]] config::InputError error_at_arrival(std::string code, std::string message,
                                                    std::string suggestion) const override {
    return table_.lines().error(order_.place(), std::move(code), std::move(message), std::move(suggestion));
  }

 private:
  CsvTable table_;
  VidurRow row_;
  ArrivalOrder order_;
  core::Time arrival_;  // of the row last read
};

// The header and rows as the published files write them.
void append_vidur_header(std::string& out);
void append_vidur_row(std::string& out, const VidurRow& row);

}  // namespace moesim::workloads
