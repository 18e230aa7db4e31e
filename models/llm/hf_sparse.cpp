// Families of the hub whose layers see their keys in different ways: windows with sinks, chunks, blocks that
// are chosen.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace {

// A window or chunk as long as the context is none.
std::int64_t within_context(std::int64_t tokens, const Architecture& architecture) {
  return tokens < architecture.max_context_tokens ? tokens : 0;
}

bool entry_is_on(const std::vector<std::int64_t>& list, std::int64_t layer) {
  return list.at(static_cast<std::size_t>(layer)) != 0;
}

}  // namespace

// GptOssAttention: sinks always; attention_bias on all four projections. GptOssMLP: a router with a bias,
// experts with biases. GptOssConfig: without layer_types, every second layer has a window, the first one has.
void read_hf_gpt_oss(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.sinks = true;
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", true);
  const std::vector<std::string> types =
      hf::layer_types(fields, "layer_types", layers, {"full_attention", "sliding_attention"});
  const std::int64_t window = within_context(fields.whole("sliding_window"), architecture);
  MoeFfn moe = hf::read_experts(fields, "num_local_experts", "num_experts_per_tok", "intermediate_size");
  if (fields.whole_or("experts_per_token", moe.top_k) != moe.top_k) {
    fields.contradiction("experts_per_token", "experts_per_token and num_experts_per_tok differ");
  }
  moe.router_bias = moe.expert_bias = true;
  // A clamp; the context of rope_scaling; the windows are those of layer_types.
  fields.skip({"swiglu_limit", "initial_context_length", "use_sliding_window"});
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    const bool slides =
        types.empty() ? i % 2 == 0 : types[static_cast<std::size_t>(i)] == "sliding_attention";
    attention.window_tokens = slides ? window : 0;
    return LayerGroup{1, attention, moe, std::nullopt};
  });
}

namespace {

// Llama4TextConfig: no_rope_layers has 1 where a layer is rotated; without it every fourth is not.
std::vector<std::int64_t> read_rotated_layers(HfFields& fields, std::int64_t layers) {
  const std::int64_t every = fields.whole_or("no_rope_layer_interval", 4, 1);
  std::vector<std::int64_t> rotated = hf::per_layer(fields, "no_rope_layers", layers);
  if (!rotated.empty()) return rotated;
  for (std::int64_t i = 0; i < layers; ++i) rotated.push_back((i + 1) % every != 0 ? 1 : 0);
  return rotated;
}

// Llama4TextConfig: moe_layers lists the layers with experts; without it they are each
// interleave_moe_layer_step-th.
std::vector<std::int64_t> read_llama4_moe_layers(HfFields& fields, std::int64_t layers) {
  std::vector<std::int64_t> moe(static_cast<std::size_t>(layers), 0);
  const std::vector<std::int64_t> listed = fields.wholes("moe_layers");
  const std::int64_t step = fields.whole_or("interleave_moe_layer_step", 1, 1);
  for (const std::int64_t layer : listed) {
    if (layer < layers) moe[static_cast<std::size_t>(layer)] = 1;
  }
  for (std::int64_t i = 0; listed.empty() && i < layers; ++i)
    moe[static_cast<std::size_t>(i)] = (i + 1) % step == 0 ? 1 : 0;
  return moe;
}

}  // namespace

// Llama4TextDecoderLayer: layers with rotation attend to their chunk only, and have a norm of queries and
// keys without weights where use_qk_norm says so; Llama4TextMoe: one shared expert as wide as the routed
// ones. Without a chunk size these layers attend to all tokens (vLLM, llama4.py).
void read_hf_llama4(HfFields& fields, Architecture& architecture) {
  fields.use_defaults("Llama4TextConfig", {{"attention_chunk_size", 8192}});
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention full = hf::read_grouped_query(fields, architecture.hidden_size);
  full.qkv_bias = full.output_bias = fields.flag_or("attention_bias", false);
  GroupedQueryAttention chunked = full;
  full.position_free = true;
  full.rotated_dim = 0;
  const bool norm = fields.flag_or("use_qk_norm", true);
  chunked.query_key_norm = chunked.query_key_norm_weightless = norm;
  const std::int64_t chunk = fields.whole_or("attention_chunk_size", 0);
  chunked.chunk_tokens = within_context(chunk, architecture);
  if (chunk == 0)
    fields.warn("no_chunks", "attention_chunk_size",
                "there are no chunks: the layers with rotation attend to all tokens");
  MoeFfn moe = hf::read_experts(fields, "num_local_experts", "num_experts_per_tok", "intermediate_size");
  moe.shared_experts = 1;
  moe.shared_width = moe.expert_width;
  const std::vector<std::int64_t> rotated = read_rotated_layers(fields, layers);
  const std::vector<std::string> types =
      hf::layer_types(fields, "layer_types", layers, {"full_attention", "chunked_attention"});
  const std::vector<std::int64_t> is_moe = read_llama4_moe_layers(fields, layers);
  const DenseFfn ffn = hf::read_dense_ffn(fields, "intermediate_size_mlp", is_moe);
  fields.skip({"attn_temperature_tuning", "attn_scale", "floor_scale", "for_llm_compressor"});
  for (std::size_t i = 0; i < types.size(); ++i) {
    if ((types[i] == "chunked_attention") != (rotated[i] != 0))
      fields.contradiction("layer_types", "layers with chunks are those with rotation (no_rope_layers)");
  }
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    return LayerGroup{1, entry_is_on(rotated, i) ? chunked : full,
                      entry_is_on(is_moe, i) ? FfnShape(moe) : FfnShape(ffn), std::nullopt};
  });
}

namespace {

// sparse_attention_config; 1 in `sparse` for the layers that choose blocks.
BlockIndexer read_block_indexer(HfFields& fields, std::int64_t layers, std::vector<std::int64_t>& sparse) {
  BlockIndexer indexer;
  const config::Node* given = fields.take("sparse_attention_config");
  sparse.assign(static_cast<std::size_t>(layers), 0);
  if (given == nullptr) return indexer;
  HfFields& inner = fields.object("sparse_attention_config");
  const bool used = inner.flag_or("use_sparse_attention", true);
  indexer.heads = inner.whole("sparse_num_index_heads");
  indexer.head_dim = inner.whole("sparse_index_dim");
  indexer.block_tokens = inner.whole("sparse_block_size");
  indexer.top_blocks = inner.whole("sparse_topk_blocks");
  indexer.local_blocks = inner.whole_or("sparse_local_block", 0);
  if (inner.whole_or("sparse_init_block", 0) > 0) {
    inner.refuse("sparse_init_block", "blocks at the start that are always kept cannot be expressed");
  }
  // How the score of a block is made of those of its keys.
  inner.skip({"sparse_score_type", "sparse_disable_index_value"});
  const std::vector<std::int64_t> listed = hf::per_layer(inner, "sparse_attention_freq", layers);
  if (used) sparse = listed.empty() ? std::vector<std::int64_t>(static_cast<std::size_t>(layers), 1) : listed;
  return indexer;
}

}  // namespace

// MiniMax-M3: norms of queries and keys over each head, shared experts, blocks chosen by an index.
void read_hf_minimax_m3(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture, {"swigluoai", "silu"});
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.query_key_norm = fields.flag_or("use_qk_norm", false);
  const std::string kind = fields.text_or("qk_norm_type", "per_head");
  attention.query_key_norm_over_heads = attention.query_key_norm && kind == "per_layer";
  if (kind != "per_layer" && kind != "per_head") {
    fields.refuse("qk_norm_type", "the norm of queries and keys is \"per_layer\" or \"per_head\"");
  }
  attention.output_gate = fields.flag_or("attention_output_gate", false);
  MoeFfn moe = hf::read_experts(
      fields, "num_local_experts", "num_experts_per_tok",
      fields.take("moe_intermediate_size") != nullptr ? "moe_intermediate_size" : "intermediate_size");
  fields.skip({"intermediate_size"});
  moe.router_score_bias = fields.flag_or("use_routing_bias", false);
  moe.shared_experts = fields.whole_or("n_shared_experts", 0);
  moe.shared_width = moe.shared_experts > 0 ? fields.whole("shared_intermediate_size") : 0;
  const std::vector<std::int64_t> is_moe = hf::read_late_moe_layers(fields, layers, 0);
  const DenseFfn ffn = hf::read_dense_ffn(fields, "dense_intermediate_size", is_moe);
  std::vector<std::int64_t> sparse;
  const BlockIndexer indexer = read_block_indexer(fields, layers, sparse);
  fields.skip({"shared_intermediate_size", "swiglu_limit", "swiglu_alpha", "use_gemma_norm"});
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    GroupedQueryAttention own = attention;
    if (entry_is_on(sparse, i)) own.block_indexer = indexer;
    return LayerGroup{1, own, entry_is_on(is_moe, i) ? FfnShape(moe) : FfnShape(ffn), std::nullopt};
  });
}

namespace {

// The heads of the layers with a window, which have fields of their own.
GroupedQueryAttention read_swa_heads(HfFields& fields, const GroupedQueryAttention& full) {
  GroupedQueryAttention attention = full;
  attention.query_heads = fields.whole_or("swa_num_attention_heads", full.query_heads, 1);
  attention.kv_heads = fields.whole_or("swa_num_key_value_heads", full.kv_heads, 1);
  attention.head_dim = fields.whole_or("swa_head_dim", full.head_dim, 1);
  attention.value_head_dim = fields.whole_or("swa_v_head_dim", full.value_head_dim);
  if (attention.value_head_dim == attention.head_dim) attention.value_head_dim = 0;
  attention.sinks = fields.flag_or("add_swa_attention_sink_bias", false);
  hf::check_heads(fields, "swa_num_key_value_heads", attention);
  return attention;
}

}  // namespace

// MiMo-V2-Flash (modeling_mimo_v2_flash.py): layers with 1 in hybrid_layer_pattern have a window, heads of
// their own and, where the flag says so, sinks; keys and values have different widths.
void read_hf_mimo_v2_flash(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention full = hf::read_grouped_query(fields, architecture.hidden_size);
  full.value_head_dim = fields.whole_or("v_head_dim", 0);
  if (full.value_head_dim == full.head_dim) full.value_head_dim = 0;
  full.qkv_bias = fields.flag_or("attention_bias", false);
  GroupedQueryAttention sliding = read_swa_heads(fields, full);
  full.sinks = fields.flag_or("add_full_attention_sink_bias", false);
  const std::int64_t window = fields.whole_or("sliding_window_size", 0);
  sliding.window_tokens = within_context(window > 0 ? window : fields.whole("sliding_window"), architecture);
  const std::vector<std::int64_t> slides = hf::per_layer(fields, "hybrid_layer_pattern", layers);
  if (slides.empty()) fields.whole("hybrid_layer_pattern");  // which must be given
  MoeFfn moe = hf::read_deepseek_experts(fields);
  moe.router_score_bias = fields.text_or("topk_method", "noaux_tc") == "noaux_tc";
  const std::vector<std::int64_t> is_moe = hf::read_late_moe_layers(fields, layers, 0);
  DenseFfn ffn;
  ffn.width = fields.whole("intermediate_size");
  // attention_chunk_size repeats the window; the others are constants.
  fields.skip({"sliding_window", "attention_chunk_size", "attention_value_scale", "swa_rope_theta",
               "hybrid_block_size", "use_sliding_window"});
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    return LayerGroup{1, !slides.empty() && entry_is_on(slides, i) ? sliding : full,
                      entry_is_on(is_moe, i) ? FfnShape(moe) : FfnShape(ffn), std::nullopt};
  });
}

}  // namespace moesim::llm
