// Families of the hub with multi-head latent attention: DeepSeek-V2 to V3.2, Kimi K2 and K2.5, GLM-5.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace hf {

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

}  // namespace hf

namespace {

// MoEGate of DeepSeek: "noaux_tc" has e_score_correction_bias, the methods of V2 have not.
bool read_score_bias(HfFields& fields, std::string_view otherwise) {
  const std::string method = fields.text_or("topk_method", otherwise);
  if (method == "noaux_tc") return true;
  if (method != "greedy" && method != "group_limited_greedy") {
    fields.refuse("topk_method", fmt::format("the routing method \"{}\" is not known", method.substr(0, 40)));
  }
  return false;
}

// Which layers have experts, 1 for each. mlp_layer_types of GLM-5.2 says it for each layer.
std::vector<std::int64_t> read_moe_layers(HfFields& fields, std::int64_t layers) {
  const std::vector<std::string> types =
      hf::layer_types(fields, "mlp_layer_types", layers, {"dense", "sparse"});
  if (types.empty()) return hf::read_late_moe_layers(fields, layers, std::nullopt);
  hf::read_late_moe_layers(fields, layers, 0);  // known, and of the right types
  std::vector<std::int64_t> moe;
  for (const std::string& type : types) moe.push_back(type == "sparse" ? 1 : 0);
  return moe;
}

// ffn_at(i) of a family with the experts of DeepSeek, and the attention of attention_at(i).
template <class AttentionAt>
void set_deepseek_layers(HfFields& fields, Architecture& architecture, std::int64_t layers,
                         std::string_view topk_method, AttentionAt&& attention_at) {
  if (fields.take("n_routed_experts") == nullptr) {
    fields.skip({"n_shared_experts", "moe_intermediate_size", "num_experts_per_tok", "first_k_dense_replace",
                 "moe_layer_freq", "topk_method"});
    const DenseFfn ffn{fields.whole("intermediate_size")};
    hf::set_layers(architecture, layers, [&](std::int64_t i) {
      return LayerGroup{1, attention_at(i), ffn, std::nullopt};
    });
    return;
  }
  MoeFfn moe = hf::read_deepseek_experts(fields);
  moe.router_score_bias = read_score_bias(fields, topk_method);
  const std::vector<std::int64_t> is_moe = read_moe_layers(fields, layers);
  const DenseFfn ffn = hf::read_dense_ffn(fields, "intermediate_size", is_moe);
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    const bool experts = is_moe[static_cast<std::size_t>(i)] != 0;
    return LayerGroup{1, attention_at(i), experts ? FfnShape(moe) : FfnShape(ffn), std::nullopt};
  });
}

void read_deepseek_layers(HfFields& fields, Architecture& architecture, std::string_view topk_method) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  const LatentAttention attention = hf::read_latent(fields);
  set_deepseek_layers(fields, architecture, layers, topk_method, [&](std::int64_t) { return attention; });
}

// Which layers use the choice of an earlier one, 1 for each. GlmMoeDsaConfig: indexer_types says it for each
// layer; without it a layer i chooses for itself where max(i - index_skip_topk_offset + 1, 0) is a multiple
// of index_topk_freq.
std::vector<std::int64_t> read_shared_indexers(HfFields& fields, std::int64_t layers) {
  const std::vector<std::string> types = hf::layer_types(fields, "indexer_types", layers, {"full", "shared"});
  if (types.empty() && fields.take("index_topk_pattern") != nullptr) {
    fields.refuse("index_topk_pattern", "a pattern of indexers is read from indexer_types only");
  }
  fields.skip({"index_topk_pattern"});
  const std::int64_t every = fields.whole_or("index_topk_freq", 1, 1);
  const std::int64_t offset = every > 1 && types.empty() ? fields.whole("index_skip_topk_offset", 0)
                                                         : fields.whole_or("index_skip_topk_offset", 0);
  std::vector<std::int64_t> shared;
  for (std::int64_t i = 0; i < layers; ++i) {
    const bool own = types.empty() ? std::max<std::int64_t>(i - offset + 1, 0) % every == 0
                                   : types[static_cast<std::size_t>(i)] == "full";
    shared.push_back(own ? 0 : 1);
  }
  if (shared.front() != 0) fields.contradiction("indexer_types", "the first layer has no choice to share");
  return shared;
}

}  // namespace

void read_hf_deepseek_v2(HfFields& fields, Architecture& architecture) {
  read_deepseek_layers(fields, architecture, "greedy");
}

void read_hf_deepseek(HfFields& fields, Architecture& architecture) {
  read_deepseek_layers(fields, architecture, "noaux_tc");
}

// DeepSeek-V3.2 and GLM-5: an indexer in every layer. The queries of the indexer come from the latent
// queries, keys and weights of its heads from the layer's input (Indexer of DeepSeek-V3.2-Exp,
// inference/model.py).
void read_hf_deepseek_v32(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  LatentAttention attention = hf::read_latent(fields);
  TokenIndexer indexer;
  indexer.heads = fields.whole("index_n_heads");
  indexer.head_dim = fields.whole("index_head_dim");
  indexer.top_k = fields.whole("index_topk");
  hf::layer_types(fields, "layer_types", layers, {"deepseek_sparse_attention"});
  fields.skip({"indexer_rope_interleave", "index_share_for_mtp_iteration", "moe_router_dtype"});
  if (fields.take("num_experts") != nullptr &&
      fields.whole("num_experts") != fields.whole("n_routed_experts")) {
    fields.contradiction("num_experts", "num_experts and n_routed_experts differ");
  }
  const std::vector<std::int64_t> shared = read_shared_indexers(fields, layers);
  set_deepseek_layers(fields, architecture, layers, "noaux_tc", [&](std::int64_t i) {
    indexer.shared = shared[static_cast<std::size_t>(i)] != 0;
    attention.indexer = indexer;
    return attention;
  });
  // The prediction layer chooses for itself: index_share_for_mtp_iteration shares among its own iterations.
  indexer.shared = false;
  attention.indexer = indexer;
  const auto last = static_cast<std::size_t>(architecture.patterns().back().groups.back());
  architecture.prediction = PredictionLayers{0, attention, architecture.layers.at(last).ffn};
}

}  // namespace moesim::llm
