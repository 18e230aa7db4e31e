// A-priori error bounds of both forms of latent attention (see bounds_attention.hpp for the softmax).
//
// Naive: a key's element is a product of `latent` elements, off by at most e_n = gamma_latent sum_c |W_nc
// c_c|
// (+ its rounding where stored as bf16), which adds |scale| sum_n |q_n| e_n to the error of the score; values
// are off likewise. Absorbed: an element of the query is off by gamma_nope sum_n |q_n W_nc|, which adds
// |scale| sum_c e_c |c_c|; the result of attention, with its bound E_c, passes a product of `latent`
// elements: |o^ - o| <= sum_c |W_vc| (E_c + gamma_latent (|o_c| + E_c)).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/bounds_attention.hpp"
#include "models/reference/mla.hpp"

namespace moesim::reference {

namespace detail {

// Everything that a form reads, as f32, and the unit roundoff with which it stores what lies between
// products.
struct LatentInputs {
  LatentSizes sizes;
  AttentionOptions options;
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::vector<float> query_rows;   // [heads, queries, nope + rope]
  std::vector<float> latent_rows;  // [keys, latent]
  std::vector<float> rope_rows;    // [keys, rope]
  std::vector<float> up;           // as LatentWeights::key_value_up
  std::vector<float> sinks;        // one per head, or empty
  double store_unit = 0.0;         // between products
  double result_unit = 0.0;        // of the result
};

[[nodiscard]] AttentionBounds latent_bounds(const LatentInputs& in, bool absorbed);

}  // namespace detail

// Of latent_attention_naive (absorbed = false) and latent_attention_absorbed without chosen keys, on dense
// queries [heads, queries, nope + rope] and a dense cache, stored as Value, with results stored as Out.
template <class Out, class Value>
[[nodiscard]] AttentionBounds latent_bounds(const QueryRows<Value>& queries,
                                            const LatentKeyValues<Value>& cache, std::span<const Value> up,
                                            const LatentSizes& sizes, const AttentionOptions& options,
                                            bool absorbed) {
  detail::LatentInputs in;
  in.sizes = sizes;
  in.options = options;
  in.queries = queries.rows.rows;
  in.keys = cache.keys;
  const auto rows = [&](const Value* data, std::int64_t width) {
    return detail::as_floats(std::span<const Value>(data, static_cast<std::size_t>(cache.keys * width)));
  };
  in.query_rows = detail::as_floats(std::span<const Value>(
      queries.rows.data, static_cast<std::size_t>(sizes.heads * in.queries * sizes.query_dim())));
  in.latent_rows = rows(cache.latent_rows, sizes.latent);
  in.rope_rows = rows(cache.rope_rows, sizes.rope);
  in.up = detail::as_floats(up);
  in.sinks = detail::as_floats(queries.sinks);
  in.store_unit = detail::kStoreUnit<Value>;
  in.result_unit = detail::kStoreUnit<Out>;
  return detail::latent_bounds(in, absorbed);
}

}  // namespace moesim::reference
