#include "models/cost/kernel_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace moesim::cost {

namespace {

constexpr double kMaxError = 1e6;
constexpr double kMaxLogRatio = 20;

// Names of variants in files: keys have no slash.
std::string key_of_variant(std::string name) {
  std::replace(name.begin(), name.end(), '/', '.');
  return name;
}
std::string variant_of_key(std::string key) {
  std::replace(key.begin(), key.end(), '.', '/');
  return key;
}

double rounded(double value) {
  const std::string text = fmt::format("{:.6g}", value);
  double out = value;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

std::vector<std::string> names_of(const KernelFamily& family, bool by_variant) {
  std::vector<std::string> names;
  for (const Parameter& parameter : family.parameters) {
    if (parameter.by_variant == by_variant) names.emplace_back(parameter.name);
  }
  return names;
}

void check_parameters(const KernelFamily& family, bool by_variant, const std::string& pointer,
                      const std::map<std::string, ParameterValue>& given, config::Problems& problems) {
  const std::vector<std::string> known = names_of(family, by_variant);
  for (const Parameter& parameter : family.parameters) {
    if (parameter.by_variant != by_variant) continue;
    const auto at = given.find(std::string(parameter.name));
    if (at == given.end()) {
      problems.error(pointer, fmt::format("no parameter \"{}\" ({})", parameter.name, parameter.sentence),
                     fmt::format("\"{}\": {{\"value\": {}, \"unit\": \"{}\"}}", parameter.name,
                                 parameter.initial, parameter.unit),
                     "missing_key");
      continue;
    }
    const std::string here = fmt::format("{}/{}", pointer, parameter.name);
    if (at->second.unit != parameter.unit) {
      problems.error(here + "/unit", fmt::format("the unit of {} is \"{}\"", parameter.name, parameter.unit),
                     std::string(parameter.unit), "bad_unit");
    }
    // What was rounded for the file may lie a little beyond a bound.
    const double value = at->second.value;
    if (!(value >= parameter.low * 0.9999 && value <= parameter.high * 1.0001)) {
      problems.error(here + "/value",
                     fmt::format("{} must lie between {} and {} {}", parameter.name, parameter.low,
                                 parameter.high, parameter.unit),
                     "", "out_of_range");
    }
  }
  for (const auto& [name, value] : given) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    problems.error(config::pointer_join(pointer, name),
                   fmt::format("family {} has no such parameter{}", family.name,
                               by_variant ? " by variant" : " for all variants"),
                   config::nearest(name, known), "unknown_key");
  }
}

ResidualSurface surface_of(const KernelFamily& family, const SurfaceFile& file) {
  std::array<SurfaceAxis, 3> axes = family.surface_axes;
  for (std::size_t a = 0; a < axes.size(); ++a) axes[a].nodes = file.nodes[a];
  return {axes, file.log_ratios, file.curve};
}

void check_layers(const KernelFamily& family, const std::string& pointer, const VariantFile& variant,
                  config::Problems& problems) {
  if (variant.surface) {
    std::size_t nodes = 1;
    bool good = variant.surface->nodes.size() == family.surface_axes.size();
    for (const std::int64_t count : variant.surface->nodes) {
      good = good && count >= 1 && count <= 64;
      if (good) nodes *= static_cast<std::size_t>(count);
    }
    if (!good || nodes + variant.surface->curve.size() > 64 || nodes != variant.surface->log_ratios.size()) {
      problems.error(pointer + "/surface",
                     "a surface has three counts of nodes, one number for each node, and at most 64 numbers "
                     "with those of the curve",
                     "", "wrong_size");
    } else if (!surface_of(family, *variant.surface).is_monotone()) {
      problems.error(pointer + "/surface",
                     "this surface makes some larger kernel faster: log_ratios must not fall along amounts, "
                     "the curve not faster than the time rises",
                     "", "not_monotone");
    }
  }
  if (variant.range &&
      (variant.range->low.size() != kCoordinates || variant.range->high.size() != kCoordinates)) {
    problems.error(pointer + "/range", fmt::format("a range has {} coordinates", kCoordinates), "",
                   "wrong_size");
  }
  if (variant.table && variant.table->places.size() != kCoordinates * variant.table->log_ratios.size()) {
    problems.error(pointer + "/table", fmt::format("a table has {} coordinates for each ratio", kCoordinates),
                   "", "wrong_size");
  }
}

void check_file(const KernelFile& file, config::Problems& problems) {
  if (const std::string name = file.library + "-" + file.gpu; file.name != name) {
    problems.error("/name", fmt::format("the name of a kernel library is LIBRARY-GPU, here \"{}\"", name),
                   name, "wrong_name");
  }
  std::vector<std::string> known;
  for (const KernelFamily& family : kernel_families()) known.emplace_back(family.name);
  for (const auto& [name, family] : file.families) {
    const std::string pointer = config::pointer_join("/families", name);
    const KernelFamily* found = find_family(name);
    if (found == nullptr) {
      problems.error(pointer, fmt::format("no family of kernels \"{}\"", name), config::nearest(name, known),
                     "unknown_key");
      continue;
    }
    if (!file.sources.contains(family.source)) {
      problems.error(pointer + "/source", fmt::format("\"{}\" is not in \"sources\"", family.source), "",
                     "unknown_source");
    }
    check_parameters(*found, false, pointer + "/parameters", family.parameters, problems);
    if (family.variants.empty())
      problems.error(pointer + "/variants", "a family has at least one variant", "", "wrong_size");
    for (const auto& [variant_name, variant] : family.variants) {
      const std::string here = config::pointer_join(pointer + "/variants", variant_name);
      check_parameters(*found, true, here + "/parameters", variant.parameters, problems);
      check_layers(*found, here, variant, problems);
    }
  }
}

}  // namespace

const config::Record<ParameterValue>& record_of(config::Type<ParameterValue>) {
  static const auto record =
      config::Record<ParameterValue>("kernel parameter", "A fitted number")
          .required("value", &ParameterValue::value, "In the unit beside it", config::between(0, 1e15))
          .required("unit", &ParameterValue::unit, "Unit; \"1\" for a pure number");
  return record;
}

const config::Record<FitQuality>& record_of(config::Type<FitQuality>) {
  static const auto record =
      config::Record<FitQuality>("fit quality",
                                 "Errors against measured rows of shape groups that the fit had not seen")
          .required("points", &FitQuality::points, "Measured rows", config::between(0, 1e12))
          .required("mape", &FitQuality::mape, "Mean of |predicted / measured - 1|",
                    config::between(0, kMaxError))
          .required("median", &FitQuality::median, "Median of the same", config::between(0, kMaxError))
          .required("p90", &FitQuality::p90, "90th percentile of the same", config::between(0, kMaxError))
          .required("bias", &FitQuality::bias, "Geometric mean of predicted / measured, less 1",
                    config::between(-1, kMaxError));
  return record;
}

const config::Record<SurfaceFile>& record_of(config::Type<SurfaceFile>) {
  static const auto record =
      config::Record<SurfaceFile>("residual surface", "A smooth factor on top of the physics")
          .required("nodes", &SurfaceFile::nodes, "Nodes along each of the family's three coordinates",
                    config::between(1, 64))
          .required("log_ratios", &SurfaceFile::log_ratios,
                    "Natural logarithm of measured over predicted time at the nodes, last coordinate fastest",
                    config::between(-kMaxLogRatio, kMaxLogRatio))
          .optional("curve", &SurfaceFile::curve,
                    "The same over the predicted time, evenly from 1 us to 65,536 us by its logarithm",
                    config::between(-kMaxLogRatio, kMaxLogRatio));
  return record;
}

const config::Record<TableFile>& record_of(config::Type<TableFile>) {
  static const auto record =
      config::Record<TableFile>("residual table", "Factors at single measured shapes")
          .required("places", &TableFile::places, "Coordinates of the shapes, six numbers for each",
                    config::between(-1e6, 1e6))
          .required("log_ratios", &TableFile::log_ratios,
                    "Natural logarithm of measured time over that of physics and surface",
                    config::between(-kMaxLogRatio, kMaxLogRatio));
  return record;
}

const config::Record<RangeFile>& record_of(config::Type<RangeFile>) {
  static const auto record =
      config::Record<RangeFile>("fitted range", "Where the shapes of the measured rows lie")
          .required("low", &RangeFile::low, "Lowest of each coordinate", config::between(-1e6, 1e6))
          .required("high", &RangeFile::high, "Highest of each coordinate", config::between(-1e6, 1e6));
  return record;
}

const config::Record<VariantFile>& record_of(config::Type<VariantFile>) {
  static const auto record =
      config::Record<VariantFile>("kernel variant", "One number format or code path of a family")
          .optional("parameters", &VariantFile::parameters, "The variant's own parameters, if it has any")
          .optional("range", &VariantFile::range, "Times of shapes far outside are labelled derived")
          .required("physics", &VariantFile::physics, "Errors of the physics alone")
          .optional("with_surface", &VariantFile::with_surface, "Errors of physics and surface")
          .optional("surface", &VariantFile::surface, "Residual surface, at most 64 numbers")
          .optional("table", &VariantFile::table, "Residuals of every measured shape");
  return record;
}

const config::Record<FamilyFile>& record_of(config::Type<FamilyFile>) {
  static const auto record =
      config::Record<FamilyFile>("kernel family", "A family of kernels on one device")
          .required("version", &FamilyFile::version, "Version of the library that was measured")
          .required("source", &FamilyFile::source, "Where the measured times come from")
          .required("date", &FamilyFile::date, "Of the fit")
          .optional("parameters", &FamilyFile::parameters, "Parameters that all variants share, if any")
          .required("variants", &FamilyFile::variants, "By number format and, after a dot, code path");
  return record;
}

const config::Record<KernelFile>& record_of(config::Type<KernelFile>) {
  static const auto record =
      config::Record<KernelFile>("kernel library", "Fitted kernels of one library on one GPU")
          .required("name", &KernelFile::name, "LIBRARY-GPU, as the file is named")
          .required("library", &KernelFile::library, "Kernel library or engine")
          .required("gpu", &KernelFile::gpu, "GPU of hw_configs/gpus")
          .required("families", &KernelFile::families, "Families of kernels")
          .required("sources", &KernelFile::sources, "What the identifiers of sources mean")
          .check(check_file);
  return record;
}

KernelLibrary library_of(const KernelFile& file, const DeviceFigures& device, Conditions conditions) {
  KernelLibrary library(file.library, file.gpu, device, conditions);
  for (const auto& [name, family] : file.families) {
    FamilyFit fit(*find_family(name));
    fit.version = family.version;
    fit.source = family.source;
    fit.date = family.date;
    const KernelFamily& known = fit.parameters.family();
    for (const auto& [key, variant] : family.variants) {
      const std::string variant_name = variant_of_key(key);
      std::vector<double> values;
      for (const Parameter& parameter : known.parameters) {
        const auto& from = parameter.by_variant ? variant.parameters : family.parameters;
        values.push_back(from.at(std::string(parameter.name)).value);
      }
      fit.parameters.set(variant_name, std::move(values));
      VariantFit& own = fit.variants[variant_name];
      own.physics = variant.physics;
      if (variant.range) {
        FittedRange& range = own.range.emplace();
        std::copy_n(variant.range->low.begin(), kCoordinates, range.low.begin());
        std::copy_n(variant.range->high.begin(), kCoordinates, range.high.begin());
      }
      own.with_surface = variant.with_surface.value_or(FitQuality{});
      if (variant.surface) {
        own.surface = surface_of(known, *variant.surface);
      }
      if (variant.table) {
        for (std::size_t i = 0; i < variant.table->log_ratios.size(); ++i) {
          Coordinates place{};
          for (std::size_t c = 0; c < kCoordinates; ++c)
            place[c] = variant.table->places[i * kCoordinates + c];
          own.table.add(place, variant.table->log_ratios[i]);
        }
      }
    }
    library.set(std::move(fit));
  }
  return library;
}

namespace {

VariantFile variant_file(const FamilyFit& fit, const std::string& name) {
  const KernelFamily& family = fit.parameters.family();
  VariantFile out;
  const std::span<const double> values = fit.parameters.of(name);
  for (std::size_t p = 0; p < values.size(); ++p) {
    const Parameter& parameter = family.parameters[p];
    if (!parameter.by_variant) continue;
    out.parameters[std::string(parameter.name)] = {rounded(values[p]), std::string(parameter.unit)};
  }
  const auto quality = [](const FitQuality& q) {
    const auto bounded = [](double error) { return rounded(std::min(error, kMaxError)); };
    return FitQuality{q.points, bounded(q.mape), bounded(q.median), bounded(q.p90), bounded(q.bias)};
  };
  // What a file may hold, however absurd the rows were.
  const auto log_ratio = [](double ratio) { return rounded(std::clamp(ratio, -kMaxLogRatio, kMaxLogRatio)); };
  const auto at = fit.variants.find(name);
  if (at == fit.variants.end()) return out;
  if (at->second.range) {
    RangeFile& range = out.range.emplace();
    for (const double c : at->second.range->low) range.low.push_back(rounded(c));
    for (const double c : at->second.range->high) range.high.push_back(rounded(c));
  }
  out.physics = quality(at->second.physics);
  if (!at->second.surface.empty()) {
    out.with_surface = quality(at->second.with_surface);
    SurfaceFile surface;
    for (const SurfaceAxis& axis : at->second.surface.axes()) surface.nodes.push_back(axis.nodes);
    for (const double node : at->second.surface.nodes()) surface.log_ratios.push_back(log_ratio(node));
    for (const double node : at->second.surface.curve()) surface.curve.push_back(log_ratio(node));
    out.surface = std::move(surface);
  }
  if (!at->second.table.empty()) {
    TableFile table;
    for (const Coordinates& place : at->second.table.places()) {
      for (const double c : place) table.places.push_back(rounded(c));
    }
    for (const double ratio : at->second.table.log_ratios()) table.log_ratios.push_back(log_ratio(ratio));
    out.table = std::move(table);
  }
  return out;
}

}  // namespace

KernelFile file_of(const KernelLibrary& library, const std::map<std::string, std::string>& sources) {
  KernelFile file;
  file.name = library.name() + "-" + library.gpu();
  file.library = library.name();
  file.gpu = library.gpu();
  file.sources = sources;
  for (const auto& [name, fit] : library.families()) {
    if (fit.parameters.variants().empty()) continue;
    FamilyFile& family = file.families[name];
    family.version = fit.version;
    family.source = fit.source;
    family.date = fit.date;
    const std::span<const double> values = fit.parameters.of(fit.parameters.variants().front());
    for (std::size_t p = 0; p < values.size(); ++p) {
      const Parameter& parameter = fit.parameters.family().parameters[p];
      if (parameter.by_variant) continue;
      family.parameters[std::string(parameter.name)] = {rounded(values[p]), std::string(parameter.unit)};
    }
    for (const std::string& variant : fit.parameters.variants()) {
      family.variants[key_of_variant(variant)] = variant_file(fit, variant);
    }
  }
  return file;
}

}  // namespace moesim::cost
