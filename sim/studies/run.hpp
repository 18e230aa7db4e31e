// From a scenario file to a finished run with its manifest.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reports/report.hpp"
#include "sim/config/document.hpp"
#include "sim/serving/scenario.hpp"
#include "sim/serving/simulate.hpp"

namespace moesim::studies {

// A scenario that was read without an error.
struct PreparedRun {
  config::Loaded<serving::Scenario> loaded;
  std::filesystem::path file;    // empty for a text
  std::filesystem::path folder;  // where its relative paths start
  std::string name;              // the file's name without ".json", or the name given

  // What results call the run: the scenario's own name if it has one.
  [[nodiscard]] const std::string& title() const {
    return loaded.value.name.empty() ? name : loaded.value.name;
  }
};

// Reads a scenario with its overrides. Throws config::InputError with every problem.
[[nodiscard]] PreparedRun prepare_file(const std::filesystem::path& file, const config::Catalogue& catalogue,
                                       const std::vector<config::Override>& overrides);
// The same for a text; relative paths inside it start at the working folder.
[[nodiscard]] PreparedRun prepare_text(std::string text, std::string name, const config::Catalogue& catalogue,
                                       const std::vector<config::Override>& overrides);

struct RunSettings {
  std::filesystem::path data_dir;
  std::optional<core::Duration> until;
  std::uint64_t max_events = UINT64_MAX;
  std::optional<core::Duration> max_wall;  // real time
  bool memo = true;
  bool fold = true;
  bool verify = false;                      // kernel fidelity: check samples of how resources are shared
  execution::Timeline* timeline = nullptr;  // gets what happened when; nothing is recorded without one
  std::string tool_version;
  // Called now and then with the state of the run; false stops it in good order.
  std::function<bool(const serving::Progress&)> keep_going;
};

// Simulates and fills in the manifest. Throws what serving::simulate throws, and io::IoError for an input
// that cannot be read again for its digest.
[[nodiscard]] reports::RunReport execute(const PreparedRun& prepared, const config::Catalogue& catalogue,
                                         const RunSettings& settings);

// Every file that the run reads: the scenario and what it extends, catalogue entries, traces.
[[nodiscard]] std::vector<std::filesystem::path> input_files(const PreparedRun& prepared,
                                                             const std::filesystem::path& data_dir);

// The number of measured requests that the workload will send, where the scenario tells.
[[nodiscard]] std::optional<std::int64_t> expected_requests(const serving::Scenario& scenario);

// Calls body(0) ... body(count - 1) on up to `jobs` threads. If calls throw, the exception of the lowest
// index is thrown again after all threads ended.
void for_each_index(std::size_t count, std::size_t jobs, const std::function<void(std::size_t)>& body);

}  // namespace moesim::studies
