// Routing traces in the JSON-lines form of Megatron-LM's router_trace.py: one record for each step and layer,
// with the experts of each token.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "workloads/json_line.hpp"
#include "workloads/trace_lines.hpp"

namespace moesim::workloads {

// What every record must keep to.
struct RouterTraceLimits {
  std::int64_t experts = 1;  // at most 65536
  std::int64_t top_k = 1;
};

struct RouterTraceRecord {
  std::string block;  // "decoder"; "" where the record does not say
  std::int64_t layer = 0;
  std::int64_t tokens = 0;
  std::vector<std::uint16_t> experts;  // [tokens, top_k]
  bool embedding_only = false;         // `moesim kernels route` says so of what is no trace of the model
};

class RouterTraceReader {
 public:
  // Throws config::InputError if the file cannot be read.
  RouterTraceReader(const std::filesystem::path& path, RouterTraceLimits limits);
  // Reads the next record; false at the end. Reads "layer" and "top_indices", and holds "num_tokens" and
  // "topk" against them where they are there; other keys are left to other readers. Throws config::InputError
  // with line and column for a record that is none: bad JSON, rows of another width than top_k, an expert
  // that the model does not have, an expert twice in a row. After such an error the next record can be read.
  [[nodiscard]] bool next(RouterTraceRecord& record);

 private:
  void read_rows(const JsonValue& list, RouterTraceRecord& record);
  void read_row(const JsonValue& row, std::int64_t number, RouterTraceRecord& record);

  TraceLines lines_;
  RouterTraceLimits limits_;
  JsonLine json_;
  std::vector<std::int64_t> seen_in_;  // by expert: the last row that had it, over all records
  std::int64_t rows_read_ = 0;
  bool any_ = false;
};

}  // namespace moesim::workloads
