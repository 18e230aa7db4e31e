// f64 oracle of a mixture-of-experts layer with the a-priori error of moe_layer().
//
// It goes from token to token and from choice to choice, without permutation and without grouped products,
// and carries along with each value how far a kernel may be from it: gamma of each product, the slope of the
// activation, each rounding to the stored type (bounds.hpp).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/bounds_gemm.hpp"
#include "models/reference/moe_layer.hpp"

namespace moesim::reference {

namespace detail {

// A row times a matrix [n, depth]^T. Errors of the row are carried on. `chains`: more additions that each sum
// goes through.
template <class Result, class Stored, class Value>
std::vector<Bounded> bounded_row_product(std::span<const Bounded> row, const Value* weights,
                                         const Value* bias, std::int64_t n, std::int64_t more_additions) {
  const auto depth = static_cast<std::int64_t>(row.size());
  const double factor = gemm_error_factor<Stored, Value>(depth, more_additions);
  std::vector<Bounded> out;
  for (std::int64_t c = 0; c < n; ++c) {
    Bounded x;
    double magnitude = 0.0;
    for (std::int64_t k = 0; k < depth; ++k) {
      const Bounded& r = row[static_cast<std::size_t>(k)];
      const double w = static_cast<double>(to_float(weights[c * depth + k]));
      x.value += r.value * w;
      x.error += r.error * std::fabs(w);
      magnitude += r.magnitude() * std::fabs(w);
    }
    x.error += factor * magnitude + static_cast<double>(depth + 1) * 2.0 * kUnderflowF32;
    if (bias != nullptr) {
      x.value += static_cast<double>(to_float(bias[c]));
      x = rounded_f32(x);
    }
    out.push_back(stored<Result>(x));
  }
  return out;
}

// One expert on one row.
template <class Value>
std::vector<Bounded> bounded_expert(std::span<const Bounded> row, const ExpertWeights<Value>& weights,
                                    std::int64_t expert, const ExpertActivation& activation,
                                    std::int64_t ranks) {
  const std::int64_t columns = (activation.gated() ? 2 : 1) * weights.width;
  const auto at = [&](std::span<const Value> values, std::int64_t per_expert) {
    return values.empty() ? nullptr : values.data() + expert * per_expert;
  };
  const std::vector<Bounded> h = bounded_row_product<Value, Value>(
      row, at(weights.gate_up, columns * weights.hidden), at(weights.gate_up_bias, columns), columns, 0);
  const bool interleaved = weights.layout == GateUpLayout::interleaved && activation.gated();
  std::vector<Bounded> a;
  for (std::int64_t i = 0; i < weights.width; ++i) {
    const auto gate = static_cast<std::size_t>(interleaved ? 2 * i : i);
    const std::size_t up = !activation.gated() ? gate
                           : interleaved       ? gate + 1
                                               : gate + static_cast<std::size_t>(weights.width);
    a.push_back(stored<Value>(bounded_activation(activation, h[gate], h[up])));
  }
  return bounded_row_product<Value, Value>(std::span<const Bounded>(a),
                                           at(weights.down, weights.hidden * weights.width),
                                           at(weights.down_bias, weights.hidden), weights.hidden, ranks - 1);
}

[[nodiscard]] inline Bounded narrowed(const Bounded& x, Accumulator accumulator) {
  return accumulator == Accumulator::bf16 ? stored<Bf16>(x) : x;
}

// The shared experts' row, scored.
template <class Value>
std::vector<Bounded> bounded_shared(std::span<const Bounded> row, const SharedWeights<Value>& shared,
                                    const MoeSpec& spec) {
  const auto hidden = static_cast<std::int64_t>(row.size());
  const ExpertWeights<Value> one{1,           hidden, shared.width, GateUpLayout::halves, shared.gate_up, {},
                                 shared.down, {}};
  std::vector<Bounded> y = bounded_expert(row, one, 0, spec.activation, 1);
  Bounded score{1.0, 0.0};
  if (!shared.score.empty()) {
    const Value* none = nullptr;
    const Bounded s = bounded_row_product<Value, Value>(row, shared.score.data(), none, 1, 0).front();
    // A sigmoid's slope is at most 1/4.
    score = narrowed(rounded_f32({sigmoid_f64(s.value), s.error / 4.0}), spec.accumulator);
  }
  for (Bounded& v : y) v = narrowed(rounded_f32(product(v, score)), spec.accumulator);
  return y;
}

// The weighted row of one choice.
template <class Value>
std::vector<Bounded> bounded_choice(std::vector<Bounded> row, float routing_weight, std::int64_t expert,
                                    const ExpertWeights<Value>& weights, const MoeSpec& spec,
                                    std::int64_t ranks) {
  const Bounded exact{static_cast<double>(routing_weight), 0.0};
  Bounded weight = narrowed(exact, spec.accumulator);
  if (spec.weight_on_input) {
    for (Bounded& v : row) v = stored<Value>(rounded_f32(product(v, exact)));
    weight = {1.0, 0.0};
  }
  std::vector<Bounded> y =
      bounded_expert(std::span<const Bounded>(row), weights, expert, spec.activation, ranks);
  for (Bounded& v : y) v = narrowed(rounded_f32(product(v, weight)), spec.accumulator);
  return y;
}

// Sum of rows in any order, each partial sum rounded: a partial sum is at most the sum of the magnitudes.
class BoundedSum {
 public:
  BoundedSum(std::size_t n, Accumulator accumulator)
      : accumulator_(accumulator), sum_(n), magnitude_(n, 0.0) {}

  void add(std::span<const Bounded> row) {
    ++terms_;
    for (std::size_t i = 0; i < row.size(); ++i) {
      sum_[i] = sum(sum_[i], row[i]);
      magnitude_[i] += row[i].magnitude();
    }
  }

  [[nodiscard]] std::vector<Bounded> result() const {
    const bool narrow = accumulator_ == Accumulator::bf16;
    const double roundoff = narrow ? 1.001 * kRoundoffBf16 : kRoundoffF32;
    const double underflow = narrow ? kUnderflowBf16 : kUnderflowF32;
    std::vector<Bounded> out = sum_;
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i].error += gamma(terms_, roundoff) * magnitude_[i] + static_cast<double>(terms_) * underflow;
    }
    return out;
  }

 private:
  Accumulator accumulator_;
  std::int64_t terms_ = 0;
  std::vector<Bounded> sum_;
  std::vector<double> magnitude_;
};

}  // namespace detail

// Exact (f64) results [tokens, hidden] of the layer, and for each the largest error that moe_layer() may
// make. `ranks`: of tensor parallelism, which adds as many partial sums. Throws as moe_layer().
template <class Value>
[[nodiscard]] std::vector<Bounded> bounded_moe_layer(const MatrixView<Value>& x, const Routing& routing,
                                                     const ExpertWeights<Value>& weights,
                                                     const SharedWeights<Value>& shared, const MoeSpec& spec,
                                                     std::int64_t ranks = 1) {
  detail::check_layer(x, routing, weights);
  std::vector<Bounded> out;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    std::vector<Bounded> row;
    for (std::int64_t i = 0; i < x.columns; ++i) {
      row.push_back({static_cast<double>(to_float(x.row(t)[i])), 0.0});
    }
    detail::BoundedSum routed(row.size(), spec.accumulator);
    for (std::int64_t j = 0; j < routing.top_k; ++j) {
      const auto pair = static_cast<std::size_t>(t * routing.top_k + j);
      if (!routing.keep.empty() && routing.keep[pair] == 0) continue;
      routed.add(
          detail::bounded_choice(row, routing.weights[pair], routing.experts[pair], weights, spec, ranks));
    }
    std::vector<Bounded> y = routed.result();
    if (shared.width > 0) {
      const auto own = detail::bounded_shared(std::span<const Bounded>(row), shared, spec);
      for (std::size_t i = 0; i < y.size(); ++i) y[i] = rounded_f32(sum(y[i], own[i]));
    }
    for (const Bounded& v : y) out.push_back(stored<Value>(v));
  }
  return out;
}

}  // namespace moesim::reference
