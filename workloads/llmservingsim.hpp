// LLMServingSim traces (casys-kaist/LLMServingSim workloads): JSON lines of single requests and agent
// sessions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "workloads/json_line.hpp"
#include "workloads/json_record.hpp"
#include "workloads/trace_lines.hpp"
#include "workloads/trace_reader.hpp"

namespace moesim::workloads {

// A request, or one call of a session.
struct LlmServingSimCall {
  std::int64_t input_toks = 0;
  std::int64_t output_toks = 0;
  // Tool time after this call, before the next one of the session starts; only the last call may lack it.
  std::optional<std::int64_t> tool_duration_ns;
  std::optional<std::vector<std::int64_t>> input_tok_ids;
  std::optional<std::vector<std::int64_t>> output_tok_ids;
  bool operator==(const LlmServingSimCall&) const = default;
};

// Flat rows have one call and no session; agent rows have a session id (number or text) and calls that are
// sent one after the other.
struct LlmServingSimRow {
  std::int64_t arrival_time_ns = 0;
  std::optional<std::variant<std::int64_t, std::string>> session_id;
  std::vector<LlmServingSimCall> calls;
  bool operator==(const LlmServingSimRow&) const = default;
};

class LlmServingSimReader final : public TraceReader {
 public:
  explicit LlmServingSimReader(const std::filesystem::path& path) : lines_(path) {}
  // Reads the next row; false at the end.
  [[nodiscard]] bool next_row(LlmServingSimRow& row);
  [[nodiscard]] bool next(TraceRecord& record) override;
  [[nodiscard]] config::InputError error_at_arrival(std::string code, std::string message,
                                                    std::string suggestion) const override {
    return lines_.error(order_.place(), std::move(code), std::move(message), std::move(suggestion));
  }

 private:
  // Fill the row and return the place of its arrival.
  [[nodiscard]] LinePlace read_session(LlmServingSimRow& row) const;
  [[nodiscard]] LinePlace read_flat(LlmServingSimRow& row) const;

  TraceLines lines_;
  JsonLine json_;
  LlmServingSimRow row_;
  ArrivalOrder order_;
  core::Time arrival_;  // of the row last read
  bool any_ = false;
};

// Separators of the published files: some have spaces after commas and colons, some have none.
enum class JsonSpacing : std::uint8_t { spaced, compact };

// Appends a row with the keys in the order of the published files.
void append_llmservingsim_row(std::string& out, const LlmServingSimRow& row,
                              JsonSpacing spacing = JsonSpacing::spaced);

}  // namespace moesim::workloads
