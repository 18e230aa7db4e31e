// Operators: the mathematical pieces of a step on one rank, and the exact work of each.
//
// Conventions (reference/numerics.md part 3): 2 FLOP a multiply-accumulate; attention counts the unmasked
// pairs of query and key exactly; bytes are compulsory: each operand read once, each result written once,
// each distinct expert that has a row read once. Reading and writing scales of quantised operands is
// included. The pass that quantises activations is part of a GEMM's cost, not an operator of its own.
#pragma once

#include <cstdint>
#include <span>
#include <variant>

#include "models/llm/attention.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"

namespace moesim::llm {

enum class GemmRole : std::uint8_t {
  query_key_value,  // fused q, k and v of grouped-query attention
  latent_down,      // fused down projections of queries, latent row and rotated key
  query_up,         // queries of latent attention, from their low-rank form or directly from the input
  key_value_up,     // naive form: latent rows -> keys and values of each head
  query_absorb,     // absorbed form: one [kv_lora_rank, nope] matrix per head, queries -> latent space
  value_absorb,     // absorbed form: one [v, kv_lora_rank] matrix per head, latent result -> values
  attention_output,
  gate_up,  // fused gate and up projection of a dense FFN
  down,
  shared_gate_up,
  shared_down,
  expert_gate_up,  // grouped
  expert_down,     // grouped
  head,
  shared_gate,          // one score per token that weighs the shared experts
  attention_gate,       // gate of the heads' output (latent attention; grouped-query fuses it with q, k, v)
  index_query,          // queries of an indexer
  index_down,           // keys of an indexer, and the weights of its heads
  output_down,          // grouped low-rank half of the output projection (compressed attention)
  pooling,              // values and gates from which entries are pooled (compressed attention)
  recurrent_in,         // all projections of a recurrent layer's input
  recurrent_gate_down,  // low-rank gate of a recurrent layer
  recurrent_gate_up,
  decay_down,  // low-rank decay of Kimi delta attention
  decay_up,
  expert_latent_down,  // into the space of the experts
  expert_latent_up,    // out of it
  hyper_connection,    // factors with which residual streams are read, mixed and written
  prediction_join,     // state and next embedding joined for a prediction layer
};

// `batch` independent products: [rows, depth] x [depth, columns] -> [rows, columns] (bf16), each with own
// weights.
struct Gemm {
  GemmRole role = GemmRole::query_key_value;
  std::int64_t batch = 1;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  NumberFormat weights = NumberFormat::bf16;
  NumberFormat activations = NumberFormat::bf16;
  bool bias = false;  // a bf16 bias per column, added in the same kernel
};

// One product per expert on this rank. `rows_by_expert` (one entry per expert on the rank) is empty until
// execution fills it from routing; its memory must outlive the operator.
struct GroupedGemm {
  GemmRole role = GemmRole::expert_gate_up;
  std::int64_t experts = 0;  // on this rank
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  NumberFormat weights = NumberFormat::bf16;
  NumberFormat activations = NumberFormat::bf16;
  std::span<const std::int64_t> rows_by_expert;
  bool bias = false;  // a bf16 bias per expert and column, added in the same kernel
};

enum class AttentionForm : std::uint8_t {
  grouped,          // reads kv_heads x (qk_dim + v_dim) per cached token
  latent_naive,     // keys and values were expanded per head (key_value_up): they are bf16 activations, not
                    // cache
  latent_absorbed,  // reads one row of qk_dim per cached token, whose first v_dim entries are the value
  compressed,       // reads one row of qk_dim, key and value at once, per token of the window and per entry
};

enum class Phase : std::uint8_t { prefill, decode };

// One attention kernel over all its sequences. Heads are those of this rank.
struct Attention {
  AttentionForm form = AttentionForm::grouped;
  Phase phase = Phase::prefill;
  std::int64_t sequences = 0;
  std::int64_t query_tokens = 0;
  std::int64_t pairs = 0;      // unmasked (query, key) pairs of one head, summed over the sequences
  std::int64_t kv_tokens = 0;  // keys read, summed over the sequences: each once
  std::int64_t query_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t qk_dim = 0;
  std::int64_t v_dim = 0;
  NumberFormat kv = NumberFormat::bf16;       // of the keys and values as read
  NumberFormat compute = NumberFormat::bf16;  // of both products
  bool score_cap = false;                     // a division, a tanh and a product more per score
  bool sinks = false;                         // an exponential and a sum more per query and head
  // Bytes of one cached row of all KV heads where the cache mixes formats; 0: as the form and `kv` say.
  std::int64_t cached_row_bytes = 0;
};

// Scores of an indexer: for each pair of query and key and each head a product over head_dim, a rectification
// and a weighted sum over the heads.
struct IndexScores {
  Phase phase = Phase::prefill;
  std::int64_t query_tokens = 0;
  std::int64_t pairs = 0;
  std::int64_t keys = 0;  // read, each once
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t key_bytes = 0;  // of one cached key
  NumberFormat compute = NumberFormat::bf16;
};

// Choice of the best keys of each query among scored ones.
struct KeyChoice {
  std::int64_t candidates = 0;  // over all queries
  std::int64_t chosen = 0;      // over all queries
};

// A layer with a constant state over the tokens of its sequences. Heads are those of this rank.
//  - decode: one token after another; each reads and writes the state.
//  - prefill: chunks of `chunk_tokens` tokens by matrix products (the chunked form of each recurrence); the
//    state is read and written once per sequence.
struct Recurrence {
  RecurrentKind recurrence = RecurrentKind::gated_delta;
  Phase phase = Phase::prefill;
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;
  std::int64_t key_heads = 0;
  std::int64_t value_heads = 0;
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
  std::int64_t chunk_tokens = 64;
};

enum class ElementwiseRole : std::uint8_t {
  input_norm,           // residual add and RMSNorm before attention
  post_attention_norm,  // residual add and RMSNorm before the FFN
  final_norm,           // RMSNorm before the head
  query_key_norm,
  latent_norm,     // RMSNorm of the low-rank query and of the latent row
  rope_and_cache,  // rotation of q and k, write of the new KV rows
  activation,      // silu(gate) * up
  shared_activation,
  combine_sum,            // weighted sum of the top_k rows that came back from the experts
  shared_add,             // shared experts' result added to the routed one
  attention_output_norm,  // norm of the result of attention (post_norms)
  ffn_output_norm,        // norm of the result of the FFN (post_norms)
  attention_gate,         // heads' output times the sigmoid of its gate
  index_keys,             // norm and rotation of index keys and queries, write of the new keys
  pool_entries,           // gated sums of windows of tokens, write of the new entries
  convolution,            // short convolution of a recurrent layer
  recurrent_gates,        // decays and step sizes of a recurrent layer
  recurrent_output,       // norm and gate of a recurrent layer's output
  latent_expert_norm,     // norm of the experts' sum in their own space
  hyper_connection,       // residual streams read, mixed and written
};

struct Elementwise {
  ElementwiseRole role = ElementwiseRole::input_norm;
  std::int64_t elements = 0;  // of the result
  std::int64_t read_bytes = 0;
  std::int64_t write_bytes = 0;     // without KV
  std::int64_t kv_write_bytes = 0;  // rope_and_cache
  std::int64_t other_flops = 0;
  std::int64_t specials = 0;  // exponentials, reciprocal square roots
};

enum class RoutedRole : std::uint8_t {
  permute,            // tokens -> rows in the order of the experts
  expert_activation,  // silu(gate) * up on the rows
  unpermute,          // rows -> tokens, weighted and added up
};

// Elementwise work on the rows of the rank's experts; `rows_by_expert` as in GroupedGemm.
struct RoutedElementwise {
  RoutedRole role = RoutedRole::permute;
  std::int64_t read_bytes_per_row = 0;
  std::int64_t write_bytes_per_row = 0;
  std::int64_t other_flops_per_row = 0;
  std::int64_t specials_per_row = 0;
  std::int64_t fixed_read_bytes = 0;  // whatever the rows
  std::int64_t fixed_write_bytes = 0;
  std::span<const std::int64_t> rows_by_expert;
};

// Router scores: [tokens, hidden] x [hidden, experts], bf16 weights, f32 result.
struct Router {
  std::int64_t tokens = 0;
  std::int64_t experts = 0;
  std::int64_t hidden = 0;
};

// Softmax or sigmoid over the experts and choice of top_k.
struct TopK {
  std::int64_t tokens = 0;
  std::int64_t experts = 0;
  std::int64_t top_k = 0;
  bool table = false;  // the experts are looked up by token id: nothing is compared
};

// Look-up of `tokens` rows of the (vocabulary-split) embedding.
struct Embedding {
  std::int64_t tokens = 0;
  std::int64_t hidden = 0;
};

// One token per sequence from bf16 logits.
struct Sampling {
  std::int64_t sequences = 0;
  std::int64_t vocab = 0;
};

// Collectives over `ranks` ranks; never emitted for a group of one. `bytes` is the whole tensor: what each
// rank puts into and gets out of an all-reduce, gets out of an all-gather, puts into a reduce-scatter.
struct AllReduce {
  std::int64_t bytes = 0;
  Group group = Group::tensor;
  std::int64_t ranks = 1;
};
struct AllGather {
  std::int64_t bytes = 0;
  Group group = Group::tensor;
  std::int64_t ranks = 1;
};
struct ReduceScatter {
  std::int64_t bytes = 0;
  Group group = Group::tensor;
  std::int64_t ranks = 1;
};

// Ring of context-parallel ranks: each sends `bytes` (its own KV rows) to the next one, ranks - 1 times,
// while attention works on the rows at hand.
struct RingPass {
  std::int64_t bytes = 0;
  Group group = Group::context;
  std::int64_t ranks = 1;
};
// The residual stream of a pipeline stage's last layer, to the next stage.
struct StageSend {
  std::int64_t bytes = 0;
};

// All-to-all of an MoE layer: this rank's `tokens` each go to the ranks of their top_k experts (Dispatch) and
// the results come back (Combine). Rows that stay on the rank or share a destination are the token map's
// business.
struct Dispatch {
  std::int64_t tokens = 0;
  std::int64_t top_k = 0;
  std::int64_t bytes_per_row = 0;
  Group group = Group::expert;
  std::int64_t ranks = 1;
};
struct Combine {
  std::int64_t tokens = 0;
  std::int64_t top_k = 0;
  std::int64_t bytes_per_row = 0;
  Group group = Group::expert;
  std::int64_t ranks = 1;
};

using Operator = std::variant<Gemm, GroupedGemm, Attention, IndexScores, KeyChoice, Recurrence, Elementwise,
                              RoutedElementwise, Router, TopK, Embedding, Sampling, AllReduce, AllGather,
                              ReduceScatter, RingPass, StageSend, Dispatch, Combine>;

// Exact work of one operator.
struct Work {
  std::int64_t matmul_flops = 0;
  NumberFormat compute = NumberFormat::bf16;  // of matmul_flops
  std::int64_t other_flops = 0;  // adds, multiplications, divisions and comparisons outside products
  std::int64_t specials = 0;     // exponentials and reciprocal square roots
  std::int64_t weight_read_bytes = 0;
  std::int64_t kv_read_bytes = 0;
  std::int64_t activation_read_bytes = 0;
  std::int64_t kv_write_bytes = 0;
  std::int64_t activation_write_bytes = 0;
  // What the collective is asked to move for this rank: the tensor's bytes, or tokens x top_k x bytes of a
  // row. Bytes on links, messages and the memory traffic of the collective follow from the algorithm and the
  // token map.
  std::int64_t payload_bytes = 0;

  [[nodiscard]] std::int64_t read_bytes() const {
    return weight_read_bytes + kv_read_bytes + activation_read_bytes;
  }
  [[nodiscard]] std::int64_t write_bytes() const { return kv_write_bytes + activation_write_bytes; }
  // True if the operator sends to other ranks.
  [[nodiscard]] bool communicates() const { return payload_bytes > 0; }
  bool operator==(const Work&) const = default;
};

// Rows of all experts together, and experts that have at least one row.
struct ExpertRows {
  std::int64_t rows = 0;
  std::int64_t distinct = 0;
};
[[nodiscard]] ExpertRows sum_rows(std::span<const std::int64_t> rows_by_expert);

// The work of each kind of operator. Throws core::InvariantError if rows_by_expert was not filled.
[[nodiscard]] Work work_of(const Gemm& op);
[[nodiscard]] Work work_of(const GroupedGemm& op);
[[nodiscard]] Work work_of(const Attention& op);
[[nodiscard]] Work work_of(const IndexScores& op);
[[nodiscard]] Work work_of(const KeyChoice& op);
[[nodiscard]] Work work_of(const Recurrence& op);
[[nodiscard]] Work work_of(const Elementwise& op);
[[nodiscard]] Work work_of(const RoutedElementwise& op);
[[nodiscard]] Work work_of(const Router& op);
[[nodiscard]] Work work_of(const TopK& op);
[[nodiscard]] Work work_of(const Embedding& op);
[[nodiscard]] Work work_of(const Sampling& op);
[[nodiscard]] Work work_of(const AllReduce& op);
[[nodiscard]] Work work_of(const AllGather& op);
[[nodiscard]] Work work_of(const ReduceScatter& op);
[[nodiscard]] Work work_of(const RingPass& op);
[[nodiscard]] Work work_of(const StageSend& op);
[[nodiscard]] Work work_of(const Dispatch& op);
[[nodiscard]] Work work_of(const Combine& op);
[[nodiscard]] Work work_of(const Operator& op);

}  // namespace moesim::llm
