// Layers of residuals over the physics of one family, device and library, by variant.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/studies/kernel_fit.hpp"

namespace moesim::studies {

// Logs of the factors that a layer multiplies a prediction with.
struct LayerFactors {
  double surface = 0;
  double table = 0;  // with the surface: a table holds what that leaves
};

class ResidualLayers {
 public:
  ResidualLayers(const cost::KernelFamily& family, const RowPointers& rows, const cost::DeviceFigures& device,
                 const cost::FamilyParameters& parameters, const cost::PartTimes* parts, unsigned threads);
  // `seconds`: what the physics predicts for the row.
  [[nodiscard]] LayerFactors at(const MeasuredRow& row, double seconds) const;
  // Log of measured over roofline time of the nearest shapes: the baseline that interpolates.
  [[nodiscard]] double utilisation(const MeasuredRow& row) const;
  struct Layer {
    cost::ResidualSurface surface;
    cost::ResidualTable table;
    cost::ResidualTable utilisation;
  };
  [[nodiscard]] const std::map<std::string, Layer>& layers() const { return layers_; }

 private:
  const cost::KernelFamily* family_;
  cost::DeviceFigures device_;
  std::map<std::string, Layer> layers_;
};

}  // namespace moesim::studies
