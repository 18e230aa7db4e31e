#include "models/reference/norms.hpp"

namespace moesim::reference {

std::vector<double> rms_norm_f64(std::span<const double> x, std::int64_t rows, std::int64_t width,
                                 std::span<const double> weight, double epsilon, bool weight_plus_one) {
  norm_parts::check_norm(x.size(), x.size(), rows, width);
  const auto columns = static_cast<std::size_t>(width);
  std::vector<double> out(x.size());
  for (std::size_t begin = 0; begin < x.size(); begin += columns) {
    double squares = 0.0;
    for (std::size_t i = 0; i < columns; ++i) squares += x[begin + i] * x[begin + i];
    const double reciprocal = 1.0 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (std::size_t i = 0; i < columns; ++i) {
      const double w = weight.empty() ? 1.0 : weight_plus_one ? 1.0 + weight[i] : weight[i];
      out[begin + i] = x[begin + i] * reciprocal * w;
    }
  }
  return out;
}

std::vector<double> layer_norm_f64(std::span<const double> x, std::int64_t rows, std::int64_t width,
                                   std::span<const double> weight, std::span<const double> bias,
                                   double epsilon) {
  norm_parts::check_norm(x.size(), x.size(), rows, width);
  const auto columns = static_cast<std::size_t>(width);
  std::vector<double> out(x.size());
  for (std::size_t begin = 0; begin < x.size(); begin += columns) {
    double mean = 0.0;
    for (std::size_t i = 0; i < columns; ++i) mean += x[begin + i];
    mean /= static_cast<double>(width);
    double squares = 0.0;
    for (std::size_t i = 0; i < columns; ++i) squares += (x[begin + i] - mean) * (x[begin + i] - mean);
    const double reciprocal = 1.0 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (std::size_t i = 0; i < columns; ++i) {
      out[begin + i] = (x[begin + i] - mean) * reciprocal * (weight.empty() ? 1.0 : weight[i]) +
                       (bias.empty() ? 0.0 : bias[i]);
    }
  }
  return out;
}

}  // namespace moesim::reference
