// The gated delta rule (Qwen3-Next, arXiv 2412.06464) and Kimi delta attention (a decay per channel): the
// state of a head is a key_dim x value_dim matrix; per token
//   S <- e^g S;  d = beta (v - S^T k);  S <- S + k d^T;  o = S^T q
// with q and k divided by sqrt(sum of squares + epsilon) and q multiplied by key_dim^-1/2 (numerics.md 1.4).
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "models/reference/attention_tile.hpp"

namespace moesim::reference {

struct DeltaSizes {
  std::int64_t tokens = 0;
  std::int64_t key_heads = 0;    // value head h uses key head h / (value_heads / key_heads)
  std::int64_t value_heads = 0;  // heads of the state
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
};

struct DeltaOptions {
  double norm_epsilon = 1e-6;
  std::int64_t chunk = 64;  // tokens of a chunk, counted from the first token of the call
};

template <class Value>
struct DeltaInputs {
  std::span<const Value> queries;    // [tokens, key_heads, key_dim], not yet normed
  std::span<const Value> keys;       // [tokens, key_heads, key_dim], not yet normed
  std::span<const Value> values;     // [tokens, value_heads, value_dim]
  std::span<const float> log_decay;  // g <= 0: [tokens, value_heads], or one per channel of the keys:
                                     // [tokens, value_heads, key_dim]
  std::span<const float> beta;       // [tokens, value_heads]
};

// Tensors of a recurrence, as probes tell them apart.
enum class DeltaTensor : int { queries, keys, values, result, state, new_state };

namespace detail {

template <class Value>
void check_delta(const DeltaInputs<Value>& in, const DeltaSizes& sizes, std::size_t state, std::size_t out) {
  const std::int64_t keys = sizes.tokens * sizes.key_heads * sizes.key_dim;
  const std::int64_t heads = sizes.tokens * sizes.value_heads;
  core::check(sizes.key_heads > 0 && sizes.value_heads % sizes.key_heads == 0 && sizes.key_dim > 0,
              "heads of the state must be a multiple of the key heads");
  core::check(std::ssize(in.queries) == keys && std::ssize(in.keys) == keys &&
                  std::ssize(in.values) == heads * sizes.value_dim && std::ssize(in.beta) == heads &&
                  std::cmp_equal(out, heads * sizes.value_dim) &&
                  std::cmp_equal(state, sizes.value_heads * sizes.key_dim * sizes.value_dim),
              "a recurrence needs inputs, a state and results that fit");
  core::check(std::ssize(in.log_decay) == heads || std::ssize(in.log_decay) == heads * sizes.key_dim,
              "a recurrence needs one decay per head or one per channel");
}

// x[row] / sqrt(sum of squares + epsilon) x scale for the rows of all tokens and key heads.
template <class Real, class Value, class P>
[[nodiscard]] std::vector<Real> unit_rows(std::span<const Value> x, const DeltaSizes& sizes, double epsilon,
                                          double scale, DeltaTensor tensor, P& probe) {
  std::vector<Real> rows(x.size());
  const auto width = static_cast<std::size_t>(sizes.key_dim);
  for (std::size_t at = 0; at < x.size(); at += width) {
    Real sum = 0;
    for (std::size_t i = 0; i < width; ++i) {
      rows[at + i] = static_cast<Real>(to_float(x[at + i]));
      sum += rows[at + i] * rows[at + i];
    }
    Real factor = Real{1} / std::sqrt(sum + static_cast<Real>(epsilon));
    if constexpr (P::has(Fault::delta_norm_dropped)) factor = Real{1};
    if (scale != 1.0) factor *= static_cast<Real>(scale);
    for (std::size_t i = 0; i < width; ++i) rows[at + i] *= factor;
    // Squares, their sum, and the products with the root.
    probe.flops(3 * sizes.key_dim);
    probe.specials(1);
    probe.touch(Operand::activations, static_cast<int>(tensor), static_cast<std::int64_t>(at), sizes.key_dim,
                kBitsOf<Value>);
  }
  return rows;
}

template <class Real, class Value, class P>
struct UnitInputs {
  std::vector<Real> queries;
  std::vector<Real> keys;

  UnitInputs(const DeltaInputs<Value>& in, const DeltaSizes& sizes, const DeltaOptions& options, P& probe)
      : queries(unit_rows<Real>(in.queries, sizes, options.norm_epsilon,
                                1.0 / core::math::sqrt(static_cast<double>(sizes.key_dim)),
                                DeltaTensor::queries, probe)),
        keys(unit_rows<Real>(in.keys, sizes, options.norm_epsilon, 1.0, DeltaTensor::keys, probe)) {}
};

inline void store_row(const std::vector<float>& row, float* out) { std::copy(row.begin(), row.end(), out); }
inline void store_row(const std::vector<double>& row, double* out) { std::copy(row.begin(), row.end(), out); }
inline void store_row(const std::vector<float>& row, Bf16* out) {
  for (std::size_t i = 0; i < row.size(); ++i) out[i] = to_bf16(row[i]);
}

template <class P>
void touch_state(std::int64_t head, std::int64_t size, P& probe) {
  probe.touch(Operand::keys_values, static_cast<int>(DeltaTensor::state), head * size, size, 32);
  probe.touch(Operand::cached_result, static_cast<int>(DeltaTensor::new_state), head * size, size, 32);
}

// Value rows and results of token t and head h start here.
[[nodiscard]] inline std::int64_t value_row(const DeltaSizes& sizes, std::int64_t t, std::int64_t h) {
  return (t * sizes.value_heads + h) * sizes.value_dim;
}

template <class Value, class Out, class P>
void touch_row(std::int64_t at, std::int64_t width, P& probe) {
  probe.touch(Operand::activations, static_cast<int>(DeltaTensor::values), at, width, kBitsOf<Value>);
  probe.touch(Operand::result, static_cast<int>(DeltaTensor::result), at, width, kBitsOf<Out>);
}

// One token of one head: state and result. `decay` holds one factor or one per channel.
template <class Real, class Value, class P>
void delta_step(const Real* query, const Real* key, const Value* value, Real beta,
                std::span<const Real> decay, std::int64_t key_dim, std::vector<Real>& delta,
                std::vector<Real>& result, Real* state, P& probe) {
  const auto width = std::ssize(result);
  if constexpr (!P::has(Fault::delta_decay_dropped)) {
    for (std::int64_t k = 0; k < key_dim; ++k) {
      const Real factor = decay[decay.size() == 1 ? 0 : static_cast<std::size_t>(k)];
      for (std::int64_t c = 0; c < width; ++c) state[k * width + c] *= factor;
    }
  }
  std::fill(delta.begin(), delta.end(), Real{0});
  std::fill(result.begin(), result.end(), Real{0});
  for (std::int64_t k = 0; k < key_dim; ++k) {
    for (std::int64_t c = 0; c < width; ++c)
      delta[static_cast<std::size_t>(c)] += state[k * width + c] * key[k];
  }
  for (std::int64_t c = 0; c < width; ++c) {
    Real& d = delta[static_cast<std::size_t>(c)];
    d = static_cast<Real>(to_float(value[c])) - d;
    if constexpr (!P::has(Fault::delta_beta_dropped)) d *= beta;
  }
  for (std::int64_t k = 0; k < key_dim; ++k) {
    for (std::int64_t c = 0; c < width; ++c) {
      state[k * width + c] += key[k] * delta[static_cast<std::size_t>(c)];
      result[static_cast<std::size_t>(c)] += state[k * width + c] * query[k];
    }
  }
  probe.macs(3 * key_dim * width, 3 * key_dim * width);
  probe.flops(key_dim * width);
  probe.extra(2 * width, std::ssize(decay));
}

}  // namespace detail

// Token after token. `state` [value_heads, key_dim, value_dim] is read and left as it is after the last
// token; results [tokens, value_heads, value_dim]. A run may be cut anywhere: the state carries on bit for
// bit. Counts as llm::work_of(Recurrence) in decode (exponentials of the decays are `extra`). Error:
// delta_bounds().
template <class Real = float, class Value, class Out, class P = NoProbe>
void delta_rule_recurrent(const DeltaInputs<Value>& in, const DeltaSizes& sizes, const DeltaOptions& options,
                          std::span<Real> state, std::span<Out> out, P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  detail::check_delta(in, sizes, state.size(), out.size());
  const detail::UnitInputs<Real, Value, Plain> unit(in, sizes, options, probe);
  const std::int64_t k = sizes.key_dim, v = sizes.value_dim, heads = sizes.value_heads;
  const std::size_t channels = in.log_decay.size() == in.beta.size() ? 1 : static_cast<std::size_t>(k);
  std::vector<Real> decay(channels), delta(static_cast<std::size_t>(v)), result(static_cast<std::size_t>(v));
  for (std::int64_t h = 0; h < heads; ++h) {
    Real* own = state.data() + h * k * v;
    for (std::int64_t t = 0; t < sizes.tokens; ++t) {
      const std::int64_t row = (t * sizes.key_heads + h / (heads / sizes.key_heads)) * k;
      const auto gate = static_cast<std::size_t>(t * heads + h);
      for (std::size_t c = 0; c < channels; ++c)
        decay[c] = detail::exponential(static_cast<Real>(in.log_decay[gate * channels + c]));
      const std::int64_t at = detail::value_row(sizes, t, h);
      detail::delta_step<Real>(unit.queries.data() + row, unit.keys.data() + row, in.values.data() + at,
                               static_cast<Real>(in.beta[gate]), std::span<const Real>(decay), k, delta,
                               result, own, probe);
      detail::store_row(result, out.data() + at);
      detail::touch_row<Value, Out>(at, v, probe);
    }
    detail::touch_state(h, k * v, probe);
  }
}

}  // namespace moesim::reference
