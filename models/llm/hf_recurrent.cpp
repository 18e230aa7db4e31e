// Families of the hub with layers that have a constant state: Qwen3-Next and Qwen3.5, Kimi Linear and K3,
// MiniMax-01 and M1, Nemotron-H.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace {

// Tokens of a chunk of prompts: BLOCK of MiniMaxText01LightningAttention.
constexpr std::int64_t kMiniMaxBlock = 256;
constexpr std::int64_t kLongestChunk = 65536;

// A state is fp32 here.
void expect_fp32_state(HfFields& fields, std::string_view key) {
  const std::string format = fields.text_or(key, "float32");
  if (format == "float32" || format == "fp32") return;
  fields.refuse(key,
                fmt::format("states are kept in fp32; \"{}\" cannot be expressed", format.substr(0, 40)));
}

// Qwen3NextGatedDeltaNet.
RecurrentAttention read_gated_delta(HfFields& fields) {
  RecurrentAttention layer;
  layer.recurrence = RecurrentKind::gated_delta;
  layer.key_heads = fields.whole("linear_num_key_heads");
  layer.value_heads = fields.whole("linear_num_value_heads");
  layer.key_dim = fields.whole("linear_key_head_dim");
  layer.value_dim = fields.whole("linear_value_head_dim");
  layer.convolution = fields.whole("linear_conv_kernel_dim", 0, 1024);
  expect_fp32_state(fields, "mamba_ssm_dtype");
  if (layer.value_heads % layer.key_heads != 0) {
    fields.contradiction("linear_num_value_heads",
                         fmt::format("the {} value heads are not a multiple of the {} key heads",
                                     layer.value_heads, layer.key_heads));
  }
  return layer;
}

// Qwen3NextAttention: norms of each head, a gate of the width of the result in the query projection.
GroupedQueryAttention read_gated_attention(HfFields& fields, std::int64_t hidden) {
  GroupedQueryAttention attention = hf::read_grouped_query(fields, hidden);
  attention.query_key_norm = true;
  attention.output_gate = fields.flag_or("attn_output_gate", true);
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  // A quarter of a head is rotated unless it is said otherwise (Qwen3NextConfig, Qwen3_5TextConfig).
  HfFields* rope = hf::rope_parameters(fields);
  if (fields.take("partial_rotary_factor") == nullptr && fields.take("rotary_dim") == nullptr &&
      (rope == nullptr || rope->take("partial_rotary_factor") == nullptr)) {
    attention.rotated_dim = attention.head_dim / 4;
  }
  return attention;
}

// The layers with a state, from layer_types, else all but each full_attention_interval-th; ffn_at(i) is the
// FFN of layer i. The prediction layers have full attention (vLLM, qwen3_next_mtp.py).
template <class FfnAt>
void set_hybrid_qwen_layers(HfFields& fields, Architecture& architecture, std::int64_t layers,
                            FfnAt&& ffn_at) {
  const GroupedQueryAttention full = read_gated_attention(fields, architecture.hidden_size);
  const RecurrentAttention linear = read_gated_delta(fields);
  const std::vector<std::string> types =
      hf::layer_types(fields, "layer_types", layers, {"full_attention", "linear_attention"});
  const std::int64_t every = types.empty() ? fields.whole("full_attention_interval")
                                           : fields.whole_or("full_attention_interval", 1, 1);
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    const bool is_full =
        types.empty() ? (i + 1) % every == 0 : types[static_cast<std::size_t>(i)] == "full_attention";
    return LayerGroup{1, is_full ? AttentionShape(full) : AttentionShape(linear), ffn_at(i), std::nullopt};
  });
  architecture.prediction = PredictionLayers{0, full, ffn_at(layers - 1)};
}

}  // namespace

// Qwen3-Next, and Qwen3.5 with experts: one shared expert with a gate, as Qwen2-MoE.
void read_hf_qwen3_next(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  MoeFfn moe = hf::read_experts(fields, "num_experts", "num_experts_per_tok", "moe_intermediate_size");
  moe.shared_width = fields.whole("shared_expert_intermediate_size");
  moe.shared_experts = 1;
  moe.shared_gate = true;
  const std::vector<std::int64_t> is_moe = hf::read_qwen_moe_layers(fields, layers);
  const DenseFfn ffn = hf::read_dense_ffn(fields, "intermediate_size", is_moe);
  set_hybrid_qwen_layers(fields, architecture, layers, [&](std::int64_t i) {
    return is_moe[static_cast<std::size_t>(i)] != 0 ? FfnShape(moe) : FfnShape(ffn);
  });
}

// Qwen3.5 without experts.
void read_hf_qwen3_5(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  const DenseFfn ffn{fields.whole("intermediate_size")};
  hf::refuse_non_dense(fields);
  fields.skip({"mlp_only_layers"});  // every layer is dense
  set_hybrid_qwen_layers(fields, architecture, layers, [&](std::int64_t) { return FfnShape(ffn); });
}

namespace {

// linear_attn_config: the sizes of Kimi delta attention, whose heads have one width for keys and values. The
// output gate has the rank of a head unless use_full_rank_gate says otherwise (fla, KimiDeltaAttention).
RecurrentAttention read_kimi_delta(HfFields& inner) {
  RecurrentAttention layer;
  layer.recurrence = RecurrentKind::kimi_delta;
  layer.key_heads = layer.value_heads = inner.whole("num_heads");
  layer.key_dim = layer.value_dim = inner.whole("head_dim");
  layer.convolution = inner.whole("short_conv_kernel_size", 0, 1024);
  layer.gate_rank = inner.flag_or("use_full_rank_gate", false) ? 0 : layer.value_dim;
  inner.skip({"gate_lower_bound"});
  return layer;
}

// 1 for the layers with latent attention. Both lists count layers from 1.
std::vector<std::int64_t> read_kimi_full_layers(HfFields& inner, std::int64_t layers) {
  std::vector<std::int64_t> kinds(static_cast<std::size_t>(layers), -1);
  for (const std::string_view key : {"kda_layers", "full_attn_layers"}) {
    for (const std::int64_t layer : inner.wholes(key)) {
      if (layer < 1 || layer > layers) {
        inner.contradiction(key, fmt::format("there is no layer {}: they are counted from 1", layer));
      } else {
        kinds[static_cast<std::size_t>(layer - 1)] = key == "full_attn_layers" ? 1 : 0;
      }
    }
  }
  if (std::find(kinds.begin(), kinds.end(), -1) != kinds.end())
    inner.contradiction("kda_layers", "there are layers that are in neither kda_layers nor full_attn_layers");
  return kinds;
}

// KimiSparseMoeBlock: e_score_correction_bias always. Kimi K3: experts in a latent space.
MoeFfn read_kimi_experts(HfFields& fields) {
  MoeFfn moe = hf::read_experts(fields, "num_experts", "num_experts_per_token", "moe_intermediate_size");
  moe.shared_experts = fields.whole_or("num_shared_experts", 0);
  moe.shared_width = moe.shared_experts > 0 ? moe.expert_width : 0;
  moe.router_score_bias = true;
  moe.latent_width = fields.whole_or("routed_expert_hidden_size", 0);
  moe.latent_norm = moe.latent_width > 0 && fields.flag_or("latent_moe_use_norm", false);
  fields.skip({"latent_moe_use_norm", "moe_router_activation_func", "moe_renormalize", "num_expert_group",
               "use_grouped_topk", "topk_method"});
  return moe;
}

}  // namespace

void read_hf_kimi_linear(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture, {"silu", "situ"});
  fields.skip({"activation_situ_beta", "activation_situ_linear_beta"});
  LatentAttention full = hf::read_latent(fields);
  full.position_free = fields.flag_or("mla_use_nope", false);
  full.output_gate = fields.flag_or("mla_use_output_gate", false);
  HfFields& inner = fields.object("linear_attn_config");
  const RecurrentAttention linear = read_kimi_delta(inner);
  const std::vector<std::int64_t> is_full = read_kimi_full_layers(inner, layers);
  // Blocks of layers whose results are attended to; a vector of weights for each, and little work.
  fields.leave_out("attn_res_block_size", "the residual attention over blocks of layers");
  const bool experts = fields.take("num_experts") != nullptr;
  const MoeFfn moe = experts ? read_kimi_experts(fields) : MoeFfn{};
  std::vector<std::int64_t> is_moe = hf::read_late_moe_layers(fields, layers, 0);
  if (!experts) is_moe.assign(is_moe.size(), 0);
  const DenseFfn ffn = hf::read_dense_ffn(fields, "intermediate_size", is_moe);
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    const bool latent = is_full[static_cast<std::size_t>(i)] == 1;
    const bool has_experts = is_moe[static_cast<std::size_t>(i)] != 0;
    return LayerGroup{1, latent ? AttentionShape(full) : AttentionShape(linear),
                      has_experts ? FfnShape(moe) : FfnShape(ffn), std::nullopt};
  });
}

// MiniMax-Text-01 and M1, and the same model as transformers has it (MiniMaxLightningAttention): projections
// of queries, keys and values with all heads, a gate, and a norm over all heads.
void read_hf_minimax(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  const GroupedQueryAttention full = hf::read_grouped_query(fields, architecture.hidden_size);
  RecurrentAttention linear;
  linear.recurrence = RecurrentKind::lightning;
  linear.key_heads = linear.value_heads = full.query_heads;
  linear.key_dim = linear.value_dim = full.head_dim;
  linear.chunk_tokens = fields.whole_or("block_size", kMiniMaxBlock, 1, kLongestChunk);
  // attn_type_list: 0 lightning, 1 softmax.
  std::vector<std::int64_t> is_full = hf::per_layer(fields, "attn_type_list", layers);
  const std::vector<std::string> types =
      hf::layer_types(fields, "layer_types", layers, {"full_attention", "linear_attention"});
  for (const std::string& type : types) {
    if (is_full.size() == types.size()) break;
    is_full.push_back(type == "full_attention" ? 1 : 0);
  }
  if (is_full.empty()) {
    fields.whole("attn_type_list");  // which must be given
    is_full.assign(static_cast<std::size_t>(layers), 1);
  }
  MoeFfn moe = hf::read_experts(fields, "num_local_experts", "num_experts_per_tok", "intermediate_size");
  moe.shared_width = fields.whole_or("shared_intermediate_size", 0);
  moe.shared_experts = moe.shared_width > 0 ? 1 : 0;
  // MiniMaxText01SparseMoeBlock: a coefficient of one output weighs the shared expert.
  moe.shared_gate = moe.shared_experts > 0 && fields.text_or("shared_moe_mode", "softmax") == "sigmoid";
  fields.skip({"shared_moe_mode", "postnorm", "layernorm_full_attention_alpha",
               "layernorm_full_attention_beta", "layernorm_linear_attention_alpha",
               "layernorm_linear_attention_beta", "layernorm_mlp_alpha", "layernorm_mlp_beta",
               "full_attn_alpha_factor", "full_attn_beta_factor", "linear_attn_alpha_factor",
               "linear_attn_beta_factor", "mlp_alpha_factor", "mlp_beta_factor"});
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    const bool softmax = is_full[static_cast<std::size_t>(i)] != 0;
    return LayerGroup{1, softmax ? AttentionShape(full) : AttentionShape(linear), moe, std::nullopt};
  });
}

namespace {

// NemotronHMamba2Mixer.
RecurrentAttention read_mamba2(HfFields& fields) {
  fields.use_defaults("NemotronHConfig", {{"chunk_size", 128}});
  RecurrentAttention layer;
  layer.recurrence = RecurrentKind::mamba2;
  layer.key_heads = fields.whole("n_groups");
  layer.value_heads = fields.whole("mamba_num_heads");
  layer.key_dim = fields.whole("ssm_state_size");
  layer.value_dim = fields.whole("mamba_head_dim");
  layer.convolution = fields.whole("conv_kernel", 0, 1024);
  expect_fp32_state(fields, "mamba_ssm_cache_dtype");
  layer.chunk_tokens = fields.whole("chunk_size", 1, kLongestChunk);
  if (!fields.flag_or("use_conv_bias", true))
    fields.refuse("use_conv_bias", "a convolution without a bias cannot be expressed");
  if (fields.flag_or("mamba_proj_bias", false))
    fields.refuse("mamba_proj_bias", "biases of state-space layers cannot be expressed");
  fields.skip({"expand", "mamba_hidden_act", "use_mamba_kernels", "time_step_floor", "time_step_limit",
               "time_step_max", "time_step_min", "time_step_rank"});
  if (layer.value_heads % layer.key_heads != 0) {
    fields.contradiction("n_groups", fmt::format("the {} heads are not a multiple of the {} groups",
                                                 layer.value_heads, layer.key_heads));
  }
  return layer;
}

// NemotronHAttention has no rotation.
GroupedQueryAttention read_nemotron_attention(HfFields& fields) {
  GroupedQueryAttention attention;
  attention.query_heads = fields.whole("num_attention_heads");
  attention.kv_heads = fields.whole_or("num_key_value_heads", attention.query_heads, 1);
  const std::int64_t older_name = fields.whole_or("attention_head_dim", 0);
  attention.head_dim =
      older_name > 0 && fields.take("head_dim") == nullptr ? older_name : fields.whole("head_dim");
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  attention.position_free = true;
  fields.skip({"partial_rotary_factor"});
  hf::check_heads(fields, "num_key_value_heads", attention);
  return attention;
}

// NemotronHMoE: the router of DeepSeek-V3 with its correction, experts without a gate.
MoeFfn read_nemotron_experts(HfFields& fields) {
  MoeFfn moe = hf::read_experts(fields, "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size");
  moe.shared_experts = fields.whole_or("n_shared_experts", 0);
  moe.shared_width = moe.shared_experts > 0 ? fields.whole("moe_shared_expert_intermediate_size") : 0;
  moe.router_score_bias = true;
  moe.gated = false;
  moe.latent_width = fields.whole_or("moe_latent_size", 0);
  return moe;
}

// One letter for each layer: M state space, * attention, E experts, - FFN.
std::string read_hybrid_pattern(HfFields& fields, std::int64_t layers) {
  std::string pattern = fields.text_or("hybrid_override_pattern", "");
  if (pattern.empty()) fields.whole("hybrid_override_pattern");  // which must be given
  if (!pattern.empty() && pattern.size() != static_cast<std::size_t>(layers)) {
    fields.contradiction(
        "hybrid_override_pattern",
        fmt::format("the pattern has {} letters, but the model has {} layers", pattern.size(), layers));
  }
  if (pattern.find_first_not_of("M*E-") != std::string::npos) {
    fields.refuse("hybrid_override_pattern",
                  "layers are M (state space), * (attention), E (experts) or - "
                  "(FFN); another letter is not known");
  }
  pattern.resize(static_cast<std::size_t>(layers), 'M');
  return pattern;
}

}  // namespace

// NemotronHBlock: each layer is one mixer with one norm. FFNs have two matrices with a squared ReLU between.
void read_hf_nemotron_h(HfFields& fields, Architecture& architecture) {
  fields.skip({"hidden_act", "rescale_prenorm_residual", "residual_in_fp32", "num_logits_to_keep",
               "layer_norm_epsilon"});
  const std::int64_t layers = hf::read_frame(fields, architecture, {"relu2", "silu"});
  hf::expect_activation(fields, "mlp_hidden_act", {"relu2"});
  const std::string pattern = read_hybrid_pattern(fields, layers);
  const auto has = [&](char kind) { return pattern.find(kind) != std::string::npos; };
  LayerGroup state{1, NoAttention{}, NoFfn{}, std::nullopt};
  LayerGroup attention = state, experts = state, dense = state;
  if (has('M')) state.attention = read_mamba2(fields);
  if (has('*')) attention.attention = read_nemotron_attention(fields);
  if (has('E')) experts.ffn = read_nemotron_experts(fields);
  if (has('-')) dense.ffn = DenseFfn{fields.whole("intermediate_size"), false};
  fields.skip({"intermediate_size"});
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    switch (pattern[static_cast<std::size_t>(i)]) {
      case '*':
        return attention;
      case 'E':
        return experts;
      case '-':
        return dense;
      default:
        return state;
    }
  });
  const std::string more = fields.text_or("mtp_hybrid_override_pattern", "");
  if (more == "*E" && has('*') && has('E')) {
    architecture.prediction = PredictionLayers{0, attention.attention, experts.ffn};
  } else if (fields.whole_or("num_nextn_predict_layers", 0) > 0) {
    fields.refuse("mtp_hybrid_override_pattern", "prediction layers are attention and experts (\"*E\")");
  }
}

}  // namespace moesim::llm
