// From a batch to the operators of one rank.
//
// Rules (tp, dp, ep as in Layout; T = tokens of the data-parallel rank):
//  - Embedding and head are split over tp by vocabulary: an all-reduce follows the look-up, an all-gather of
//  the
//    logits precedes sampling. Each data-parallel rank has its own copy (vLLM's rule).
//  - Attention projections are split by heads over tp, the output by rows; an all-reduce over the tensor
//  group
//    follows. Copied work: k and v projections when tp passes the KV heads, the down projections of latent
//    attention.
//  - Dense FFN layers are split over tp inside the data-parallel rank and end in an all-reduce; data-parallel
//  ranks
//    hold copies and work on their own tokens.
//  - MoE layers follow moe_exchange(): with all_reduce each rank routes all T tokens and computes its experts
//  or
//    slices; with dispatch each rank routes and dispatches ceil(T / tp) tokens (and its shared experts work
//    on those), and an all-gather over the tensor group follows combine; with gather_scatter each rank routes
//    the tokens of all data-parallel ranks.
//  - With sequence_parallel the all-reduces over the tensor group become a reduce-scatter, and an all-gather
//  behind the norm that follows; norms and residual adds work on ceil(T / tp) tokens.
//  - With cp > 1 a rank has pieces of each prompt (add_chunk for several ranks); its batch's RingPass brings
//  the
//    other ranks' KV rows by. With dcp > 1 the decode kernel serves the heads of all dcp ranks on 1 / dcp of
//    the keys; queries are gathered before and results scattered after; prefill gathers the rows of the
//    context.
//  - The residual add is fused into the next norm; the first norm is charged one and the last is not, so that
//  the
//    sum is right and all layers of a group are equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/batch.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "models/llm/operator.hpp"

namespace moesim::llm {

// The operators of each of `count` equal layers, in order.
struct LayerOperators {
  std::size_t group = 0;  // index into Architecture::layers
  std::int64_t count = 0;
  std::vector<Operator> operators;
};

// A step of one rank: embedding, then each layer group `count` times, then head.
struct StepOperators {
  std::vector<Operator> embedding;
  std::vector<LayerOperators> layers;
  std::vector<Operator> head;
  std::vector<Operator> send;  // to the next pipeline stage
};

// Fills `out` with the operators of one rank for `batch`; reuses its memory. All ranks of a data-parallel
// rank get the same operators except for rows_by_expert, which stay empty (see set_expert_rows).
// `group_tokens` are the tokens of all data-parallel ranks in this step (batch.tokens when dp = 1); only
// gather_scatter depends on it. The layout must be legal. Throws core::InvariantError for an empty batch or
// group_tokens < batch.tokens.
void lower(const Architecture& architecture, const Layout& layout, const Formats& formats,
           const RankBatch& batch, std::int64_t group_tokens, StepOperators& out);

// The same for one of layout.pp pipeline stages: its layers (stage_layers(); a layer group without layers in
// the stage has no operators), the embedding in the first, the head in the last, and a send in the others.
// lower() is for layouts with one stage.
void lower_stage(const Architecture& architecture, const Layout& layout, const Formats& formats,
                 const RankBatch& batch, std::int64_t group_tokens, std::int64_t stage, StepOperators& out);

// The operators of one prediction layer (multi-token prediction), which every token of the batch passes after
// the model's own layers: the embedding of the next token, a norm over each of the two rows, the projection
// that joins them, the layer, and the model's head on a norm of its own. `architecture.prediction` must be
// given.
void lower_prediction(const Architecture& architecture, const Layout& layout, const Formats& formats,
                      const RankBatch& batch, std::int64_t group_tokens, StepOperators& out);

// Points every grouped operator of a layer at the rows of the rank's experts (one entry per expert on the
// rank).
void set_expert_rows(std::span<Operator> operators, std::span<const std::int64_t> rows_by_expert);

}  // namespace moesim::llm
