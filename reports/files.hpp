// The files of one run: results.json, requests.csv, timeseries.csv, memory.csv, experts.csv and
// run_info.json.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reports/report.hpp"
#include "reports/sink.hpp"

namespace moesim::reports {

// What is known about the run but not part of its result.
struct RunInfo {
  std::string tool_version;
  std::string git_commit;
  std::string compiler;
  std::string host;
  std::string started;  // RFC 3339, UTC
  double wall_s = 0;
  double cpu_s = 0;
  std::vector<std::string> arguments;
  std::string working_folder;
  std::string scenario_path;
  std::string output_folder;
  std::vector<std::string> files;  // every file that was read, as it was found
};

// One row per request, in the order of ids. Times are exact decimal seconds; what did not happen is empty.
// tpot_s is rounded to the picosecond and empty for requests with one output token.
void write_requests_csv(const serving::Results& results, const Sink& sink);
// One row per interval.
void write_timeseries_csv(const serving::Results& results, const Sink& sink);
// One row per interval, pool and category of serving::memory_stack(): the device's mean over devices and
// time, and the device that used most KV, when it did. The rows of an interval and a pool add up to the
// device.
void write_memory_csv(const serving::Results& results, const Sink& sink);
// One row per expert and MoE layer; the header alone without MoE layers.
void write_experts_csv(const serving::Results& results, const Sink& sink);

[[nodiscard]] std::string run_info_json(const RunInfo& info);

struct WrittenFile {
  std::string name;    // "results.json"
  std::string sha256;  // of its bytes
};

// Of the files that write_result_files() writes.
[[nodiscard]] std::span<const std::string_view> result_file_names();

// Makes the folder and tries whether every result file can be written there, without writing one: a run may
// take hours, and a wrong folder is worth knowing before. Returns the folders that it made, innermost first.
// Throws io::IoError.
[[nodiscard]] std::vector<std::filesystem::path> prepare_result_folder(const std::filesystem::path& folder);

// Writes the six files into `folder`, which is made if it is missing. They appear only after all of them
// were written completely, results.json last. Returns the five that belong to the result (not run_info.json)
// with their digests. Throws io::IoError.
[[nodiscard]] std::vector<WrittenFile> write_result_files(const std::filesystem::path& folder,
                                                          const RunReport& report, const RunInfo& info);

}  // namespace moesim::reports
