// DeepSeek-V4: attention to a window and to pooled keys, experts by a table in the first layers, residual
// streams that are mixed.
#include <fmt/format.h>

#include <vector>

#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace {

// What the code of DeepSeek-V4 fixes and no field says: entries of 4 tokens overlap and are chosen by an
// indexer (CSA), entries of 128 tokens do not and are all kept (HCA); 0 is the window only
// (DeepSeek-V4, inference/model.py; transformers, deepseek_v4).
constexpr std::int64_t kSparseRatio = 4;
constexpr std::int64_t kHeavyRatio = 128;
// As lowering.cpp has it.
constexpr std::int64_t kSinkhornIterations = 20;

CompressedAttention compressed_layer(CompressedAttention attention, const TokenIndexer& indexer,
                                     std::int64_t ratio) {
  attention.ratio = ratio;
  attention.overlapping = ratio == kSparseRatio;
  if (ratio == kSparseRatio) attention.indexer = indexer;
  return attention;
}

CompressedAttention read_compressed(HfFields& fields) {
  CompressedAttention attention;
  attention.query_heads = fields.whole("num_attention_heads");
  attention.head_dim = fields.whole("head_dim");
  attention.rope_head_dim = fields.whole("qk_rope_head_dim");
  attention.q_lora_rank = fields.whole("q_lora_rank");
  attention.output_groups = fields.whole("o_groups");
  attention.output_lora_rank = fields.whole("o_lora_rank");
  attention.window_tokens = fields.whole("sliding_window");
  if (fields.whole_or("num_key_value_heads", 1) != 1) {
    fields.refuse("num_key_value_heads",
                  "one head is key and value for all queries; more cannot be expressed");
  }
  if (attention.query_heads % attention.output_groups != 0) {
    fields.contradiction("o_groups", fmt::format("the {} heads are not a multiple of the {} groups",
                                                 attention.query_heads, attention.output_groups));
  }
  if (fields.flag_or("attention_bias", false)) {
    fields.refuse("attention_bias", "biases of compressed attention cannot be expressed");
  }
  return attention;
}

// The ratio of each layer, and behind them those of the prediction layers where they are given.
std::vector<std::int64_t> read_ratios(HfFields& fields, std::int64_t layers) {
  std::vector<std::int64_t> ratios = fields.wholes("compress_ratios");
  const auto least = static_cast<std::size_t>(layers);
  const std::int64_t more = fields.whole_or("num_nextn_predict_layers", 0, 0, kMostHfLayers);
  if (ratios.size() != least && ratios.size() != least + static_cast<std::size_t>(more)) {
    fields.contradiction(
        "compress_ratios",
        fmt::format("compress_ratios has {} entries, but the model has {} layers and {} more "
                    "for prediction",
                    ratios.size(), layers, more));
    ratios.resize(least);
  }
  for (const std::int64_t ratio : ratios) {
    if (ratio == 0 || ratio == kSparseRatio || ratio == kHeavyRatio) continue;
    fields.refuse("compress_ratios", fmt::format("the ratio {} is not known: it is 0, {} or {}", ratio,
                                                 kSparseRatio, kHeavyRatio));
    break;
  }
  return ratios;
}

}  // namespace

void read_hf_deepseek_v4(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  architecture.residual_streams = fields.whole("hc_mult", 1, 64);
  const CompressedAttention attention = read_compressed(fields);
  TokenIndexer indexer;
  indexer.heads = fields.whole("index_n_heads");
  indexer.head_dim = fields.whole("index_head_dim");
  indexer.top_k = fields.whole("index_topk");
  MoeFfn moe = hf::read_deepseek_experts(fields);
  // "noaux_tc": the scores that choose are corrected; a table that chooses needs no correction.
  moe.router_score_bias = fields.text_or("topk_method", "noaux_tc") == "noaux_tc";
  MoeFfn by_table = moe;
  by_table.selection = ExpertSelection::weighted_hash;
  by_table.router_score_bias = false;
  const std::int64_t hashed = fields.whole_or("num_hash_layers", 0);
  const std::vector<std::int64_t> ratios = read_ratios(fields, layers);
  if (fields.whole_or("hc_sinkhorn_iters", kSinkhornIterations) != kSinkhornIterations) {
    fields.refuse("hc_sinkhorn_iters",
                  fmt::format("the mixing of the streams is normalised {} times; another "
                              "number cannot be expressed",
                              kSinkhornIterations));
  }
  // Constants: the clamp of the experts, the mixing of the streams, the rotation of the entries.
  fields.skip({"swiglu_limit", "hc_eps", "compress_rope_theta", "expert_dtype", "use_sliding_window"});
  hf::set_layers(architecture, layers, [&](std::int64_t i) {
    return LayerGroup{1, compressed_layer(attention, indexer, ratios[static_cast<std::size_t>(i)]),
                      i < hashed ? by_table : moe, std::nullopt};
  });
  architecture.prediction = PredictionLayers{0, compressed_layer(attention, indexer, ratios.back()), moe};
}

}  // namespace moesim::llm
