// How far predicted kernel times are from measured ones, and the calibration of a device.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "models/cost/kernel_library.hpp"
#include "sim/config/document.hpp"
#include "sim/studies/kernel_fit.hpp"
#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {

// Points, mean, median and 90th percentile of |predicted / measured - 1| and the geometric bias, from
// log(predicted / measured). All zero for no points.
[[nodiscard]] cost::FitQuality quality_of(std::vector<double> log_ratios);

// log(predicted / measured) of some rows by each way of predicting them, in the order of the rows. A way that
// was not asked for is empty.
struct RowErrors {
  std::vector<double> physics;        // parameters alone
  std::vector<double> surface;        // with the residual surface
  std::vector<double> table;          // with the full residual table
  std::vector<double> roofline;       // baseline: datasheet roofline
  std::vector<double> interpolation;  // baseline: utilisation of the nearest measured shapes
};

// Fits on the other folds, predicts each row from a fit that did not see its group.
[[nodiscard]] RowErrors cross_validate(const cost::KernelFamily& family, const RowPointers& rows,
                                       const cost::DeviceFigures& device, const cost::PartTimes* parts,
                                       std::size_t folds, const FitOptions& options,
                                       const cost::FamilyParameters& start);

// Rows of one family, device and library.
struct RowSet {
  const cost::KernelFamily* family = nullptr;
  std::string gpu;
  std::string library;
  RowPointers rows;   // to fit and to judge
  RowPointers apart;  // slow tactics: judged only
};
// Sorted by family (composed ones last), GPU and library.
[[nodiscard]] std::vector<RowSet> row_sets(const std::vector<MeasuredRow>& rows);

// One line of an accuracy report.
struct AccuracyGroup {
  std::string op;  // the family
  std::string gpu;
  std::string library;
  std::string variant;  // empty: all variants together
  config::Label label = config::Label::calibrated;
  std::int64_t apart = 0;  // slow tactics, not among the points
  cost::FitQuality physics, surface, table, roofline, interpolation;
};

struct Skipped {
  std::string what;  // "moe on gb200 (trtllm): 12 rows"
  std::string why;
};

struct AccuracyReport {
  std::vector<AccuracyGroup> groups;
  std::vector<Skipped> skipped;
  cost::FitQuality overall;  // of the best stored layer of each row
};

using SayProgress = std::function<void(const std::string& what, std::size_t done, std::size_t all)>;

// Where devices and fitted libraries come from.
class KernelCatalogue {
 public:
  explicit KernelCatalogue(const config::Catalogue& catalogue);
  // Figures of the first node with this GPU. Throws config::InputError if no node has it.
  [[nodiscard]] cost::DeviceFigures figures(const std::string& gpu) const;
  // The fitted library of a GPU, or nullopt.
  [[nodiscard]] std::optional<cost::KernelLibrary> library(const std::string& library, const std::string& gpu,
                                                           cost::Conditions conditions) const;
  // The library of a GPU with these figures: its own, or that of the nearest GPU that has one. nullopt if the
  // library was measured nowhere.
  [[nodiscard]] std::optional<cost::KernelLibrary> library_or_nearest(const std::string& library,
                                                                      const std::string& gpu,
                                                                      const cost::DeviceFigures& figures,
                                                                      cost::Conditions conditions) const;
  // What an engine with this library runs on a GPU with these figures: the library's own families, then those
  // of other libraries on the same GPU, then those of the nearest GPUs, each on these figures. `files` gets
  // the files that were read. nullopt if the library was measured nowhere.
  [[nodiscard]] std::optional<cost::KernelLibrary> engine_kernels(
      const std::string& library, const std::string& gpu, const cost::DeviceFigures& figures,
      std::vector<std::filesystem::path>& files) const;
  // The file that such a library comes from; empty if there is none.
  [[nodiscard]] std::filesystem::path file(const std::string& library, const std::string& gpu,
                                           hardware::Architecture architecture) const;
  [[nodiscard]] const config::Catalogue& catalogue() const { return *catalogue_; }

 private:
  const config::Catalogue* catalogue_;
};

// GPUs whose kernels stand in for those of a GPU without measurements, nearest first: the same architecture,
// then its relatives.
[[nodiscard]] std::vector<std::string> nearest_gpus(const std::string& gpu,
                                                    hardware::Architecture architecture,
                                                    const std::vector<std::string>& measured,
                                                    const config::Catalogue& catalogue);

struct AccuracyOptions {
  std::size_t folds = 0;      // 0: the stored parameters; else each row is predicted from fits on other folds
  std::string parameters_of;  // a GPU whose stored physics is used on every device instead of its own
  bool leave_gpu_out = false;  // each device from its nearest other one; `interpolation` is then that
                               // device's table times the ratio of the rooflines
  FitOptions fit;
};

[[nodiscard]] AccuracyReport measure_accuracy(const std::vector<MeasuredRow>& rows,
                                              const KernelCatalogue& catalogue,
                                              const AccuracyOptions& options, const SayProgress& say);

struct CalibrationOptions {
  std::size_t folds = 5;
  bool surface = true;
  bool table = false;
  std::string source;  // identifier and text of where the rows come from
  std::string source_text;
  std::string date;  // of the fit
  FitOptions fit;
};

// A library fitted to all rows of one GPU and library. Composed families use the parts fitted here, else the
// stored ones.
struct Calibration {
  cost::KernelLibrary library;
  std::vector<AccuracyGroup> errors;  // cross-validated
  std::vector<std::string> warnings;  // parameters at a bound, variants with few rows
};
[[nodiscard]] Calibration calibrate(const std::vector<MeasuredRow>& rows, const std::string& gpu,
                                    const std::string& library, const KernelCatalogue& catalogue,
                                    const CalibrationOptions& options, const SayProgress& say);

// A file of hw_configs/kernels: its name without ".json", and its text.
struct KernelFileText {
  std::string name;
  std::string text;
};
// The file of a calibration. `sources`: those of the file that it replaces; what no family names any more is
// left out.
[[nodiscard]] KernelFileText kernel_file_text(const Calibration& calibration,
                                              const CalibrationOptions& options,
                                              std::map<std::string, std::string> sources);
// The sources of the stored file of a GPU and library; none if there is no such file.
[[nodiscard]] std::map<std::string, std::string> stored_sources(const KernelCatalogue& catalogue,
                                                                const std::string& gpu,
                                                                const std::string& library);

}  // namespace moesim::studies
