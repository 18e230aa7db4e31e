// The families of models on the Hugging Face hub that can be imported: one row of a table and one small
// function each.
#pragma once

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

// Readers of the families, by file.
void read_hf_llama(HfFields& fields, Architecture& architecture);
void read_hf_mistral(HfFields& fields, Architecture& architecture);
void read_hf_qwen2(HfFields& fields, Architecture& architecture);
void read_hf_qwen3(HfFields& fields, Architecture& architecture);
void read_hf_mimo(HfFields& fields, Architecture& architecture);
void read_hf_mixtral(HfFields& fields, Architecture& architecture);
void read_hf_phimoe(HfFields& fields, Architecture& architecture);
void read_hf_olmoe(HfFields& fields, Architecture& architecture);
void read_hf_qwen2_moe(HfFields& fields, Architecture& architecture);
void read_hf_qwen3_moe(HfFields& fields, Architecture& architecture);
void read_hf_glm4_moe(HfFields& fields, Architecture& architecture);
void read_hf_minimax_m2(HfFields& fields, Architecture& architecture);
void read_hf_dbrx(HfFields& fields, Architecture& architecture);
void read_hf_grok1(HfFields& fields, Architecture& architecture);
void read_hf_deepseek_v2(HfFields& fields, Architecture& architecture);
void read_hf_deepseek(HfFields& fields, Architecture& architecture);

// Pieces that families share.
namespace hf {

// vocab_size, hidden_size, max_position_embeddings, tie_word_embeddings, hidden_act; returns
// num_hidden_layers.
std::int64_t read_frame(HfFields& fields, Architecture& architecture);
// num_attention_heads, num_key_value_heads, head_dim, partial_rotary_factor, rotary_dim.
GroupedQueryAttention read_grouped_query(HfFields& fields, std::int64_t hidden);
// Checks that kv heads divide the query heads and that experts are enough.
void check_heads(HfFields& fields, std::string_view kv_key, const GroupedQueryAttention& attention);
void check_top_k(HfFields& fields, std::string_view key, const MoeFfn& moe);
// Refuses sliding windows and other attention of single layers: sliding_window, use_sliding_window,
// max_window_layers, layer_types. A window that is as long as the context is none.
void expect_full_attention(HfFields& fields, const Architecture& architecture, std::int64_t layers);
// `count` layers with the same attention, equal ones in a row put together; ffn_at(i) is the FFN of layer i.
template <class FfnAt>
std::vector<LayerGroup> group_layers(std::int64_t count, const AttentionShape& attention, FfnAt&& ffn_at) {
  std::vector<LayerGroup> groups;
  for (std::int64_t i = 0; i < count; ++i) {
    FfnShape ffn = ffn_at(i);
    if (groups.empty() || groups.back().ffn != ffn) {
      groups.push_back({1, attention, std::move(ffn)});
    } else {
      ++groups.back().count;
    }
  }
  return groups;
}

}  // namespace hf

}  // namespace moesim::llm
