// Exact floating-point operations of a whole model as a function of the context.
//
// The convention of model cards and scaling laws: linear work is 2 FLOP per parameter in use and token, both
// embedding matrices included (although a look-up multiplies nothing, and a prefill needs the head for its
// last token only); attention is 2 FLOP x heads x (width of a key + width of a value) for each unmasked pair
// of query and key. What a run is charged comes from the operators of a step (models/llm/lowering.hpp), not
// from here.
#pragma once

#include <cstdint>

#include "models/llm/architecture.hpp"
#include "sim/core/time.hpp"

namespace moesim::llm {

// FLOPs by kind. 128 bits: 10 million tokens of a large model pass 2^63.
struct ContextWork {
  core::Int128 linear_flops = 0;
  core::Int128 attention_flops = 0;  // both products of attention, over the exact pairs
  core::Int128 index_flops = 0;      // scores of indexers, over all keys that they score
  core::Int128 recurrent_flops = 0;  // products with the states of recurrent layers

  [[nodiscard]] core::Int128 total() const {
    return linear_flops + attention_flops + index_flops + recurrent_flops;
  }
  bool operator==(const ContextWork&) const = default;
};

// A prefill of `tokens` >= 0 tokens from an empty context, without layers for prediction.
//  - Latent attention in its naive form (keys and values of every head), whose expansion is a linear layer.
//  - Compressed attention: the pairs of its window and of its pooled entries together.
//  - Recurrent layers by their recurrence, token after token (Recurrence with Phase::decode): 3 k v
//    multiply-accumulates per token and state for delta rules, 2 k v for others. Chunked kernels do more.
//  - An encoder reads as many tokens, each of which sees all (grouped-query attention); cross-attention too.
[[nodiscard]] ContextWork prefill_work(const Architecture& architecture, std::int64_t tokens);

// One more token, when the context is `context` >= 1 tokens long with it.
[[nodiscard]] ContextWork token_work(const Architecture& architecture, std::int64_t context);

// A count as a double: exact below 2^53, else rounded to nearest.
[[nodiscard]] double as_double(core::Int128 count);

}  // namespace moesim::llm
