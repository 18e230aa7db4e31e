// The families of models on the Hugging Face hub that can be imported: one row of a table and one small
// function each.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/hf_fields.hpp"

namespace moesim::llm {

// Fills the sizes and layers of an architecture from the fields of a configuration; name, formats and sources
// are filled in by the caller. Errors go to the fields' reader.
using HfReadFunction = void (*)(HfFields& fields, Architecture& architecture);

struct HfFamily {
  std::string_view model_type;    // as in config.json
  std::string_view architecture;  // the class in "architectures"
  HfReadFunction read = nullptr;  // nullptr: known, but not expressible
  std::string_view missing;       // what cannot be expressed
};

// Every family that is known by name. A model type may have several rows, one for each class.
[[nodiscard]] std::span<const HfFamily> hf_families();

// The family of a model type or of a class, or nullptr.
[[nodiscard]] const HfFamily* hf_family_of_type(std::string_view model_type);
[[nodiscard]] const HfFamily* hf_family_of_class(std::string_view architecture);

// What a field means to the importer when no family asked for it.
enum class HfFieldKind : std::uint8_t {
  unknown,
  harmless,  // changes neither shapes nor work: token ids, dropout, initialisation, scalars of the arithmetic
  unsupported,  // changes the work; harmless when it is off
};
struct HfFieldMeaning {
  HfFieldKind kind = HfFieldKind::unknown;
  std::string_view missing;  // unsupported: what it asks for
};
[[nodiscard]] HfFieldMeaning hf_field_meaning(std::string_view key);

// Fields that ask for experts or latent attention, and what of the two. No dense family has them.
struct HfNonDenseField {
  std::string_view key;
  std::string_view missing;
};
[[nodiscard]] std::span<const HfNonDenseField> hf_non_dense_fields();

// Readers of the families, by file: dense FFNs,
void read_hf_llama(HfFields& fields, Architecture& architecture);
void read_hf_mistral(HfFields& fields, Architecture& architecture);
void read_hf_qwen2(HfFields& fields, Architecture& architecture);
void read_hf_qwen3(HfFields& fields, Architecture& architecture);
void read_hf_mimo(HfFields& fields, Architecture& architecture);
void read_hf_gemma2(HfFields& fields, Architecture& architecture);
void read_hf_gemma3(HfFields& fields, Architecture& architecture);
// experts,
void read_hf_mixtral(HfFields& fields, Architecture& architecture);
void read_hf_phimoe(HfFields& fields, Architecture& architecture);
void read_hf_olmoe(HfFields& fields, Architecture& architecture);
void read_hf_qwen2_moe(HfFields& fields, Architecture& architecture);
void read_hf_qwen3_moe(HfFields& fields, Architecture& architecture);
void read_hf_glm4_moe(HfFields& fields, Architecture& architecture);
void read_hf_minimax_m2(HfFields& fields, Architecture& architecture);
void read_hf_dbrx(HfFields& fields, Architecture& architecture);
void read_hf_grok1(HfFields& fields, Architecture& architecture);
// layers that see their keys in different ways,
void read_hf_gpt_oss(HfFields& fields, Architecture& architecture);
void read_hf_llama4(HfFields& fields, Architecture& architecture);
void read_hf_minimax_m3(HfFields& fields, Architecture& architecture);
void read_hf_mimo_v2_flash(HfFields& fields, Architecture& architecture);
// latent and compressed attention,
void read_hf_deepseek_v2(HfFields& fields, Architecture& architecture);
void read_hf_deepseek(HfFields& fields, Architecture& architecture);
void read_hf_deepseek_v32(HfFields& fields, Architecture& architecture);
void read_hf_deepseek_v4(HfFields& fields, Architecture& architecture);
// layers with a constant state,
void read_hf_qwen3_next(HfFields& fields, Architecture& architecture);
void read_hf_qwen3_5(HfFields& fields, Architecture& architecture);
void read_hf_kimi_linear(HfFields& fields, Architecture& architecture);
void read_hf_minimax(HfFields& fields, Architecture& architecture);
void read_hf_nemotron_h(HfFields& fields, Architecture& architecture);
// an encoder.
void read_hf_switch(HfFields& fields, Architecture& architecture);

// Pieces that families share.
namespace hf {

using Names = std::initializer_list<std::string_view>;

// What max_position_embeddings says of a model whose rotation is stretched by linear or yarn: the context
// before that, or, as the makers of Gemma 3 have it, after it.
enum class HfContext : std::uint8_t { before_scaling, after_scaling };

// vocab_size, hidden_size, max_position_embeddings or model_max_length, rope_scaling, tie_word_embeddings,
// hidden_act (one of `activations`, the first where it is absent); returns num_hidden_layers.
std::int64_t read_frame(HfFields& fields, Architecture& architecture, Names activations = {"silu", "swish"},
                        HfContext context = HfContext::before_scaling);
// An activation changes no shape here, but whether there is a gate: only those of the family are accepted.
void expect_activation(HfFields& fields, std::string_view key, Names activations);
// num_attention_heads, num_key_value_heads, head_dim, partial_rotary_factor, rotary_dim.
GroupedQueryAttention read_grouped_query(HfFields& fields, std::int64_t hidden);
// kv_lora_rank, q_lora_rank, qk_rope_head_dim and the other sizes of latent attention.
LatentAttention read_latent(HfFields& fields);
// Experts, experts per token and width of one, under these names.
MoeFfn read_experts(HfFields& fields, std::string_view experts, std::string_view top_k,
                    std::string_view width);
// The same under the names of DeepSeek, with shared experts of the same width (n_shared_experts).
MoeFfn read_deepseek_experts(HfFields& fields);
// Checks that kv heads divide the query heads and that experts are enough.
void check_heads(HfFields& fields, std::string_view kv_key, const GroupedQueryAttention& attention);
void check_top_k(HfFields& fields, std::string_view key, const MoeFfn& moe);

// A list with one entry for each of `layers` layers, or empty where it is absent or after an error.
std::vector<std::int64_t> per_layer(HfFields& fields, std::string_view key, std::int64_t layers);
// The same of texts, each one of `known`.
std::vector<std::string> layer_types(HfFields& fields, std::string_view key, std::int64_t layers,
                                     Names known);
// Which layers have experts, 1 for each: as DeepseekV3DecoderLayer, layer i from first_k_dense_replace on
// (`first_otherwise` where it is absent; without one it must be given), where i is a multiple of
// moe_layer_freq; or moe_layer_freq as a list.
std::vector<std::int64_t> read_late_moe_layers(HfFields& fields, std::int64_t layers,
                                               std::optional<std::int64_t> first_otherwise);
// The same as Qwen2MoeDecoderLayer has it: layer i unless it is in mlp_only_layers or (i + 1) is no multiple
// of decoder_sparse_step.
std::vector<std::int64_t> read_qwen_moe_layers(HfFields& fields, std::int64_t layers);
// The FFN of the layers without experts: `key` must be given where there are such.
DenseFfn read_dense_ffn(HfFields& fields, std::string_view key, const std::vector<std::int64_t>& is_moe);

// Refuses the fields of experts and of latent attention that are on: for families that have neither.
void refuse_non_dense(HfFields& fields);

// What a window means to a family's code: every layer has it; it counts with use_sliding_window only (Qwen);
// only layer_types can ask for one.
enum class HfWindows : std::uint8_t { always, if_used, if_listed };

// The window of each layer, 0 for none: use_sliding_window, sliding_window, layer_types, max_window_layers. A
// window that is as long as the context is none. One that the family's code does not look at is told in a
// warning, one that it does not have is refused.
std::vector<std::int64_t> read_windows(HfFields& fields, const Architecture& architecture,
                                       std::int64_t layers, HfWindows meaning);

// The order of a network with these kinds of layers: patterns of few entries, by dynamic programming over
// all patterns of up to 64 layers.
std::vector<LayerPattern> shortest_order(std::span<const std::int64_t> kinds);
// Fills `layers` and `order` with `count` layers: `layer_at(i)` is layer i, without its count. Equal layers
// are one group; without layers that take turns there is no order.
void set_layers(Architecture& architecture, std::int64_t count,
                const std::function<LayerGroup(std::int64_t)>& layer_at);
// The kinds of these layers with the number of each, in the order of their first layers.
std::vector<LayerGroup> layer_kinds(std::int64_t count,
                                    const std::function<LayerGroup(std::int64_t)>& layer_at);

// rope_parameters, or that of its full-attention layers; nullptr where there is none.
HfFields* rope_parameters(HfFields& fields);
// rope_scaling, or rope_parameters; the longest context with it, from what max_context_tokens is before.
void read_rope_scaling(HfFields& fields, Architecture& architecture,
                       HfContext context = HfContext::before_scaling);
// The layers for multi-token prediction. They are as the last layer of the network, unless the family has put
// another kind into `prediction`.
void read_prediction(HfFields& fields, Architecture& architecture);

}  // namespace hf

}  // namespace moesim::llm
