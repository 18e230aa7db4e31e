// Mooncake traces (kvcache-ai/Mooncake FAST25-release/traces): JSON lines with prefix blocks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "workloads/json_line.hpp"
#include "workloads/trace_lines.hpp"
#include "workloads/trace_reader.hpp"

namespace moesim::workloads {

inline constexpr std::int64_t kMooncakeBlockTokens = 512;

struct MooncakeRow {
  std::int64_t timestamp_ms = 0;  // from the start of the trace
  std::int64_t input_length = 0;
  std::int64_t output_length = 0;
  std::vector<std::int64_t> hash_ids;  // one per started block of 512 prompt tokens
  bool operator==(const MooncakeRow&) const = default;
};

class MooncakeReader final : public TraceReader {
 public:
  explicit MooncakeReader(const std::filesystem::path& path) : lines_(path) {}
  // Reads the next row; false at the end.
  [[nodiscard]] bool next_row(MooncakeRow& row);
  [[nodiscard]] bool next(TraceRecord& record) override;
  [[nodiscard]] config::InputError error_at_arrival(std::string code, std::string message,
                                                    std::string suggestion) const override {
    return lines_.error(order_.place(), std::move(code), std::move(message), std::move(suggestion));
  }

 private:
  TraceLines lines_;
  JsonLine json_;
  MooncakeRow row_;
  ArrivalOrder order_;
  core::Time arrival_;  // of the row last read
  bool any_ = false;
};

// Appends a row as the published files write it.
void append_mooncake_row(std::string& out, const MooncakeRow& row);

}  // namespace moesim::workloads
