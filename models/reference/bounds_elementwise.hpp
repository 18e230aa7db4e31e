// A-priori bounds on the error of rotations and norms, in double, from the inputs.
//
// u is the unit roundoff of f32, gamma_n = n u / (1 - n u). `storage` is the unit roundoff of the type that
// results are rounded to (0 for f32), once or, with NormCast::before_weight, twice.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/norms.hpp"
#include "models/reference/rope.hpp"

namespace moesim::reference {

// One channel of a rotated pair (a, b) at a position: each cosine and sine is off by the angle's error and by
// three roundings (its own, the factor's, the product with it), then come two products and a sum.
[[nodiscard]] double rope_error_bound(double a, double b, double frequency, double factor, double position,
                                      RopeAngle angle, double storage = 0.0);

// Of each value of rms_norm without a residual: the sum of squares has only positive terms, so its relative
// error is gamma of the longest chain of additions; the root halves it.
[[nodiscard]] std::vector<double> rms_norm_error_bound(std::span<const double> x, std::int64_t rows,
                                                       std::int64_t width, std::span<const double> weight,
                                                       const NormOptions& options, double storage = 0.0);

// Of each value of layer_norm without a residual. The differences from the mean carry its absolute error.
[[nodiscard]] std::vector<double> layer_norm_error_bound(std::span<const double> x, std::int64_t rows,
                                                         std::int64_t width, std::span<const double> weight,
                                                         std::span<const double> bias, double epsilon,
                                                         double storage = 0.0);

}  // namespace moesim::reference
