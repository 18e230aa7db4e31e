// Where the catalogues and the reference data are.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sim/cli/output.hpp"

namespace moesim::cli {

// The folders that hold hw_configs/, models/zoo/ and workloads/, best first, without those that do not exist:
// `overlays` (--config-path), $MOESIM_HOME, share/moesim beside the program's folder, the source tree that
// the program was built in, and the one that CMake knew. Folders below the working folder are written
// relative to it. Throws config::InputError for an overlay that is no folder.
[[nodiscard]] std::vector<std::filesystem::path> catalogue_roots(const std::vector<std::string>& overlays,
                                                                 const Environment& environment,
                                                                 const std::filesystem::path& program);

// $MOESIM_DATA_DIR, else the folder that CMake was given.
[[nodiscard]] std::filesystem::path data_folder(const Environment& environment);

// The file of this process, or an empty path.
[[nodiscard]] std::filesystem::path program_file();

}  // namespace moesim::cli
