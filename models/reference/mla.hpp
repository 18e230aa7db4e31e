// Multi-head latent attention (DeepSeek-V2/V3, arXiv 2405.04434; numerics.md 1.4): the cache holds per token
// one latent row and one rotated key that all heads share. The naive form expands keys and values of each
// head from the latent rows; the absorbed form moves queries into the latent space instead, where the latent
// row itself is key and value. Both give the same result in exact arithmetic.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "models/reference/attention_kernels.hpp"
#include "models/reference/rope.hpp"

namespace moesim::reference {

struct LatentSizes {
  std::int64_t heads = 0;
  std::int64_t hidden = 0;
  std::int64_t query_rank = 0;  // of the low-rank queries; 0: projected directly
  std::int64_t latent = 0;      // width of a latent row
  std::int64_t nope = 0;        // part of a query or key that is not rotated
  std::int64_t rope = 0;        // part that is
  std::int64_t value = 0;

  [[nodiscard]] std::int64_t query_dim() const { return nope + rope; }
  [[nodiscard]] std::int64_t cached_dim() const { return latent + rope; }
};

// Row-major [output, input].
template <class Value>
struct LatentWeights {
  std::span<const Value> query_down;      // [query_rank, hidden]; empty if query_rank is 0
  std::span<const Value> query_norm;      // [query_rank]
  std::span<const Value> query_up;        // [heads x (nope + rope), query_rank or hidden]
  std::span<const Value> key_value_down;  // [latent + rope, hidden]
  std::span<const Value> key_value_norm;  // [latent]
  std::span<const Value> key_value_up;    // [heads x (nope + value), latent], per head first the keys' rows
  std::span<const Value> output;          // [hidden, heads x value]
};

// Probes of the products around the attention kernel, one per llm::GemmRole; each counts as
// llm::work_of(Gemm). Norms and rotations have counts of their own (norms.hpp, rope.hpp) and take no part
// here.
template <class P>
struct LatentProbes {
  P latent_down;  // query_down and key_value_down: one product, which reads its input once
  P query_up;
  P key_value_up;  // naive form
  P query_absorb;  // absorbed form
  P value_absorb;  // absorbed form
  P attention_output;
};

// Cached rows of one sequence: latent [keys, latent] and rotated keys [keys, rope], rows at `stride`s. One
// cached row may hold both (stride latent + rope).
template <class Value>
struct LatentKeyValues {
  const Value* latent_rows = nullptr;
  const Value* rope_rows = nullptr;
  std::int64_t keys = 0;
  std::int64_t latent = 0;
  std::int64_t rope = 0;
  std::int64_t latent_stride = 0;
  std::int64_t rope_stride = 0;

  static constexpr bool shared_values = true;
  [[nodiscard]] static std::int64_t heads() { return 1; }
  [[nodiscard]] KeyRange positions() const { return {0, keys}; }
  [[nodiscard]] std::int64_t key_dim() const { return latent + rope; }
  [[nodiscard]] std::int64_t value_dim() const { return latent; }
  template <class P>
  void key(std::int64_t /*head*/, std::int64_t position, float* out, P& probe) const {
    const Value* from = latent_rows + position * latent_stride;
    const Value* rotated = rope_rows + position * rope_stride;
    for (std::int64_t i = 0; i < latent; ++i) out[i] = to_float(from[i]);
    for (std::int64_t i = 0; i < rope; ++i) out[latent + i] = to_float(rotated[i]);
    if constexpr (P::has(Fault::latent_rope_dropped)) std::fill(out + latent, out + latent + rope, 0.0F);
    probe.touch(Operand::keys_values, tensor_of(AttentionTensor::keys), position * key_dim(), key_dim(),
                kBitsOf<Value>);
  }
  // A value is the head of its key's row, which was read.
  template <class P>
  void value(std::int64_t /*head*/, std::int64_t position, float* out, P& /*probe*/) const {
    const Value* from = latent_rows + position * latent_stride;
    for (std::int64_t i = 0; i < latent; ++i) out[i] = to_float(from[i]);
  }
};

// A cache of dense latent rows [keys, latent] and rotated keys [keys, rope]. Throws core::InvariantError for
// other sizes.
template <class Value>
[[nodiscard]] LatentKeyValues<Value> latent_cache(std::span<const Value> latent_rows,
                                                  std::span<const Value> rope_rows,
                                                  const LatentSizes& sizes) {
  const std::int64_t keys = sizes.latent > 0 ? std::ssize(latent_rows) / sizes.latent : 0;
  core::check(std::ssize(latent_rows) == keys * sizes.latent && std::ssize(rope_rows) == keys * sizes.rope,
              "a cache needs a latent row and a rotated key per token");
  return {latent_rows.data(), rope_rows.data(), keys, sizes.latent, sizes.rope, sizes.latent, sizes.rope};
}

// Queries of all heads [heads, tokens, nope + rope] and the rows that the tokens add to the cache.
struct LatentProjection {
  std::vector<float> queries;
  std::vector<float> latent_rows;
  std::vector<float> rope_rows;
};

// Projections, norms (RMSNorm) and rotations of a layer's input x [tokens, hidden]; token t uses row t of the
// table; with an empty table nothing is rotated (Kimi K3). Throws core::InvariantError for sizes that do not
// fit.
[[nodiscard]] LatentProjection latent_projection(std::span<const float> x,
                                                 const LatentWeights<float>& weights,
                                                 const LatentSizes& sizes, const RopeTable& table,
                                                 RopeLayout layout, float epsilon);
// The same, with counts of latent_down and query_up. P: NoProbe or CountingProbe.
template <class P>
[[nodiscard]] LatentProjection latent_projection(std::span<const float> x,
                                                 const LatentWeights<float>& weights,
                                                 const LatentSizes& sizes, const RopeTable& table,
                                                 RopeLayout layout, float epsilon, LatentProbes<P>& probes);

// y [tokens, hidden] from the heads' results [heads, tokens, value].
[[nodiscard]] std::vector<float> latent_output(std::span<const float> heads_out,
                                               const LatentWeights<float>& weights, const LatentSizes& sizes);
// The same, with counts of attention_output. P: NoProbe or CountingProbe.
template <class P>
[[nodiscard]] std::vector<float> latent_output(std::span<const float> heads_out,
                                               const LatentWeights<float>& weights, const LatentSizes& sizes,
                                               LatentProbes<P>& probes);

namespace detail {

template <class Value>
[[nodiscard]] std::vector<float> as_floats(std::span<const Value> values) {
  std::vector<float> floats;
  floats.reserve(values.size());
  for (const Value value : values) floats.push_back(to_float(value));
  return floats;
}

// Row `row` of the up projection of a head: rows 0, ..., nope - 1 are those of its keys.
[[nodiscard]] inline const float* up_row(const std::vector<float>& up, const LatentSizes& sizes,
                                         std::int64_t head, std::int64_t row) {
  return up.data() + (head * (sizes.nope + sizes.value) + row) * sizes.latent;
}

// Tensors of a product around the kernel, as probes tell them apart; latent_down has two of weights and
// results.
enum class LatentTensor : int { weights, input, result, more_weights, more_result };

template <class Value, class P>
void touch_latent(Operand operand, LatentTensor tensor, std::int64_t first, std::int64_t n, P& probe) {
  probe.touch(operand, static_cast<int>(tensor), first, n, kBitsOf<Value>);
}

template <class Value>
void check_latent(const QueryRows<Value>& queries, std::span<const Value> up, const LatentSizes& sizes) {
  core::check(queries.rows.heads == sizes.heads && queries.rows.width == sizes.query_dim() &&
                  std::ssize(up) == sizes.heads * (sizes.nope + sizes.value) * sizes.latent,
              "latent attention needs queries of nope + rope and (nope + value) x latent weights per head");
}

// Queries in the latent space [heads, queries, latent + rope], stored as Value.
template <class Value, class P>
[[nodiscard]] std::vector<Value> absorb_queries(const QueryRows<Value>& queries, const std::vector<float>& up,
                                                const LatentSizes& sizes, P& probe) {
  std::vector<Value> absorbed;
  std::vector<float> row(static_cast<std::size_t>(sizes.latent));
  for (std::int64_t head = 0; head < sizes.heads; ++head) {
    for (std::int64_t i = 0; i < queries.rows.rows; ++i) {
      const Value* query = queries.rows.row(head, i);
      std::fill(row.begin(), row.end(), 0.0F);
      for (std::int64_t n = 0; n < sizes.nope; ++n) {
        const float* weights = up_row(up, sizes, head, n);
        for (std::size_t c = 0; c < row.size(); ++c) row[c] += to_float(query[n]) * weights[c];
        probe.macs(sizes.latent, sizes.latent);
        touch_latent<Value>(Operand::weights, LatentTensor::weights, weights - up.data(), sizes.latent,
                            probe);
      }
      touch_latent<Value>(Operand::activations, LatentTensor::input, queries.rows.index(head, i), sizes.nope,
                          probe);
      touch_latent<Value>(Operand::result, LatentTensor::result, std::ssize(absorbed), sizes.latent, probe);
      for (const float element : row) absorbed.push_back(stored_as<Value>(element));
      absorbed.insert(absorbed.end(), query + sizes.nope, query + sizes.query_dim());
    }
  }
  return absorbed;
}

// Keys [heads, keys, nope + rope] and values [heads, keys, value] of each head from the cached rows.
template <class Faults, class Value, class P>
void expand_rows(const LatentKeyValues<Value>& cache, const std::vector<float>& up, const LatentSizes& sizes,
                 std::vector<Value>& keys, std::vector<Value>& values, P& probe) {
  for (std::int64_t head = 0; head < sizes.heads; ++head) {
    for (std::int64_t j = 0; j < cache.keys; ++j) {
      const std::vector<float> latent = as_floats(std::span<const Value>(
          cache.latent_rows + j * cache.latent_stride, static_cast<std::size_t>(sizes.latent)));
      const std::int64_t width = sizes.nope + sizes.value;
      for (std::int64_t n = 0; n < width; ++n) {
        const float* weights = up_row(up, sizes, head, n);
        (n < sizes.nope ? keys : values)
            .push_back(stored_as<Value>(dot(latent.data(), weights, sizes.latent)));
        probe.macs(sizes.latent, sizes.latent);
        touch_latent<Value>(Operand::weights, LatentTensor::weights, weights - up.data(), sizes.latent,
                            probe);
      }
      touch_latent<Value>(Operand::activations, LatentTensor::input, j * sizes.latent, sizes.latent, probe);
      touch_latent<Value>(Operand::result, LatentTensor::result, (head * cache.keys + j) * width, width,
                          probe);
      const Value* rotated = cache.rope_rows + j * cache.rope_stride;
      for (std::int64_t i = 0; i < sizes.rope; ++i)
        keys.push_back(Faults::has(Fault::latent_rope_dropped) ? Value{} : rotated[i]);
    }
  }
}

// Results of the heads [heads, queries, value] from those in the latent space. `Faults` plants what goes
// wrong.
template <class Faults, class Value, class Out, class P>
void raise_results(const HeadRows<Value>& latent_rows, const std::vector<float>& up, const LatentSizes& sizes,
                   const AttentionOutput<Out>& output, P& probe) {
  for (std::int64_t head = 0; head < sizes.heads; ++head) {
    const float* rows = up_row(up, sizes, head, sizes.nope);
    std::vector<float> weights(rows, rows + sizes.value * sizes.latent);
    if constexpr (Faults::has(Fault::absorbed_value_transposed)) {
      for (std::int64_t at = 0; at < sizes.value * sizes.latent; ++at)
        weights[static_cast<std::size_t>(at)] = rows[at % sizes.latent * sizes.value + at / sizes.latent];
    }
    for (std::int64_t i = 0; i < latent_rows.rows; ++i) {
      const std::vector<float> latent =
          as_floats(std::span<const Value>(latent_rows.row(head, i), static_cast<std::size_t>(sizes.latent)));
      for (std::int64_t v = 0; v < sizes.value; ++v) {
        store(dot(latent.data(), weights.data() + v * sizes.latent, sizes.latent),
              output.rows.row(head, i)[v]);
        probe.macs(sizes.latent, sizes.latent);
        touch_latent<Value>(Operand::weights, LatentTensor::weights, rows - up.data() + v * sizes.latent,
                            sizes.latent, probe);
      }
      touch_latent<Value>(Operand::activations, LatentTensor::input, latent_rows.index(head, i), sizes.latent,
                          probe);
      touch_latent<Out>(Operand::result, LatentTensor::result, output.rows.index(head, i), sizes.value,
                        probe);
    }
  }
}

}  // namespace detail

// Naive form: keys [k_nope | rotated key] and values of each head are expanded from the latent rows and
// stored as Value, then ordinary attention. Queries [heads, queries, nope + rope], `up` as
// LatentWeights::key_value_up, result [heads, queries, value]. `probe` sees the attention kernel
// (llm::AttentionForm::latent_naive), `stages` (LatentProbes) the expansion, which is a Gemm of its own.
template <class Value, class Out, class P = NoProbe, class Stages = LatentProbes<NoProbe>>
void latent_attention_naive(const QueryRows<Value>& queries, const LatentKeyValues<Value>& cache,
                            std::span<const Value> up, const LatentSizes& sizes,
                            const AttentionOptions& options, const AttentionOutput<Out>& output,
                            P&& probe = P{}, Stages&& stages = Stages{}) {
  using Plain = std::remove_reference_t<P>;
  detail::check_latent(queries, up, sizes);
  const std::vector<float> weights = detail::as_floats(up);
  std::vector<Value> keys, values;
  detail::expand_rows<Plain>(cache, weights, sizes, keys, values, stages.key_value_up);
  ContiguousKeyValues<Value> source;
  source.key_rows = heads_first(std::span<const Value>(keys), sizes.heads, cache.keys, sizes.query_dim());
  source.value_rows = heads_first(std::span<const Value>(values), sizes.heads, cache.keys, sizes.value);
  source.operand = Operand::activations;
  attention_tiled(queries, source, options, output, probe);
}

// Absorbed form: queries are multiplied by the up projection of the keys, attention works on the cached rows
// (decode order: each is read once for all heads), and its result [latent] is multiplied by the up projection
// of the values. Same parameters and result as the naive form; what lies between the products is stored as
// Value. With `chosen` (top_k per query, as attention_chosen takes them) only those keys are read. `probe`
// sees the attention kernel (llm::AttentionForm::latent_absorbed), `stages` (LatentProbes) both products.
template <class Value, class Out, class P = NoProbe, class Stages = LatentProbes<NoProbe>>
void latent_attention_absorbed(const QueryRows<Value>& queries, const LatentKeyValues<Value>& cache,
                               std::span<const Value> up, const LatentSizes& sizes,
                               const AttentionOptions& options, const AttentionOutput<Out>& output,
                               P&& probe = P{}, std::span<const std::int32_t> chosen = {},
                               std::int64_t top_k = 0, Stages&& stages = Stages{}) {
  detail::check_latent(queries, up, sizes);
  const std::int64_t count = queries.rows.rows;
  const std::vector<float> weights = detail::as_floats(up);
  const std::vector<Value> absorbed = detail::absorb_queries(queries, weights, sizes, stages.query_absorb);
  QueryRows<Value> latent_queries = queries;
  latent_queries.rows = heads_first(std::span<const Value>(absorbed), sizes.heads, count, sizes.cached_dim());
  std::vector<Value> latent_out(static_cast<std::size_t>(sizes.heads * count * sizes.latent));
  const AttentionOutput<Value> latent_output{
      heads_first(std::span<Value>(latent_out), sizes.heads, count, sizes.latent), output.lse};
  if (top_k > 0) {
    attention_chosen(latent_queries, cache, chosen, top_k, options, latent_output, probe);
  } else {
    attention_decode(latent_queries, cache, options, latent_output, probe);
  }
  detail::raise_results<std::remove_reference_t<P>>(latent_output.rows, weights, sizes, output,
                                                    stages.value_absorb);
}

}  // namespace moesim::reference
