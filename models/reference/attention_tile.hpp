// The online softmax of one query row over tiles of keys: what all attention kernels share.
//
// Order of the arithmetic (f32 unless the accumulator is double): products of a row of keys are added up in 8
// lanes (see dot); a tile's maximum is taken before its exponentials; within a tile keys are added in
// ascending order, and the tile's sums are then added to the running ones, which are rescaled before that
// where the maximum rises. A tile in which a row sees nothing leaves the row's bits alone, so they do not
// depend on the rows beside it.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "models/reference/attention.hpp"
#include "sim/core/integers.hpp"
#include "sim/core/math.hpp"

namespace moesim::reference::detail {

// Exponential and hyperbolic tangent in double, rounded once.
[[nodiscard]] inline float exponential(float x) {
  return static_cast<float>(core::math::exp(static_cast<double>(x)));
}
[[nodiscard]] inline double exponential(double x) { return core::math::exp(x); }
[[nodiscard]] inline float hyperbolic_tangent(float x) {
  return static_cast<float>(core::math::tanh(static_cast<double>(x)));
}
[[nodiscard]] inline double hyperbolic_tangent(double x) { return core::math::tanh(x); }

template <class Real>
inline constexpr Real kMinusInfinity = -std::numeric_limits<Real>::infinity();

// log(sum of exponentials) from the running maximum and the sum relative to it; -infinity for an empty row.
template <class Real>
[[nodiscard]] Real log_sum(Real maximum, Real sum) {
  if (!(sum > Real{0})) return kMinusInfinity<Real>;
  return static_cast<Real>(static_cast<double>(maximum) + core::math::log(static_cast<double>(sum)));
}

inline void store(float value, float& out) { out = value; }
inline void store(float value, Bf16& out) { out = to_bf16(value); }
inline void store(double value, double& out) { out = value; }

// How products become scores.
template <class Real>
struct ScoreRule {
  Real scale = 1;
  Real soft_cap = 0;
  bool bf16_probabilities = false;

  explicit ScoreRule(const AttentionOptions& options)
      : scale(static_cast<Real>(options.scale)),
        soft_cap(static_cast<Real>(options.soft_cap)),
        bf16_probabilities(options.bf16_probabilities) {}

  // The score of a product.
  template <class P>
  [[nodiscard]] Real score(Real product) const {
    Real s = product * scale;
    if constexpr (P::has(Fault::scale_twice)) s *= scale;
    if constexpr (P::has(Fault::drop_soft_cap)) return s;
    return soft_cap > Real{0} ? soft_cap * hyperbolic_tangent(s / soft_cap) : s;
  }
  // Counts the cap of one score: division, product and hyperbolic tangent.
  template <class P>
  void count_cap(P& probe) const {
    if (!(soft_cap > Real{0})) return;
    probe.flops(2);
    probe.specials(1);
  }
};

// Rows of keys and values as f32: positions begin, ..., end - 1 of one KV head.
struct KeyTile {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  const float* keys = nullptr;
  const float* values = nullptr;
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
  std::int64_t value_stride = 0;  // elements from one value row to the next

  [[nodiscard]] const float* key(std::int64_t position) const { return keys + (position - begin) * key_dim; }
  [[nodiscard]] const float* value(std::int64_t position) const {
    return values + (position - begin) * value_stride;
  }
};

// Memory for a tile's rows.
struct TileStorage {
  std::vector<float> keys;
  std::vector<float> values;

  // Reads the rows `positions` of a head.
  template <class Source, class P>
  [[nodiscard]] KeyTile read(const Source& source, std::int64_t head, KeyRange positions, P& probe) {
    return gather(
        source, head, positions, [](std::int64_t position) { return position; }, probe);
  }
  // The same where row i of the tile is the key at place(i).
  template <class Source, class Place, class P>
  [[nodiscard]] KeyTile gather(const Source& source, std::int64_t head, KeyRange tile, const Place& place,
                               P& probe) {
    const std::int64_t key_dim = source.key_dim(), value_dim = source.value_dim();
    const std::int64_t rows = tile.end - tile.begin;
    keys.resize(static_cast<std::size_t>(rows * key_dim));
    for (std::int64_t i = 0; i < rows; ++i)
      source.key(head, place(tile.begin + i), keys.data() + i * key_dim, probe);
    if constexpr (Source::shared_values) {
      return {tile.begin, tile.end, keys.data(), keys.data(), key_dim, value_dim, key_dim};
    } else {
      values.resize(static_cast<std::size_t>(rows * value_dim));
      for (std::int64_t i = 0; i < rows; ++i)
        source.value(head, place(tile.begin + i), values.data() + i * value_dim, probe);
      return {tile.begin, tile.end, keys.data(), values.data(), key_dim, value_dim, value_dim};
    }
  }
};

// Product i goes to lane i mod 8, in rising order; the lanes are added as ((0+4)+(2+6))+((1+5)+(3+7)).
template <class Real>
[[nodiscard]] Real dot(const Real* a, const float* b, std::int64_t n) {
  constexpr std::int64_t kLanes = 8;
  Real lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] += a[i + lane] * static_cast<Real>(b[i + lane]);
  }
  for (std::int64_t lane = 0; i + lane < n; ++lane)
    lanes[lane] += a[i + lane] * static_cast<Real>(b[i + lane]);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// One query row of one head: its keys, and its running softmax.
struct QueryRow {
  std::vector<float> query;
  KeyRange visible;
  std::int64_t index = 0;  // of the query, for custom masks
  std::int64_t head = 0;
  float maximum = kMinusInfinity<float>;
  float sum = 0.0F;
  std::vector<float> values;  // running sum of probabilities x values
};

// Room for one row's work on one tile.
struct TileScratch {
  std::vector<std::int64_t> seen;  // positions of the keys that the row may see
  std::vector<float> scores;       // one per seen key; -infinity only where the score overflowed
  std::vector<float> values;
};

// Scores of the keys in the tile that the row may see. Returns the largest; NaN if one is.
template <class P>
float score_tile(const QueryRow& row, const KeyTile& tile, KeyRange range, const AttentionMask& mask,
                 const ScoreRule<float>& rule, TileScratch& scratch, P& probe) {
  scratch.seen.clear();
  scratch.scores.clear();
  float maximum = kMinusInfinity<float>;
  for (std::int64_t position = range.begin; position < range.end; ++position) {
    const bool inside = position >= row.visible.begin && position < row.visible.end;
    const bool visible = inside && custom_allows(mask, row.index, position);
    float score = -rule.soft_cap;
    if (visible) {
      score = rule.score<P>(dot<float>(row.query.data(), tile.key(position), tile.key_dim));
      probe.macs(tile.key_dim, 0);
      probe.flops(1);
      rule.count_cap(probe);
    } else if constexpr (!P::has(Fault::cap_after_mask)) {
      continue;
    }
    scratch.seen.push_back(position);
    scratch.scores.push_back(score);
    maximum = score > maximum || std::isnan(score) ? score : maximum;
    probe.flops(1);
  }
  return maximum;
}

// Raises the running maximum to `maximum`.
template <class P>
void raise_maximum(QueryRow& row, float maximum, P& probe) {
  if (row.maximum != kMinusInfinity<float>) {
    const float factor = exponential(row.maximum - maximum);
    if constexpr (!P::has(Fault::missing_denominator_rescale)) row.sum *= factor;
    if constexpr (!P::has(Fault::missing_rescale)) {
      for (float& value : row.values) value *= factor;
    }
    probe.extra(2 + std::ssize(row.values), 1);
  }
  row.maximum = maximum;
}

// Takes the keys of a tile into the row. Whether a key is seen is decided by the masks and never by its
// score: products of finite queries and keys may overflow to -infinity, which is weight 0 beside a larger
// score. Where all scores so far did, no exponential is defined and none is taken: such keys leave the row
// as it is, and a row of nothing else ends with result 0 and log-sum-exp -infinity.
template <class P>
void attend(QueryRow& row, const KeyTile& tile, const AttentionMask& mask, const ScoreRule<float>& rule,
            TileScratch& scratch, P& probe) {
  KeyRange range{std::max(row.visible.begin, tile.begin), std::min(row.visible.end, tile.end)};
  if constexpr (P::has(Fault::cap_after_mask)) range = {tile.begin, tile.end};
  if (range.begin >= range.end) return;
  const float maximum = score_tile(row, tile, range, mask, rule, scratch, probe);
  if (scratch.seen.empty()) return;
  if (!(maximum <= row.maximum)) raise_maximum(row, maximum, probe);
  if (row.maximum == kMinusInfinity<float>) return;
  float sum = 0.0F;
  scratch.values.assign(row.values.size(), 0.0F);
  for (std::size_t j = 0; j < scratch.seen.size(); ++j) {
    float probability = exponential(scratch.scores[j] - row.maximum);
    sum += probability;
    // Subtraction and sum.
    probe.flops(2);
    probe.specials(1);
    if (rule.bf16_probabilities) probability = rounded_to_bf16(probability);
    const float* value = tile.value(scratch.seen[j]);
    for (std::int64_t i = 0; i < tile.value_dim; ++i)
      scratch.values[static_cast<std::size_t>(i)] += probability * value[i];
    probe.macs(tile.value_dim, 0);
  }
  row.sum += sum;
  for (std::size_t i = 0; i < row.values.size(); ++i) row.values[i] += scratch.values[i];
  probe.extra(1 + std::ssize(row.values), 0);
}

// Adds a sink's score to the row's sum.
template <class P>
void add_sink(QueryRow& row, float sink, P& probe) {
  if constexpr (P::has(Fault::drop_sink)) return;
  if (sink == kMinusInfinity<float>) return;
  if (!(sink <= row.maximum)) raise_maximum(row, sink, probe);
  const float weight = exponential(sink - row.maximum);
  row.sum += weight;
  // The operator counts the exponential and the sum, but not the subtraction.
  probe.specials(1);
  probe.flops(1);
  probe.extra(1, 0);
  if constexpr (P::has(Fault::sink_in_values)) {
    for (float& value : row.values) value += weight;
  }
}

// Writes the row's result and the logarithm of its sum.
template <class Query, class Out, class P>
void finish(QueryRow& row, const QueryRows<Query>& queries, const AttentionOutput<Out>& output, P& probe) {
  if (!queries.sinks.empty()) {
    const std::int64_t at = row.head;
    probe.touch(Operand::weights, tensor_of(AttentionTensor::sinks), at, 1, kBitsOf<Query>);
    add_sink(row, to_float(queries.sinks[static_cast<std::size_t>(at)]), probe);
  }
  const std::int64_t width = std::ssize(row.values);
  Out* out = output.rows.row(row.head, row.index);
  const bool empty = row.sum == 0.0F;
  for (std::int64_t i = 0; i < width; ++i)
    store(empty ? 0.0F : row.values[static_cast<std::size_t>(i)] / row.sum, out[i]);
  if (!empty) probe.flops(width);
  probe.touch(Operand::result, tensor_of(AttentionTensor::result), output.rows.index(row.head, row.index),
              width, kBitsOf<Out>);
  if (output.lse.empty()) return;
  const std::int64_t at = row.head * output.rows.rows + row.index;
  output.lse[static_cast<std::size_t>(at)] = log_sum(row.maximum, row.sum);
  if (!empty) probe.extra(1, 1);
  probe.touch(Operand::result, tensor_of(AttentionTensor::lse), at, 1, kBitsOf<float>);
}

// Reads a query, with its temperature, and finds its keys.
template <class Query, class P>
[[nodiscard]] QueryRow start(const QueryRows<Query>& queries, std::int64_t head, std::int64_t index,
                             KeyRange keys, const AttentionOptions& options, std::int64_t value_dim,
                             P& probe) {
  QueryRow row;
  row.index = index;
  row.head = head;
  row.visible = visible_range<P>(options.mask, options.first_query + index, keys);
  const Query* from = queries.rows.row(head, index);
  const std::int64_t width = queries.rows.width;
  row.query.resize(static_cast<std::size_t>(width));
  for (std::int64_t i = 0; i < width; ++i) row.query[static_cast<std::size_t>(i)] = to_float(from[i]);
  if (!queries.temperature.empty()) {
    for (float& element : row.query) element *= queries.temperature[static_cast<std::size_t>(index)];
    probe.extra(width, 0);
  }
  row.values.assign(static_cast<std::size_t>(value_dim), 0.0F);
  probe.touch(Operand::activations, tensor_of(AttentionTensor::queries), queries.rows.index(head, index),
              width, kBitsOf<Query>);
  return row;
}

// The keys that at least one of the rows may see, and those of the source that this call works on.
[[nodiscard]] KeyRange united(std::span<const QueryRow> rows);
[[nodiscard]] KeyRange common(KeyRange a, KeyRange b);

// Throws core::InvariantError unless the shapes of queries, keys, values and results fit.
template <class Query, class Source, class Out, class Lse>
void check_shapes(const QueryRows<Query>& queries, const Source& source, const AttentionOptions& options,
                  const AttentionOutput<Out, Lse>& output) {
  const HeadRows<const Query>& rows = queries.rows;
  core::check(rows.heads > 0 && source.heads() > 0 && rows.heads % source.heads() == 0,
              "query heads must be a multiple of the KV heads");
  core::check(rows.width == source.key_dim(), "queries and keys must have the same width");
  core::check(source.value_dim() == output.rows.width && rows.heads == output.rows.heads &&
                  rows.rows == output.rows.rows,
              "the result must have a row of a value's width for each query and head");
  core::check(queries.sinks.empty() || std::cmp_equal(queries.sinks.size(), rows.heads),
              "there must be one sink per query head");
  core::check(queries.temperature.empty() || std::cmp_equal(queries.temperature.size(), rows.rows),
              "there must be one temperature per query");
  core::check(output.lse.empty() || std::cmp_equal(output.lse.size(), rows.heads * rows.rows),
              "there must be one logarithm of the sum per query and head");
  core::check(options.tile.queries > 0 && options.tile.keys > 0, "tiles must have rows");
  core::check(options.mask.window >= 0 && options.mask.chunk >= 0 && options.soft_cap >= 0.0,
              "windows, chunks and caps must not be negative");
  core::check(options.mask.custom.empty() ||
                  (options.mask.custom_keys >= source.positions().end &&
                   std::cmp_equal(options.mask.custom.size(), rows.rows * options.mask.custom_keys)),
              "a custom mask needs a byte per query and key");
}

}  // namespace moesim::reference::detail
