// Families of the hub with a dense FFN in every layer.
#include <string>
#include <vector>

#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace {

// The same attention in every layer but for the windows.
void set_dense_layers(HfFields& fields, Architecture& architecture, GroupedQueryAttention attention,
                      const std::vector<std::int64_t>& windows) {
  const DenseFfn ffn{fields.whole("intermediate_size")};
  hf::refuse_non_dense(fields);
  hf::set_layers(architecture, static_cast<std::int64_t>(windows.size()), [&](std::int64_t i) {
    attention.window_tokens = windows[static_cast<std::size_t>(i)];
    return LayerGroup{1, attention, ffn, std::nullopt};
  });
}

}  // namespace

// LlamaAttention of transformers: attention_bias is on all four projections.
void read_hf_llama(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  set_dense_layers(fields, architecture, attention,
                   hf::read_windows(fields, architecture, layers, hf::HfWindows::if_listed));
}

void read_hf_mistral(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  const GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  set_dense_layers(fields, architecture, attention,
                   hf::read_windows(fields, architecture, layers, hf::HfWindows::always));
}

// Qwen2Attention: biases on q, k and v, always.
void read_hf_qwen2(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = true;
  set_dense_layers(fields, architecture, attention,
                   hf::read_windows(fields, architecture, layers, hf::HfWindows::if_used));
}

// Qwen3Attention: q_norm and k_norm over the head dimension; attention_bias is on all four projections.
void read_hf_qwen3(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.query_key_norm = true;
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  set_dense_layers(fields, architecture, attention,
                   hf::read_windows(fields, architecture, layers, hf::HfWindows::if_used));
}

// MiMoForCausalLM derives from Qwen2 and adds multi-token prediction layers.
void read_hf_mimo(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = fields.flag_or("attention_bias", true);
  set_dense_layers(fields, architecture, attention,
                   hf::read_windows(fields, architecture, layers, hf::HfWindows::if_used));
}

namespace {

// Gemma2DecoderLayer and Gemma3DecoderLayer: norms also behind attention and FFN. Gemma2Config: the head is
// the embedding unless it says otherwise. A cap on the logits of the head (final_logit_softcapping) costs
// nothing that is counted.
std::int64_t read_gemma_frame(HfFields& fields, Architecture& architecture, hf::HfContext context) {
  const hf::Names activations = {"gelu_pytorch_tanh", "gelu", "gelu_tanh"};
  const std::int64_t layers = hf::read_frame(fields, architecture, activations, context);
  architecture.tied_embeddings = fields.flag_or("tie_word_embeddings", true);
  architecture.post_norms = true;
  hf::expect_activation(fields, "hidden_activation", activations);
  fields.skip({"final_logit_softcapping", "query_pre_attn_scalar", "rope_local_base_freq",
               "cache_implementation", "_sliding_window_pattern", "use_bidirectional_attention",
               "use_sliding_window"});
  return layers;
}

// Windows of layer_types, else of the layers that are no multiple of `every` (counted from 1).
std::vector<std::int64_t> gemma_windows(HfFields& fields, std::int64_t layers, std::int64_t every) {
  const std::vector<std::string> types =
      hf::layer_types(fields, "layer_types", layers, {"full_attention", "sliding_attention"});
  const std::int64_t window = fields.whole("sliding_window");
  std::vector<std::int64_t> windows;
  for (std::int64_t i = 0; i < layers; ++i) {
    const bool slides =
        types.empty() ? (i + 1) % every != 0 : types[static_cast<std::size_t>(i)] == "sliding_attention";
    windows.push_back(slides ? window : 0);
  }
  return windows;
}

}  // namespace

// Gemma2Config: without layer_types, every second layer has a window, the first one has.
void read_hf_gemma2(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = read_gemma_frame(fields, architecture, hf::HfContext::before_scaling);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  attention.score_cap = fields.number_or("attn_logit_softcapping", 0.0, 0.0, 1e9) > 0;
  set_dense_layers(fields, architecture, attention, gemma_windows(fields, layers, 2));
}

// Gemma3Attention: norms of queries and keys. Gemma3TextConfig: without layer_types, every layer but each
// sliding_window_pattern-th has a window. The published files leave out what its defaults say (4B: the heads
// too).
void read_hf_gemma3(HfFields& fields, Architecture& architecture) {
  fields.use_defaults("Gemma3TextConfig", {{"vocab_size", 262208},
                                           {"max_position_embeddings", 131072},
                                           {"num_attention_heads", 8},
                                           {"num_key_value_heads", 4},
                                           {"head_dim", 256},
                                           {"sliding_window", 4096},
                                           {"sliding_window_pattern", 6}});
  const std::int64_t layers = read_gemma_frame(fields, architecture, hf::HfContext::after_scaling);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.query_key_norm = true;
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  attention.score_cap = fields.number_or("attn_logit_softcapping", 0.0, 0.0, 1e9) > 0;
  const bool listed = fields.take("layer_types") != nullptr;
  const std::int64_t every = listed ? 1 : fields.whole("sliding_window_pattern");
  fields.skip({"sliding_window_pattern"});  // says nothing beside layer_types
  set_dense_layers(fields, architecture, attention, gemma_windows(fields, layers, every));
}

}  // namespace moesim::llm
