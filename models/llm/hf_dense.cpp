// Families of the hub with a dense FFN in every layer.
#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace {

void set_dense_layers(HfFields& fields, Architecture& architecture, std::int64_t layers,
                      const GroupedQueryAttention& attention) {
  hf::expect_full_attention(fields, architecture, layers);
  architecture.layers = {{layers, attention, DenseFfn{fields.whole("intermediate_size")}}};
}

}  // namespace

// LlamaAttention of transformers: attention_bias is on all four projections.
void read_hf_llama(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  set_dense_layers(fields, architecture, layers, attention);
}

void read_hf_mistral(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  set_dense_layers(fields, architecture, layers, hf::read_grouped_query(fields, architecture.hidden_size));
}

// Qwen2Attention: biases on q, k and v, always.
void read_hf_qwen2(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = true;
  set_dense_layers(fields, architecture, layers, attention);
}

// Qwen3Attention: q_norm and k_norm over the head dimension; attention_bias is on all four projections.
void read_hf_qwen3(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.query_key_norm = true;
  attention.qkv_bias = attention.output_bias = fields.flag_or("attention_bias", false);
  set_dense_layers(fields, architecture, layers, attention);
}

// MiMoForCausalLM derives from Qwen2 and adds multi-token prediction layers.
void read_hf_mimo(HfFields& fields, Architecture& architecture) {
  const std::int64_t layers = hf::read_frame(fields, architecture);
  GroupedQueryAttention attention = hf::read_grouped_query(fields, architecture.hidden_size);
  attention.qkv_bias = fields.flag_or("attention_bias", true);
  set_dense_layers(fields, architecture, layers, attention);
}

}  // namespace moesim::llm
