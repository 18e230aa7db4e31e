// Families of the hub with grouped-query attention and experts.
#include <algorithm>
#include <vector>

#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace {

// Experts under the names of Mixtral: num_local_experts of intermediate_size.
MoeFfn read_local_experts(HfFields& fields) {
  return hf::read_experts(fields, "num_local_experts", "num_experts_per_tok", "intermediate_size");
}

// The same attention in every layer but for the windows; ffn_at(i) is the FFN of layer i.
template <class FfnAt>
void set_windowed_layers(HfFields& fields, Architecture& architecture, std::int64_t layers,
                         hf::HfWindows meaning, GroupedQueryAttention attention, FfnAt&& ffn_at) {
  const std::vector<std::int64_t> windows = hf::read_windows(fields, architecture, layers, meaning);
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    attention.window_tokens = windows[static_cast<std::size_t>(i)];
    return LayerGroup{1, attention, ffn_at(i), std::nullopt};
  });
}

// Every layer has the same experts; a window counts as soon as it is given.
void set_moe_layers(HfFields& fields, Architecture& architecture, std::int64_t layers,
                    const GroupedQueryAttention& attention, const MoeFfn& moe) {
  set_windowed_layers(fields, architecture, layers, hf::HfWindows::always, attention,
                      [&](std::int64_t) { return FfnShape(moe); });
}

// Experts in the layers of `is_moe`, a dense FFN of intermediate_size in the others.
void set_mixed_layers(HfFields& fields, Architecture& architecture, hf::HfWindows meaning,
                      const GroupedQueryAttention& attention, const MoeFfn& moe,
                      const std::vector<std::int64_t>& is_moe) {
  const DenseFfn ffn = hf::read_dense_ffn(fields, "intermediate_size", is_moe);
  set_windowed_layers(fields, architecture, static_cast<std::int64_t>(is_moe.size()), meaning, attention,
                      [&](std::int64_t i) {
                        return is_moe[static_cast<std::size_t>(i)] != 0 ? FfnShape(moe) : FfnShape(ffn);
                      });
}

MoeFfn read_qwen_experts(HfFields& fields) {
  return hf::read_experts(fields, "num_experts", "num_experts_per_tok", "moe_intermediate_size");
}

}  // namespace

void read_hf_mixtral(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  const GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  set_moe_layers(fields, architecture, layers, attention, read_local_experts(fields));
}

// PhimoeForCausalLM: LayerNorms with biases, attention_bias on all four projections, lm_head_bias.
void read_hf_phimoe(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  architecture.layer_norm = architecture.norm_bias = true;
  architecture.head_bias = fields.flag_or("lm_head_bias", false);
  set_moe_layers(fields, architecture, layers, attention, read_local_experts(fields));
}

// OlmoeAttention: q_norm and k_norm over all heads before they are split.
void read_hf_olmoe(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.query_key_norm = attention.query_key_norm_over_heads = true;
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  const MoeFfn moe = hf::read_experts(fields, "num_experts", "num_experts_per_tok", "intermediate_size");
  set_moe_layers(fields, architecture, layers, attention, moe);
}

// Qwen2MoeSparseMoeBlock: one shared expert, weighed by shared_expert_gate; biases on q, k and v.
void read_hf_qwen2_moe(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = fields.flag_or("qkv_bias", true);
  MoeFfn moe = read_qwen_experts(fields);
  moe.shared_width = fields.whole("shared_expert_intermediate_size");
  moe.shared_experts = 1;
  moe.shared_gate = true;
  set_mixed_layers(fields, architecture, hf::HfWindows::if_used, attention, moe,
                   hf::read_qwen_moe_layers(fields, layers));
}

// Qwen3MoeForCausalLM. Some files have fields of Qwen2-MoE, switched off, which its code does not read.
void read_hf_qwen3_moe(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.query_key_norm = true;
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  if (!fields.flag_or("use_qk_norm", true))
    fields.refuse("use_qk_norm", "Qwen3-MoE always has norms of queries and keys");
  if (fields.flag_or("qkv_bias", false)) fields.refuse("qkv_bias", "Qwen3-MoE has attention_bias instead");
  if (fields.whole_or("shared_expert_intermediate_size", 0) > 0)
    fields.refuse("shared_expert_intermediate_size", "Qwen3-MoE has no shared experts");
  const MoeFfn moe = read_qwen_experts(fields);
  set_mixed_layers(fields, architecture, hf::HfWindows::if_used, attention, moe,
                   hf::read_qwen_moe_layers(fields, layers));
}

// Glm4MoeAttention: attention_bias is on q, k and v only. Glm4MoeMoE: routed and shared experts of one width,
// e_score_correction_bias always.
void read_hf_glm4_moe(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = fields.flag_or("attention_bias", false);
  attention.query_key_norm = fields.flag_or("use_qk_norm", false);
  MoeFfn moe = hf::read_deepseek_experts(fields);
  moe.router_score_bias = true;
  set_mixed_layers(fields, architecture, hf::HfWindows::if_listed, attention, moe,
                   hf::read_late_moe_layers(fields, layers, std::nullopt));
}

// MiniMaxM2Attention: q_norm and k_norm over all heads ("per_layer").
void read_hf_minimax_m2(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.query_key_norm = fields.flag_or("use_qk_norm", false);
  const std::string kind = fields.text_or("qk_norm_type", "per_layer");
  attention.query_key_norm_over_heads = attention.query_key_norm && kind == "per_layer";
  if (kind != "per_layer" && kind != "per_head") {
    fields.refuse("qk_norm_type", "the norm of queries and keys is \"per_layer\" or \"per_head\"");
  }
  for (const std::int64_t type : fields.wholes("attn_type_list")) {
    if (type == 1) continue;
    fields.refuse("attn_type_list", "MiniMax-M2 has no layers with linear attention");
    break;
  }
  MoeFfn moe = read_local_experts(fields);
  moe.router_score_bias = fields.flag_or("use_routing_bias", false);
  moe.shared_width = fields.whole_or("shared_intermediate_size", 0);
  moe.shared_experts = moe.shared_width > 0 ? 1 : 0;
  fields.skip({"mlp_intermediate_size"});  // of dense layers, of which there are none
  set_moe_layers(fields, architecture, layers, attention, moe);
}

// DbrxForCausalLM: LayerNorms without biases; one fused projection of q, k and v without bias.
void read_hf_dbrx(HfFields& fields, Architecture& architecture) {
  architecture.vocab_size = fields.whole("vocab_size");
  architecture.hidden_size = fields.whole("d_model");
  architecture.max_context_tokens = fields.whole("max_seq_len");
  hf::read_rope_scaling(fields, architecture);
  architecture.tied_embeddings = fields.flag_or("tie_word_embeddings", architecture.tied_embeddings);
  architecture.layer_norm = true;
  const std::int64_t layers = fields.whole("n_layers", 1, kMostHfLayers);
  HfFields& attention_fields = fields.object("attn_config");
  GroupedQueryAttention attention;
  attention.query_heads = fields.whole("n_heads");
  attention.kv_heads = attention_fields.whole("kv_n_heads");
  attention_fields.skip({"model_type", "clip_qkv", "attn_pdrop"});  // the clamp is part of the projection
  if (architecture.hidden_size % attention.query_heads != 0) {
    fields.contradiction("n_heads", "d_model is not a multiple of n_heads");
  }
  attention.head_dim = std::max<std::int64_t>(architecture.hidden_size / attention.query_heads, 1);
  hf::check_heads(attention_fields, "kv_n_heads", attention);
  HfFields& ffn_fields = fields.object("ffn_config");
  MoeFfn moe;
  moe.experts = ffn_fields.whole("moe_num_experts");
  moe.top_k = ffn_fields.whole("moe_top_k");
  moe.expert_width = ffn_fields.whole("ffn_hidden_size");
  ffn_fields.skip({"model_type", "ffn_act_fn", "moe_jitter_eps", "moe_loss_weight",
                   "moe_normalize_expert_weights", "uniform_expert_assignment"});
  hf::check_top_k(ffn_fields, "moe_top_k", moe);
  architecture.layers = {{layers, attention, moe, std::nullopt}};
}

// Grok-1 (xai-org/grok-1, model.py): four RMSNorms a layer, a soft cap on the scores, GELU in the gate.
void read_hf_grok1(HfFields& fields, Architecture& architecture) {
  fields.skip(
      {"hidden_act", "attn_output_multiplier", "embedding_multiplier_scale", "output_multiplier_scale"});
  architecture.vocab_size = fields.whole("vocab_size");
  architecture.hidden_size = fields.whole("hidden_size");
  architecture.max_context_tokens = fields.whole("max_position_embeddings");
  hf::read_rope_scaling(fields, architecture);
  architecture.tied_embeddings = fields.flag_or("tie_word_embeddings", true);
  architecture.post_norms = true;
  const std::int64_t layers = fields.whole("num_hidden_layers", 1, kMostHfLayers);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.score_cap = fields.number_or("max_attn_value", 0.0, 0.0, 1e9) > 0;
  const MoeFfn moe = hf::read_experts(fields, "num_experts", "num_experts_per_tok", "intermediate_size");
  set_moe_layers(fields, architecture, layers, attention, moe);
}

}  // namespace moesim::llm
