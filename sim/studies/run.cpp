#include "sim/studies/run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "sim/io/sha256.hpp"
#include "sim/serving/routing_trace.hpp"
#include "sim/studies/inputs.hpp"
#include "sim/studies/kernel_accuracy.hpp"
#include "sim/studies/numerics_check.hpp"
#include "workloads/source.hpp"

namespace moesim::studies {

namespace fs = std::filesystem;

namespace {

workloads::TraceFolders trace_folders(const PreparedRun& prepared, const fs::path& data_dir) {
  return {prepared.folder, data_dir};
}

// "llama-3.1.json.gz" -> "llama-3.1".
std::string bare_name(const fs::path& file) {
  std::string name = file.filename().string();
  for (const std::string_view end : {".gz", ".zst", ".json"}) {
    if (name.size() > end.size() && name.ends_with(end)) name.resize(name.size() - end.size());
  }
  return name;
}

// A name for an input file that is the same on every machine.
std::string stable_name(const fs::path& file, const config::Catalogue& catalogue) {
  std::error_code ignored;
  const fs::path real = fs::weakly_canonical(file, ignored);
  for (const fs::path& root : catalogue.roots()) {
    const fs::path real_root = fs::weakly_canonical(root.empty() ? fs::path(".") : root, ignored);
    const fs::path relative = real.lexically_relative(real_root);
    if (relative.empty() || *relative.begin() == "..") continue;
    for (const std::string_view folder : {"hw_configs", "models", "workloads"}) {
      if (*relative.begin() == folder) return relative.generic_string();
    }
  }
  return file.filename().string();
}

std::vector<reports::InputDigest> digests(const PreparedRun& prepared, const config::Catalogue& catalogue,
                                          const fs::path& data_dir) {
  std::vector<reports::InputDigest> all;
  const auto add = [&](std::string name, const fs::path& file) {
    const auto same = [&](const reports::InputDigest& digest) { return digest.name == name; };
    if (std::none_of(all.begin(), all.end(), same)) {
      all.push_back({std::move(name), io::sha256_hex_of_file(file)});
    }
  };
  for (const std::string& file : prepared.loaded.document.files) add(stable_name(file, catalogue), file);
  const serving::Scenario& scenario = prepared.loaded.value;
  for (const fs::path& file : workloads::files_of(scenario.workload, trace_folders(prepared, data_dir))) {
    // The scenario names its trace; where that is an absolute path, only the file's name is the same
    // everywhere.
    const std::string& written = *scenario.workload.trace;
    add(fs::path(written).is_absolute() ? file.filename().string() : written, file);
  }
  if (const auto file = serving::routing_trace_file(scenario, trace_folders(prepared, data_dir))) {
    const std::string& written = std::get<routing::TracePopularity>(scenario.routing.popularity).file;
    add(fs::path(written).is_absolute() ? file->filename().string() : written, *file);
  }
  return all;
}

}  // namespace

// Looks up the engine's kernels for the node's GPU.
static void load_kernels(config::Loaded<serving::Scenario>& loaded, const config::Catalogue& catalogue) {
  serving::Scenario& scenario = loaded.value;
  const std::optional<std::string>& library = scenario.deployment.engine.kernels;
  if (!library) return;
  const hardware::Node& node = scenario.cluster.node;
  const KernelCatalogue kernels(catalogue);
  const fs::path file = kernels.file(*library, node.gpu.name, node.gpu.architecture);
  if (file.empty()) {
    std::vector<std::string> known;
    for (const std::string& name : catalogue.names("hw_configs/kernels"))
      known.push_back(name.substr(0, name.find('-')));
    throw config::InputError("unknown_name",
                             fmt::format("the engine \"{}\" uses the kernel library \"{}\", which no file of "
                                         "hw_configs/kernels describes",
                                         scenario.deployment.engine.name, *library),
                             config::nearest(*library, known));
  }
  std::vector<fs::path> files;
  const cost::DeviceFigures figures = cost::figures_of(node);
  scenario.kernels = std::make_shared<const cost::KernelLibrary>(
      *kernels.engine_kernels(*library, node.gpu.name, figures, files));
  const fs::path collectives = kernels.file("nccl", node.gpu.name, node.gpu.architecture);
  if (!collectives.empty()) {
    files.push_back(collectives);
    scenario.collectives = std::make_shared<const cost::KernelLibrary>(
        *kernels.library_or_nearest("nccl", node.gpu.name, figures, cost::Conditions::serving));
  }
  for (const fs::path& read : files) loaded.document.files.push_back(read.string());
}

PreparedRun prepare_file(const fs::path& file, const config::Catalogue& catalogue,
                         const std::vector<config::Override>& overrides) {
  check_scenario_file(file);
  PreparedRun prepared;
  prepared.loaded =
      config::read_document<serving::Scenario>(config::load_document(file, catalogue, overrides), catalogue);
  load_kernels(prepared.loaded, catalogue);
  prepared.file = file;
  prepared.folder = folder_of(file);
  prepared.name = bare_name(file);
  return prepared;
}

PreparedRun prepare_text(std::string text, std::string name, const config::Catalogue& catalogue,
                         const std::vector<config::Override>& overrides) {
  PreparedRun prepared;
  prepared.loaded = config::read_document<serving::Scenario>(
      config::load_text(std::move(text), name, catalogue, overrides), catalogue);
  load_kernels(prepared.loaded, catalogue);
  prepared.folder = ".";
  prepared.name = std::move(name);
  return prepared;
}

std::vector<fs::path> input_files(const PreparedRun& prepared, const fs::path& data_dir) {
  std::vector<fs::path> files(prepared.loaded.document.files.begin(), prepared.loaded.document.files.end());
  for (fs::path& trace :
       workloads::files_of(prepared.loaded.value.workload, trace_folders(prepared, data_dir))) {
    files.push_back(std::move(trace));
  }
  auto routed = serving::routing_trace_file(prepared.loaded.value, trace_folders(prepared, data_dir));
  if (routed) files.push_back(std::move(*routed));
  return files;
}

reports::RunReport execute(const PreparedRun& prepared, const config::Catalogue& catalogue,
                           const RunSettings& settings) {
  using Clock = std::chrono::steady_clock;
  check_trace(prepared.loaded, prepared.folder, settings.data_dir);
  serving::RunOptions options;
  options.scenario_dir = prepared.folder;
  options.data_dir = settings.data_dir;
  options.until = settings.until;
  options.max_events = settings.max_events;
  options.step.memo = settings.memo;
  options.step.fold = settings.fold;
  constexpr std::uint32_t kVerifiedSample = 64;
  options.verify_every = settings.verify ? kVerifiedSample : 0;
  options.timeline = settings.timeline;
  bool out_of_time = false;
  const auto start = Clock::now();
  options.keep_going = [&](const serving::Progress& progress) {
    if (settings.max_wall) {
      const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start);
      out_of_time = spent.count() >= settings.max_wall->ps / 1000;
    }
    return !out_of_time && (!settings.keep_going || settings.keep_going(progress));
  };

  reports::RunReport report;
  report.scenario = prepared.loaded.value;
  try {
    report.results = serving::simulate(report.scenario, options);
  } catch (const config::InputError& error) {
    throw located(prepared.loaded, error);
  }
  if (report.scenario.numerics.check) report.results.numerics = check_numerics(report.scenario);
  if (out_of_time && report.results.end == serving::RunEnd::interrupted) {
    report.results.end = serving::RunEnd::wall_limit;
  }
  report.manifest.tool_version = settings.tool_version;
  report.manifest.scenario = prepared.title();
  report.manifest.scenario_sha256 = io::sha256_hex(config::to_json(prepared.loaded.resolved, -1));
  report.manifest.inputs = digests(prepared, catalogue, settings.data_dir);
  return report;
}

std::optional<std::int64_t> expected_requests(const serving::Scenario& scenario) {
  const workloads::Workload& workload = scenario.workload;
  if (workload.stop && workload.stop->requests && !workload.stop->duration) return workload.stop->requests;
  if (workload.trace && workload.limit && !workload.stop) return workload.limit;
  return std::nullopt;
}

void for_each_index(std::size_t count, std::size_t jobs, const std::function<void(std::size_t)>& body) {
  std::atomic<std::size_t> next{0};
  std::mutex guard;
  std::size_t failed_index = count;
  std::exception_ptr failure;
  const auto work = [&] {
    for (std::size_t index = next++; index < count; index = next++) {
      try {
        body(index);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(guard);
        if (index < failed_index) {
          failed_index = index;
          failure = std::current_exception();
        }
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < std::min(jobs, count); ++i) threads.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace moesim::studies
