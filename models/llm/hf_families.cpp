#include "models/llm/hf_families.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace moesim::llm {

namespace {

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
    {"deepseek_v32", "DeepseekV32ForCausalLM", read_hf_deepseek_v32, ""},
    {"glm_moe_dsa", "GlmMoeDsaForCausalLM", read_hf_deepseek_v32, ""},
    {"deepseek_v4", "DeepseekV4ForCausalLM", read_hf_deepseek_v4, ""},
    {"deepseek_ref", "DeepseekV4ForCausalLM", read_hf_deepseek_v4, ""},
    {"gpt_oss", "GptOssForCausalLM", read_hf_gpt_oss, ""},
    {"llama4_text", "Llama4ForConditionalGeneration", read_hf_llama4, ""},
    {"llama4_text", "Llama4ForCausalLM", read_hf_llama4, ""},
    {"qwen3_next", "Qwen3NextForCausalLM", read_hf_qwen3_next, ""},
    {"qwen3_5_text", "Qwen3_5ForConditionalGeneration", read_hf_qwen3_5, ""},
    {"qwen3_5_text", "Qwen3_5ForCausalLM", read_hf_qwen3_5, ""},
    {"qwen3_5_moe_text", "Qwen3_5MoeForConditionalGeneration", read_hf_qwen3_next, ""},
    {"qwen3_5_moe_text", "Qwen3_5MoeForCausalLM", read_hf_qwen3_next, ""},
    {"kimi_linear", "KimiLinearForCausalLM", read_hf_kimi_linear, ""},
    {"kimi_linear", "KimiK3ForConditionalGeneration", read_hf_kimi_linear, ""},
    {"minimax_m3", "MiniMaxM3ForCausalLM", read_hf_minimax_m3, ""},
    {"minimax_text_01", "MiniMaxText01ForCausalLM", read_hf_minimax, ""},
    {"minimax", "MiniMaxForCausalLM", read_hf_minimax, ""},
    {"minimax_m1", "MiniMaxM1ForCausalLM", read_hf_minimax, ""},
    {"mimo_v2_flash", "MiMoV2FlashForCausalLM", read_hf_mimo_v2_flash, ""},
    {"gemma2", "Gemma2ForCausalLM", read_hf_gemma2, ""},
    {"gemma3_text", "Gemma3ForCausalLM", read_hf_gemma3, ""},
    {"gemma3_text", "Gemma3ForConditionalGeneration", read_hf_gemma3, ""},
    {"nemotron_h", "NemotronHForCausalLM", read_hf_nemotron_h, ""},
    {"switch_transformers", "SwitchTransformersForConditionalGeneration", read_hf_switch, ""},

    {"longcat_flash", "LongcatFlashForCausalLM", nullptr,
     "two attentions and two dense FFNs beside each mixture of experts (shortcut-connected experts)"},
    {"step3p5", "Step3p5ForCausalLM", nullptr, "a gate per head on the result of attention"},
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

void expect_activation(HfFields& fields, std::string_view key, Names activations) {
  const std::string activation = fields.text_or(key, *activations.begin());
  if (std::find(activations.begin(), activations.end(), activation) != activations.end()) return;
  fields.refuse(key, fmt::format("FFNs of this family have the activation {}; \"{}\" is not known",
                                 fmt::join(activations, " or "), activation.substr(0, 40)));
}

void refuse_non_dense(HfFields& fields) {
  for (const HfNonDenseField& one : hf_non_dense_fields()) {
    const config::Node* value = fields.take(one.key);
    if (value == nullptr || !HfFields::active(*value)) continue;
    fields.refuse(one.key,
                  fmt::format("\"{}\" asks for {}, which this family does not have", one.key, one.missing));
  }
}

std::int64_t read_frame(HfFields& fields, Architecture& architecture, Names activations, HfContext context) {
  architecture.vocab_size = fields.whole("vocab_size");
  architecture.hidden_size = fields.whole("hidden_size");
  // Kimi Linear has model_max_length only.
  const std::int64_t longest = fields.whole_or("model_max_length", 0);
  architecture.max_context_tokens = longest > 0 && fields.take("max_position_embeddings") == nullptr
                                        ? longest
                                        : fields.whole("max_position_embeddings");
  read_rope_scaling(fields, architecture, context);  // before windows are held against the context
  architecture.tied_embeddings = fields.flag_or("tie_word_embeddings", architecture.tied_embeddings);
  expect_activation(fields, "hidden_act", activations);
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

// The rotated part of a head. rotary_dim counts where both ways of saying it are there.
void read_rotation(HfFields& fields, GroupedQueryAttention& attention) {
  HfFields* inner = rope_parameters(fields);
  if (inner != nullptr && inner->take("partial_rotary_factor") == nullptr) inner = nullptr;
  const double stated_factor = fields.number_or("partial_rotary_factor", 1.0, 0.0, 1.0);
  const double factor =
      inner != nullptr ? inner->number_or("partial_rotary_factor", 1.0, 0.0, 1.0) : stated_factor;
  const std::int64_t stated = fields.whole_or("rotary_dim", 0);
  if (stated == 0 && factor == 1.0) return;
  const std::int64_t rotated =
      stated > 0 ? stated : static_cast<std::int64_t>(static_cast<double>(attention.head_dim) * factor);
  attention.position_free = rotated == 0;
  if (rotated % 2 != 0 || rotated > attention.head_dim) {
    HfFields& owner = stated > 0 || inner == nullptr ? fields : *inner;
    owner.contradiction(stated > 0 ? "rotary_dim" : "partial_rotary_factor",
                        fmt::format("{} of the {} elements of a head would be rotated: they must be pairs "
                                    "inside the head",
                                    rotated, attention.head_dim));
    return;
  }
  attention.rotated_dim = rotated == attention.head_dim ? 0 : rotated;
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
  read_rotation(fields, attention);
  check_heads(fields, "num_key_value_heads", attention);
  return attention;
}

MoeFfn read_experts(HfFields& fields, std::string_view experts, std::string_view top_k,
                    std::string_view width) {
  MoeFfn moe;
  moe.experts = fields.whole(experts);
  moe.top_k = fields.whole(top_k);
  moe.expert_width = fields.whole(width);
  check_top_k(fields, top_k, moe);
  return moe;
}

MoeFfn read_deepseek_experts(HfFields& fields) {
  MoeFfn moe = read_experts(fields, "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size");
  moe.shared_experts = fields.whole_or("n_shared_experts", 0);
  moe.shared_width = moe.shared_experts > 0 ? moe.expert_width : 0;
  return moe;
}

}  // namespace hf

}  // namespace moesim::llm
