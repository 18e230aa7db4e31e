// Azure LLM inference traces (Azure/AzurePublicDataset, 2023 and 2024): CSV with wall-clock time stamps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "workloads/csv_table.hpp"
#include "workloads/trace_reader.hpp"

namespace moesim::workloads {

// A wall-clock time as the traces write it: "2023-11-16 18:15:46.6805900", with 0 to 7 fractional digits and
// optionally a time zone ("Z", "+00:00"). The unit of 100 ns is the one of the files' seven digits.
struct AzureTimestamp {
  std::int64_t ticks = 0;   // 100 ns since 1970-01-01 00:00 UTC
  int fraction_digits = 7;  // as written
  std::string zone;         // as written
  bool operator==(const AzureTimestamp&) const = default;
};

// nullopt if the text is no such time stamp.
[[nodiscard]] std::optional<AzureTimestamp> parse_azure_timestamp(std::string_view text);
[[nodiscard]] std::string format_azure_timestamp(const AzureTimestamp& timestamp);

struct AzureRow {
  AzureTimestamp timestamp;
  std::int64_t context_tokens = 0;
  std::int64_t generated_tokens = 0;
  bool operator==(const AzureRow&) const = default;
};

// Arrivals count from the first row.
class AzureReader final : public TraceReader {
 public:
  explicit AzureReader(const std::filesystem::path& path);
  // Reads the next row; false at the end.
  [[nodiscard]] bool next_row(AzureRow& row);
  [[nodiscard]] bool next(TraceRecord& record) override;
  [[nodiscard]] config::InputError error_at_arrival(std::string code, std::string message,
                                                    std::string suggestion) const override {
    return table_.lines().error(order_.place(), std::move(code), std::move(message), std::move(suggestion));
  }

 private:
  CsvTable table_;
  AzureRow row_;
  ArrivalOrder order_;
  std::optional<std::int64_t> first_ticks_;
  core::Time arrival_;  // of the row last read
};

// The header, and rows after it, as the published files write them: CR LF between lines, none after the last.
void append_azure_header(std::string& out);
void append_azure_row(std::string& out, const AzureRow& row);

}  // namespace moesim::workloads
