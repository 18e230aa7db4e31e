// Request traces of every format as one stream of records.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "sim/config/diagnostics.hpp"
#include "sim/core/time.hpp"
#include "workloads/workload.hpp"

namespace moesim::workloads {

struct TraceRequest {
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  core::Duration
      pause;  // from the end of this request to the start of the next one of its session (tool time)
};

// One record of a trace: a request, or a session of requests that are sent one after the other.
struct TraceRecord {
  core::Time arrival;  // of the first request
  bool session = false;
  std::vector<TraceRequest> requests;  // never empty; exactly one unless `session`
  std::vector<std::int64_t> prefix_blocks;
  std::int64_t prefix_block_tokens = 0;
};

// Streams a trace; memory does not grow with the file. Rules of every format:
// - arrivals never go back; token counts are from 1 to kMaxTokens. A count of 0 is refused: no published
// trace
//   of these formats holds one, and elsewhere it marks a failed request, which would have no first token;
// - unknown, missing and repeated fields are errors; lines are at most io::LineReader::kMaxLineBytes long;
// - empty lines are skipped; a file without a single record is an error.
class TraceReader {
 public:
  virtual ~TraceReader() = default;
  // Reads the next record into `record`; false at the end. Throws config::InputError with the place; unless
  // ends_reading(), the next call goes on with the record after the bad one.
  [[nodiscard]] virtual bool next(TraceRecord& record) = 0;
  // An error at the arrival of the record last read.
  [[nodiscard]] virtual config::InputError error_at_arrival(std::string code, std::string message,
                                                            std::string suggestion) const = 0;
};

// Whether nothing can be read after an error of TraceReader::next(): the bytes are damaged or there are none.
[[nodiscard]] bool ends_reading(const config::InputError& error);

// Throws the error of an arrival that passes the end of simulated time once divided by `rate_scale`.
[[noreturn]] void fail_too_late(const TraceReader& reader, double rate_scale);

// Tells the format by the first line that is not empty. Throws config::InputError if it fits none.
[[nodiscard]] TraceFormat detect_format(const std::filesystem::path& path);

// Opens a trace (plain, gzip or zstd). Throws config::InputError if the file does not exist or has no header
// it should have.
[[nodiscard]] std::unique_ptr<TraceReader> open_trace(const std::filesystem::path& path,
                                                      TraceFormat format = TraceFormat::automatic);

// What a trace holds. Percentiles are left to those who keep the lengths.
struct TraceSummary {
  TraceFormat format = TraceFormat::automatic;
  std::int64_t records = 0;
  std::int64_t sessions = 0;
  std::int64_t requests = 0;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::int64_t longest_input = 0;
  std::int64_t longest_output = 0;
  std::int64_t longest_context = 0;  // most input + output tokens of one request
  core::Time first;                  // arrivals of the first and last record
  core::Time last;
};
// Reads the whole trace once.
[[nodiscard]] TraceSummary summarize_trace(const std::filesystem::path& path,
                                           TraceFormat format = TraceFormat::automatic);

}  // namespace moesim::workloads
