#include "models/llm/hf_families.hpp"

#include <fmt/format.h>

namespace moesim::llm {

namespace {

constexpr std::string_view kIndexer = "sparse attention with an indexer (index_topk)";
constexpr std::string_view kLinear = "linear attention layers with a constant state";
constexpr std::string_view kWindow = "sliding-window attention of some layers";

constexpr HfFamily kFamilies[] = {
    {"llama", "LlamaForCausalLM", read_hf_llama, ""},
    {"mistral", "MistralForCausalLM", read_hf_mistral, ""},
    {"mixtral", "MixtralForCausalLM", read_hf_mixtral, ""},
    {"qwen2", "Qwen2ForCausalLM", read_hf_qwen2, ""},
    {"qwen2_moe", "Qwen2MoeForCausalLM", read_hf_qwen2_moe, ""},
    {"qwen3", "Qwen3ForCausalLM", read_hf_qwen3, ""},
    {"qwen3_vl_text", "Qwen3VLForConditionalGeneration", read_hf_qwen3, ""},
    {"qwen3_moe", "Qwen3MoeForCausalLM", read_hf_qwen3_moe, ""},
    {"qwen3_vl_moe_text", "Qwen3VLMoeForConditionalGeneration", read_hf_qwen3_moe, ""},
    {"mimo", "MiMoForCausalLM", read_hf_mimo, ""},
    {"phimoe", "PhiMoEForCausalLM", read_hf_phimoe, ""},
    {"phimoe", "PhimoeForCausalLM", read_hf_phimoe, ""},
    {"olmoe", "OlmoeForCausalLM", read_hf_olmoe, ""},
    {"glm4_moe", "Glm4MoeForCausalLM", read_hf_glm4_moe, ""},
    {"minimax_m2", "MiniMaxM2ForCausalLM", read_hf_minimax_m2, ""},
    {"dbrx", "DbrxForCausalLM", read_hf_dbrx, ""},
    {"grok-1", "Grok1ModelForCausalLM", read_hf_grok1, ""},
    {"deepseek_v2", "DeepseekV2ForCausalLM", read_hf_deepseek_v2, ""},
    {"deepseek_v3", "DeepseekV3ForCausalLM", read_hf_deepseek, ""},
    {"kimi_k2", "DeepseekV3ForCausalLM", read_hf_deepseek, ""},
    {"kimi_k25", "KimiK25ForConditionalGeneration", read_hf_deepseek, ""},

    {"deepseek_v32", "DeepseekV32ForCausalLM", nullptr, kIndexer},
    {"glm_moe_dsa", "GlmMoeDsaForCausalLM", nullptr, kIndexer},
    {"deepseek_v4", "DeepseekV4ForCausalLM", nullptr,
     "compressed sparse attention (compress_ratios), hash layers and hyper-connections"},
    {"deepseek_ref", "DeepseekV4ForCausalLM", nullptr,
     "compressed sparse attention (compress_ratios), hash layers and hyper-connections"},
    {"gpt_oss", "GptOssForCausalLM", nullptr,
     "attention sinks, and sliding-window attention of every second layer"},
    {"llama4_text", "Llama4ForConditionalGeneration", nullptr,
     "chunked attention and layers without rotation (attention_chunk_size, no_rope_layers)"},
    {"qwen3_next", "Qwen3NextForCausalLM", nullptr, kLinear},
    {"qwen3_5_text", "Qwen3_5ForConditionalGeneration", nullptr, kLinear},
    {"qwen3_5_moe_text", "Qwen3_5MoeForConditionalGeneration", nullptr, kLinear},
    {"kimi_linear", "KimiLinearForCausalLM", nullptr, kLinear},
    {"kimi_linear", "KimiK3ForConditionalGeneration", nullptr, kLinear},
    {"minimax_m3", "MiniMaxM3ForCausalLM", nullptr,
     "block-sparse attention with an index (sparse_attention_config)"},
    {"minimax_text_01", "MiniMaxText01ForCausalLM", nullptr, kLinear},
    {"minimax", "MiniMaxForCausalLM", nullptr, kLinear},
    {"minimax_m1", "MiniMaxM1ForCausalLM", nullptr, kLinear},
    {"mimo_v2_flash", "MiMoV2FlashForCausalLM", nullptr, kWindow},
    {"gemma2", "Gemma2ForCausalLM", nullptr, kWindow},
    {"gemma3_text", "Gemma3ForCausalLM", nullptr, kWindow},
    {"nemotron_h", "NemotronHForCausalLM", nullptr, "state-space layers (Mamba-2)"},
    {"switch_transformers", "SwitchTransformersForConditionalGeneration", nullptr,
     "an encoder and FFNs without a gate"},
};

}  // namespace

std::span<const HfFamily> hf_families() { return kFamilies; }

const HfFamily* hf_family_of_type(std::string_view model_type) {
  for (const HfFamily& family : kFamilies) {
    if (family.model_type == model_type) return &family;
  }
  return nullptr;
}

const HfFamily* hf_family_of_class(std::string_view architecture) {
  for (const HfFamily& family : kFamilies) {
    if (family.architecture == architecture) return &family;
  }
  return nullptr;
}

namespace hf {

std::int64_t read_frame(HfFields& fields, Architecture& architecture) {
  architecture.vocab_size = fields.whole("vocab_size");
  architecture.hidden_size = fields.whole("hidden_size");
  architecture.max_context_tokens = fields.whole("max_position_embeddings");
  architecture.tied_embeddings = fields.flag_or("tie_word_embeddings", architecture.tied_embeddings);
  const std::string activation = fields.text_or("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    fields.refuse("hidden_act", fmt::format("FFNs are gated by silu; \"{}\" cannot be expressed",
                                            activation.substr(0, 40)));
  }
  return fields.whole("num_hidden_layers", 1, kMostHfLayers);
}

namespace {

std::int64_t read_head_dim(HfFields& fields, std::int64_t hidden, std::int64_t heads) {
  if (fields.take("head_dim") != nullptr) return fields.whole("head_dim");
  if (hidden % heads != 0) {
    fields.contradiction(
        "num_attention_heads",
        fmt::format("hidden_size ({}) is not a multiple of num_attention_heads ({}), and there "
                    "is no head_dim",
                    hidden, heads));
    return 1;
  }
  return hidden / heads;
}

// The rotated part of a head, 0 for all of it. rotary_dim counts where both ways of saying it are there.
std::int64_t read_rotation(HfFields& fields, std::int64_t head_dim) {
  const double factor = fields.number_or("partial_rotary_factor", 1.0, 0.0, 1.0);
  const std::int64_t stated = fields.whole_or("rotary_dim", 0);
  if (stated == 0 && factor == 1.0) return 0;
  const std::string_view key = stated > 0 ? "rotary_dim" : "partial_rotary_factor";
  const std::int64_t rotated =
      stated > 0 ? stated : static_cast<std::int64_t>(static_cast<double>(head_dim) * factor);
  if (rotated <= 0) fields.refuse(key, "attention without rotation cannot be expressed");
  if (rotated % 2 != 0 || rotated > head_dim) {
    fields.contradiction(key,
                         fmt::format("{} of the {} elements of a head would be rotated: they must be pairs "
                                     "inside the head",
                                     rotated, head_dim));
    return 0;
  }
  return rotated == head_dim ? 0 : rotated;
}

}  // namespace

void check_heads(HfFields& fields, std::string_view kv_key, const GroupedQueryAttention& attention) {
  if (attention.query_heads % attention.kv_heads == 0) return;
  fields.contradiction(kv_key, fmt::format("the {} query heads are not a multiple of the {} KV heads",
                                           attention.query_heads, attention.kv_heads));
}

void check_top_k(HfFields& fields, std::string_view key, const MoeFfn& moe) {
  if (moe.top_k <= moe.experts) return;
  fields.contradiction(
      key, fmt::format("{} experts for each token, but the model has {}", moe.top_k, moe.experts));
}

GroupedQueryAttention read_grouped_query(HfFields& fields, std::int64_t hidden) {
  GroupedQueryAttention attention;
  attention.query_heads = fields.whole("num_attention_heads");
  attention.kv_heads = fields.whole_or("num_key_value_heads", attention.query_heads, 1);
  attention.head_dim = read_head_dim(fields, hidden, attention.query_heads);
  attention.rotated_dim = read_rotation(fields, attention.head_dim);
  check_heads(fields, "num_key_value_heads", attention);
  return attention;
}

void expect_full_attention(HfFields& fields, const Architecture& architecture, std::int64_t layers) {
  const bool used = fields.flag_or("use_sliding_window", true);
  const std::int64_t window = fields.whole_or("sliding_window", 0);
  // Qwen: the layers before max_window_layers have full attention.
  const std::int64_t from = fields.whole_or("max_window_layers", 0);
  if (used && window > 0 && window < architecture.max_context_tokens && from < layers) {
    fields.refuse("sliding_window",
                  fmt::format("layers with a sliding window of {} tokens cannot be expressed", window));
  }
  for (const std::string& type : fields.texts("layer_types")) {
    if (type == "full_attention") continue;
    fields.refuse("layer_types",
                  fmt::format("layers of type \"{}\" cannot be expressed", type.substr(0, 40)));
    return;
  }
}

}  // namespace hf

}  // namespace moesim::llm
