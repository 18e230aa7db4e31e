#include "workloads/source.hpp"

#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include "sim/config/diagnostics.hpp"
#include "sim/core/check.hpp"
#include "workloads/generated.hpp"
#include "workloads/replay.hpp"
#include "workloads/spread_ties.hpp"
#include "workloads/trace_reader.hpp"

namespace moesim::workloads {
namespace {

constexpr std::string_view kDataPrefix = "data:";

std::filesystem::path data_path(std::string_view rest, const TraceFolders& folders) {
  const std::filesystem::path relative(rest);
  bool leaves = rest.empty() || relative.is_absolute();
  for (const auto& part : relative) leaves |= part == "..";
  if (leaves) {
    throw config::InputError("out_of_range",
                             "\"data:" + std::string(rest) + "\" is no path inside the data folder",
                             "a path such as \"data:mooncake/conversation_trace.jsonl\"");
  }
  const std::filesystem::path root = data_folder(folders);
  std::error_code ignored;
  if (!std::filesystem::exists(root / relative, ignored) &&
      std::filesystem::exists(root / "traces" / relative, ignored)) {
    return root / "traces" / relative;
  }
  return root / relative;
}

}  // namespace

std::filesystem::path data_folder(const TraceFolders& folders) {
  const char* const set = std::getenv("MOESIM_DATA_DIR");
  return set != nullptr && *set != '\0' ? std::filesystem::path(set) : folders.default_data;
}

std::filesystem::path trace_path(std::string_view trace, const TraceFolders& folders) {
  if (trace.starts_with(kDataPrefix)) return data_path(trace.substr(kDataPrefix.size()), folders);
  // An absolute path replaces the folder.
  return folders.scenario / std::filesystem::path(trace);
}

std::vector<std::filesystem::path> files_of(const Workload& workload, const TraceFolders& folders) {
  if (!workload.trace) return {};
  return {trace_path(*workload.trace, folders)};
}

std::unique_ptr<RequestSource> make_source(const Workload& workload, std::uint64_t seed,
                                           const TraceFolders& folders) {
  if (workload.trace) {
    std::unique_ptr<TraceReader> reader = open_trace(trace_path(*workload.trace, folders), workload.format);
    if (workload.spread_ties) reader = std::make_unique<SpreadTies>(std::move(reader), seed);
    return std::make_unique<ReplaySource>(std::move(reader), workload);
  }
  core::check(workload.arrival.has_value(), "a workload without trace and arrival");
  if (std::holds_alternative<ClosedLoopArrivals>(*workload.arrival)) {
    return std::make_unique<ClosedLoopSource>(workload, seed);
  }
  return std::make_unique<OpenLoopSource>(workload, seed);
}

}  // namespace moesim::workloads
