// RMSNorm and LayerNorm. Sums over a row are taken in f32 in 16 lanes (value i adds to lane i mod 16), which
// are then added in pairs: an order that does not depend on the number of rows or threads, and that has about
// a 16th of the error of one running sum.
//
// Counts follow reference/numerics.md part 3: per value 2 FLOP for the sum of squares and one product (scale
// and weight count as one), 2 more for the mean of LayerNorm, 1 for a bias, 1 for a residual; and a
// reciprocal root per row.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/probe.hpp"
#include "models/reference/storage.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

inline constexpr std::size_t kNormLanes = 16;

// Where the result is rounded to the storage type.
enum class NormCast : std::uint8_t {
  after_weight,  // x r w in f32, rounded once (gpt-oss, DeepSeek, Qwen3-Next)
  before_weight  // x r rounded, then the product with w rounded (Llama, Mixtral, Qwen3)
};

struct NormOptions {
  float epsilon = 1e-6F;
  NormCast cast = NormCast::after_weight;
  bool weight_plus_one = false;  // the weight is 1 + w
};

namespace norm_parts {

// Sum over i < n of value(i), in lanes.
template <class ValueAt>
[[nodiscard]] float lane_sum(std::size_t n, ValueAt&& value) {
  std::array<float, kNormLanes> lanes{};
  for (std::size_t i = 0; i < n; ++i) lanes[i % kNormLanes] += value(i);
  for (std::size_t width = kNormLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

template <Probe P>
[[nodiscard]] float reciprocal_root(float mean, float epsilon) {
  if constexpr (P::has(Fault::norm_epsilon_outside)) return 1.0F / (std::sqrt(mean) + epsilon);
  return 1.0F / std::sqrt(mean + epsilon);
}

// The weight of column i as it multiplies; 1 without weights (a norm without parameters).
template <Probe P, class Value>
[[nodiscard]] float weight_at(std::span<const Value> weight, std::size_t i, bool plus_one) {
  if (weight.empty()) return 1.0F;
  const float w = to_float(weight[i]);
  return plus_one && !P::has(Fault::norm_weight_minus_one) ? 1.0F + w : w;
}

// x r w in the order of the casts.
template <class Value>
[[nodiscard]] Value scaled(float x, float reciprocal, float weight, NormCast cast) {
  const float normal = x * reciprocal;
  if (cast == NormCast::after_weight) return stored_as<Value>(normal * weight);
  return stored_as<Value>(to_float(stored_as<Value>(normal)) * weight);
}

inline void check_norm(std::size_t x, std::size_t out, std::int64_t rows, std::int64_t width) {
  core::check(rows >= 0 && width > 0, "a norm needs rows of at least one value");
  core::check(x == out && x / static_cast<std::size_t>(width) == static_cast<std::size_t>(rows) &&
                  x % static_cast<std::size_t>(width) == 0,
              "a norm needs rows x width values");
}

// Reads the row at `first` into `row`, after the residual was added if there is one.
template <class Value, Probe P>
void load_row(std::span<const Value> x, std::span<Value> residual, std::int64_t first, std::span<float> row,
              P& probe) {
  constexpr int kBits = kBitsOf<Value>;
  const auto width = static_cast<std::int64_t>(row.size());
  const auto begin = static_cast<std::size_t>(first);
  probe.touch(Operand::activations, 0, first, width, kBits);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = to_float(x[begin + i]);
  if (residual.empty()) return;
  probe.touch(Operand::activations, 1, first, width, kBits);
  for (std::size_t i = 0; i < row.size(); ++i) {
    const float added = P::has(Fault::norm_residual_dropped) ? 0.0F : to_float(residual[begin + i]);
    residual[begin + i] = stored_as<Value>(row[i] + added);
    row[i] = to_float(residual[begin + i]);
  }
  probe.flops(width);
  probe.touch(Operand::result, 2, first, width, kBits);
}

}  // namespace norm_parts

// out = x / sqrt(mean(x^2) + epsilon) x w for each row of [rows, width]. An empty `weight` stands for ones.
// With a `residual` (as long as x), x + residual is rounded to Value, stored there, and normed.
template <class Value, Probe P>
void rms_norm(std::span<const Value> x, std::int64_t rows, std::int64_t width, std::span<const Value> weight,
              const NormOptions& options, std::span<Value> residual, std::span<Value> out, P& probe) {
  norm_parts::check_norm(x.size(), out.size(), rows, width);
  core::check(residual.empty() || residual.size() == x.size(), "a residual is as long as the values");
  const auto columns = static_cast<std::size_t>(width);
  core::check(weight.empty() || weight.size() == columns, "a norm needs one weight per column");
  constexpr int kBits = kBitsOf<Value>;
  std::vector<float> row(columns);
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t first = r * width;
    const auto begin = static_cast<std::size_t>(first);
    norm_parts::load_row<Value>(x, residual, first, row, probe);
    const std::size_t summed = columns - (P::has(Fault::norm_last_value_dropped) ? 1 : 0);
    const float squares = norm_parts::lane_sum(summed, [&](std::size_t i) { return row[i] * row[i]; });
    probe.flops(2 * width);
    const float reciprocal =
        norm_parts::reciprocal_root<P>(squares / static_cast<float>(width), options.epsilon);
    probe.specials(1);
    for (std::size_t i = 0; i < columns; ++i) {
      const float w = norm_parts::weight_at<P>(weight, i, options.weight_plus_one);
      out[begin + i] = norm_parts::scaled<Value>(row[i], reciprocal, w, options.cast);
    }
    probe.flops(width);
    probe.touch(Operand::result, 3, first, width, kBits);
  }
}

// out = (x - mean) / sqrt(variance + epsilon) x w + b for each row; the variance is the mean of the squares
// of x - mean (two passes). Empty weights are ones, an empty bias zeros. A residual as in rms_norm.
template <class Value, Probe P>
void layer_norm(std::span<const Value> x, std::int64_t rows, std::int64_t width,
                std::span<const Value> weight, std::span<const Value> bias, float epsilon,
                std::span<Value> residual, std::span<Value> out, P& probe) {
  norm_parts::check_norm(x.size(), out.size(), rows, width);
  core::check(residual.empty() || residual.size() == x.size(), "a residual is as long as the values");
  const auto columns = static_cast<std::size_t>(width);
  core::check((weight.empty() || weight.size() == columns) && (bias.empty() || bias.size() == columns),
              "a norm needs one weight and one bias per column");
  constexpr int kBits = kBitsOf<Value>;
  std::vector<float> row(columns);
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t first = r * width;
    const auto begin = static_cast<std::size_t>(first);
    norm_parts::load_row<Value>(x, residual, first, row, probe);
    const float mean =
        norm_parts::lane_sum(columns, [&](std::size_t i) { return row[i]; }) / static_cast<float>(width);
    probe.flops(width);
    if constexpr (!P::has(Fault::norm_mean_not_subtracted)) {
      for (float& value : row) value -= mean;
    }
    probe.flops(width);
    const std::size_t summed = columns - (P::has(Fault::norm_last_value_dropped) ? 1 : 0);
    const float squares = norm_parts::lane_sum(summed, [&](std::size_t i) { return row[i] * row[i]; });
    probe.flops(2 * width);
    const float reciprocal = norm_parts::reciprocal_root<P>(squares / static_cast<float>(width), epsilon);
    probe.specials(1);
    for (std::size_t i = 0; i < columns; ++i) {
      const float scaled = row[i] * reciprocal * norm_parts::weight_at<P>(weight, i, false);
      out[begin + i] = stored_as<Value>(bias.empty() ? scaled : scaled + to_float(bias[i]));
    }
    probe.flops(bias.empty() ? width : 2 * width);
    probe.touch(Operand::result, 3, first, width, kBits);
  }
}

// The same in double, without a residual.
[[nodiscard]] std::vector<double> rms_norm_f64(std::span<const double> x, std::int64_t rows,
                                               std::int64_t width, std::span<const double> weight,
                                               double epsilon, bool weight_plus_one);
[[nodiscard]] std::vector<double> layer_norm_f64(std::span<const double> x, std::int64_t rows,
                                                 std::int64_t width, std::span<const double> weight,
                                                 std::span<const double> bias, double epsilon);

}  // namespace moesim::reference
