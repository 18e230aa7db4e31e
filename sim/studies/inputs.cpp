#include "sim/studies/inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "sim/config/diagnostics.hpp"
#include "workloads/source.hpp"

namespace moesim::studies {

namespace fs = std::filesystem;

namespace {

// Replaces the file name of a path as it was written.
std::string with_file_name(std::string_view written, const std::string& name) {
  const std::size_t slash = written.rfind('/');
  return slash == std::string_view::npos ? name : std::string(written.substr(0, slash + 1)) + name;
}

std::string nearest_name(const fs::path& file) {
  constexpr std::size_t kMost = 4096;  // a folder with more files than that gets no suggestion
  std::vector<std::string> names;
  std::error_code failed;
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) names.push_back(it->path().filename().string());
    if (names.size() > kMost) return "";
  }
  std::sort(names.begin(), names.end());
  return config::nearest(file.filename().string(), names);
}

}  // namespace

std::string nearest_file(const fs::path& file) {
  const std::string name = nearest_name(file);
  return name.empty() ? "" : with_file_name(file.string(), name);
}

void check_scenario_file(const fs::path& file) {
  if (file.empty()) throw config::InputError("cannot_read", "the name of the scenario is empty");
  std::error_code ignored;
  if (fs::exists(file, ignored)) return;
  throw config::InputError("cannot_read", fmt::format("the scenario {} does not exist", file.string()),
                           nearest_file(file), "a new one: moesim init -o FILE");
}

void check_trace(const config::Loaded<serving::Scenario>& loaded, const fs::path& folder,
                 const fs::path& data_dir) {
  const workloads::Workload& workload = loaded.value.workload;
  if (!workload.trace) return;
  const std::string pointer = "/workload/trace";
  const config::Node* node = config::resolve_pointer(loaded.resolved, pointer);
  const auto fail = [&](std::string code, std::string message, std::string suggestion) {
    config::Diagnostic problem;
    problem.code = std::move(code);
    problem.pointer = pointer;
    if (node != nullptr) problem.where = node->where;
    problem.message = std::move(message);
    problem.suggestion = std::move(suggestion);
    config::Diagnostics all;
    all.add(std::move(problem));
    throw config::InputError(loaded.document.sources, std::move(all));
  };
  std::vector<fs::path> files;
  try {
    files = workloads::files_of(workload, {folder, data_dir});
  } catch (const config::InputError& error) {
    const config::Diagnostic& first = error.diagnostics().errors().front();
    fail(first.code, first.message, first.suggestion);
  }
  for (const fs::path& file : files) {
    std::error_code ignored;
    if (fs::is_directory(file, ignored))
      fail("cannot_read", fmt::format("the trace {} is a directory", file.string()), "");
    if (fs::exists(file, ignored)) continue;
    const std::string name = nearest_name(file);
    const bool in_data = workload.trace->starts_with("data:");
    fail("cannot_read",
         fmt::format("the trace file {} does not exist{}", file.string(),
                     in_data ? " (\"data:\" is the folder that MOESIM_DATA_DIR names)" : ""),
         name.empty() ? "" : with_file_name(*workload.trace, name));
  }
}

}  // namespace moesim::studies
