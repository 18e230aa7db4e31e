#include "models/cost/kernel_library.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

DeviceFigures figures_of(const hardware::Node& node) {
  const hardware::Gpu& gpu = node.gpu;
  DeviceFigures figures;
  figures.architecture = gpu.architecture;
  figures.multiprocessors = static_cast<double>(gpu.sm_count.value);
  figures.clock = static_cast<double>(gpu.boost_clock.value.value);
  figures.dram_bandwidth = static_cast<double>(gpu.hbm.bandwidth.value.value);
  figures.l2_bytes = gpu.l2_capacity.value.as_double();
  for (std::size_t f = 0; f < figures.peak.size(); ++f) {
    const auto* peak = hardware::peak_of(gpu, static_cast<hardware::NumberFormat>(f));
    figures.peak[f] = peak == nullptr ? 0 : static_cast<double>(peak->value.value);
  }
  figures.link_bandwidth = static_cast<double>(hardware::domain_bandwidth(node).value);
  figures.switched = hardware::domain_kind(node) != hardware::DomainKind::host_bridge;
  if (node.nics) {
    figures.network_bandwidth = static_cast<double>(node.nics->bandwidth.value.value) *
                                static_cast<double>(node.nics->count) / static_cast<double>(node.gpus);
  }
  return figures;
}

void FamilyParameters::set(std::string variant, std::vector<double> values) {
  core::check(values.size() == family_->parameters.size(), "one value for each parameter of the family");
  const auto at = std::lower_bound(variants_.begin(), variants_.end(), variant);
  const auto index = at - variants_.begin();
  if (at != variants_.end() && *at == variant) {
    values_[static_cast<std::size_t>(index)] = std::move(values);
    return;
  }
  variants_.insert(at, std::move(variant));
  values_.insert(values_.begin() + index, std::move(values));
}

namespace {

std::string_view format_part(std::string_view variant) { return variant.substr(0, variant.find('/')); }

// Formats that run on the same or the nearest units, nearest first.
std::vector<std::string_view> format_chain(std::string_view format) {
  // 4-bit kernels of the libraries are of the same make as those with one scale per tensor; kernels with
  // blocks of scales go ways of their own (DeepGEMM).
  if (format == "nvfp4") return {"w4a8_mxfp4_mxfp8", "fp8", "fp8_block", "bf16"};
  if (format == "w4a8_mxfp4_mxfp8") return {"nvfp4", "fp8", "fp8_block", "bf16"};
  if (format == "fp8_block") return {"fp8", "sq", "bf16"};
  if (format == "fp8") return {"fp8_block", "sq", "bf16"};
  if (format == "sq") return {"fp8", "fp8_block", "bf16"};
  if (format == "int8_wo") return {"int4_wo", "bf16"};
  if (format == "int4_wo") return {"w4a16_mxfp4", "int8_wo", "bf16"};
  if (format == "w4a16_mxfp4") return {"int4_wo", "int8_wo", "bf16"};
  return {"bf16"};
}

}  // namespace

std::string FamilyParameters::stand_in(std::string_view variant) const {
  if (variants_.empty()) return "";
  const auto exact = std::find(variants_.begin(), variants_.end(), variant);
  if (exact != variants_.end()) return *exact;
  const std::string_view format = format_part(variant);
  const std::string_view path = variant.substr(format.size());
  std::vector<std::string_view> formats = format_chain(format);
  formats.insert(formats.begin(), format);
  for (const std::string_view one : formats) {
    const std::string* found = nullptr;
    for (const std::string& have : variants_) {
      if (format_part(have) != one) continue;
      if (std::string_view(have).substr(one.size()) == path) return have;
      // The plain path sorts first.
      if (found == nullptr) found = &have;
    }
    if (found != nullptr) return *found;
  }
  return variants_.front();
}

std::span<const double> FamilyParameters::of(std::string_view variant) const {
  auto at = std::lower_bound(variants_.begin(), variants_.end(), variant);
  if (at == variants_.end() || *at != variant) {
    const std::string other = stand_in(variant);
    at = std::lower_bound(variants_.begin(), variants_.end(), other);
  }
  core::check(at != variants_.end(), "a family without values has no prices");
  return values_[static_cast<std::size_t>(at - variants_.begin())];
}

FamilyParameters FamilyParameters::initial(const KernelFamily& family,
                                           const std::vector<std::string>& variants) {
  std::vector<double> values;
  for (const Parameter& parameter : family.parameters) values.push_back(parameter.initial);
  FamilyParameters all(family);
  for (const std::string& variant : variants) all.set(variant, values);
  return all;
}

bool FittedRange::reaches(const Coordinates& place) const {
  for (std::size_t c = 0; c < kCoordinates; ++c) {
    if (place[c] < low[c] - 1 || place[c] > high[c] + 1) return false;
  }
  return true;
}

ResidualSurface::ResidualSurface(std::array<SurfaceAxis, 3> axes, std::vector<double> nodes,
                                 std::vector<double> curve)
    : axes_(axes), nodes_(std::move(nodes)), curve_(std::move(curve)) {
  core::check(nodes_.size() == count(axes_), "one value for each node of the surface");
}

std::size_t ResidualSurface::count(const std::array<SurfaceAxis, 3>& axes) {
  std::size_t nodes = 1;
  for (const SurfaceAxis& axis : axes) nodes *= static_cast<std::size_t>(axis.nodes);
  return nodes;
}

SurfaceAxis ResidualSurface::curve_axis(std::size_t nodes) {
  return {0, 16, static_cast<std::int64_t>(nodes), AxisKind::other};
}

double ResidualSurface::steepest_fall(std::size_t nodes) {
  // A little less than the rise of the time itself between two nodes, for files hold rounded numbers.
  constexpr double kShare = 0.999, kLog2 = 0.6931471805599453;
  const SurfaceAxis axis = curve_axis(nodes);
  return nodes < 2 ? 0 : kShare * kLog2 * (axis.high - axis.low) / static_cast<double>(nodes - 1);
}

std::array<ResidualSurface::Corner, 2> ResidualSurface::curve_corners(std::size_t nodes, double seconds) {
  if (nodes < 2) return {Corner{0, 1.0}, Corner{0, 0.0}};
  constexpr double kMicroseconds = 1e6;
  const SurfaceAxis axis = curve_axis(nodes);
  const double doublings = core::math::log2(std::max(seconds * kMicroseconds, 1.0));
  const double x =
      std::clamp((doublings - axis.low) / (axis.high - axis.low), 0.0, 1.0) * static_cast<double>(nodes - 1);
  const std::size_t below = std::min(static_cast<std::size_t>(x), nodes - 2);
  const double above_share = x - static_cast<double>(below);
  return {Corner{below, 1 - above_share}, Corner{below + 1, above_share}};
}

bool ResidualSurface::is_monotone() const {
  for (std::size_t i = 1; i < curve_.size(); ++i) {
    if (!(curve_[i] >= curve_[i - 1] - steepest_fall(curve_.size()) / 0.9995)) return false;
  }
  std::size_t stride = nodes_.size();
  for (const SurfaceAxis& axis : axes_) {
    const auto nodes = static_cast<std::size_t>(axis.nodes);
    stride /= nodes;
    if (axis.kind == AxisKind::other) continue;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (i / stride % nodes + 1 != nodes && !(nodes_[i + stride] >= nodes_[i])) return false;
    }
  }
  return true;
}

std::size_t ResidualSurface::corners(const std::array<SurfaceAxis, 3>& axes, const Coordinates& place,
                                     std::array<Corner, kCorners>& out) {
  out[0] = {0, 1.0};
  std::size_t corners = 1;
  for (std::size_t a = 0; a < axes.size(); ++a) {
    const SurfaceAxis& axis = axes[a];
    const auto nodes = static_cast<std::size_t>(axis.nodes);
    std::size_t below = 0;
    double above_share = 0;
    if (nodes > 1) {
      const double span = static_cast<double>(nodes - 1);
      const double x = std::clamp((place[a] - axis.low) / (axis.high - axis.low), 0.0, 1.0) * span;
      below = std::min(static_cast<std::size_t>(x), nodes - 2);
      above_share = x - static_cast<double>(below);
    }
    const std::size_t before = corners;
    for (std::size_t c = 0; c < before; ++c) {
      const Corner corner = out[c];
      out[c] = {corner.node * nodes + below, corner.share * (1 - above_share)};
      if (nodes > 1) out[corners++] = {corner.node * nodes + below + 1, corner.share * above_share};
    }
  }
  return corners;
}

double ResidualSurface::at(const Coordinates& place, double seconds) const {
  if (nodes_.empty()) return 0;
  std::array<Corner, kCorners> around{};
  const std::size_t corners_here = corners(axes_, place, around);
  double sum = 0;
  for (std::size_t c = 0; c < corners_here; ++c) sum += around[c].share * nodes_[around[c].node];
  if (!curve_.empty()) {
    for (const Corner& corner : curve_corners(curve_.size(), seconds))
      sum += corner.share * curve_[corner.node];
  }
  return sum;
}

void ResidualTable::add(const Coordinates& place, double log_ratio) {
  places_.push_back(place);
  log_ratios_.push_back(log_ratio);
}

double ResidualTable::mean(const Coordinates& place, double weight_of_none) const {
  if (places_.empty()) return 0;
  struct Near {
    double distance = std::numeric_limits<double>::infinity();
    std::size_t entry = 0;
  };
  std::array<Near, kNeighbours> nearest;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    double distance = 0;
    for (std::size_t c = 0; c < kCoordinates; ++c) {
      const double gap = places_[i][c] - place[c];
      distance += gap * gap;
    }
    if (!(distance < nearest.back().distance)) continue;
    std::size_t slot = kNeighbours - 1;
    for (; slot > 0 && distance < nearest[slot - 1].distance; --slot) nearest[slot] = nearest[slot - 1];
    nearest[slot] = {distance, i};
  }
  // A shape that was measured itself has nearly all of the weight.
  constexpr double kSame = 1e-4;
  double sum = 0;
  double weights = weight_of_none;
  for (const Near& near : nearest) {
    if (!(near.distance < std::numeric_limits<double>::infinity())) break;
    const double weight = 1 / (near.distance + kSame);
    sum += weight * log_ratios_[near.entry];
    weights += weight;
  }
  return sum / weights;
}

KernelLibrary KernelLibrary::on_device(std::string gpu, const DeviceFigures& device) const {
  KernelLibrary other(name_, std::move(gpu), device, conditions_);
  for (const auto& [name, fit] : families_) {
    FamilyFit physics(fit.parameters.family());
    physics.parameters = fit.parameters;
    physics.version = fit.version;
    physics.source = fit.source;
    physics.date = fit.date;
    physics.stands_in = true;
    other.set(std::move(physics));
  }
  return other;
}

KernelLibrary KernelLibrary::under(Conditions conditions) const {
  KernelLibrary other = *this;
  other.conditions_ = conditions;
  return other;
}

void KernelLibrary::set(FamilyFit fit) {
  const std::string name(fit.parameters.family().name);
  families_.insert_or_assign(name, std::move(fit));
}

void KernelLibrary::fill_from(const KernelLibrary& other) {
  for (const auto& [name, fit] : other.families()) {
    if (families_.contains(name)) continue;
    FamilyFit taken = fit;
    if (name != exchange_family().name) taken.stands_in = true;
    families_.emplace(name, std::move(taken));
  }
}

std::vector<std::string> KernelLibrary::stand_ins() const {
  std::vector<std::string> names;
  for (const auto& [name, fit] : families_) {
    if (fit.stands_in) names.push_back(name);
  }
  return names;
}

const FamilyFit* KernelLibrary::find(const KernelFamily& family) const {
  const auto at = families_.find(std::string(family.name));
  return at == families_.end() ? nullptr : &at->second;
}

config::Label KernelLibrary::label_of(const KernelFamily& family, std::string_view variant) const {
  const FamilyFit* fit = find(family);
  if (fit == nullptr || fit->parameters.variants().empty()) return config::Label::assumed;
  const auto& known = fit->parameters.variants();
  const bool fitted = !fit->stands_in && std::find(known.begin(), known.end(), variant) != known.end();
  return fitted ? config::Label::calibrated : config::Label::derived;
}

LibraryTime KernelLibrary::time_of(const KernelFamily& family, const KernelShape& shape,
                                   std::string_view variant, const Layers& layers) const {
  const std::string own = variant.empty() ? family.variant(shape) : std::string(variant);
  const FamilyFit* fit = find(family);
  if (fit == nullptr || fit->parameters.variants().empty()) {
    const FamilyParameters initial = FamilyParameters::initial(family, {own});
    return {family.time(shape, device_, initial.of(own), conditions_, this), config::Label::assumed};
  }
  LibraryTime out;
  out.time = family.time(shape, device_, fit->parameters.of(own), conditions_, this);
  out.label = label_of(family, own);
  const auto at = fit->variants.find(own);
  if (out.label != config::Label::calibrated || at == fit->variants.end()) return out;
  // The surface holds its edge: a jump there would make a longer kernel faster.
  if (at->second.range && !at->second.range->reaches(family.place(shape, device_)))
    out.label = config::Label::derived;
  double log_factor = 0;
  if (layers.surface && !at->second.surface.empty()) {
    log_factor += at->second.surface.at(family.surface_place(shape, device_), out.time.total);
  }
  if (layers.surface && layers.table && !at->second.table.empty()) {
    log_factor += at->second.table.at(family.place(shape, device_));
  }
  if (log_factor != 0) {
    const double factor = core::math::exp(log_factor);
    out.time.total *= factor;
    out.time.latency *= factor;
    out.time.compute *= factor;
    out.time.memory *= factor;
    out.time.link *= factor;
  }
  return out;
}

const KernelFamily& family_of(const KernelShape& shape) {
  struct Visitor {
    const KernelFamily& operator()(const GemmShape&) const { return gemm_family(); }
    const KernelFamily& operator()(const MoeShape&) const { return moe_family(); }
    const KernelFamily& operator()(const AttentionPrefillShape& one) const {
      return one.latent ? latent_prefill_family() : attention_prefill_family();
    }
    const KernelFamily& operator()(const AttentionDecodeShape& one) const {
      return one.latent ? latent_decode_family() : attention_decode_family();
    }
    const KernelFamily& operator()(const StreamShape&) const { return stream_family(); }
    const KernelFamily& operator()(const DeltaShape&) const { return delta_family(); }
    const KernelFamily& operator()(const LatentModuleShape&) const { return latent_module_family(); }
    const KernelFamily& operator()(const CollectiveShape&) const { return collective_family(); }
    const KernelFamily& operator()(const ExchangeShape&) const { return exchange_family(); }
  };
  return std::visit(Visitor{}, shape);
}

KernelTime KernelLibrary::time(const KernelShape& shape) const {
  return time_of(family_of(shape), shape, "", {true, false}).time;
}

}  // namespace moesim::cost
