// Families of the hub with multi-head latent attention: DeepSeek-V2 and V3, Kimi K2 and K2.5.
#include <fmt/format.h>

#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace {

LatentAttention read_latent(HfFields& fields) {
  LatentAttention attention;
  attention.heads = fields.whole("num_attention_heads");
  attention.q_lora_rank = fields.whole_or("q_lora_rank", 0);  // null: queries are projected directly
  attention.kv_lora_rank = fields.whole("kv_lora_rank");
  attention.rope_head_dim = fields.whole("qk_rope_head_dim");
  attention.nope_head_dim = fields.whole("qk_nope_head_dim");
  attention.v_head_dim = fields.whole("v_head_dim");
  // Every head has its own keys and values, whatever these say.
  fields.skip({"num_key_value_heads", "head_dim", "qk_head_dim"});
  if (attention.rope_head_dim % 2 != 0) {
    fields.contradiction(
        "qk_rope_head_dim",
        fmt::format("the rotation works on pairs, so it must be even, not {}", attention.rope_head_dim));
  }
  if (fields.flag_or("attention_bias", false)) {
    fields.refuse("attention_bias", "biases of latent attention cannot be expressed");
  }
  return attention;
}

// MoEGate of DeepSeek: "noaux_tc" has e_score_correction_bias, the methods of V2 have not.
bool read_score_bias(HfFields& fields, std::string_view otherwise) {
  const std::string method = fields.text_or("topk_method", otherwise);
  if (method == "noaux_tc") return true;
  if (method != "greedy" && method != "group_limited_greedy") {
    fields.refuse("topk_method", fmt::format("the routing method \"{}\" is not known", method.substr(0, 40)));
  }
  return false;
}

// DeepseekV3DecoderLayer: layer i has experts from first_k_dense_replace on, where it is a multiple of
// moe_layer_freq.
void read_deepseek_layers(HfFields& fields, Architecture& architecture, std::string_view topk_method) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  const LatentAttention attention = read_latent(fields);
  if (fields.take("n_routed_experts") == nullptr) {
    fields.skip({"n_shared_experts", "moe_intermediate_size", "num_experts_per_tok", "first_k_dense_replace",
                 "moe_layer_freq", "topk_method"});
    architecture.layers = {{layers, attention, DenseFfn{fields.whole("intermediate_size")}}};
    return;
  }
  MoeFfn moe;
  moe.experts = fields.whole("n_routed_experts");
  moe.top_k = fields.whole("num_experts_per_tok");
  moe.expert_width = fields.whole("moe_intermediate_size");
  moe.shared_experts = fields.whole_or("n_shared_experts", 0);
  moe.shared_width = moe.shared_experts > 0 ? moe.expert_width : 0;
  moe.router_score_bias = read_score_bias(fields, topk_method);
  hf::check_top_k(fields, "num_experts_per_tok", moe);
  const std::int64_t first = fields.whole("first_k_dense_replace", 0);
  const std::int64_t every = fields.whole_or("moe_layer_freq", 1, 1);
  const auto is_moe = [&](std::int64_t i) { return i >= first && i % every == 0; };
  DenseFfn ffn;
  if (first > 0 || every > 1) ffn.width = fields.whole("intermediate_size");
  fields.skip({"intermediate_size"});  // of dense layers only
  architecture.layers = hf::group_layers(
      layers, attention, [&](std::int64_t i) { return is_moe(i) ? FfnShape(moe) : FfnShape(ffn); });
}

}  // namespace

void read_hf_deepseek_v2(HfFields& fields, Architecture& architecture) {
  read_deepseek_layers(fields, architecture, "greedy");
}

void read_hf_deepseek(HfFields& fields, Architecture& architecture) {
  read_deepseek_layers(fields, architecture, "noaux_tc");
}

}  // namespace moesim::llm
