// The fast paths of attention: prefill over tiles with an online softmax, and decode that reads each key and
// value once for all query heads of its group.
#pragma once

#include "models/reference/fast_gemm.hpp"

namespace moesim::reference {

// Query head h reads KV head h / (query_heads / kv_heads). With `causal`, query i of n sees the keys up to
// keys - n + i, so the queries are the last ones of the sequence.
struct FastAttention {
  std::int64_t query_heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t queries = 1;
  std::int64_t keys = 0;
  std::int64_t qk_dim = 0;
  std::int64_t v_dim = 0;
  float scale = 1.0F;  // of scores; > 0
  bool causal = true;
};

// out[h][i] = sum over visible keys j of softmax_j(scale x q[h][i] . k[j]) v[j].
// q is [query_heads x queries x qk_dim], k [kv_heads x keys x qk_dim], v [kv_heads x keys x v_dim], out
// [query_heads x queries x v_dim] in f32; all finite. A query that sees no key gives zeros. Scores, weights
// and sums are f32; for bf16 the weights are rounded to bf16 before they meet the values (their sum is not).
// Key tiles begin at absolute positions and weights of masked keys are exact zeros, so a query's bits do not
// depend on the other queries (chunked prefill = one pass) nor on the number of threads.
// Error: fast_attention_bound. Throws core::InvariantError for sizes that do not fit.
template <class Value>
void fast_prefill(const FastAttention& shape, std::span<const Value> q, std::span<const Value> k,
                  std::span<const Value> v, std::span<float> out, const FastOptions& options = {});

// The same for one query (shape.queries = 1), by walking through keys and values once. The keys are cut into
// splits of a fixed length, whose partial results are merged in ascending order.
template <class Value>
void fast_decode(const FastAttention& shape, std::span<const Value> q, std::span<const Value> k,
                 std::span<const Value> v, std::span<float> out, const FastOptions& options = {});

// Bound of |out - exact| for one query and one column of values (numerics.md 2.2, Blanchard, Higham and
// Higham 2021): an error ds of the scaled scores moves a weight by a factor exp(ds), twice because the sum
// moves too; the rest are relative roundings of the weights and of two sums. `largest_score` bounds scale x
// sum |q_i k_i| over the visible keys, `weighted` is sum p_j |v_j| and `values` max |v_j|, all in f64.
// `bf16`: weights are rounded to 8 bits.
[[nodiscard]] double fast_attention_bound(const FastAttention& shape, double largest_score, double weighted,
                                          double values, bool bf16);

// Throws core::InvariantError unless the spans have the sizes of the shape.
void check_attention(const FastAttention& shape, std::size_t q, std::size_t k, std::size_t v,
                     std::size_t out);

}  // namespace moesim::reference
