// Partial results of attention over different keys, put together (FlashDecoding's splits, context
// parallelism).
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "models/reference/attention_kernels.hpp"

namespace moesim::reference {

namespace detail {

// A state without keys. Some kernels mark such rows with +infinity (numerics.md 2.2).
template <class Real>
[[nodiscard]] bool is_empty_state(Real lse) {
  return std::isinf(lse);
}

}  // namespace detail

// One row: out = sum_i e^(lse_i - m) o_i / sum_i e^(lse_i - m), i ascending, m the largest lse_i; returns
// m + log(sum). State i is o[i x state_stride], ... (`width` elements) and lse[i x lse_stride]. States
// without keys (lse = -infinity, or +infinity as some kernels mark them) are neutral and their o is not read.
// If all are, out = 0 and -infinity is returned. `sink` joins as a state of value 0. Error: merge_bounds().
template <class Real, class P = NoProbe>
Real merge_row(const Real* o, std::int64_t state_stride, const Real* lse, std::int64_t lse_stride,
               std::int64_t states, const Real* sink, std::span<Real> out, P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  Real maximum = sink != nullptr ? *sink : detail::kMinusInfinity<Real>;
  for (std::int64_t i = 0; i < states; ++i) {
    const Real own = lse[i * lse_stride];
    if (!detail::is_empty_state(own) && !(own <= maximum)) maximum = own;
  }
  std::fill(out.begin(), out.end(), Real{0});
  if (maximum == detail::kMinusInfinity<Real>) return maximum;
  Real sum = 0;
  for (std::int64_t i = 0; i < states; ++i) {
    const Real own = lse[i * lse_stride];
    if (detail::is_empty_state(own)) continue;
    Real weight = detail::exponential(own - maximum);
    if constexpr (Plain::has(Fault::merge_base_two)) {
      weight = static_cast<Real>(core::math::exp2(static_cast<double>(own - maximum)));
    }
    if constexpr (Plain::has(Fault::merge_without_weights)) weight = Real{1};
    sum += weight;
    for (std::size_t c = 0; c < out.size(); ++c)
      out[c] += weight * o[i * state_stride + static_cast<std::int64_t>(c)];
    probe.extra(2 + 2 * std::ssize(out), 1);
  }
  if (sink != nullptr) sum += detail::exponential(*sink - maximum);
  for (Real& value : out) value /= sum;
  probe.extra(std::ssize(out) + 1, 1);
  return detail::log_sum(maximum, sum);
}

// Rows of states: o [states, rows, width], lse [states, rows] -> out [rows, width], merged_lse [rows].
// `sinks`: one per row, or empty. Throws core::InvariantError for shapes that do not fit.
template <class Real, class P = NoProbe>
void merge_states(std::span<const Real> o, std::span<const Real> lse, std::int64_t states,
                  std::span<const Real> sinks, std::span<Real> out, std::span<Real> merged_lse,
                  P&& probe = P{}) {
  const std::int64_t rows = std::ssize(merged_lse);
  core::check(rows > 0 && std::ssize(out) % rows == 0 && std::ssize(lse) == states * rows &&
                  std::ssize(o) == states * std::ssize(out) && (sinks.empty() || std::ssize(sinks) == rows),
              "states must have a row of o and a log-sum-exp for each row of the result");
  const std::int64_t width = std::ssize(out) / rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    const Real* sink = sinks.empty() ? nullptr : &sinks[static_cast<std::size_t>(row)];
    merged_lse[static_cast<std::size_t>(row)] =
        merge_row(o.data() + row * width, rows * width, lse.data() + row, rows, states, sink,
                  out.subspan(static_cast<std::size_t>(row * width), static_cast<std::size_t>(width)), probe);
  }
}

// Takes the state (o, lse) into (out, out_lse): out -= sigmoid(lse - out_lse) x (out - o), out_lse -=
// log(sigmoid(out_lse - lse)) (the stable form of ring-flash-attention). Empty states are neutral; two of
// them give an empty one. Error: ring_bounds().
template <class Real, class P = NoProbe>
void merge_into(std::span<Real> out, Real& out_lse, std::span<const Real> o, Real lse, P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  if (detail::is_empty_state(out_lse)) {
    const bool both = detail::is_empty_state(lse);
    for (std::size_t c = 0; c < out.size(); ++c) out[c] = both ? Real{0} : o[c];
    out_lse = both ? detail::kMinusInfinity<Real> : lse;
    return;
  }
  if (detail::is_empty_state(lse)) return;
  const double difference = static_cast<double>(out_lse - lse);
  Real weight = static_cast<Real>(1.0 / (1.0 + core::math::exp(difference)));
  if constexpr (Plain::has(Fault::merge_base_two)) {
    weight = static_cast<Real>(1.0 / (1.0 + core::math::exp2(difference)));
  }
  if constexpr (Plain::has(Fault::merge_without_weights)) weight = Real{0.5};
  for (std::size_t c = 0; c < out.size(); ++c) out[c] -= weight * (out[c] - o[c]);
  // -log(sigmoid(d)) = log(1 + e^-d); the larger of both is taken out first, so that nothing overflows.
  const double low = -std::fabs(difference);
  const Real larger = std::max(out_lse, lse);
  out_lse = static_cast<Real>(static_cast<double>(larger) + core::math::log1p(core::math::exp(low)));
  probe.extra(3 * std::ssize(out) + 3, 3);
}

// Keys first, ..., end - 1 in `parts` contiguous ranges whose lengths differ by at most one, the longer ones
// first (numpy.array_split); some are empty where there are fewer keys than parts.
[[nodiscard]] std::vector<KeyRange> split_keys(KeyRange keys, std::int64_t parts);

// attention_decode over each range of `parts`, then merge_states: the kernel of decode with split keys.
// Partial results in f32: `partial_o` [parts, Hq, nq, dv] and `partial_lse` [parts, Hq, nq] (without sinks).
// The result is [Hq, nq, dv] with its log-sum-exps; sinks join at the merge.
struct SplitResult {
  std::vector<float> partial_o;
  std::vector<float> partial_lse;
  std::vector<float> o;
  std::vector<float> lse;
};
template <class Query, KeyValueSource Source, class P = NoProbe>
[[nodiscard]] SplitResult attention_split(const QueryRows<Query>& queries, const Source& source,
                                          const AttentionOptions& options, std::span<const KeyRange> parts,
                                          P&& probe = P{}) {
  const std::int64_t heads = queries.rows.heads, count = queries.rows.rows, width = source.value_dim();
  const auto rows = static_cast<std::size_t>(heads * count);
  const std::size_t values = rows * static_cast<std::size_t>(width);
  SplitResult result;
  result.partial_o.resize(parts.size() * values);
  result.partial_lse.resize(parts.size() * rows);
  result.o.resize(values);
  result.lse.resize(rows);
  QueryRows<Query> without_sinks = queries;
  without_sinks.sinks = {};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    AttentionOptions own = options;
    own.only = detail::common(options.only, parts[i]);
    const AttentionOutput<float> output{
        heads_first(std::span(result.partial_o).subspan(i * values, values), heads, count, width),
        std::span(result.partial_lse).subspan(i * rows, rows)};
    attention_decode(without_sinks, source, own, output, probe);
  }
  std::vector<float> sinks;
  for (std::size_t row = 0; row < rows && !queries.sinks.empty(); ++row)
    sinks.push_back(to_float(queries.sinks[row / static_cast<std::size_t>(count)]));
  merge_states<float>(result.partial_o, result.partial_lse, std::ssize(parts), sinks, result.o, result.lse,
                      probe);
  return result;
}

}  // namespace moesim::reference
