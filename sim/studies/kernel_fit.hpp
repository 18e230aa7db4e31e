// Fits the parameters of a family of kernels to measured times, and the layers of residuals on top.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/cost/kernel_library.hpp"
#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {

using RowPointers = std::vector<const MeasuredRow*>;

struct FitOptions {
  // Deviations of log time beyond this count linearly instead of squared, so that accidents of a benchmark do
  // not bend the fit.
  double robust_scale = 0.1;
  // Standard deviation of the prior on log(value / initial value). It weighs as much as one row: it decides
  // only what the rows leave open.
  double prior_deviation = 1.0;
  // More rows than this are thinned, evenly over a hash of their order.
  std::size_t max_rows = 4000;
  int max_iterations = 40;
  unsigned threads = 2;
};

// Runs body(i) for 0 <= i < count on so many threads. The body must not depend on the order.
void parallel_for(std::size_t count, unsigned threads, const std::function<void(std::size_t)>& body);

// Robust least squares of log(predicted / measured) over the parameters in log space between their bounds
// (Levenberg-Marquardt with a soft-L1 loss). Parameters by variant are fitted for each variant among the
// rows. Rows that are `apart` must have been taken out. Starts at `start` where that has the variant, else at
// the initial values.
[[nodiscard]] cost::FamilyParameters fit_family(const cost::KernelFamily& family, const RowPointers& rows,
                                                const cost::DeviceFigures& device,
                                                const cost::PartTimes* parts, const FitOptions& options,
                                                const cost::FamilyParameters* start = nullptr);

// The surface with at most 64 numbers and at most one number for five rows: coarser where there are fewer
// rows. Empty below 10 rows. `log_ratios` are log(measured / predicted) at `places`, `seconds` what the
// physics predicts there. The surface is monotone: robust least squares under the conditions of
// ResidualSurface.
[[nodiscard]] cost::ResidualSurface fit_surface(const std::array<cost::SurfaceAxis, 3>& axes,
                                                std::span<const cost::Coordinates> places,
                                                std::span<const double> seconds,
                                                std::span<const double> log_ratios);

// The fold of each row, 0 <= fold < folds: its groups in the order of a hash of their texts are dealt out one
// by one, so that folds have equally many and few groups never share one.
[[nodiscard]] std::vector<std::size_t> folds_of(const RowPointers& rows, std::size_t folds);

}  // namespace moesim::studies
