// A-priori error bounds of the attention kernels: by how much a result may differ from exact arithmetic on
// the same inputs, element by element, from the inputs alone (in double).
//
// Softmax (numerics.md 2.2; Blanchard, Higham and Higham, IMA J. Numer. Anal. 41(4), 2021). With u = 2^-24, a
// score differs by at most ds_j = gamma_(d+2) |scale| sum_i |q_i k_ji| (+ 6 u |score| under a soft cap, whose
// slope is at most 1). The weight of key j relative to the final maximum m then carries a factor e^(t), |t|
// <= A_j =
//   ds_j + u (m - s_j + 2 max ds) + (n + 2 T + 4) u
// for n keys in T tiles: subtractions from running maxima add up to m - s_j over all tiles, each of which
// costs an exponential and a product; n bounds the additions that a term passes. The sum of weights carries
// at most e^(B) with B = log(sum_j p_j e^(A_j)), so that
//   |o^ - o| <= sum_j p_j |v_j| (e^(A_j + B) - 1)   and   |lse^ - lse| <= B + u |lse|
// plus what underflows (2^-149 per rounding, relative to the largest weight) and the rounding of the stored
// result. Probabilities rounded to bf16 add 2^-8 to A_j of the values only.
//
// These are worst cases and grow with n. A likely bound is sharper for long rows (Higham and Mary, SIAM J.
// Sci. Comput. 41(5), 2019; Connolly, Higham and Mary, 43(1), 2021): if rounding errors have mean 0 given
// those before them, an error of first order sum_k c_k d_k, |d_k| <= u, keeps |sum| <= L u sqrt(sum_k c_k^2)
// with probability at least 1 - 2 e^(-L^2 / 2) (Azuma and Hoeffding), for each element; 1 - 3.1e-8 for L = 6.
// Here c_k is p_j |v_j - o| times what an operation of key j's score or weight adds to its exponent, or the
// partial sum that an addition rounds; what is of second order is bounded as above.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "models/reference/attention_merge.hpp"
#include "models/reference/indexer.hpp"

namespace moesim::reference {

namespace detail {

inline constexpr double kUnitF32 = 0x1p-24;
inline constexpr double kUnitBf16 = 0x1p-8;
inline constexpr double kTinyF32 = 0x1p-149;
inline constexpr double kTinyBf16 = 0x1p-133;

// n u / (1 - n u) in f32: the relative error of n roundings.
[[nodiscard]] inline double gamma_f32(double n) { return n * kUnitF32 / (1.0 - n * kUnitF32); }

// Unit roundoff of storing a result as Value.
template <class Value>
inline constexpr double kStoreUnit = std::is_same_v<Value, Bf16> ? kUnitBf16 : 0.0;

// One row of a softmax over n keys: everything in exact arithmetic, and errors of its inputs.
struct SoftmaxRow {
  std::vector<double> scores;
  std::vector<double> score_errors;
  std::vector<double> score_roots;   // u sqrt(sum of c_k^2) of each score; for likely bounds
  double deviations = 0.0;           // L of a likely bound; 0: worst case
  std::vector<double> values;        // [n, value_dim]
  std::vector<double> value_errors;  // the same, or empty: exact
  double sink = kMinusInfinity<double>;
  std::int64_t tiles = 1;
  std::int64_t tile_keys = std::numeric_limits<std::int64_t>::max();
  std::int64_t value_dim = 0;
  bool bf16_probabilities = false;
  double store_unit = 0.0;
};

// Writes the row's bounds (`value_dim` elements) and returns that of its log-sum-exp.
double softmax_row_bounds(const SoftmaxRow& row, double* out);
// The row's result in exact arithmetic.
[[nodiscard]] std::vector<double> softmax_row(const SoftmaxRow& row);

// Roundings that a product of `depth` elements passes in dot().
[[nodiscard]] inline double dot_roundings(std::int64_t depth) {
  return static_cast<double>(std::min(depth, core::divide_up(depth, std::int64_t{8}) + 4));
}

// Error of a score from `products` = sum |q_i k_i|, each of which passes `roundings`; `capped_score` is the
// score itself.
[[nodiscard]] double score_error(double products, double capped_score, double roundings,
                                 const AttentionOptions& options);
// SoftmaxRow::score_roots of the same score.
[[nodiscard]] double score_root(double products, double capped_score, double roundings,
                                const AttentionOptions& options);

// Tiles that a range of keys touches.
[[nodiscard]] inline std::int64_t tiles_of(KeyRange keys, std::int64_t tile) {
  return keys.begin >= keys.end ? 0 : core::divide_up(keys.end, tile) - keys.begin / tile;
}

template <class Query>
[[nodiscard]] double sink_of(const QueryRows<Query>& queries, std::int64_t head) {
  return queries.sinks.empty() ? kMinusInfinity<double>
                               : static_cast<double>(to_float(queries.sinks[static_cast<std::size_t>(head)]));
}

}  // namespace detail

// Bounds laid out as the results of heads_first outputs: o [heads, queries, value_dim], lse [heads, queries].
struct AttentionBounds {
  std::vector<double> o;
  std::vector<double> lse;
};

// Of attention_tiled and attention_decode (their results stored as Out), and of attention_naive<float> where
// all keys fit one tile. With `deviations` L > 0: a likely bound, where that is the smaller one.
template <class Out, class Query, KeyValueSource Source>
[[nodiscard]] AttentionBounds attention_bounds(const QueryRows<Query>& queries, const Source& source,
                                               const AttentionOptions& options, double deviations = 0.0) {
  const detail::ScoreRule<double> rule(options);
  const KeyRange keys = detail::common(source.positions(), options.only);
  const std::int64_t heads = queries.rows.heads, depth = source.key_dim(), width = source.value_dim();
  AttentionBounds bounds;
  bounds.o.resize(static_cast<std::size_t>(heads * queries.rows.rows * width));
  detail::TileStorage storage;
  NoProbe none;
  for (std::int64_t head = 0; head < heads; ++head) {
    const detail::KeyTile all = storage.read(source, head / (heads / source.heads()), keys, none);
    for (std::int64_t i = 0; i < queries.rows.rows; ++i) {
      const KeyRange range = visible_range(options.mask, options.first_query + i, keys);
      const double temperature =
          queries.temperature.empty() ? 1.0 : queries.temperature[static_cast<std::size_t>(i)];
      detail::SoftmaxRow row;
      for (std::int64_t j = range.begin; j < range.end; ++j) {
        if (!custom_allows(options.mask, i, j)) continue;
        double product = 0.0, magnitude = 0.0;
        for (std::int64_t c = 0; c < depth; ++c) {
          const double term = to_float(queries.rows.row(head, i)[c]) * temperature * all.key(j)[c];
          product += term;
          magnitude += std::fabs(term);
        }
        row.scores.push_back(rule.score<NoProbe>(product));
        const double roundings = detail::dot_roundings(depth) + (queries.temperature.empty() ? 0.0 : 1.0);
        row.score_errors.push_back(detail::score_error(magnitude, row.scores.back(), roundings, options));
        if (deviations > 0.0)
          row.score_roots.push_back(detail::score_root(magnitude, row.scores.back(), roundings, options));
        row.values.insert(row.values.end(), all.value(j), all.value(j) + width);
      }
      row.deviations = deviations;
      row.sink = detail::sink_of(queries, head);
      row.tiles = detail::tiles_of(range, options.tile.keys);
      row.tile_keys = options.tile.keys;
      row.value_dim = width;
      row.bf16_probabilities = options.bf16_probabilities;
      row.store_unit = detail::kStoreUnit<Out>;
      bounds.lse.push_back(
          detail::softmax_row_bounds(row, bounds.o.data() + (head * queries.rows.rows + i) * width));
    }
  }
  return bounds;
}

// Partial states in exact arithmetic ([states, rows, width] and [states, rows]) and bounds of them, of which
// merge_states and merge_into make one.
struct PartialStates {
  std::int64_t states = 0;
  std::span<const double> o;
  std::span<const double> lse;
  std::span<const double> o_bounds;
  std::span<const double> lse_bounds;
  std::span<const double> sinks = {};  // one per row, or empty
};

// Of merge_states: state i has the weight e^(lse_i - lse) with a factor e^(t), |t| <= A_i = its lse's bound
// + u (largest lse - lse_i + 2 largest bound) + (states + 4) u; then as for a softmax.
[[nodiscard]] AttentionBounds merge_bounds(const PartialStates& partial);
// Of merge_into over all states in turn, from an empty one. A step with weight r and difference d of the lse
// carries d's error D into r (1 - r) (e^D - 1).
[[nodiscard]] AttentionBounds ring_bounds(const PartialStates& partial);

// Of index_scores<float>: gamma_(head_dim + heads + 3) sum_h |w_h| scale sum_i |q_hi k_i|, [queries, keys] (0
// where hidden).
template <class Value>
[[nodiscard]] std::vector<double> index_bounds(std::span<const Value> queries, std::span<const Value> keys,
                                               std::span<const Value> head_weights, const IndexSizes& sizes) {
  std::vector<double> bounds(static_cast<std::size_t>(sizes.queries * sizes.keys));
  const auto heads = static_cast<double>(sizes.heads), dim = static_cast<double>(sizes.head_dim);
  const double factor = detail::gamma_f32(heads + dim + 3.0) / core::math::sqrt(heads * dim);
  for (std::int64_t t = 0; t < sizes.queries; ++t) {
    const KeyRange visible = visible_range({}, sizes.first_query + t, {0, sizes.keys});
    for (std::int64_t s = visible.begin; s < visible.end; ++s) {
      double sum = 0.0;
      for (std::int64_t h = 0; h < sizes.heads; ++h) {
        const auto head = static_cast<std::size_t>(t * sizes.heads + h);
        double magnitude = 0.0;
        for (std::int64_t i = 0; i < sizes.head_dim; ++i) {
          const auto at = static_cast<std::size_t>(i);
          const auto d = static_cast<std::size_t>(sizes.head_dim);
          magnitude += std::fabs(static_cast<double>(to_float(queries[head * d + at])) *
                                 static_cast<double>(to_float(keys[static_cast<std::size_t>(s) * d + at])));
        }
        sum += std::fabs(static_cast<double>(to_float(head_weights[head]))) * magnitude;
      }
      bounds[static_cast<std::size_t>(t * sizes.keys + s)] =
          factor * sum + (heads * dim + 1.0) * detail::kTinyF32;
    }
  }
  return bounds;
}

}  // namespace moesim::reference
