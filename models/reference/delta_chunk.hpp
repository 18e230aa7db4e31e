// The gated delta rule in chunks, by products of matrices (arXiv 2412.06464, part 3.3).
//
// With G_i the sum of the log decays up to token i of the chunk, A_ij = beta_i (k_i . k_j) e^(G_i - G_j) for
// j < i, T = (I + A)^-1 and S the state before the chunk:
//   D = T (beta v) - T (beta e^G k) S;   o_i = e^(G_i) S^T q_i + sum_(j <= i) (q_i . k_j) e^(G_i - G_j) d_j
//   S <- e^(G_last) S + sum_j e^(G_last - G_j) k_j d_j^T
// Decays between two tokens are products of e^g <= 1 and never e^(-G), which overflows for strong decays.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "models/reference/delta_rule.hpp"

namespace moesim::reference {

namespace detail {

// Row-major work space of one chunk; `rows` tokens.
template <class Real>
struct DeltaChunk {
  std::int64_t rows = 0;
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
  std::vector<const Real*> queries;  // rows of each token
  std::vector<const Real*> keys;
  std::vector<Real> beta;
  std::vector<Real> since_start;  // e^(G_i)
  std::vector<Real> between;      // [rows, rows]: e^(G_i - G_j), 0 above the diagonal
  std::vector<Real> inverse;      // [rows, rows]: T
  std::vector<Real> delta;        // [rows, value_dim]: D

  [[nodiscard]] std::size_t at(std::int64_t i, std::int64_t j) const {
    return static_cast<std::size_t>(i * rows + j);
  }
};

// c [n, m] += a [n, depth] b [depth, m], depth ascending.
template <class Real>
void add_product(const Real* a, const Real* b, Real* c, std::int64_t n, std::int64_t depth, std::int64_t m) {
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < depth; ++k) {
      const Real factor = a[i * depth + k];
      for (std::int64_t j = 0; j < m; ++j) c[i * m + j] += factor * b[k * m + j];
    }
  }
}

// Decays within the chunk, by products from one token to the next.
template <class Real, class P>
void chunk_decays(DeltaChunk<Real>& chunk, const std::vector<Real>& log_decay, P& probe) {
  chunk.between.assign(static_cast<std::size_t>(chunk.rows * chunk.rows), Real{0});
  chunk.since_start.resize(static_cast<std::size_t>(chunk.rows));
  Real sum = 0;
  for (std::int64_t i = 0; i < chunk.rows; ++i) {
    Real own = log_decay[static_cast<std::size_t>(i)];
    if constexpr (P::has(Fault::delta_decay_dropped)) own = 0;
    sum += own;
    const Real factor = exponential(own);
    chunk.since_start[static_cast<std::size_t>(i)] = exponential(sum);
    for (std::int64_t j = 0; j < i; ++j)
      chunk.between[chunk.at(i, j)] = chunk.between[chunk.at(i - 1, j)] * factor;
    chunk.between[chunk.at(i, i)] = Real{1};
    probe.specials(2);
    probe.extra(i + 1, 0);
  }
}

// Entries of a square of n on and below the diagonal.
[[nodiscard]] constexpr std::int64_t triangle(std::int64_t n) { return n * (n + 1) / 2; }

// Products of the rows of `left` with the keys, times the decays between them; the whole square is made, as
// by kernels for matrices, and what lies above the diagonal is multiplied by 0. `used`: the entries of the
// square that the result depends on.
template <class Real, class P>
[[nodiscard]] std::vector<Real> decayed_products(const DeltaChunk<Real>& chunk,
                                                 const std::vector<const Real*>& left, std::int64_t used,
                                                 P& probe) {
  std::vector<Real> products(static_cast<std::size_t>(chunk.rows * chunk.rows));
  for (std::int64_t i = 0; i < chunk.rows; ++i) {
    for (std::int64_t j = 0; j < chunk.rows; ++j) {
      Real sum = 0;
      for (std::int64_t k = 0; k < chunk.key_dim; ++k)
        sum += left[static_cast<std::size_t>(i)][k] * chunk.keys[static_cast<std::size_t>(j)][k];
      products[chunk.at(i, j)] = sum * chunk.between[chunk.at(i, j)];
    }
  }
  const std::int64_t square = chunk.rows * chunk.rows;
  probe.macs(used * chunk.key_dim, square * chunk.key_dim);
  probe.flops(square);
  return products;
}

// T = (I + A)^-1, row by row: T_i = e_i - A_i T, a row times the square of the rows above it, of which the
// triangle is not 0.
template <class Real, class P>
void invert(DeltaChunk<Real>& chunk, std::vector<Real>& products, P& probe) {
  chunk.inverse.assign(products.size(), Real{0});
  for (std::int64_t i = 0; i < chunk.rows; ++i) {
    for (std::int64_t j = 0; j < i; ++j) {
      Real factor = products[chunk.at(i, j)];
      if constexpr (!P::has(Fault::delta_beta_dropped)) factor *= chunk.beta[static_cast<std::size_t>(i)];
      for (std::int64_t m = 0; m < i; ++m)
        chunk.inverse[chunk.at(i, m)] -= factor * chunk.inverse[chunk.at(j, m)];
    }
    chunk.inverse[chunk.at(i, i)] = Real{1};
    probe.macs(triangle(i), i * i);
    probe.extra(i, 0);
  }
}

// D from the chunk's values and the state before it.
template <class Real, class P>
void chunk_delta(DeltaChunk<Real>& chunk, const std::vector<Real>& values, const Real* state, P& probe) {
  const std::int64_t rows = chunk.rows, k = chunk.key_dim, v = chunk.value_dim;
  std::vector<Real> scaled_values(values), scaled_keys(static_cast<std::size_t>(rows * k));
  for (std::int64_t i = 0; i < rows; ++i) {
    Real beta = chunk.beta[static_cast<std::size_t>(i)];
    if constexpr (P::has(Fault::delta_beta_dropped)) beta = Real{1};
    for (std::int64_t c = 0; c < v; ++c) scaled_values[static_cast<std::size_t>(i * v + c)] *= beta;
    const Real factor = beta * chunk.since_start[static_cast<std::size_t>(i)];
    for (std::int64_t c = 0; c < k; ++c)
      scaled_keys[static_cast<std::size_t>(i * k + c)] = factor * chunk.keys[static_cast<std::size_t>(i)][c];
  }
  probe.extra(rows * (k + v + 1), 0);
  std::vector<Real> seen(static_cast<std::size_t>(rows * k)), predicted(values.size());
  chunk.delta.assign(values.size(), Real{0});
  add_product(chunk.inverse.data(), scaled_keys.data(), seen.data(), rows, rows, k);
  add_product(chunk.inverse.data(), scaled_values.data(), chunk.delta.data(), rows, rows, v);
  add_product(seen.data(), state, predicted.data(), rows, k, v);
  for (std::size_t i = 0; i < predicted.size(); ++i) chunk.delta[i] -= predicted[i];
  probe.extra(rows * v, 0);
  probe.macs(triangle(rows) * (k + v) + rows * k * v, rows * rows * (k + v) + rows * k * v);
}

// Results [rows, value_dim].
template <class Real, class P>
[[nodiscard]] std::vector<Real> chunk_results(const DeltaChunk<Real>& chunk,
                                              const std::vector<Real>& products, const Real* state,
                                              P& probe) {
  const std::int64_t rows = chunk.rows, k = chunk.key_dim, v = chunk.value_dim;
  std::vector<Real> results(static_cast<std::size_t>(rows * v));
  std::vector<Real> scaled(static_cast<std::size_t>(rows * k));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < k; ++c) {
      scaled[static_cast<std::size_t>(i * k + c)] =
          chunk.since_start[static_cast<std::size_t>(i)] * chunk.queries[static_cast<std::size_t>(i)][c];
    }
  }
  probe.extra(rows * k, 0);
  add_product(scaled.data(), state, results.data(), rows, k, v);
  add_product(products.data(), chunk.delta.data(), results.data(), rows, rows, v);
  probe.macs(rows * k * v + triangle(rows) * v, rows * k * v + rows * rows * v);
  return results;
}

// The state after the chunk.
template <class Real, class P>
void chunk_state(const DeltaChunk<Real>& chunk, Real* state, P& probe) {
  const std::int64_t rows = chunk.rows, k = chunk.key_dim, v = chunk.value_dim;
  const Real factor = chunk.since_start[static_cast<std::size_t>(rows - 1)];
  std::vector<Real> turned(static_cast<std::size_t>(k * rows));
  for (std::int64_t i = 0; i < rows; ++i) {
    const Real left = chunk.between[chunk.at(rows - 1, i)];
    for (std::int64_t c = 0; c < k; ++c)
      turned[static_cast<std::size_t>(c * rows + i)] = left * chunk.keys[static_cast<std::size_t>(i)][c];
  }
  for (std::int64_t i = 0; i < k * v; ++i) state[i] *= factor;
  probe.flops(k * v);
  probe.extra(rows * k, 0);
  add_product(turned.data(), chunk.delta.data(), state, k, rows, v);
  probe.macs(k * rows * v, k * rows * v);
}

}  // namespace detail

// The same as delta_rule_recurrent in chunks of `options.chunk` tokens, with one decay per head. A run that
// is cut at the edge of a chunk carries its state on bit for bit. Counts: `executed_macs` are the products as
// they are multiplied, of whole squares of a chunk's tokens, zeros included; that is what
// llm::work_of(Recurrence) states in prefill where chunks are full. `useful_macs` leave the zeros above the
// diagonals out. A last chunk that is not full has its own size in every product. Error:
// delta_chunk_bounds().
template <class Real = float, class Value, class Out, class P = NoProbe>
void delta_rule_chunked(const DeltaInputs<Value>& in, const DeltaSizes& sizes, const DeltaOptions& options,
                        std::span<Real> state, std::span<Out> out, P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  detail::check_delta(in, sizes, state.size(), out.size());
  core::check(in.log_decay.size() == in.beta.size() && options.chunk > 0,
              "the chunked delta rule needs chunks and one decay per head");
  const detail::UnitInputs<Real, Value, Plain> unit(in, sizes, options, probe);
  const std::int64_t k = sizes.key_dim, v = sizes.value_dim, heads = sizes.value_heads;
  for (std::int64_t h = 0; h < heads; ++h) {
    Real* own = state.data() + h * k * v;
    for (std::int64_t first = 0; first < sizes.tokens; first += options.chunk) {
      detail::DeltaChunk<Real> chunk;
      chunk.rows = std::min(options.chunk, sizes.tokens - first);
      chunk.key_dim = k;
      chunk.value_dim = v;
      std::vector<Real> log_decay, values;
      for (std::int64_t t = first; t < first + chunk.rows; ++t) {
        const std::int64_t row = (t * sizes.key_heads + h / (heads / sizes.key_heads)) * k;
        chunk.queries.push_back(unit.queries.data() + row);
        chunk.keys.push_back(unit.keys.data() + row);
        chunk.beta.push_back(static_cast<Real>(in.beta[static_cast<std::size_t>(t * heads + h)]));
        log_decay.push_back(static_cast<Real>(in.log_decay[static_cast<std::size_t>(t * heads + h)]));
        const Value* from = in.values.data() + detail::value_row(sizes, t, h);
        for (std::int64_t c = 0; c < v; ++c) values.push_back(static_cast<Real>(to_float(from[c])));
      }
      if constexpr (Plain::has(Fault::delta_state_not_carried)) std::fill(own, own + k * v, Real{0});
      detail::chunk_decays(chunk, log_decay, probe);
      std::vector<Real> products =
          detail::decayed_products(chunk, chunk.keys, detail::triangle(chunk.rows - 1), probe);
      detail::invert(chunk, products, probe);
      detail::chunk_delta(chunk, values, own, probe);
      products = detail::decayed_products(chunk, chunk.queries, detail::triangle(chunk.rows), probe);
      const std::vector<Real> results = detail::chunk_results(chunk, products, own, probe);
      detail::chunk_state(chunk, own, probe);
      for (std::int64_t i = 0; i < chunk.rows; ++i) {
        const std::int64_t at = detail::value_row(sizes, first + i, h);
        detail::store_row(std::vector<Real>(results.begin() + i * v, results.begin() + (i + 1) * v),
                          out.data() + at);
        detail::touch_row<Value, Out>(at, v, probe);
      }
    }
    detail::touch_state(h, k * v, probe);
  }
}

}  // namespace moesim::reference
