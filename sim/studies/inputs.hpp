// Input files of a run: do they exist, and what was meant if they do not.
#pragma once

#include <filesystem>
#include <string>

#include "sim/config/document.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::studies {

// The name of the regular file in the same folder that is most like `file`, with the folder; or "".
[[nodiscard]] std::string nearest_file(const std::filesystem::path& file);

// Throws config::InputError, with a suggestion, if the scenario file does not exist.
void check_scenario_file(const std::filesystem::path& file);

// Throws config::InputError at "/workload/trace" if the scenario's trace is missing, is a folder, or leaves
// the data folder. `folder` is where relative paths start.
void check_trace(const config::Loaded<serving::Scenario>& loaded, const std::filesystem::path& folder,
                 const std::filesystem::path& data_dir);

}  // namespace moesim::studies
