// Input files of a run: do they exist, and what was meant if they do not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "sim/config/diagnostics.hpp"
#include "sim/config/document.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::studies {

// The name of the regular file in the same folder that is most like `file`, with the folder; or "".
[[nodiscard]] std::string nearest_file(const std::filesystem::path& file);

// Throws config::InputError, with a suggestion, if the scenario file does not exist.
void check_scenario_file(const std::filesystem::path& file);

// Where the relative paths of a scenario file start.
[[nodiscard]] std::filesystem::path folder_of(const std::filesystem::path& file);

// What to make of a "data:" trace on a machine without the data folder.
enum class MissingData : std::uint8_t { error, warning };

// What is wrong with a scenario's input. Locations are those of `sources`.
struct InputProblems {
  config::SourceSet sources;
  config::Diagnostics diagnostics;
};

// Reads the scenario's traces once: its requests, streaming, and its routing. Problems are at
// "/workload/trace" and
// "/routing/popularity/file" if one is missing, is a folder or leaves the data folder, else at its bad lines
// (at most 20). `folder` is where relative paths start.
[[nodiscard]] InputProblems trace_problems(const config::Loaded<serving::Scenario>& loaded,
                                           const std::filesystem::path& folder,
                                           const std::filesystem::path& data_dir, MissingData missing_data);

// Throws the errors of trace_problems().
void check_trace(const config::Loaded<serving::Scenario>& loaded, const std::filesystem::path& folder,
                 const std::filesystem::path& data_dir);

// The error with a place for each problem that has only a JSON pointer of the scenario.
[[nodiscard]] config::InputError located(const config::Loaded<serving::Scenario>& loaded,
                                         const config::InputError& error);

}  // namespace moesim::studies
