#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "models/cost/kernel_file.hpp"
#include "sim/core/math.hpp"
#include "sim/studies/kernel_accuracy.hpp"
#include "sim/studies/kernel_layers.hpp"

namespace moesim::studies {

namespace math = core::math;

namespace {

std::vector<double> picked(const std::vector<double>& all, const RowPointers& rows,
                           const std::string& variant) {
  std::vector<double> some;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (variant.empty() || rows[i]->variant == variant) some.push_back(all[i]);
  }
  return some;
}

std::vector<std::string> variants_among(const RowPointers& rows) {
  std::set<std::string> names;
  for (const MeasuredRow* row : rows) names.insert(row->variant);
  return {names.begin(), names.end()};
}

// The line for all variants, then one for each.
std::vector<AccuracyGroup> groups_of(const RowSet& set, const RowErrors& errors, config::Label label) {
  std::vector<std::string> variants = variants_among(set.rows);
  if (variants.size() > 1 || variants.empty()) variants.insert(variants.begin(), "");
  std::vector<AccuracyGroup> groups;
  for (const std::string& variant : variants) {
    AccuracyGroup group;
    group.op = set.family->name;
    group.gpu = set.gpu;
    group.library = set.library;
    group.variant = variant;
    group.label = label;
    for (const MeasuredRow* row : set.apart) group.apart += variant.empty() || row->variant == variant;
    group.physics = quality_of(picked(errors.physics, set.rows, variant));
    group.surface = quality_of(picked(errors.surface, set.rows, variant));
    group.table = quality_of(picked(errors.table, set.rows, variant));
    group.roofline = quality_of(picked(errors.roofline, set.rows, variant));
    group.interpolation = quality_of(picked(errors.interpolation, set.rows, variant));
    groups.push_back(std::move(group));
  }
  return groups;
}

void warn_of_bounds(const cost::FamilyParameters& parameters, std::vector<std::string>& warnings) {
  const cost::KernelFamily& family = parameters.family();
  for (std::size_t p = 0; p < family.parameters.size(); ++p) {
    const cost::Parameter& one = family.parameters[p];
    for (const std::string& variant : parameters.variants()) {
      const double value = parameters.of(variant)[p];
      const bool low = value <= one.low * 1.001, high = value >= one.high * 0.999;
      if (!low && !high) continue;
      warnings.push_back(fmt::format("{}{}: {} stands at its {} bound ({:.4g} {})", family.name,
                                     one.by_variant ? " " + variant : "", one.name, low ? "lower" : "upper",
                                     value, one.unit));
      if (!one.by_variant) break;
    }
  }
}

std::string newest_version(const RowPointers& rows) {
  std::set<std::string> versions;
  for (const MeasuredRow* row : rows) versions.insert(row->version);
  std::string all;
  for (const std::string& version : versions) all += (all.empty() ? "" : ", ") + version;
  return all;
}

}  // namespace

namespace {

// Takes out the variants whose rows are all of one group of shapes: nothing tells how such numbers carry over
// to another shape, so relatives stand in for them.
void leave_out_lone_groups(RowSet& set, std::vector<std::string>& warnings) {
  std::map<std::string, std::set<std::string>> groups;
  for (const MeasuredRow* row : set.rows) groups[row->variant].insert(row->group);
  for (const auto& [variant, names] : groups) {
    if (names.size() > 1) continue;
    const auto before = set.rows.size();
    std::erase_if(set.rows, [&lone = variant](const MeasuredRow* row) { return row->variant == lone; });
    warnings.push_back(fmt::format("{} {}: all rows ({}) are of one group of shapes; they were not fitted",
                                   set.family->name, variant, before - set.rows.size()));
  }
}

}  // namespace

Calibration calibrate(const std::vector<MeasuredRow>& rows, const std::string& gpu,
                      const std::string& library, const KernelCatalogue& catalogue,
                      const CalibrationOptions& options, const SayProgress& say) {
  const cost::DeviceFigures device = catalogue.figures(gpu);
  Calibration out{cost::KernelLibrary(library, gpu, device, cost::Conditions::benchmark), {}, {}};
  if (auto stored = catalogue.library(library, gpu, cost::Conditions::benchmark)) {
    // Families that are not among the rows keep their stored values.
    out.library = std::move(*stored);
  }
  std::vector<RowSet> sets;
  for (RowSet& set : row_sets(rows)) {
    if (set.gpu != gpu || set.library != library) continue;
    leave_out_lone_groups(set, out.warnings);
    if (!set.rows.empty()) sets.push_back(std::move(set));
  }
  std::size_t done = 0;
  for (const RowSet& set : sets) {
    say(fmt::format("{}: {} rows", set.family->name, set.rows.size()), done++, sets.size());
    const cost::PartTimes* parts = &out.library;
    const cost::FamilyParameters fitted =
        fit_family(*set.family, set.rows, device, parts, options.fit, nullptr);
    FitOptions folds_fit = options.fit;
    // From the minimum of all rows it is not far to that of four fifths of them.
    folds_fit.max_iterations = std::min(folds_fit.max_iterations, 12);
    const RowErrors errors =
        cross_validate(*set.family, set.rows, device, parts, options.folds, folds_fit, fitted);
    std::vector<AccuracyGroup> groups = groups_of(set, errors, config::Label::calibrated);
    cost::FamilyFit fit(*set.family);
    fit.parameters = fitted;
    fit.version = newest_version(set.rows);
    fit.source = options.source;
    fit.date = options.date;
    const ResidualLayers layers(*set.family, set.rows, device, fitted, parts, options.fit.threads);
    for (const auto& [variant, layer] : layers.layers()) {
      cost::VariantFit& own = fit.variants[variant];
      for (const AccuracyGroup& group : groups) {
        if (group.variant != variant && groups.size() > 1) continue;
        own.physics = group.physics;
        own.with_surface = group.surface;
      }
      if (options.surface) own.surface = layer.surface;
      if (options.table) own.table = layer.table;
    }
    for (const MeasuredRow* row : set.rows) {
      const cost::Coordinates place = set.family->place(row->shape, device);
      std::optional<cost::FittedRange>& range = fit.variants[row->variant].range;
      if (!range) range = {place, place};
      for (std::size_t c = 0; c < cost::kCoordinates; ++c) {
        range->low[c] = std::min(range->low[c], place[c]);
        range->high[c] = std::max(range->high[c], place[c]);
      }
    }
    warn_of_bounds(fitted, out.warnings);
    for (const std::string& variant : fitted.variants()) {
      const auto count = picked(errors.physics, set.rows, variant).size();
      if (count >= 30) continue;
      out.warnings.push_back(fmt::format("{} {}: only {} rows; its numbers are weakly determined",
                                         set.family->name, variant, count));
    }
    out.library.set(std::move(fit));
    for (AccuracyGroup& group : groups) out.errors.push_back(std::move(group));
  }
  return out;
}

std::map<std::string, std::string> stored_sources(const KernelCatalogue& catalogue, const std::string& gpu,
                                                  const std::string& library) {
  const std::string name = library + "-" + gpu;
  if (catalogue.catalogue().find("hw_configs/kernels", name).empty()) return {};
  return config::load_entry<cost::KernelFile>(name, catalogue.catalogue()).value.sources;
}

KernelFileText kernel_file_text(const Calibration& calibration, const CalibrationOptions& options,
                                std::map<std::string, std::string> sources) {
  sources[options.source] = options.source_text;
  cost::KernelFile file = cost::file_of(calibration.library, sources);
  // Only what some family still names.
  std::erase_if(file.sources, [&](const auto& source) {
    return std::none_of(file.families.begin(), file.families.end(),
                        [&](const auto& family) { return family.second.source == source.first; });
  });
  return {file.name, config::to_json(cost::record_of(config::Type<cost::KernelFile>{}).write(&file)) + "\n"};
}

namespace {

// Predictions of one set of rows from a library as it is.
RowErrors errors_of(const RowSet& set, const cost::KernelLibrary& library, std::size_t folds,
                    unsigned threads) {
  RowErrors errors;
  for (auto* way : {&errors.physics, &errors.surface, &errors.table, &errors.roofline}) {
    way->assign(set.rows.size(), 0);
  }
  const cost::KernelLibrary cold = library.under(cost::Conditions::serving);
  parallel_for(set.rows.size(), threads, [&](std::size_t i) {
    const MeasuredRow& row = *set.rows[i];
    const double measured = math::log(row.seconds);
    const cost::KernelLibrary& kernels = row.conditions == cost::Conditions::serving ? cold : library;
    const auto time = [&](bool surface, bool table) {
      return kernels.time_of(*set.family, row.shape, row.variant, {surface, table}).time;
    };
    const cost::KernelTime physics = time(false, false);
    errors.physics[i] = math::log(physics.total) - measured;
    errors.surface[i] = math::log(time(true, false).total) - measured;
    errors.table[i] = math::log(time(true, true).total) - measured;
    errors.roofline[i] = math::log(physics.speed_of_light) - measured;
  });
  // The baseline from the same rows, each from the folds that do not hold its group.
  errors.interpolation = errors.roofline;
  const std::vector<std::size_t> fold = folds_of(set.rows, folds);
  for (std::size_t f = 0; f < folds; ++f) {
    RowPointers seen;
    for (std::size_t i = 0; i < set.rows.size(); ++i) {
      if (fold[i] != f) seen.push_back(set.rows[i]);
    }
    const ResidualLayers layers(*set.family, seen, library.device(),
                                cost::FamilyParameters::initial(*set.family, variants_among(set.rows)),
                                &library, threads);
    parallel_for(set.rows.size(), threads, [&](std::size_t i) {
      if (fold[i] != f) return;
      errors.interpolation[i] = errors.roofline[i] + layers.utilisation(*set.rows[i]);
    });
  }
  return errors;
}

class AccuracyStudy {
 public:
  AccuracyStudy(const std::vector<MeasuredRow>& rows, const KernelCatalogue& catalogue,
                const AccuracyOptions& options)
      : sets_(row_sets(rows)), catalogue_(&catalogue), options_(&options) {}

  AccuracyReport run(const SayProgress& say) {
    std::vector<double> all;
    for (std::size_t s = 0; s < sets_.size(); ++s) {
      const RowSet& set = sets_[s];
      say(fmt::format("{} on {} ({}): {} rows", set.family->name, set.gpu, set.library, set.rows.size()), s,
          sets_.size());
      if (set.rows.empty()) continue;
      const std::string what =
          fmt::format("{} on {} ({}): {} rows", set.family->name, set.gpu, set.library, set.rows.size());
      const auto library = library_for(set);
      if (!library) {
        report_.skipped.push_back({what, why_not()});
        continue;
      }
      RowErrors errors;
      config::Label label = config::Label::calibrated;
      if (options_->folds > 0) {
        errors = refitted(set, *library);
      } else {
        errors = errors_of(set, *library, 5, options_->fit.threads);
        label = library->time_of(*set.family, set.rows.front()->shape, set.rows.front()->variant).label;
        if (options_->leave_gpu_out) errors.interpolation = neighbours_table(set, *library);
      }
      for (AccuracyGroup& group : groups_of(set, errors, label)) report_.groups.push_back(std::move(group));
      all.insert(all.end(), errors.surface.begin(), errors.surface.end());
    }
    report_.overall = quality_of(std::move(all));
    return std::move(report_);
  }

 private:
  [[nodiscard]] std::string why_not() const {
    if (!options_->parameters_of.empty())
      return fmt::format("{} has no fitted kernels of this family and library", options_->parameters_of);
    if (options_->leave_gpu_out) return "no other GPU among the rows has fitted kernels of this library";
    return "no GPU has fitted kernels of this library; --group-folds 5 fits them to these rows";
  }
  std::optional<cost::KernelLibrary> library_for(const RowSet& set) {
    constexpr auto kBenchmark = cost::Conditions::benchmark;
    if (!options_->parameters_of.empty()) {
      auto other = catalogue_->library(set.library, options_->parameters_of, kBenchmark);
      if (!other || other->find(*set.family) == nullptr) return std::nullopt;
      return other->on_device(set.gpu, catalogue_->figures(set.gpu));
    }
    if (options_->leave_gpu_out) {
      const RowSet* nearest = nearest_set(set);
      if (nearest == nullptr) return std::nullopt;
      auto other = catalogue_->library(set.library, nearest->gpu, kBenchmark);
      if (!other || other->find(*set.family) == nullptr) return std::nullopt;
      return other->on_device(set.gpu, catalogue_->figures(set.gpu));
    }
    auto own = catalogue_->library_or_nearest(set.library, set.gpu, catalogue_->figures(set.gpu), kBenchmark);
    if (!own && options_->folds > 0) {
      own.emplace(set.library, set.gpu, catalogue_->figures(set.gpu), kBenchmark);
    }
    return own;
  }

  // The rows of the same family and library on the nearest other GPU that has any.
  const RowSet* nearest_set(const RowSet& set) const {
    std::vector<std::string> others;
    for (const RowSet& other : sets_) {
      if (other.family == set.family && other.library == set.library && other.gpu != set.gpu)
        others.push_back(other.gpu);
    }
    const auto nearest =
        nearest_gpus(set.gpu, catalogue_->figures(set.gpu).architecture, others, catalogue_->catalogue());
    if (nearest.empty()) return nullptr;
    for (const RowSet& other : sets_) {
      if (other.family == set.family && other.library == set.library && other.gpu == nearest.front())
        return &other;
    }
    return nullptr;
  }

  // Baseline of a GPU that was left out: measured over roofline of the nearest shapes on the nearest GPU,
  // times its own roofline.
  std::vector<double> neighbours_table(const RowSet& set, const cost::KernelLibrary& library) const {
    const RowSet* nearest = nearest_set(set);
    const cost::DeviceFigures theirs = catalogue_->figures(nearest->gpu);
    const auto initial = cost::FamilyParameters::initial(*set.family, variants_among(nearest->rows));
    const ResidualLayers layers(*set.family, nearest->rows, theirs, initial, &library, options_->fit.threads);
    std::vector<double> errors(set.rows.size());
    for (std::size_t i = 0; i < set.rows.size(); ++i) {
      MeasuredRow row = *set.rows[i];
      const cost::KernelTime time = library.time_of(*set.family, row.shape, row.variant, {false, false}).time;
      row.variant = initial.stand_in(row.variant);
      errors[i] = math::log(time.speed_of_light) - math::log(row.seconds) + layers.utilisation(row);
    }
    return errors;
  }

  RowErrors refitted(const RowSet& set, const cost::KernelLibrary& parts) const {
    const cost::DeviceFigures device = catalogue_->figures(set.gpu);
    const cost::FamilyParameters fitted =
        fit_family(*set.family, set.rows, device, &parts, options_->fit, nullptr);
    FitOptions folds_fit = options_->fit;
    folds_fit.max_iterations = std::min(folds_fit.max_iterations, 12);
    return cross_validate(*set.family, set.rows, device, &parts, options_->folds, folds_fit, fitted);
  }

  std::vector<RowSet> sets_;
  const KernelCatalogue* catalogue_;
  const AccuracyOptions* options_;
  AccuracyReport report_;
};

}  // namespace

AccuracyReport measure_accuracy(const std::vector<MeasuredRow>& rows, const KernelCatalogue& catalogue,
                                const AccuracyOptions& options, const SayProgress& say) {
  return AccuracyStudy(rows, catalogue, options).run(say);
}

}  // namespace moesim::studies
