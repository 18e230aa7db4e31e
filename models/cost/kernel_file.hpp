// Files of fitted kernel parameters: hw_configs/kernels/LIBRARY-GPU.json, as `moesim calibrate` writes them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/cost/kernel_library.hpp"
#include "sim/config/document.hpp"
#include "sim/config/record.hpp"

namespace moesim::cost {

struct ParameterValue {
  double value = 0;
  std::string unit;  // must be the family's
};

struct SurfaceFile {
  std::vector<std::int64_t> nodes;  // of the first, second and third coordinate
  std::vector<double> log_ratios;   // measured over predicted, last coordinate fastest
  std::vector<double> curve;        // the same over the predicted time
};

struct TableFile {
  std::vector<double> places;      // kCoordinates numbers for each row
  std::vector<double> log_ratios;  // measured over physics and surface
};

// The places of the shapes that the fit saw: six coordinates of the family each.
struct RangeFile {
  std::vector<double> low;
  std::vector<double> high;
};

struct VariantFile {
  std::map<std::string, ParameterValue> parameters;
  std::optional<RangeFile> range;
  FitQuality physics;
  std::optional<FitQuality> with_surface;
  std::optional<SurfaceFile> surface;
  std::optional<TableFile> table;
};

struct FamilyFile {
  std::string version;                               // of the library
  std::string source;                                // an identifier of the file's "sources"
  std::string date;                                  // of the fit
  std::map<std::string, ParameterValue> parameters;  // shared by all variants
  std::map<std::string, VariantFile> variants;
};

struct KernelFile {
  std::string name;     // "trtllm-h100-sxm"
  std::string library;  // "trtllm"
  std::string gpu;      // in hw_configs/gpus
  std::map<std::string, FamilyFile> families;
  std::map<std::string, std::string> sources;
};

[[nodiscard]] const config::Record<ParameterValue>& record_of(config::Type<ParameterValue>);
[[nodiscard]] const config::Record<FitQuality>& record_of(config::Type<FitQuality>);
[[nodiscard]] const config::Record<SurfaceFile>& record_of(config::Type<SurfaceFile>);
[[nodiscard]] const config::Record<TableFile>& record_of(config::Type<TableFile>);
[[nodiscard]] const config::Record<RangeFile>& record_of(config::Type<RangeFile>);
[[nodiscard]] const config::Record<VariantFile>& record_of(config::Type<VariantFile>);
[[nodiscard]] const config::Record<FamilyFile>& record_of(config::Type<FamilyFile>);
[[nodiscard]] const config::Record<KernelFile>& record_of(config::Type<KernelFile>);

// The library that a file describes, on a device with these figures. The file was checked when it was read:
// known families and parameters, units, bounds, sizes.
[[nodiscard]] KernelLibrary library_of(const KernelFile& file, const DeviceFigures& device,
                                       Conditions conditions);
// The file of a library; `sources` explains the identifiers that its families name. Numbers keep six
// significant digits.
[[nodiscard]] KernelFile file_of(const KernelLibrary& library,
                                 const std::map<std::string, std::string>& sources);

}  // namespace moesim::cost

namespace moesim::config {

template <>
struct CatalogueEntry<cost::KernelFile> {
  static constexpr std::string_view folder = "hw_configs/kernels";
  static constexpr std::string_view noun = "kernel library";
};

}  // namespace moesim::config
