#include "models/reference/bounds_attention.hpp"

#include <algorithm>
#include <cmath>

namespace moesim::reference {

namespace {

// An upper bound of e^x - 1 for x >= 0.
double growth(double x) { return x < 1.0 ? x + x * x : core::math::exp(x) - 1.0; }

// Weights of exact scores, and how far computed ones may be off.
struct Weights {
  std::vector<double> share;   // p_j
  std::vector<double> spread;  // A_j
  double sum_spread = 0.0;     // B
  double lse = 0.0;
};

// `sink` counts as one more score without error. `roundings` is the number of roundings that a term passes.
Weights weights_of(std::span<const double> scores, std::span<const double> errors, double sink,
                   double roundings) {
  Weights weights;
  double largest = sink, worst = 0.0;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    largest = std::max(largest, scores[j]);
    if (scores[j] != detail::kMinusInfinity<double>) worst = std::max(worst, errors[j]);
  }
  double sum = sink == detail::kMinusInfinity<double> ? 0.0 : core::math::exp(sink - largest);
  for (const double score : scores) sum += core::math::exp(score - largest);
  weights.lse = largest + core::math::log(sum);
  const auto spread = [&](double score, double error) {
    return error + detail::kUnitF32 * (largest - score + 2.0 * worst) + detail::gamma_f32(roundings);
  };
  // sum_j p_j e^(A_j) - 1, without cancellation.
  double excess = 0.0;
  const auto add = [&](double score, double error) {
    const double own = spread(score, error);
    const double share = core::math::exp(score - weights.lse);
    excess += own < 1.0 ? share * growth(own) : core::math::exp(score - weights.lse + own) - share;
    return own;
  };
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const bool hidden = scores[j] == detail::kMinusInfinity<double>;
    weights.share.push_back(hidden ? 0.0 : core::math::exp(scores[j] - weights.lse));
    weights.spread.push_back(hidden ? 0.0 : add(scores[j], errors[j]));
  }
  if (sink != detail::kMinusInfinity<double>) add(sink, 0.0);
  weights.sum_spread = core::math::log1p(excess);
  return weights;
}

}  // namespace

double detail::score_error(double products, double capped_score, double roundings,
                           const AttentionOptions& options) {
  const double scale = std::fabs(options.scale);
  double error = gamma_f32(roundings + 2.0) * scale * products +
                 (8.0 * roundings + 1.0) * kTinyF32 * std::max(scale, 1.0);
  if (options.soft_cap > 0.0) error += gamma_f32(6.0) * std::fabs(capped_score) + kTinyF32;
  return error;
}

double detail::softmax_row_bounds(const SoftmaxRow& row, double* out) {
  const std::size_t count = row.scores.size();
  const auto width = static_cast<std::size_t>(row.value_dim);
  std::fill(out, out + width, 0.0);
  const bool empty = std::all_of(row.scores.begin(), row.scores.end(),
                                 [](double score) { return score == kMinusInfinity<double>; });
  if (empty && row.sink == kMinusInfinity<double>) return 0.0;
  const auto n = static_cast<double>(count), passes = static_cast<double>(row.tiles + 1);
  const Weights weights =
      weights_of(row.scores, row.score_errors, row.sink,
                 static_cast<double>(std::min(row.tile_keys, std::ssize(row.scores))) + 3.0 * passes + 4.0);
  const double tiny = (row.bf16_probabilities ? kTinyBf16 : kTinyF32) * (passes + 2.0);
  const double rounding = row.bf16_probabilities ? kUnitBf16 : 0.0;
  for (std::size_t c = 0; c < width; ++c) {
    double bound = 0.0, total = 0.0, exact = 0.0, plain = 0.0;
    for (std::size_t j = 0; j < count; ++j) {
      const double value = row.values[j * width + c], magnitude = std::fabs(value);
      const double own = weights.spread[j] + weights.sum_spread + rounding;
      // p_j (e^own - 1), also where p_j is tiny and e^own huge.
      const double more = own < 1.0 ? weights.share[j] * growth(own)
                                    : core::math::exp(row.scores[j] - weights.lse + own) - weights.share[j];
      bound += more * magnitude;
      if (!row.value_errors.empty()) bound += (weights.share[j] + more) * row.value_errors[j * width + c];
      total += magnitude;
      plain += weights.share[j] * magnitude;
      exact += weights.share[j] * value;
    }
    bound += 2.0 * (tiny * (total + n * plain) + n * kTinyF32);
    out[c] = bound + row.store_unit * (std::fabs(exact) + bound) + (row.store_unit > 0.0 ? kTinyBf16 : 0.0);
  }
  return weights.sum_spread + 2.0 * n * tiny + kUnitF32 * (1.0 + 0x1p-20) * std::fabs(weights.lse) + kTinyF32;
}

std::vector<double> detail::softmax_row(const SoftmaxRow& row) {
  const auto width = static_cast<std::size_t>(row.value_dim);
  std::vector<double> result(width);
  const bool empty = std::all_of(row.scores.begin(), row.scores.end(),
                                 [](double score) { return score == kMinusInfinity<double>; });
  if (empty) return result;
  const Weights weights = weights_of(row.scores, row.score_errors, row.sink, 0.0);
  for (std::size_t j = 0; j < row.scores.size(); ++j) {
    for (std::size_t c = 0; c < width; ++c) result[c] += weights.share[j] * row.values[j * width + c];
  }
  return result;
}

AttentionBounds merge_bounds(const PartialStates& partial) {
  const std::size_t rows = partial.lse.size() / static_cast<std::size_t>(partial.states);
  const std::size_t width = partial.o.size() / partial.lse.size();
  AttentionBounds bounds;
  bounds.o.resize(rows * width);
  for (std::size_t row = 0; row < rows; ++row) {
    detail::SoftmaxRow softmax;
    softmax.value_dim = static_cast<std::int64_t>(width);
    if (!partial.sinks.empty()) softmax.sink = partial.sinks[row];
    for (std::size_t i = 0; i < static_cast<std::size_t>(partial.states); ++i) {
      const std::size_t at = i * rows + row;
      softmax.scores.push_back(partial.lse[at]);
      softmax.score_errors.push_back(partial.lse_bounds[at]);
      for (std::size_t c = 0; c < width; ++c) {
        softmax.values.push_back(partial.o[at * width + c]);
        softmax.value_errors.push_back(partial.o_bounds[at * width + c]);
      }
    }
    bounds.lse.push_back(detail::softmax_row_bounds(softmax, bounds.o.data() + row * width));
  }
  return bounds;
}

namespace {

// The merged state so far, in exact arithmetic, and its bounds.
struct RingState {
  std::vector<double> o;
  std::vector<double> o_bounds;
  double lse = detail::kMinusInfinity<double>;
  double lse_bound = 0.0;
};

void merge_exactly(RingState& state, const double* o, const double* o_bounds, double lse, double lse_bound) {
  const std::size_t width = state.o.size();
  if (lse == detail::kMinusInfinity<double>) return;
  if (state.lse == detail::kMinusInfinity<double>) {
    state.o.assign(o, o + width);
    state.o_bounds.assign(o_bounds, o_bounds + width);
    state.lse = lse;
    state.lse_bound = lse_bound;
    return;
  }
  const double u = detail::kUnitF32;
  const double difference = state.lse - lse;
  const double both = state.lse_bound + lse_bound;
  const double shift = both + u * (std::fabs(difference) + both);
  const double weight = 1.0 / (1.0 + core::math::exp(difference));
  const double weight_error =
      std::min(weight * (1.0 - weight) * growth(shift) * (1.0 + u) + u * weight, 1.0) + detail::kTinyF32;
  for (std::size_t c = 0; c < width; ++c) {
    const double gap = std::fabs(state.o[c] - o[c]) + state.o_bounds[c] + o_bounds[c];
    const double merged = state.o[c] - weight * (state.o[c] - o[c]);
    const double bound = (1.0 - weight) * state.o_bounds[c] + weight * o_bounds[c] + weight_error * gap +
                         detail::gamma_f32(3.0) * (weight + weight_error) * gap;
    state.o[c] = merged;
    state.o_bounds[c] = bound + u * (std::fabs(merged) + bound) + 2.0 * detail::kTinyF32;
  }
  const double larger = std::max(state.lse, lse);
  state.lse = larger + core::math::log1p(core::math::exp(-std::fabs(difference)));
  const double worst = std::max(state.lse_bound, lse_bound);
  state.lse_bound = worst + u * std::fabs(difference) + u * (1.0 + 0x1p-20) * (std::fabs(state.lse) + worst);
}

}  // namespace

AttentionBounds ring_bounds(const PartialStates& partial) {
  const std::size_t rows = partial.lse.size() / static_cast<std::size_t>(partial.states);
  const std::size_t width = partial.o.size() / partial.lse.size();
  AttentionBounds bounds;
  for (std::size_t row = 0; row < rows; ++row) {
    RingState state;
    state.o.resize(width);
    state.o_bounds.resize(width);
    for (std::size_t i = 0; i < static_cast<std::size_t>(partial.states); ++i) {
      const std::size_t at = i * rows + row;
      merge_exactly(state, partial.o.data() + at * width, partial.o_bounds.data() + at * width,
                    partial.lse[at], partial.lse_bounds[at]);
    }
    bounds.o.insert(bounds.o.end(), state.o_bounds.begin(), state.o_bounds.end());
    bounds.lse.push_back(state.lse_bound);
  }
  return bounds;
}

}  // namespace moesim::reference
