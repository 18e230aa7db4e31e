#include "sim/studies/kernel_accuracy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "models/cost/kernel_file.hpp"
#include "sim/core/check.hpp"
#include "sim/core/math.hpp"
#include "sim/studies/kernel_layers.hpp"

namespace moesim::studies {

namespace math = core::math;

cost::FitQuality quality_of(std::vector<double> log_ratios) {
  cost::FitQuality quality;
  if (log_ratios.empty()) return quality;
  const double n = static_cast<double>(log_ratios.size());
  double logs = 0;
  for (double& one : log_ratios) {
    logs += one;
    one = std::abs(math::exp(one) - 1);
    quality.mape += one / n;
  }
  std::sort(log_ratios.begin(), log_ratios.end());
  const auto at = [&](double share) {
    return log_ratios[static_cast<std::size_t>(std::floor(share * (n - 1) + 0.5))];
  };
  quality.points = static_cast<std::int64_t>(log_ratios.size());
  quality.median = at(0.5);
  quality.p90 = at(0.9);
  quality.bias = math::exp(logs / n) - 1;
  return quality;
}

std::vector<RowSet> row_sets(const std::vector<MeasuredRow>& rows) {
  std::map<std::tuple<bool, std::string_view, std::string_view, std::string_view>, RowSet> sets;
  for (const MeasuredRow& row : rows) {
    RowSet& set = sets[{row.family->composed, row.family->name, row.gpu, row.library}];
    set.family = row.family;
    set.gpu = row.gpu;
    set.library = row.library;
    (row.apart ? set.apart : set.rows).push_back(&row);
  }
  std::vector<RowSet> all;
  for (auto& [key, set] : sets) all.push_back(std::move(set));
  return all;
}

RowErrors cross_validate(const cost::KernelFamily& family, const RowPointers& rows,
                         const cost::DeviceFigures& device, const cost::PartTimes* parts, std::size_t folds,
                         const FitOptions& options, const cost::FamilyParameters& start) {
  RowErrors errors;
  for (auto* way :
       {&errors.physics, &errors.surface, &errors.table, &errors.roofline, &errors.interpolation}) {
    way->assign(rows.size(), 0);
  }
  folds = std::min(folds, rows.size());  // more than groups would stay empty
  const std::vector<std::size_t> fold = folds_of(rows, folds);
  for (std::size_t f = 0; f < folds; ++f) {
    RowPointers seen;
    std::vector<std::size_t> unseen;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (fold[i] == f) {
        unseen.push_back(i);
      } else {
        seen.push_back(rows[i]);
      }
    }
    if (unseen.empty()) continue;
    // All groups in one fold: nothing else to learn from than the initial values.
    const cost::FamilyParameters parameters = seen.empty()
                                                  ? cost::FamilyParameters::initial(family, start.variants())
                                                  : fit_family(family, seen, device, parts, options, &start);
    const ResidualLayers layers(family, seen, device, parameters, parts, options.threads);
    parallel_for(unseen.size(), options.threads, [&](std::size_t u) {
      const std::size_t i = unseen[u];
      const MeasuredRow& row = *rows[i];
      const double measured = math::log(row.seconds);
      const cost::KernelTime time =
          family.time(row.shape, device, parameters.of(row.variant), row.conditions, parts);
      const LayerFactors factors = layers.at(row, time.total);
      errors.physics[i] = math::log(time.total) - measured;
      errors.surface[i] = errors.physics[i] + factors.surface;
      errors.table[i] = errors.physics[i] + factors.table;
      errors.roofline[i] = math::log(time.speed_of_light) - measured;
      errors.interpolation[i] = errors.roofline[i] + layers.utilisation(row);
    });
  }
  return errors;
}

namespace {

using Architecture = hardware::Architecture;

// Architectures whose kernels are most alike: data-centre parts with HBM among each other, cards with GDDR
// memory among each other.
std::vector<Architecture> relatives(Architecture architecture) {
  using enum hardware::Architecture;
  switch (architecture) {
    case ampere:
      return {ampere, hopper, blackwell};
    case hopper:
      return {hopper, blackwell, ampere};
    case blackwell:
      return {blackwell, blackwell_ultra, hopper};
    case blackwell_ultra:
      return {blackwell_ultra, blackwell, hopper};
    case ada:
      return {ada, blackwell_gddr, ampere_gddr};
    case ampere_gddr:
      return {ampere_gddr, ada, blackwell_gddr};
    case blackwell_gddr:
      return {blackwell_gddr, ada};
    case cdna3:
      return {cdna3, cdna4, hopper};
    case cdna4:
      return {cdna4, cdna3, blackwell, hopper};
  }
  core::fail_invariant("an architecture without relatives");
}

// A file under another name would pass for the measurements of another GPU.
cost::KernelFile read_kernels(const std::string& name, const config::Catalogue& catalogue) {
  cost::KernelFile file = config::load_entry<cost::KernelFile>(name, catalogue).value;
  std::filesystem::path path(name);
  const std::string own = path.extension() == ".json" ? path.stem().string() : path.filename().string();
  if (file.name != own) {
    throw config::InputError("wrong_name", fmt::format("{} holds the kernels \"{}\"", name, file.name),
                             file.name + ".json");
  }
  return file;
}

}  // namespace

KernelCatalogue::KernelCatalogue(const config::Catalogue& catalogue) : catalogue_(&catalogue) {}

cost::DeviceFigures KernelCatalogue::figures(const std::string& gpu) const {
  for (const std::string& name : catalogue_->names("hw_configs/nodes")) {
    const hardware::Node node = hardware::load_node(name, *catalogue_).value;
    if (node.gpu.name == gpu) return cost::figures_of(node);
  }
  throw config::InputError("unknown_name", fmt::format("no node of hw_configs/nodes has the GPU \"{}\"", gpu),
                           config::nearest(gpu, catalogue_->names("hw_configs/gpus")));
}

std::optional<cost::KernelLibrary> KernelCatalogue::library(const std::string& library,
                                                            const std::string& gpu,
                                                            cost::Conditions conditions) const {
  const std::string name = library + "-" + gpu;
  if (catalogue_->find("hw_configs/kernels", name).empty()) return std::nullopt;
  const cost::KernelFile file = read_kernels(name, *catalogue_);
  return cost::library_of(file, figures(gpu), conditions);
}

std::vector<std::string> nearest_gpus(const std::string& gpu, hardware::Architecture architecture,
                                      const std::vector<std::string>& measured,
                                      const config::Catalogue& catalogue) {
  std::vector<std::string> ordered;
  for (const Architecture relative : relatives(architecture)) {
    for (const std::string& other : measured) {
      if (other != gpu && hardware::load_gpu(other, catalogue).value.architecture == relative)
        ordered.push_back(other);
    }
  }
  for (const std::string& other : measured) {
    if (other != gpu && std::find(ordered.begin(), ordered.end(), other) == ordered.end())
      ordered.push_back(other);
  }
  return ordered;
}

std::filesystem::path KernelCatalogue::file(const std::string& library, const std::string& gpu,
                                            hardware::Architecture architecture) const {
  constexpr std::string_view kFolder = "hw_configs/kernels";
  std::filesystem::path own = catalogue_->find(kFolder, library + "-" + gpu);
  if (!own.empty()) return own;
  std::vector<std::string> measured;
  const std::vector<std::string> gpus = catalogue_->names("hw_configs/gpus");
  for (const std::string& name : catalogue_->names(kFolder)) {
    if (!name.starts_with(library + "-")) continue;
    std::string other = name.substr(library.size() + 1);
    if (std::find(gpus.begin(), gpus.end(), other) != gpus.end()) measured.push_back(std::move(other));
  }
  const std::vector<std::string> nearest = nearest_gpus(gpu, architecture, measured, *catalogue_);
  return nearest.empty() ? std::filesystem::path()
                         : catalogue_->find(kFolder, library + "-" + nearest.front());
}

std::optional<cost::KernelLibrary> KernelCatalogue::library_or_nearest(const std::string& library,
                                                                       const std::string& gpu,
                                                                       const cost::DeviceFigures& figures,
                                                                       cost::Conditions conditions) const {
  const std::filesystem::path path = file(library, gpu, figures.architecture);
  if (path.empty()) return std::nullopt;
  const cost::KernelFile read = read_kernels(path.string(), *catalogue_);
  cost::KernelLibrary found = cost::library_of(read, figures, conditions);
  return read.gpu == gpu ? found : found.on_device(gpu, figures);
}

std::optional<cost::KernelLibrary> KernelCatalogue::engine_kernels(
    const std::string& library, const std::string& gpu, const cost::DeviceFigures& figures,
    std::vector<std::filesystem::path>& files) const {
  constexpr auto kServing = cost::Conditions::serving;
  constexpr std::string_view kFolder = "hw_configs/kernels";
  if (file(library, gpu, figures.architecture).empty()) return std::nullopt;
  std::vector<std::string> libraries = {library};
  for (const char* other : {"trtllm", "vllm", "sglang"}) {
    if (library != other) libraries.emplace_back(other);
  }
  const std::vector<std::string> gpus = catalogue_->names("hw_configs/gpus");
  std::vector<std::string> nearest = nearest_gpus(gpu, figures.architecture, gpus, *catalogue_);
  nearest.insert(nearest.begin(), gpu);
  const auto complete = [](const cost::KernelLibrary& have) {
    for (const cost::KernelFamily& family : cost::kernel_families()) {
      // Whole layers are not priced, and NCCL is a library of its own.
      if (!family.composed && family.name != cost::collective_family().name && have.find(family) == nullptr)
        return false;
    }
    return true;
  };
  std::optional<cost::KernelLibrary> all;
  for (const std::string& from : nearest) {
    for (const std::string& name : libraries) {
      if (all && complete(*all)) return all;
      const std::filesystem::path path = catalogue_->find(kFolder, name + "-" + from);
      if (path.empty()) continue;
      const cost::KernelFile read = read_kernels(path.string(), *catalogue_);
      cost::KernelLibrary one = cost::library_of(read, figures, kServing);
      if (from != gpu) one = one.on_device(gpu, figures);
      if (!all) all.emplace(library, gpu, figures, kServing);
      if (from == gpu && name == library) {
        all = std::move(one);
        files.push_back(path);
        continue;
      }
      const std::size_t before = all->families().size();
      all->fill_from(one);
      if (all->families().size() > before) files.push_back(path);
    }
  }
  return all;
}

}  // namespace moesim::studies
