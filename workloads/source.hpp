// From a workload's description to its requests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "workloads/request.hpp"
#include "workloads/workload.hpp"

namespace moesim::workloads {

// Where traces are looked for.
struct TraceFolders {
  std::filesystem::path scenario;      // folder of the scenario file: relative paths start here
  std::filesystem::path default_data;  // data folder when the environment variable MOESIM_DATA_DIR is not set
};

// The data folder: MOESIM_DATA_DIR if it is set and not empty, else the default.
[[nodiscard]] std::filesystem::path data_folder(const TraceFolders& folders);

// The file that a workload's "trace" means: "data:PATH" is DATA/PATH or, if that does not exist,
// DATA/traces/PATH (so that both layouts of the reference data work); a relative path starts at the
// scenario's folder. Throws config::InputError if a data path leaves the data folder. The file need not
// exist.
[[nodiscard]] std::filesystem::path trace_path(std::string_view trace, const TraceFolders& folders);

// The files that a workload reads, for the manifest's hashes; none for a generated workload.
[[nodiscard]] std::vector<std::filesystem::path> files_of(const Workload& workload,
                                                          const TraceFolders& folders);

// The requests of a workload that passed its field table. Equal arguments (and file contents) give equal
// requests. Throws config::InputError for a trace that cannot be opened; its next() throws it for a bad
// record.
[[nodiscard]] std::unique_ptr<RequestSource> make_source(const Workload& workload, std::uint64_t seed,
                                                         const TraceFolders& folders);

}  // namespace moesim::workloads
