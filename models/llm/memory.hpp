// Bytes that a model takes on one rank: weights, KV cache, activations, exchange buffers.
#pragma once

#include <cstdint>

#include "models/llm/architecture.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "models/llm/parameters.hpp"

namespace moesim::llm {

// Bytes of the whole model, each weight once (and no padding of the vocabulary).
[[nodiscard]] ByCategory weight_bytes(const Architecture& architecture, const Formats& formats);

// Bytes on one rank. All ranks of a replica hold the same amount. Split over tp: query heads, KV heads
// (copied when tp passes their number), dense FFN width, vocabulary (padded). Copied on each rank: router,
// norms, the down projections of latent attention. Routed experts are split over ep and moe_tp, shared
// experts as shared_expert_shards() says. Copies in another format that an engine makes at load time are not
// counted.
[[nodiscard]] ByCategory weight_bytes_per_rank(const Architecture& architecture, const Layout& layout,
                                               const Formats& formats);

// KV bytes that one token of context takes, whole model (each head once).
[[nodiscard]] std::int64_t kv_bytes_per_token(const Architecture& architecture, NumberFormat kv);

// KV bytes that one token takes on each tensor rank that serves it: grouped-query heads are split over tp and
// copied when tp passes their number; the latent row is on every rank.
[[nodiscard]] std::int64_t kv_bytes_per_token_per_rank(const Architecture& architecture, const Layout& layout,
                                                       NumberFormat kv);

// What a step needs beyond weights and KV.
struct StepShape {
  std::int64_t tokens = 0;           // of one data-parallel rank
  std::int64_t logit_sequences = 0;  // rows of logits of one data-parallel rank
};

// Peak of the activations of one step on one rank, in bytes: residual stream (tokens x hidden, bf16) + the
// largest of
//  - attention: the layer's normed input, q, k and v (for latent attention also the expanded keys and values
//  of the
//    step's own tokens), and the heads' output;
//  - FFN: the normed input, the gate and up results and their product; for an MoE layer the rows sent to the
//  rank's
//    experts at perfect balance (ceil(group tokens x top_k / ep)): gathered input, gate and up, product and
//    output, plus the shared experts on the rank's tokens;
//  - logits: the rank's slice in bf16, the gathered row in bf16 and one fp32 copy for sampling.
// Allocator slack, workspaces and graph pools belong to the engine and are not in it.
// A count of tensors, not a measurement: at 8,192 tokens it gives 0.78 GiB for Llama 3 8B, where a vLLM log
// (PR 10511, token count not stated) prints 1.26 GiB.
[[nodiscard]] std::int64_t activation_peak_bytes(const Architecture& architecture, const Layout& layout,
                                                 const Formats& formats, const StepShape& step);

struct ExchangeBuffers {
  std::int64_t dispatch_bytes = 0;
  std::int64_t combine_bytes = 0;
};

// Receive buffers of the all-to-all on one rank, in the layout of DeepEP's low-latency mode: experts on the
// rank x `max_tokens_per_rank` x ep x bytes of a row (activation format for dispatch, bf16 for combine). One
// pair serves all layers. Zero where no layer uses dispatch.
[[nodiscard]] ExchangeBuffers exchange_buffers(const Architecture& architecture, const Layout& layout,
                                               const Formats& formats, std::int64_t max_tokens_per_rank);

}  // namespace moesim::llm
