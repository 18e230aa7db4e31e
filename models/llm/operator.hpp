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
  shared_gate,  // one score per token that weighs the shared experts
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
};

enum class AttentionForm : std::uint8_t {
  grouped,          // reads kv_heads x (qk_dim + v_dim) per cached token
  latent_naive,     // keys and values were expanded per head (key_value_up): they are bf16 activations, not
                    // cache
  latent_absorbed,  // reads one row of qk_dim per cached token, whose first v_dim entries are the value
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

using Operator = std::variant<Gemm, GroupedGemm, Attention, Elementwise, RoutedElementwise, Router, TopK,
                              Embedding, Sampling, AllReduce, AllGather, ReduceScatter, Dispatch, Combine>;

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
[[nodiscard]] Work work_of(const Elementwise& op);
[[nodiscard]] Work work_of(const RoutedElementwise& op);
[[nodiscard]] Work work_of(const Router& op);
[[nodiscard]] Work work_of(const TopK& op);
[[nodiscard]] Work work_of(const Embedding& op);
[[nodiscard]] Work work_of(const Sampling& op);
[[nodiscard]] Work work_of(const AllReduce& op);
[[nodiscard]] Work work_of(const AllGather& op);
[[nodiscard]] Work work_of(const ReduceScatter& op);
[[nodiscard]] Work work_of(const Dispatch& op);
[[nodiscard]] Work work_of(const Combine& op);
[[nodiscard]] Work work_of(const Operator& op);

}  // namespace moesim::llm
