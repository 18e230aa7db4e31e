// Random problems of attention with the shape of a model's layer.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "models/llm/attention.hpp"
#include "models/llm/formats.hpp"
#include "models/reference/small_float.hpp"
#include "sim/studies/numerics_attention.hpp"
#include "sim/studies/numerics_counts.hpp"
#include "sim/studies/numerics_latent.hpp"
#include "sim/studies/numerics_recurrent.hpp"

namespace moesim::studies {

// New tokens of a sequence, and those before them.
struct NumericsSequence {
  std::int64_t tokens = 0;
  std::int64_t context = 0;
  [[nodiscard]] std::int64_t keys() const { return tokens + context; }
};

inline constexpr float kUnitScale[] = {1.0F};
inline constexpr float kIntegerScale[] = {0.01F};

// `n` drawn values as a KV cache of bf16, fp16, fp8 (E4M3) or int8 holds them.
template <class Value>
[[nodiscard]] std::vector<Value> cached_values(NumericsDraws& draws, std::int64_t n) {
  std::vector<Value> values;
  values.reserve(static_cast<std::size_t>(n));
  for (const float value : draws.floats(n, 1.0)) {
    if constexpr (std::is_same_v<Value, std::uint8_t>) {
      values.push_back(reference::encode(reference::kE4m3fn, value));
    } else if constexpr (std::is_same_v<Value, std::int8_t>) {
      values.push_back(static_cast<std::int8_t>(value * 100.0F));
    } else {
      values.push_back(reference::stored_as<Value>(value));
    }
  }
  return values;
}

// Calls body(a value of the stored type, its decode).
template <class Body>
void with_cache_format(llm::NumberFormat kv, const Body& body) {
  switch (kv) {
    case llm::NumberFormat::fp8:
      return body(std::uint8_t{}, reference::TableDecode{reference::kE4m3fn.values, kUnitScale});
    case llm::NumberFormat::int8:
      return body(std::int8_t{}, reference::IntegerDecode{kIntegerScale});
    case llm::NumberFormat::fp16:
      return body(reference::Fp16{}, reference::PlainDecode{});
    default:
      return body(reference::Bf16{}, reference::PlainDecode{});
  }
}

// Attention of `heads` over `kv_heads` of a layer.
template <class Value, class Decode>
[[nodiscard]] GroupedProblem<Value, Decode> grouped_problem(const llm::GroupedQueryAttention& shape,
                                                            std::int64_t heads, std::int64_t kv_heads,
                                                            const NumericsSequence& sequence,
                                                            const Decode& decode, NumericsDraws& draws) {
  GroupedProblem<Value, Decode> p;
  p.heads = heads;
  p.kv_heads = kv_heads;
  p.queries = sequence.tokens;
  p.keys = sequence.keys();
  p.key_dim = shape.head_dim;
  p.value_dim = shape.value_dim();
  p.q = draws.values(heads * p.queries * p.key_dim, 2.0);
  p.k = cached_values<Value>(draws, kv_heads * p.keys * p.key_dim);
  p.v = cached_values<Value>(draws, kv_heads * p.keys * p.value_dim);
  if (shape.sinks) p.sinks = draws.values(heads, 1.0);
  p.decode = decode;
  p.options.scale = 1.0 / core::math::sqrt(static_cast<double>(p.key_dim));
  p.options.soft_cap = shape.score_cap ? 30.0 : 0.0;
  p.options.mask.window = shape.window_tokens;
  p.options.mask.chunk = shape.chunk_tokens;
  p.options.first_query = sequence.context;
  return p;
}

// `heads` of a layer; its indexer too where it computes a choice of its own or uses another's.
[[nodiscard]] LatentProblem latent_problem(const llm::LatentAttention& shape, std::int64_t heads,
                                           const NumericsSequence& sequence, NumericsDraws& draws);

// `ranks`-th part of the heads of a layer.
[[nodiscard]] DeltaProblem delta_problem(const llm::RecurrentAttention& shape, std::int64_t ranks,
                                         std::int64_t tokens, NumericsDraws& draws);

// What rank 0 counts in the attention part of a layer against `operators`, which are those of `model`: one
// layer group without an FFN, lowered for the two sequences.
void count_attention(const llm::Architecture& model, const llm::Layout& layout, const llm::Formats& formats,
                     std::span<const NumericsSequence> sequences, std::uint64_t seed,
                     std::span<const llm::Operator> operators, serving::LayerCheck& check);

}  // namespace moesim::studies
