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
  double sink_share = 0.0;     // p of the sink
  double largest = 0.0;        // score
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
  weights.largest = largest;
  if (sink != detail::kMinusInfinity<double>) {
    add(sink, 0.0);
    weights.sink_share = core::math::exp(sink - weights.lse);
  }
  weights.sum_spread = core::math::log1p(excess);
  return weights;
}

// The largest sum over `keys` neighbours among the terms, at any place: twice that of aligned runs bounds it.
double largest_run(std::span<const double> terms, std::int64_t keys) {
  double largest = 0.0, sum = 0.0;
  for (std::size_t j = 0; j < terms.size(); ++j) {
    if (std::cmp_equal(static_cast<std::int64_t>(j) % keys, 0)) sum = 0.0;
    sum += terms[j];
    largest = std::max(largest, sum);
  }
  return 2.0 * largest;
}

// sum_k c_k^2 u^2 of one element: `pulls` are p_j |v_j - o|, `parts` p_j |v_j| and `result` |o|; for the
// log-sum-exp all are p_j and 1.
double likely_squares(const detail::SoftmaxRow& row, const Weights& weights, std::span<const double> pulls,
                      std::span<const double> parts, double result) {
  const double u = detail::kUnitF32, steps = static_cast<double>(row.tiles + 1);
  double own = 0.0, moved = 0.0, total = 0.0, products = 0.0, range = 0.0;
  for (std::size_t j = 0; j < pulls.size(); ++j) {
    if (row.scores[j] == detail::kMinusInfinity<double>) continue;
    const double distance = weights.largest - row.scores[j];
    range = std::max(range, distance);
    // Score, subtraction and exponential.
    own +=
        pulls[j] * pulls[j] * (row.score_roots[j] * row.score_roots[j] + u * u * (distance * distance + 1.0));
    products += parts[j] * parts[j];
    moved += pulls[j];
    total += parts[j];
  }
  if (weights.sink_share > 0.0) {
    const double distance = weights.largest - row.sink, pull = weights.sink_share * result;
    range = std::max(range, distance);
    own += pull * pull * u * u * (distance * distance + 1.0);
    moved += pull;
  }
  const auto keys = static_cast<double>(std::min(row.tile_keys, std::ssize(row.scores)));
  const double run = largest_run(parts, row.tile_keys);
  const double weight_run = largest_run(weights.share, row.tile_keys);
  // Factors of rescaling, which earlier keys share; the products with them and the sums of tiles; sums within
  // a tile, of values and of weights; the division.
  double squares = moved * moved * (range * range + steps) + 2.0 * steps * (total * total + result * result);
  squares +=
      products + keys * (total * std::min(run, total)) + result * result * keys * std::min(weight_run, 1.0);
  return own + u * u * (squares + result * result);
}

// Likely bounds where they are below the worst cases in `out`; returns that of the log-sum-exp, which is at
// most `worst`.
double likely_row_bounds(const detail::SoftmaxRow& row, const Weights& weights, double underflow,
                         double worst, double* out) {
  const auto width = static_cast<std::size_t>(row.value_dim);
  const std::size_t count = row.scores.size();
  double spread = 0.0;
  for (const double own : weights.spread) spread = std::max(spread, own);
  spread += weights.sum_spread;
  if (spread >= 0.125) return worst;
  std::vector<double> pulls(count), parts(count);
  for (std::size_t c = 0; c < width; ++c) {
    double exact = 0.0, plain = 0.0, total = 0.0, rounding = 0.0;
    for (std::size_t j = 0; j < count; ++j) exact += weights.share[j] * row.values[j * width + c];
    for (std::size_t j = 0; j < count; ++j) {
      const double value = row.values[j * width + c];
      pulls[j] = weights.share[j] * std::fabs(value - exact);
      parts[j] = weights.share[j] * std::fabs(value);
      plain += parts[j];
      total += std::fabs(value);
      if (row.bf16_probabilities) rounding += parts[j] * parts[j] * detail::kUnitBf16 * detail::kUnitBf16;
    }
    const double squares = likely_squares(row, weights, pulls, parts, std::fabs(exact)) + rounding;
    const double tiny = 2.0 * (underflow * (total + static_cast<double>(count) * plain) +
                               static_cast<double>(count) * detail::kTinyF32);
    const double second = spread + (row.bf16_probabilities ? detail::kUnitBf16 : 0.0);
    const double bound = row.deviations * std::sqrt(squares) + 4.0 * second * second * plain + tiny;
    const double stored = bound + row.store_unit * (std::fabs(exact) + bound) +
                          (row.store_unit > 0.0 ? detail::kTinyBf16 : 0.0);
    out[c] = std::min(out[c], stored);
  }
  const double squares = likely_squares(row, weights, weights.share, weights.share, 1.0);
  const double lse = row.deviations * std::sqrt(squares) + 4.0 * spread * spread +
                     2.0 * static_cast<double>(count) * underflow +
                     detail::kUnitF32 * (1.0 + 0x1p-20) * std::fabs(weights.lse) + detail::kTinyF32;
  return std::min(worst, lse);
}

}  // namespace

double detail::score_root(double products, double capped_score, double roundings,
                          const AttentionOptions& options) {
  // Each level of roundings passes all products once. The cap's operations count as they do at worst.
  const double scale = std::fabs(options.scale);
  double root = kUnitF32 * std::sqrt(roundings + 2.0) * scale * products +
                (8.0 * roundings + 1.0) * kTinyF32 * std::max(scale, 1.0);
  if (options.soft_cap > 0.0) root += gamma_f32(6.0) * std::fabs(capped_score) + kTinyF32;
  return root;
}

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
  const double lse =
      weights.sum_spread + 2.0 * n * tiny + kUnitF32 * (1.0 + 0x1p-20) * std::fabs(weights.lse) + kTinyF32;
  return row.deviations > 0.0 ? likely_row_bounds(row, weights, tiny, lse, out) : lse;
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
