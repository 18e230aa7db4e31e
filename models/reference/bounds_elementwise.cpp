#include "models/reference/bounds_elementwise.hpp"

#include <algorithm>

namespace moesim::reference {

namespace {

constexpr double kUnit = 0x1p-24;
constexpr double kTiny = 0x1p-149;  // the spacing of f32's denormals

double unit_gamma(double n) { return n * kUnit / (1.0 - n * kUnit); }

// Additions on the longest way through lane_sum, and the product of each term.
double chain_length(std::int64_t width) {
  constexpr std::int64_t kPairs = 4;  // of 16 lanes
  return static_cast<double>((width + std::int64_t{kNormLanes} - 1) / std::int64_t{kNormLanes} + kPairs + 1);
}

// The relative error of 1 / sqrt(s) where s > 0 is off by at most `relative`, and then rounded `roundings`
// times.
double reciprocal_error(double relative, double roundings) {
  // Half of it to first order; 1 / sqrt(1 - r) - 1 <= r / 2 / (1 - r)^1.5.
  const double capped = std::min(relative, 0.99);
  const double root = 0.5 * capped / std::pow(1.0 - capped, 1.5);
  return (1.0 + root) * (1.0 + unit_gamma(roundings)) - 1.0;
}

}  // namespace

double rope_error_bound(double a, double b, double frequency, double factor, double position, RopeAngle angle,
                        double storage) {
  const double radians = std::fabs(position * frequency);
  // f32: frequency, position and product are rounded; double: the same with its roundoff.
  const double angle_error = 3.0 * radians * (angle == RopeAngle::f32 ? kUnit : 0x1p-53) + 0x1p-52;
  const double scale = std::fabs(factor);
  const double turned = scale * (angle_error * (1.0 + unit_gamma(3)) + unit_gamma(3));
  const double size = std::fabs(a) + std::fabs(b);
  const double error = size * (turned + unit_gamma(2) * (scale + turned)) + (3.0 + size) * kTiny;
  return error + storage * (size * scale + error) + (storage > 0.0 ? 0x1p-133 : 0.0);
}

std::vector<double> rms_norm_error_bound(std::span<const double> x, std::int64_t rows, std::int64_t width,
                                         std::span<const double> weight, const NormOptions& options,
                                         double storage) {
  const std::vector<double> exact =
      rms_norm_f64(x, rows, width, weight, static_cast<double>(options.epsilon), options.weight_plus_one);
  const auto columns = static_cast<std::size_t>(width);
  std::vector<double> bound(x.size());
  for (std::size_t begin = 0; begin < x.size(); begin += columns) {
    double mean = 0.0;
    for (std::size_t i = 0; i < columns; ++i) mean += x[begin + i] * x[begin + i];
    mean = mean / static_cast<double>(width) + static_cast<double>(options.epsilon);
    // Squares below the denormals are lost; then come the mean's division and the sum with epsilon.
    const double relative = unit_gamma(chain_length(width) + 2.0) + (mean > 0.0 ? 2.0 * kTiny / mean : 0.0);
    // The root, its reciprocal, two products, 1 + w.
    const double share = reciprocal_error(relative, 5.0);
    const double casts = options.cast == NormCast::before_weight ? 2.0 : 1.0;
    const double stored = (1.0 + share) * std::pow(1.0 + storage, casts) - 1.0;
    for (std::size_t i = begin; i < begin + columns; ++i) {
      const double w = weight.empty() ? 1.0 : std::fabs(weight[i - begin]) + 1.0;
      bound[i] = std::fabs(exact[i]) * stored + (1.0 + w) * (storage > 0.0 ? 0x1p-133 : 2.0 * kTiny);
      // 1 + w may cancel: its own rounding is relative to the sum, so nothing more is lost.
    }
  }
  return bound;
}

std::vector<double> layer_norm_error_bound(std::span<const double> x, std::int64_t rows, std::int64_t width,
                                           std::span<const double> weight, std::span<const double> bias,
                                           double epsilon, double storage) {
  const std::vector<double> exact = layer_norm_f64(x, rows, width, weight, bias, epsilon);
  const auto columns = static_cast<std::size_t>(width);
  const auto n = static_cast<double>(width);
  std::vector<double> bound(x.size());
  for (std::size_t begin = 0; begin < x.size(); begin += columns) {
    double mean = 0.0;
    double magnitudes = 0.0;
    for (std::size_t i = begin; i < begin + columns; ++i) {
      mean += x[i] / n;
      magnitudes += std::fabs(x[i]) / n;
    }
    const double mean_error = unit_gamma(chain_length(width) + 1.0) * magnitudes + kTiny;
    double variance = 0.0;
    double variance_error = 0.0;
    for (std::size_t i = begin; i < begin + columns; ++i) {
      const double difference = std::fabs(x[i] - mean);
      const double error = mean_error + kUnit * (difference + mean_error);
      variance += difference * difference / n;
      variance_error += (2.0 * difference * error + error * error) / n;
    }
    const double chain = unit_gamma(chain_length(width) + 2.0);
    const double whole = variance + epsilon;
    const double relative = (variance_error * (1.0 + chain) + chain * whole + 2.0 * kTiny) / whole;
    // Where the variance may be all error, the reciprocal is at least known not to exceed that of epsilon.
    constexpr double kUseful = 0.5;
    const double reciprocal = 1.0 / std::sqrt(whole);
    const double reciprocal_off = relative < kUseful ? reciprocal * reciprocal_error(relative, 2.0)
                                                     : reciprocal + 2.0 / std::sqrt(epsilon);
    for (std::size_t i = begin; i < begin + columns; ++i) {
      const double w = weight.empty() ? 1.0 : std::fabs(weight[i - begin]);
      const double b = bias.empty() ? 0.0 : std::fabs(bias[i - begin]);
      const double difference = std::fabs(x[i] - mean);
      const double off = mean_error + kUnit * (difference + mean_error);
      const double product = w * (difference * reciprocal_off + off * (reciprocal + reciprocal_off));
      const double size = w * difference * reciprocal + product;
      const double error =
          product + unit_gamma(2) * size + kUnit * (size * (1.0 + unit_gamma(2)) + b) + (2.0 + w) * kTiny;
      bound[i] = error + storage * (std::fabs(exact[i]) + error) + (storage > 0.0 ? 0x1p-133 : 0.0);
    }
  }
  return bound;
}

}  // namespace moesim::reference
