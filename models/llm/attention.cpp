#include "models/llm/attention.hpp"

#include <string>

namespace moesim::llm {

namespace {

void check_grouped_query(const GroupedQueryAttention& attention, config::Problems& problems) {
  if (attention.query_heads % attention.kv_heads != 0) {
    problems.error("/kv_heads", "query_heads (" + std::to_string(attention.query_heads) +
                                    ") must be a multiple of kv_heads (" +
                                    std::to_string(attention.kv_heads) +
                                    "): each KV head serves the same number of query heads");
  }
  if (attention.query_key_norm_over_heads && !attention.query_key_norm) {
    problems.error("/query_key_norm_over_heads", "a norm over all heads needs \"query_key_norm\": true");
  }
  if (attention.rotated_dim > attention.head_dim || attention.rotated_dim % 2 != 0) {
    problems.error("/rotated_dim", "rotated_dim (" + std::to_string(attention.rotated_dim) +
                                       ") must be even and at most head_dim (" +
                                       std::to_string(attention.head_dim) + ")");
  }
  if (attention.position_free && attention.rotated_dim > 0) {
    problems.error("/position_free", "a layer without rotation has no rotated_dim");
  }
  if (attention.query_key_norm_weightless && attention.query_key_norm_over_heads) {
    problems.error("/query_key_norm_weightless", "a norm over all heads has weights");
  }
  const int limits = (attention.window_tokens > 0 ? 1 : 0) + (attention.chunk_tokens > 0 ? 1 : 0) +
                     (attention.block_indexer ? 1 : 0);
  if (limits > 1) {
    problems.error("/window_tokens",
                   "only one of window_tokens, chunk_tokens and block_indexer may be given");
  }
}

void check_latent(const LatentAttention& attention, config::Problems& problems) {
  if (attention.rope_head_dim % 2 != 0) {
    problems.error("/rope_head_dim", "the rotation works on pairs, so rope_head_dim must be even, not " +
                                         std::to_string(attention.rope_head_dim));
  }
}

void check_compressed(const CompressedAttention& attention, config::Problems& problems) {
  if (attention.rope_head_dim % 2 != 0 || attention.rope_head_dim >= attention.head_dim) {
    problems.error("/rope_head_dim", "rope_head_dim (" + std::to_string(attention.rope_head_dim) +
                                         ") must be even and less than head_dim (" +
                                         std::to_string(attention.head_dim) + ")");
  }
  if (attention.query_heads % attention.output_groups != 0) {
    problems.error("/output_groups", "query_heads (" + std::to_string(attention.query_heads) +
                                         ") must be a multiple of output_groups (" +
                                         std::to_string(attention.output_groups) + ")");
  }
  if (attention.ratio == 0 && (attention.indexer || attention.overlapping)) {
    problems.error("/ratio", "a layer without pooled entries (ratio 0) has neither indexer nor overlap");
  }
  if (attention.indexer && attention.indexer->shared) {
    problems.error("/indexer/shared", "pooled entries are chosen by each layer for itself");
  }
}

void check_recurrent(const RecurrentAttention& attention, config::Problems& problems) {
  if (attention.value_heads % attention.key_heads != 0) {
    problems.error("/value_heads", "value_heads (" + std::to_string(attention.value_heads) +
                                       ") must be a multiple of key_heads (" +
                                       std::to_string(attention.key_heads) + ")");
  }
  if (attention.gate_rank > 0 && attention.recurrence != RecurrentKind::kimi_delta) {
    problems.error("/gate_rank", "only Kimi delta attention has a low-rank gate");
  }
}

}  // namespace

const config::Record<BlockIndexer>& record_of(config::Type<BlockIndexer>) {
  using I = BlockIndexer;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<I>("block_indexer", "Choice of blocks of keys by score")
          .required("heads", &I::heads, "Heads that score", positive)
          .required("head_dim", &I::head_dim, "Width of one of these heads", positive)
          .required("block_tokens", &I::block_tokens, "Tokens of a block", positive)
          .required("top_blocks", &I::top_blocks, "Blocks that are kept by score", positive)
          .optional("local_blocks", &I::local_blocks, "Latest blocks, which are always kept",
                    config::between(0, 1e9));
  return record;
}

const config::Record<TokenIndexer>& record_of(config::Type<TokenIndexer>) {
  using I = TokenIndexer;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<I>("token_indexer", "Choice of keys by score (lightning indexer)")
          .required("heads", &I::heads, "Heads that score", positive)
          .required("head_dim", &I::head_dim, "Width of one of these heads", positive)
          .required("top_k", &I::top_k, "Keys that are kept", positive)
          .optional("shared", &I::shared, "The layer uses the choice of an earlier layer");
  return record;
}

const config::Record<GroupedQueryAttention>& record_of(config::Type<GroupedQueryAttention>) {
  using A = GroupedQueryAttention;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<A>("grouped_query_attention", "Multi-head, grouped-query or multi-query attention")
          .required("query_heads", &A::query_heads, "Query heads", positive)
          .required("kv_heads", &A::kv_heads, "Key and value heads", positive)
          .required("head_dim", &A::head_dim, "Width of one head", positive)
          .optional("query_key_norm", &A::query_key_norm, "RMSNorm over each head of q and k")
          .optional("query_key_norm_over_heads", &A::query_key_norm_over_heads,
                    "This norm is over all heads at once, with a weight for each of their elements")
          .optional("qkv_bias", &A::qkv_bias, "Biases on the q, k and v projections")
          .optional("output_bias", &A::output_bias, "Bias on the output projection")
          .optional("rotated_dim", &A::rotated_dim, "Elements of a head that are rotated; 0 for all",
                    config::between(0, 1e9))
          .optional("score_cap", &A::score_cap, "Scores pass through a soft cap, cap * tanh(score / cap)")
          .optional("value_head_dim", &A::value_head_dim, "Width of a value; 0 for head_dim",
                    config::between(0, 1e9))
          .optional("query_key_norm_weightless", &A::query_key_norm_weightless, "This norm has no weights")
          .optional("position_free", &A::position_free, "Queries and keys are not rotated (NoPE)")
          .optional("sinks", &A::sinks, "A learned score per query head joins the sum of the softmax")
          .optional("output_gate", &A::output_gate,
                    "The output is multiplied by the sigmoid of a projection of its width")
          .optional("window_tokens", &A::window_tokens,
                    "Tokens that a query sees, its own included; 0 for all before it",
                    config::between(0, 1e12))
          .optional("chunk_tokens", &A::chunk_tokens,
                    "A query sees its own chunk of so many tokens up to itself; 0 for all",
                    config::between(0, 1e12))
          .optional("block_indexer", &A::block_indexer, "Blocks of keys are scored and the best are kept")
          .check(check_grouped_query);
  return record;
}

const config::Record<LatentAttention>& record_of(config::Type<LatentAttention>) {
  using A = LatentAttention;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<A>("latent_attention", "Multi-head latent attention (MLA)")
          .required("heads", &A::heads, "Heads", positive)
          .optional("q_lora_rank", &A::q_lora_rank, "Rank of the query projection; 0 for a full projection",
                    config::between(0, 1e9))
          .required("kv_lora_rank", &A::kv_lora_rank, "Width of the cached latent row", positive)
          .required("rope_head_dim", &A::rope_head_dim, "Width of the rotated part of a key", positive)
          .required("nope_head_dim", &A::nope_head_dim, "Width of the unrotated part of a key", positive)
          .required("v_head_dim", &A::v_head_dim, "Width of a value", positive)
          .optional("position_free", &A::position_free, "Queries and keys are not rotated (NoPE)")
          .optional("output_gate", &A::output_gate,
                    "The output is multiplied by the sigmoid of a projection of its width")
          .optional("indexer", &A::indexer, "Keys are scored and the best are kept (sparse attention)")
          .check(check_latent);
  return record;
}

const config::Record<CompressedAttention>& record_of(config::Type<CompressedAttention>) {
  using A = CompressedAttention;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<A>("compressed_attention",
                        "Attention to a window and to pooled keys (DeepSeek-V4); one head is key and value")
          .required("query_heads", &A::query_heads, "Query heads", positive)
          .required("head_dim", &A::head_dim, "Width of one head", positive)
          .required("rope_head_dim", &A::rope_head_dim, "Rotated part of a head", positive)
          .required("q_lora_rank", &A::q_lora_rank, "Rank of the query projection", positive)
          .required("output_groups", &A::output_groups, "Groups of heads in the output projection", positive)
          .required("output_lora_rank", &A::output_lora_rank, "Rank of the output projection of each group",
                    positive)
          .required("window_tokens", &A::window_tokens, "Tokens that a query sees as they are", positive)
          .optional("ratio", &A::ratio, "Tokens that are pooled to one entry; 0 for the window only",
                    config::between(0, 1e9))
          .optional("overlapping", &A::overlapping, "An entry pools the tokens of two windows")
          .optional("indexer", &A::indexer, "Entries are scored and the best are kept; without it all are")
          .check(check_compressed);
  return record;
}

const config::Record<RecurrentAttention>& record_of(config::Type<RecurrentAttention>) {
  using A = RecurrentAttention;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<A>("recurrent_attention", "Linear attention or state-space layer with a constant state")
          .required("recurrence", &A::recurrence, "Rule of the recurrence")
          .required("key_heads", &A::key_heads, "Heads of queries and keys (mamba2: groups)", positive)
          .required("value_heads", &A::value_heads, "Heads of the state", positive)
          .required("key_dim", &A::key_dim, "Width of a query or key (mamba2: state size)", positive)
          .required("value_dim", &A::value_dim, "Width of a value (mamba2: head dimension)", positive)
          .optional("convolution", &A::convolution, "Width of the short convolution; 0 for none",
                    config::between(0, 1024))
          .optional("gate_rank", &A::gate_rank, "Rank of the output gate; 0 for a full projection",
                    config::between(0, 1e9))
          .optional("chunk_tokens", &A::chunk_tokens, "Tokens of a chunk in which prompts are computed",
                    config::between(1, 65536))
          .check(check_recurrent);
  return record;
}

const config::Record<NoAttention>& record_of(config::Type<NoAttention>) {
  static const auto record = config::Record<NoAttention>("no_attention", "A layer without attention");
  return record;
}

}  // namespace moesim::llm
