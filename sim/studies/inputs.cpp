#include "sim/studies/inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "sim/config/diagnostics.hpp"
#include "sim/serving/routing_trace.hpp"
#include "workloads/source.hpp"
#include "workloads/trace_check.hpp"

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
  const fs::path folder = folder_of(file);
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

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

void check_scenario_file(const fs::path& file) {
  if (file.empty()) throw config::InputError("cannot_read", "the name of the scenario is empty");
  std::error_code ignored;
  if (fs::exists(file, ignored)) return;
  throw config::InputError("cannot_read", fmt::format("the scenario {} does not exist", file.string()),
                           nearest_file(file), "a new one: moesim init -o FILE");
}

namespace {

// Appends the problems of `from`, moving their places to `into.sources`.
void append(const config::SourceSet& sources, const config::Diagnostics& from, InputProblems& into) {
  const int first = into.sources.size();
  for (int i = 0; i < sources.size(); ++i) into.sources.add(sources.at(i));
  const auto add = [&](config::Diagnostic problem) {
    if (problem.where.source >= 0) problem.where.source += first;
    into.diagnostics.add(std::move(problem));
  };
  for (const config::Diagnostic& error : from.errors()) add(error);
  for (const config::Diagnostic& warning : from.warnings()) add(warning);
}

// Where the scenario says what the pointer means; its parent's place for a default.
config::Location place_of(const config::Loaded<serving::Scenario>& loaded, std::string pointer) {
  while (true) {
    const config::Node* node = config::resolve_pointer(loaded.resolved, pointer);
    if (node != nullptr && node->where.source >= 0) return node->where;
    if (pointer.empty()) return {};
    pointer.resize(pointer.rfind('/'));
  }
}

}  // namespace

namespace {

// A file that a scenario names: where, as it is written, and what it is called in messages.
struct NamedFile {
  std::string pointer;
  std::string written;
  std::string noun;
};

// Collects what is wrong with the files of a scenario.
class FileChecks {
 public:
  FileChecks(const config::Loaded<serving::Scenario>& loaded, workloads::TraceFolders folders,
             MissingData missing_data)
      : loaded_(&loaded),
        folders_(std::move(folders)),
        missing_data_(missing_data),
        problems_{loaded.document.sources, {}} {}

  // Calls `find` for the files, and `check` for each that can be read.
  template <class Find, class Check>
  void check(const NamedFile& named, const Find& find, const Check& check) {
    std::vector<fs::path> files;
    try {
      files = find();
    } catch (const config::InputError& error) {
      const config::Diagnostic& first = error.diagnostics().errors().front();
      add(named, first.code, first.message, first.suggestion, false);
    }
    for (const fs::path& file : files) {
      if (can_read(named, file)) check(file);
    }
  }

  void add(const NamedFile& named, std::string code, std::string message, std::string suggestion,
           bool warning) {
    config::Diagnostic problem;
    problem.code = std::move(code);
    problem.pointer = named.pointer;
    problem.where = place_of(*loaded_, problem.pointer);
    problem.message = std::move(message);
    problem.suggestion = std::move(suggestion);
    problem.warning = warning;
    problems_.diagnostics.add(std::move(problem));
  }

  [[nodiscard]] InputProblems& problems() { return problems_; }

 private:
  bool can_read(const NamedFile& named, const fs::path& file) {
    std::error_code ignored;
    if (fs::is_directory(file, ignored)) {
      add(named, "cannot_read", fmt::format("the {} {} is a directory", named.noun, file.string()), "",
          false);
      return false;
    }
    if (fs::exists(file, ignored)) return true;
    const std::string name = nearest_name(file);
    const bool in_data = named.written.starts_with("data:");
    const bool no_data = in_data && !fs::exists(workloads::data_folder(folders_), ignored);
    add(named, "cannot_read",
        fmt::format("the {} file {} does not exist{}", named.noun, file.string(),
                    in_data ? " (\"data:\" is the folder that MOESIM_DATA_DIR names)" : ""),
        name.empty() ? "" : with_file_name(named.written, name),
        no_data && missing_data_ == MissingData::warning);
    return false;
  }

  const config::Loaded<serving::Scenario>* loaded_;
  workloads::TraceFolders folders_;
  MissingData missing_data_;
  InputProblems problems_;
};

void check_routing_trace(const config::Loaded<serving::Scenario>& loaded,
                         const workloads::TraceFolders& folders, FileChecks& checks) {
  const auto* trace = std::get_if<routing::TracePopularity>(&loaded.value.routing.popularity);
  if (trace == nullptr) return;
  const NamedFile named{"/routing/popularity/file", trace->file, "routing trace"};
  checks.check(
      named, [&] { return std::vector<fs::path>{*serving::routing_trace_file(loaded.value, folders)}; },
      [&](const fs::path& file) {
        serving::ReplayReading reading = serving::read_replay(loaded.value.model, file);
        config::Diagnostics placed;
        for (config::Diagnostic problem : reading.diagnostics.errors()) {
          if (problem.where.source >= 0) {
            placed.add(std::move(problem));
          } else {
            checks.add(named, problem.code, problem.message, problem.suggestion, false);
          }
        }
        append(reading.sources, placed, checks.problems());
        if (reading.replay == nullptr) return;
        for (const std::string& warning : reading.replay->warnings)
          checks.add(named, "suspicious", warning, "", true);
      });
}

}  // namespace

InputProblems trace_problems(const config::Loaded<serving::Scenario>& loaded, const fs::path& folder,
                             const fs::path& data_dir, MissingData missing_data) {
  const workloads::TraceFolders folders{folder, data_dir};
  FileChecks checks(loaded, folders, missing_data);
  const workloads::Workload& workload = loaded.value.workload;
  if (workload.trace) {
    checks.check(
        {"/workload/trace", *workload.trace, "trace"}, [&] { return workloads::files_of(workload, folders); },
        [&](const fs::path& file) {
          const workloads::TraceProblems found = workloads::check_trace_records(workload, file);
          append(found.sources, found.diagnostics, checks.problems());
        });
  }
  check_routing_trace(loaded, folders, checks);
  return std::move(checks.problems());
}

void check_trace(const config::Loaded<serving::Scenario>& loaded, const fs::path& folder,
                 const fs::path& data_dir) {
  InputProblems problems = trace_problems(loaded, folder, data_dir, MissingData::error);
  if (!problems.diagnostics.has_errors()) return;
  throw config::InputError(std::move(problems.sources), std::move(problems.diagnostics));
}

config::InputError located(const config::Loaded<serving::Scenario>& loaded, const config::InputError& error) {
  InputProblems moved{loaded.document.sources, {}};
  append(error.sources(), error.diagnostics(), moved);
  config::Diagnostics placed;
  for (config::Diagnostic problem : moved.diagnostics.errors()) {
    if (problem.where.source < 0 && !problem.pointer.empty())
      problem.where = place_of(loaded, problem.pointer);
    placed.add(std::move(problem));
  }
  return {std::move(moved.sources), std::move(placed)};
}

}  // namespace moesim::studies
