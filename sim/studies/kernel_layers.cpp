#include "sim/studies/kernel_layers.hpp"

#include <algorithm>

#include "sim/core/math.hpp"

namespace moesim::studies {

namespace {
constexpr double kMostResidual = 0.4;
}  // namespace

ResidualLayers::ResidualLayers(const cost::KernelFamily& family, const RowPointers& rows,
                               const cost::DeviceFigures& device, const cost::FamilyParameters& parameters,
                               const cost::PartTimes* parts, unsigned threads)
    : family_(&family), device_(device) {
  std::vector<double> residual(rows.size()), roofline(rows.size()), seconds(rows.size());
  std::vector<cost::Coordinates> place(rows.size()), surface_place(rows.size());
  parallel_for(rows.size(), threads, [&](std::size_t i) {
    const MeasuredRow& row = *rows[i];
    const cost::KernelTime time =
        family.time(row.shape, device, parameters.of(row.variant), row.conditions, parts);
    const double measured = core::math::log(row.seconds);
    seconds[i] = time.total;
    residual[i] = measured - core::math::log(time.total);
    roofline[i] = measured - core::math::log(time.speed_of_light);
    place[i] = family.place(row.shape, device);
    surface_place[i] = family.surface_place(row.shape, device);
  });
  struct Points {
    std::vector<cost::Coordinates> places;
    std::vector<double> seconds, log_ratios;
  };
  std::map<std::string, Points> by_variant;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Points& points = by_variant[rows[i]->variant];
    points.places.push_back(surface_place[i]);
    points.seconds.push_back(seconds[i]);
    points.log_ratios.push_back(residual[i]);
  }
  for (const auto& [variant, points] : by_variant) {
    layers_[variant].surface =
        fit_surface(family.surface_axes, points.places, points.seconds, points.log_ratios);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Layer& layer = layers_[rows[i]->variant];
    // One accident must not spread to its neighbours.
    const double left = residual[i] - layer.surface.at(surface_place[i], seconds[i]);
    layer.table.add(place[i], std::clamp(left, -kMostResidual, kMostResidual));
    layer.utilisation.add(place[i], roofline[i]);
  }
}

LayerFactors ResidualLayers::at(const MeasuredRow& row, double seconds) const {
  const auto found = layers_.find(row.variant);
  if (found == layers_.end()) return {};
  const Layer& layer = found->second;
  const cost::Coordinates place = family_->place(row.shape, device_);
  const double surface = layer.surface.at(family_->surface_place(row.shape, device_), seconds);
  return {surface, surface + layer.table.at(place)};
}

double ResidualLayers::utilisation(const MeasuredRow& row) const {
  const auto found = layers_.find(row.variant);
  if (found == layers_.end()) return 0;
  return found->second.utilisation.between_entries(family_->place(row.shape, device_));
}

}  // namespace moesim::studies
