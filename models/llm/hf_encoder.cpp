// Switch Transformers: an encoder and a decoder, experts in some layers of each.
#include <algorithm>
#include <string>

#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace {

// SwitchTransformersStack: with `sparse` of `layers` layers sparse, step = layers / sparse, and layer i has
// experts where i % step == 1, or in every layer where step is 1.
bool is_switch_layer(std::int64_t layer, std::int64_t layers, std::int64_t sparse) {
  if (sparse == 0) return false;
  const std::int64_t step = std::max<std::int64_t>(layers / sparse, 1);
  return step == 1 || layer % step == 1;
}

// SwitchTransformersAttention: as many keys as queries, no biases, positions by a table and not by rotation.
GroupedQueryAttention read_switch_attention(HfFields& fields) {
  GroupedQueryAttention attention;
  attention.query_heads = attention.kv_heads = fields.whole("num_heads");
  attention.head_dim = fields.whole("d_kv");
  attention.position_free = true;
  return attention;
}

}  // namespace

void read_hf_switch(HfFields& fields, Architecture& architecture) {
  architecture.vocab_size = fields.whole("vocab_size");
  architecture.hidden_size = fields.whole("d_model");
  architecture.max_context_tokens = fields.whole("n_positions");
  architecture.tied_embeddings = fields.flag_or("tie_word_embeddings", true);  // as T5
  const std::int64_t encoder = fields.whole("num_layers", 1, kMostHfLayers);
  const std::int64_t decoder = fields.whole_or("num_decoder_layers", encoder, 1, kMostHfLayers);
  const std::int64_t sparse_encoder = fields.whole("num_sparse_encoder_layers", 0, kMostHfLayers);
  const std::int64_t sparse_decoder = fields.whole("num_sparse_decoder_layers", 0, kMostHfLayers);
  const GroupedQueryAttention attention = read_switch_attention(fields);
  const std::string activation = fields.text_or("feed_forward_proj", "relu");
  const DenseFfn ffn{fields.whole("d_ff"), activation.starts_with("gated-")};
  MoeFfn moe;
  moe.experts = fields.whole("num_experts");
  moe.top_k = 1;
  moe.expert_width = ffn.width;
  moe.gated = ffn.gated;
  moe.router_bias = fields.flag_or("router_bias", false);
  // The table of positions has a few hundred weights in the first layer of each stack.
  fields.leave_out("relative_attention_num_buckets", "the table of relative positions");
  if (fields.flag_or("add_router_probs", false))
    fields.refuse("add_router_probs", "the router's probabilities as a result cannot be expressed");
  // What follows from the class, repeats other fields, or concerns training and capacity.
  fields.skip({"is_encoder_decoder", "is_gated_act", "dense_act_fn", "relative_attention_max_distance",
               "encoder_sparse_step", "decoder_sparse_step", "expert_capacity", "router_dtype",
               "router_ignore_padding_tokens", "router_type", "dropout_rate", "num_selected_experts",
               "batch_prioritized_routing", "num_partitions", "sparse_mlp_dense_act"});
  const auto layer = [&](bool sparse) {
    return LayerGroup{1, attention, sparse ? FfnShape(moe) : FfnShape(ffn), std::nullopt};
  };
  hf::set_layers(architecture, decoder, [&](std::int64_t i) {
    LayerGroup group = layer(is_switch_layer(i, decoder, sparse_decoder));
    group.cross_attention = attention;
    return group;
  });
  // An encoder has no order: it is described and not run.
  architecture.encoder = hf::layer_kinds(
      encoder, [&](std::int64_t i) { return layer(is_switch_layer(i, encoder, sparse_encoder)); });
}

}  // namespace moesim::llm
