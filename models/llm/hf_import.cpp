#include "models/llm/hf_import.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/hf_families.hpp"
#include "models/llm/hf_quantization.hpp"

namespace moesim::llm {

namespace fs = std::filesystem;
using config::Node;

namespace {

constexpr std::size_t kMaxShown = 40;  // characters of a name in a message

// A configuration while it is imported.
struct Import {
  const Node& tree;
  config::Reader& reader;
  HfFields root;
  HfFields* text = nullptr;  // the language model's part: the root itself, or text_config
  std::string type;          // model_type that told the family, or ""
  std::string architecture;  // first of "architectures", or ""
  config::Location where;    // of the field that told the family
  std::string pointer;       // of that field
  fs::path file;

  Import(const Node& in, config::Reader& to) : tree(in), reader(to), root(in, {}, to) {}
};

std::string shown_name(const std::string& text) {
  return text.size() > kMaxShown ? text.substr(0, kMaxShown) + "..." : text;
}

std::string first_class(HfFields& fields) {
  const std::vector<std::string> classes = fields.texts("architectures");
  return classes.empty() ? "" : classes.front();
}

std::string known_families() {
  std::vector<std::string_view> names;
  for (const HfFamily& family : hf_families()) {
    if (family.read == nullptr) continue;
    if (std::find(names.begin(), names.end(), family.model_type) == names.end())
      names.push_back(family.model_type);
  }
  return fmt::format("known model types: {}", fmt::join(names, ", "));
}

// Finds the language model's part and what names its family.
void find_names(Import& import, std::string& outer_type) {
  outer_type = import.root.text_or("model_type", "");
  const std::string outer_class = first_class(import.root);
  import.text = &import.root;
  import.type = outer_type;
  if (import.root.take("text_config") != nullptr) {
    import.text = &import.root.object("text_config");
    import.type = import.text->text_or("model_type", "");
  }
  import.architecture = outer_class.empty() ? first_class(*import.text) : outer_class;
  const bool by_type = !import.type.empty() || !outer_type.empty();
  HfFields& typed = import.text->place_of("model_type").source >= 0 ? *import.text : import.root;
  HfFields& named = by_type ? typed : import.root;
  const std::string_view key = by_type ? "model_type" : "architectures";
  import.where = named.place_of(key);
  if (import.where.source < 0) {  // null, or made by a flag
    const config::Location& tree = import.tree.where;
    import.where = {tree.source, tree.begin, tree.begin + 1};
  }
  import.pointer = named.pointer(key);
}

void report_unknown(const Import& import) {
  const std::string who = import.type.empty()
                              ? fmt::format("the architecture \"{}\"", shown_name(import.architecture))
                              : fmt::format("the model type \"{}\" ({})", shown_name(import.type),
                                            shown_name(import.architecture));
  import.reader.add({"unknown_architecture", import.pointer, import.where, who + " is not known", "",
                     known_families(), false, false});
}

// The family, or nullptr after an error.
const HfFamily* find_family(Import& import) {
  std::string outer_type;
  find_names(import, outer_type);
  const HfFamily* family = hf_family_of_type(import.type);
  if (family == nullptr) family = hf_family_of_type(outer_type);
  const HfFamily* by_class = hf_family_of_class(import.architecture);
  if (family == nullptr) family = by_class;
  if (family == nullptr) {
    report_unknown(import);
    return nullptr;
  }
  if (family->read == nullptr) {
    import.reader.add({"unsupported", import.pointer, import.where,
                       fmt::format("{} ({}) cannot be imported: it has {}", family->architecture,
                                   family->model_type, family->missing),
                       "", known_families(), false, false});
    return nullptr;
  }
  if (by_class == nullptr && !import.architecture.empty()) {
    import.reader.add({"unknown_architecture", import.root.pointer("architectures"),
                       import.root.place_of("architectures"),
                       fmt::format("the architecture \"{}\" is not known; it is read as {}",
                                   shown_name(import.architecture), family->architecture),
                       "", "", false, true});
  }
  if (by_class != nullptr && by_class->read != family->read) {
    import.root.contradiction("architectures",
                              fmt::format("{} belongs to the model type \"{}\", but the model type is \"{}\"",
                                          by_class->architecture, by_class->model_type, family->model_type));
    return nullptr;
  }
  return family;
}

// "org/model" of "org--model_config.json", the folder of "config.json", else the file's name or the class.
std::string name_of_model(const Import& import) {
  std::string name = import.file.filename().string();
  for (const std::string_view end : {".gz", ".zst", ".json"}) {
    if (name.ends_with(end)) name.resize(name.size() - end.size());
  }
  if (name == "config") name = import.file.parent_path().filename().string();
  if (name.ends_with("_config")) name.resize(name.size() - std::string_view("_config").size());
  const std::size_t dashes = name.find("--");
  if (dashes != std::string::npos && dashes > 0) name.replace(dashes, 2, "/");
  if (name.empty() || name == "." || name == "..") name = shown_name(import.architecture);
  return name.empty() ? std::string("imported model") : name;
}

// Parts of the checkpoint that an Architecture does not have.
void leave_out_parts(Import& import) {
  import.root.leave_out("vision_config", "the vision part");
  import.root.leave_out("audio_config", "the audio part");
}

bool is_record_field(std::string_view key) {
  const auto& fields = record_of(config::Type<Architecture>{}).fields();
  return std::any_of(fields.begin(), fields.end(),
                     [&](const config::Field& field) { return field.key == key; });
}

// True for a field of the record itself that comes from another place than the configuration.
bool is_own(const Import& import, const config::Member& member) {
  return is_record_field(member.key) && member.value.where.source != import.where.source;
}

// Names in lines of moderate length, and how many more there are.
std::string listing(const std::vector<std::string>& names, std::size_t count) {
  constexpr std::size_t kLineWidth = 100;
  std::string text;
  std::size_t line_start = 0;
  for (const std::string& name : names) {
    if (!text.empty()) {
      text += text.size() - line_start > kLineWidth ? ",\n" : ", ";
      if (text.back() == '\n') line_start = text.size();
    }
    text += name;
  }
  if (count > names.size()) text += fmt::format(" and {} more", count - names.size());
  return text;
}

// A window that is switched off asks for nothing, in any family.
void pass_unused_window(HfFields& fields) {
  const Node* used = fields.node().find("use_sliding_window");
  if (used != nullptr && used->kind == Node::Kind::boolean && !used->boolean)
    fields.skip({"use_sliding_window", "sliding_window", "max_window_layers"});
}

// Judges the fields that nobody asked for.
void judge_rest(Import& import) {
  std::vector<std::string> names;
  config::Location first;
  std::string first_pointer;
  for (const HfFields::Unknown& one : import.root.unknown()) {
    const std::string_view key = one.member->key;
    if (key == "$schema" || one.member->value.kind == Node::Kind::null) continue;
    if (one.owner == &import.root && is_own(import, *one.member)) continue;
    const HfFieldMeaning meaning = hf_field_meaning(key);
    if (meaning.kind == HfFieldKind::harmless) continue;
    if (meaning.kind == HfFieldKind::unsupported) {
      if (HfFields::active(one.member->value))
        one.owner->refuse(
            key, fmt::format("\"{}\" asks for {}, which this family does not have", key, meaning.missing));
      continue;
    }
    if (names.empty()) {
      first = one.member->key_where;
      first_pointer = one.owner->pointer(key);
    }
    names.push_back(shown_name(one.path));
  }
  if (names.empty()) return;
  constexpr std::size_t kMostNames = 200;
  const std::size_t count = names.size();
  if (count > kMostNames) names.resize(kMostNames);
  import.reader.add(
      {"unknown_field", first_pointer, first,
       count == 1 ? fmt::format("the field \"{}\" of the configuration is not known and had no effect",
                                names.front())
                  : fmt::format("{} fields of the configuration are not known and had no effect", count),
       "", count == 1 ? "" : listing(names, count), false, true});
}

void tell_left_out(Import& import) {
  const std::vector<std::string> parts = import.root.left_out();
  if (parts.empty()) return;
  import.reader.add({"left_out", import.reader.pointer(), import.where,
                     fmt::format("left out of the model: {}", fmt::join(parts, ", ")), "", "", false, true});
}

void tell_defaults(Import& import) {
  const std::string used = import.text->used_defaults();
  if (used.empty()) return;
  import.reader.add({"class_defaults", import.text->pointer(), import.where,
                     "sizes that the file does not state are taken from the defaults of " + used, "", "",
                     false, true});
}

void tell_deviations(Import& import, const HfQuantization& quantization) {
  if (quantization.deviations.empty()) return;
  const config::Location where{quantization.where.source, quantization.where.begin,
                               quantization.where.begin + 1};
  import.reader.add({"mixed_formats", quantization.pointer, where,
                     fmt::format("published_weights is {} for all {}linear layers, but {}",
                                 config::enum_name(quantization.weights),
                                 quantization.attention_weights || quantization.dense_weights ? "other " : "",
                                 fmt::join(quantization.deviations, "; ")),
                     "", "", false, true});
}

// Where the values of the record come from.
struct ValueOrigin {
  std::string_view key;
  std::initializer_list<std::string_view> fields;
};
const ValueOrigin kOrigins[] = {
    {"vocab_size", {"vocab_size"}},
    {"hidden_size", {"hidden_size", "d_model"}},
    {"tied_embeddings", {"tie_word_embeddings"}},
    {"head_bias", {"lm_head_bias"}},
    {"max_context_tokens", {"max_position_embeddings", "max_seq_len", "model_max_length", "n_positions"}},
    {"residual_streams", {"hc_mult"}},
    {"rope_scaling", {"rope_scaling", "rope_parameters"}},
    {"factor", {"factor"}},
    {"original_context_tokens", {"original_max_position_embeddings"}},
    {"order",
     {"layer_types", "hybrid_layer_pattern", "hybrid_override_pattern", "compress_ratios", "attn_type_list",
      "indexer_types", "linear_attn_config"}},
    {"prediction", {"num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules"}},
    {"count", {"num_hidden_layers", "n_layers", "num_layers"}},
    {"query_heads", {"num_attention_heads", "n_heads", "num_heads"}},
    {"kv_heads", {"num_key_value_heads", "kv_n_heads", "num_attention_heads", "num_heads"}},
    {"head_dim", {"head_dim", "d_kv", "hidden_size", "d_model"}},
    {"value_head_dim", {"v_head_dim"}},
    {"rotated_dim", {"rotary_dim", "partial_rotary_factor"}},
    {"query_key_norm", {"use_qk_norm"}},
    {"query_key_norm_over_heads", {"qk_norm_type"}},
    {"qkv_bias", {"attention_bias", "qkv_bias"}},
    {"output_bias", {"attention_bias"}},
    {"output_gate", {"attn_output_gate", "attention_output_gate", "mla_use_output_gate"}},
    {"score_cap", {"max_attn_value", "attn_logit_softcapping"}},
    {"window_tokens", {"sliding_window", "sliding_window_size"}},
    {"chunk_tokens", {"attention_chunk_size", "chunk_size", "block_size"}},
    {"block_indexer", {"sparse_attention_config"}},
    {"indexer", {"index_topk"}},
    {"heads", {"num_attention_heads"}},
    {"q_lora_rank", {"q_lora_rank"}},
    {"kv_lora_rank", {"kv_lora_rank"}},
    {"rope_head_dim", {"qk_rope_head_dim"}},
    {"nope_head_dim", {"qk_nope_head_dim"}},
    {"v_head_dim", {"v_head_dim"}},
    {"output_groups", {"o_groups"}},
    {"output_lora_rank", {"o_lora_rank"}},
    {"ratio", {"compress_ratios"}},
    {"key_heads", {"linear_num_key_heads", "n_groups", "linear_attn_config", "num_attention_heads"}},
    {"value_heads",
     {"linear_num_value_heads", "mamba_num_heads", "linear_attn_config", "num_attention_heads"}},
    {"key_dim", {"linear_key_head_dim", "ssm_state_size", "linear_attn_config", "head_dim"}},
    {"value_dim", {"linear_value_head_dim", "mamba_head_dim", "linear_attn_config", "head_dim"}},
    {"convolution", {"linear_conv_kernel_dim", "conv_kernel", "linear_attn_config"}},
    {"width", {"intermediate_size", "dense_intermediate_size", "intermediate_size_mlp", "d_ff"}},
    {"experts", {"n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"}},
    {"top_k", {"num_experts_per_tok", "num_experts_per_token", "moe_top_k"}},
    {"expert_width", {"moe_intermediate_size", "ffn_hidden_size", "intermediate_size", "d_ff"}},
    {"latent_width", {"routed_expert_hidden_size", "moe_latent_size"}},
    {"selection", {"num_hash_layers"}},
    {"shared_experts", {"n_shared_experts", "num_shared_experts", "shared_expert_intermediate_size"}},
    {"shared_width",
     {"shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size",
      "moe_intermediate_size"}},
    {"router_score_bias", {"topk_method", "use_routing_bias"}},
};

// The place of a value: that of its field, else that of the family; nowhere for what is off by default.
config::Location place_of_value(const Import& import, std::string_view key, const Node& value) {
  for (const ValueOrigin& origin : kOrigins) {
    if (origin.key != key) continue;
    for (const std::string_view field : origin.fields) {
      const config::Location place = import.text->place_of(field);
      if (place.source >= 0) return place;
    }
  }
  return HfFields::active(value) ? import.where : config::Location{};
}

void set_places(Node& node, const config::Location& where, const Import& import) {
  node.where = where;
  for (Node& item : node.items) set_places(item, where, import);
  for (config::Member& member : node.members) {
    member.key_where = import.where;
    set_places(member.value, place_of_value(import, member.key, member.value), import);
  }
}

// The record's tree of an architecture.
Node to_tree(const Architecture& architecture, const Import& import, const HfQuantization& quantization) {
  Node tree = record_of(config::Type<Architecture>{}).write(&architecture);
  set_places(tree, import.where, import);
  if (quantization.where.source >= 0) {
    for (const char* key : {"published_weights", "published_attention_weights", "published_dense_weights"}) {
      if (Node* value = tree.find(key)) value->where = quantization.where;
    }
  }
  for (const config::Member& member : import.tree.members) {
    if (!is_own(import, member) || member.key == "vocab_size" || member.key == "hidden_size") continue;
    Node* own = tree.find(member.key);
    if (own != nullptr && own->kind == Node::Kind::object && member.value.kind == Node::Kind::object) {
      for (const config::Member& entry : member.value.members) own->set(entry.key, entry.value);
    } else {
      tree.set(member.key, member.value);
    }
  }
  return tree;
}

}  // namespace

bool is_hugging_face(const Node& tree) {
  return tree.kind == Node::Kind::object &&
         (tree.find("model_type") != nullptr || tree.find("architectures") != nullptr);
}

std::optional<Node> import_hugging_face(const Node& tree, config::Reader& reader) {
  Import import(tree, reader);
  const std::size_t before = reader.diagnostics().error_count();
  const auto failed = [&] { return reader.diagnostics().error_count() > before; };
  const HfFamily* family = find_family(import);
  if (family == nullptr || failed()) return std::nullopt;
  import.file = reader.file_of(import.where);
  Architecture architecture;
  if (import.text != &import.root)  // where both say it, the inner statement is read last
    architecture.tied_embeddings = import.root.flag_or("tie_word_embeddings", false);
  family->read(*import.text, architecture);
  hf::read_prediction(*import.text, architecture);
  leave_out_parts(import);
  std::vector<HfFields*> holders = {&import.root};
  if (import.text != &import.root) holders.push_back(import.text);
  const HfQuantization quantization =
      read_hf_quantization(holders, import.file, architecture.layer_count(), reader);
  pass_unused_window(*import.text);
  judge_rest(import);
  if (failed()) return std::nullopt;
  tell_defaults(import);
  tell_left_out(import);
  tell_deviations(import, quantization);
  architecture.name = name_of_model(import);
  architecture.published_weights = quantization.weights;
  architecture.published_attention_weights = quantization.attention_weights;
  architecture.published_dense_weights = quantization.dense_weights;
  const std::string file = import.file.empty() ? "config.json" : import.file.filename().string();
  architecture.sources["config"] = fmt::format(
      "{} ({})", file, shown_name(import.architecture.empty() ? import.type : import.architecture));
  if (!quantization.file.empty()) architecture.sources["published_weights"] = quantization.file;
  return to_tree(architecture, import, quantization);
}

}  // namespace moesim::llm
