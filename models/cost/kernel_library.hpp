// A kernel library on one device: the fitted parameters of its families, and how good they are.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "models/hardware/node.hpp"
#include "sim/config/record.hpp"

namespace moesim::cost {

// Figures of one GPU of this node, from its datasheet.
[[nodiscard]] DeviceFigures figures_of(const hardware::Node& node);

// Values of a family's parameters: one full vector for each variant (what is shared is repeated).
class FamilyParameters {
 public:
  explicit FamilyParameters(const KernelFamily& family) : family_(&family) {}
  // `values` has one entry for each parameter of the family. Variants are kept sorted by name.
  void set(std::string variant, std::vector<double> values);
  [[nodiscard]] const KernelFamily& family() const { return *family_; }
  [[nodiscard]] const std::vector<std::string>& variants() const { return variants_; }
  // The variant whose parameters stand in for `variant`: itself; else the same format on another code path;
  // else the nearest format (nvfp4 -> mxfp4 forms -> fp8 -> fp8_block -> bf16; 8-bit integers -> fp8;
  // weight-only formats -> bf16); else the first there is. Empty if the family has no values at all.
  [[nodiscard]] std::string stand_in(std::string_view variant) const;
  // Values of that variant or of what stands in for it. Throws core::InvariantError if there are none at all.
  [[nodiscard]] std::span<const double> of(std::string_view variant) const;
  // Initial values of the family's table, for every variant.
  [[nodiscard]] static FamilyParameters initial(const KernelFamily& family,
                                                const std::vector<std::string>& variants);

 private:
  const KernelFamily* family_;
  std::vector<std::string> variants_;
  std::vector<std::vector<double>> values_;
};

// A smooth factor on top of the physics: log of measured over predicted time. It is the sum of a curve over
// the time that the physics predicts and of a grid over coordinates of the shape, both interpolated linearly
// between their nodes and held constant outside.
//
// Where the physics is flat, a factor that falls along a coordinate would make a larger kernel faster. So the
// grid only rises along amounts, and what falls is the curve, by less than the predicted time rises: the
// product never falls where the physics does not. fit_surface() fits under these conditions,
// is_monotone() says whether they hold.
class ResidualSurface {
 public:
  ResidualSurface() = default;
  // Throws core::InvariantError unless there is one value for each node of the grid.
  ResidualSurface(std::array<SurfaceAxis, 3> axes, std::vector<double> nodes, std::vector<double> curve = {});
  [[nodiscard]] const std::array<SurfaceAxis, 3>& axes() const { return axes_; }
  [[nodiscard]] const std::vector<double>& nodes() const { return nodes_; }
  [[nodiscard]] const std::vector<double>& curve() const { return curve_; }
  [[nodiscard]] bool empty() const { return nodes_.empty(); }
  // The log factor at a place whose kernel takes `seconds` by physics alone; 0 for an empty surface.
  [[nodiscard]] double at(const Coordinates& place, double seconds) const;
  [[nodiscard]] bool is_monotone() const;
  // Nodes of a curve lie evenly over the logarithm of the time, from 1 us to 2^16 us.
  [[nodiscard]] static SurfaceAxis curve_axis(std::size_t nodes);
  // By how much a curve may fall from one node to the next.
  [[nodiscard]] static double steepest_fall(std::size_t nodes);
  // The nodes of the grid around a place with their shares, which add up to 1; at most 8.
  struct Corner {
    std::size_t node = 0;
    double share = 0;
  };
  static constexpr std::size_t kCorners = 8;
  static std::size_t corners(const std::array<SurfaceAxis, 3>& axes, const Coordinates& place,
                             std::array<Corner, kCorners>& out);
  [[nodiscard]] static std::size_t count(const std::array<SurfaceAxis, 3>& axes);
  // The two nodes of a curve around a time, with their shares. `nodes` >= 1.
  static std::array<Corner, 2> curve_corners(std::size_t nodes, double seconds);

 private:
  std::array<SurfaceAxis, 3> axes_{};
  std::vector<double> nodes_;
  std::vector<double> curve_;
};

// Measured over predicted times (of physics and surface) of single shapes, as a factor that is interpolated
// between the nearest ones.
class ResidualTable {
 public:
  static constexpr std::size_t kNeighbours = 6;
  void add(const Coordinates& place, double log_ratio);
  [[nodiscard]] bool empty() const { return places_.empty(); }
  [[nodiscard]] std::size_t size() const { return places_.size(); }
  [[nodiscard]] const std::vector<Coordinates>& places() const { return places_; }
  [[nodiscard]] const std::vector<double>& log_ratios() const { return log_ratios_; }
  // Mean of the nearest entries, weighted by the inverse square of their distance, and of no residual with
  // the weight of an entry at a distance of 1. 0 for an empty table.
  [[nodiscard]] double at(const Coordinates& place) const { return mean(place, 1); }
  // The same mean of the entries alone.
  [[nodiscard]] double between_entries(const Coordinates& place) const { return mean(place, 0); }

 private:
  [[nodiscard]] double mean(const Coordinates& place, double weight_of_none) const;

  std::vector<Coordinates> places_;
  std::vector<double> log_ratios_;
};

// How far a family's times were from measured ones, over shape groups that the fit had not seen.
struct FitQuality {
  std::int64_t points = 0;
  double mape = 0;    // mean of |predicted / measured - 1|
  double median = 0;  // of the same
  double p90 = 0;     // of the same
  double bias = 0;    // geometric mean of predicted / measured, less 1
};

// The places of all shapes that a fit saw, as a box. A shape is far from them where it lies more than a
// factor of two outside in any coordinate.
struct FittedRange {
  Coordinates low{};
  Coordinates high{};
  [[nodiscard]] bool reaches(const Coordinates& place) const;
};

// What is known of one variant of a family on a device.
struct VariantFit {
  std::optional<FittedRange> range;
  ResidualSurface surface;
  ResidualTable table;
  FitQuality physics;
  FitQuality with_surface;
};

struct FamilyFit {
  explicit FamilyFit(const KernelFamily& of) : parameters(of) {}
  FamilyParameters parameters;
  std::map<std::string, VariantFit> variants;
  bool stands_in = false;  // fitted on another device or for another library: times are derived
  std::string version;     // of the kernel library
  std::string source;
  std::string date;
};

// Which layers lie on top of the physics. The table lies on the surface: without it there is none.
struct Layers {
  bool surface = true;
  bool table = true;
};

// A time and how good it is.
struct LibraryTime {
  KernelTime time;
  config::Label label = config::Label::assumed;
};

// The kernels of one library on one device.
class KernelLibrary final : public PartTimes {
 public:
  KernelLibrary(std::string name, std::string gpu, DeviceFigures device, Conditions conditions)
      : name_(std::move(name)), gpu_(std::move(gpu)), device_(device), conditions_(conditions) {}
  // The same parameters for another device: physics alone, since residuals do not carry over. Its times are
  // at best `derived`.
  [[nodiscard]] KernelLibrary on_device(std::string gpu, const DeviceFigures& device) const;
  [[nodiscard]] KernelLibrary under(Conditions conditions) const;

  void set(FamilyFit fit);
  // Takes the families that this library lacks from another one. They stand in, but for the exchange of rows
  // of another library on the same device: DeepEP is one program, whichever engine calls it.
  void fill_from(const KernelLibrary& other);
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& gpu() const { return gpu_; }
  // Names of the families that come from another library or GPU.
  [[nodiscard]] std::vector<std::string> stand_ins() const;
  [[nodiscard]] const DeviceFigures& device() const { return device_; }
  [[nodiscard]] Conditions conditions() const { return conditions_; }
  [[nodiscard]] const std::map<std::string, FamilyFit>& families() const { return families_; }
  [[nodiscard]] const FamilyFit* find(const KernelFamily& family) const;

  // The time of a shape with the family's initial values where nothing was fitted (label: assumed). A shape
  // far from all that the fit saw is labelled derived. `variant`: empty for the
  // family's own name of it.
  [[nodiscard]] LibraryTime time_of(const KernelFamily& family, const KernelShape& shape,
                                    std::string_view variant = "", const Layers& layers = {}) const;
  // How good the times of a variant are: calibrated where it was fitted on this device, derived where another
  // variant or another device stands in, assumed where nothing was fitted.
  [[nodiscard]] config::Label label_of(const KernelFamily& family, std::string_view variant) const;
  // Of parts: the family that the shape belongs to, physics and surface.
  [[nodiscard]] KernelTime time(const KernelShape& shape) const override;

 private:
  std::string name_;
  std::string gpu_;
  DeviceFigures device_;
  Conditions conditions_;
  std::map<std::string, FamilyFit> families_;
};

// The family of a shape; NCCL's for a collective.
[[nodiscard]] const KernelFamily& family_of(const KernelShape& shape);

}  // namespace moesim::cost
