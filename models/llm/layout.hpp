// How one replica's ranks share a model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/llm/architecture.hpp"

namespace moesim::llm {

// Degrees of parallelism. Rank r of a stage is tensor rank r % tp of token group r / tp: the token groups are
// the dp attention data-parallel ranks, or each of them cut into cp context-parallel ranks. Experts are
// spread over all tp x dp x cp ranks of a stage: rank r holds expert shard r / moe_tp(), slice r % moe_tp()
// of each expert.
struct Layout {
  std::int64_t tp = 1;  // tensor parallel ranks that share one token's attention
  std::int64_t dp = 1;  // attention data parallel ranks: each has its own tokens and KV cache
  std::int64_t ep = 1;  // expert shards; divides tp * dp * cp
  std::int64_t pp = 1;  // pipeline stages
  // Context parallel ranks: each has a part of every prompt and of the KV cache (ring attention).
  std::int64_t cp = 1;
  // Decode context parallel ranks: so many of the tp ranks share the KV rows that they would all hold.
  std::int64_t dcp = 1;
  // The residual stream and its norms are divided over tp by tokens (arXiv 2205.05198): each all-reduce
  // becomes a reduce-scatter before and an all-gather behind the norm.
  bool sequence_parallel = false;

  [[nodiscard]] std::int64_t ranks() const { return tp * dp * cp * pp; }
  // Groups of tensor ranks that have tokens of their own.
  [[nodiscard]] std::int64_t token_groups() const { return dp * cp; }
  // Ranks over which each expert is cut.
  [[nodiscard]] std::int64_t moe_tp() const { return tp * token_groups() / ep; }
  bool operator==(const Layout&) const = default;
};

// The groups of ranks that communicate.
enum class Group : std::uint8_t {
  tensor,  // the tp ranks of one data-parallel rank
  data,    // the ranks of all token groups with the same tensor rank
  expert,  // the ep ranks with the same slice of their experts; all ranks of the stage where dispatch is used
  context,         // the cp ranks with the same tensor rank
  decode_context,  // dcp neighbours among the tensor ranks
};

// Ranks in the group: tp, dp x cp, ep, cp or dcp.
[[nodiscard]] std::int64_t group_size(const Layout& layout, Group group);

// How the tokens of an MoE layer reach their experts.
enum class MoeExchange : std::uint8_t {
  all_reduce,  // one token group: every rank has all tokens; the layer's all-reduce adds up experts and
               // slices
  dispatch,  // several token groups and whole experts: all-to-all dispatch and combine over the expert group
  // several token groups and cut experts: all-gather of the tokens over the data group, reduce-scatter over
  // it afterwards, then an all-reduce over the tensor group (the rule of SGLang without an all-to-all
  // backend).
  gather_scatter,
};
[[nodiscard]] MoeExchange moe_exchange(const Layout& layout);

// KV heads of a grouped-query layer on one rank: heads are copied when tp passes their number.
[[nodiscard]] std::int64_t kv_heads_per_rank(const GroupedQueryAttention& attention, std::int64_t tp);

// Ranks over which the shared experts are cut: tp with all_reduce, 1 (a full copy per rank, which works on
// the rank's own part of the tokens) with dispatch, all ranks of the stage with gather_scatter.
[[nodiscard]] std::int64_t shared_expert_shards(const Layout& layout);

// Vocabulary as stored: rounded up to a multiple of 64 and of tp (vLLM vocab_parallel_embedding.py pads to
// 64).
[[nodiscard]] std::int64_t padded_vocab(const Architecture& architecture, const Layout& layout);

// The layers of one pipeline stage: how many of each layer group. Stages take layers in the order of the
// network, as evenly as possible; the stages before the last one, from the back, take the remainder (vLLM,
// get_pp_indices).
[[nodiscard]] std::vector<std::int64_t> stage_layers(const Architecture& architecture, std::int64_t stages,
                                                     std::int64_t stage);

// Why the layout cannot hold the model: one sentence per failing equation, with its numbers; empty if it is
// legal.
[[nodiscard]] std::vector<std::string> layout_problems(const Architecture& architecture,
                                                       const Layout& layout);

// The same, and what steps cannot be simulated with yet.
[[nodiscard]] std::vector<std::string> run_problems(const Architecture& architecture, const Layout& layout);

}  // namespace moesim::llm
