#include "models/llm/hf_quantization.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/llm/hf_exclusions.hpp"

namespace moesim::llm {

using config::Node;

namespace {

struct NamedFormat {
  std::string_view name;
  NumberFormat format;
};

// quant_algo of NVIDIA ModelOpt.
constexpr NamedFormat kModelOptFormats[] = {
    {"FP8", NumberFormat::fp8},
    {"FP8_PER_CHANNEL_PER_TOKEN", NumberFormat::fp8},
    {"FP8_PB_WO", NumberFormat::fp8_block},
    {"FP8_BLOCK_SCALES", NumberFormat::fp8_block},
    {"NVFP4", NumberFormat::nvfp4},
    {"W4A16_AWQ", NumberFormat::int4},
    {"INT4_AWQ", NumberFormat::int4},
    {"W4A16", NumberFormat::int4},
    {"W8A8_SQ_PER_CHANNEL", NumberFormat::int8},
    {"W8A16", NumberFormat::int8},
    {"MXFP4", NumberFormat::mxfp4},
};

constexpr std::int64_t kInt4Group = 128;      // weights that share a scale in NumberFormat::int4
constexpr std::int64_t kInt4SmallGroup = 32;  // and in NumberFormat::int4_g32

// One statement about formats, while it is read.
struct Statement {
  HfFields* fields;
  HfQuantization* result;

  void refuse(std::string_view key, const std::string& what) const {
    fields->refuse(
        key,
        fmt::format("the quantisation {} is not known: it decides bytes and times of the weights", what));
  }
};

// The default activations of int8 and fp8 weights are as narrow as the weights.
void note_weight_only(HfQuantization& result) {
  result.deviations.emplace_back("only weights are quantised: set formats.activations to bf16");
}

void read_modelopt(const Statement& statement, const std::string& algorithm) {
  for (const NamedFormat& known : kModelOptFormats) {
    if (known.name == algorithm) {
      statement.result->weights = known.format;
      if (algorithm == "W8A16") note_weight_only(*statement.result);
      return;
    }
  }
  statement.refuse("quant_algo", fmt::format("\"{}\"", algorithm));
}

// [128, 128] of fp8 with block scales.
bool is_128_square(const std::vector<std::int64_t>& block) {
  return block.size() == 2 && block[0] == 128 && block[1] == 128;
}

void read_fp8(const Statement& statement) {
  const std::vector<std::int64_t> block = statement.fields->wholes("weight_block_size");
  if (block.empty()) {
    statement.result->weights = NumberFormat::fp8;
  } else if (is_128_square(block)) {
    statement.result->weights = NumberFormat::fp8_block;
  } else {
    statement.refuse("weight_block_size", fmt::format("fp8 with blocks of {}", fmt::join(block, " x ")));
  }
}

// The format of int4 weights with so many to a scale; at most 0: one scale per channel.
NumberFormat int4_format(HfQuantization& result, std::int64_t group) {
  if (group == kInt4SmallGroup) return NumberFormat::int4_g32;
  if (group != kInt4Group) {
    result.deviations.push_back(
        group <= 0 ? std::string("int4 scales per channel are counted as one per 128 weights")
                   : fmt::format("int4 scales per {} weights are counted as one per {}", group, kInt4Group));
  }
  return NumberFormat::int4;
}

// The format of one group of compressed-tensors or ModelOpt, or nullopt after an error.
std::optional<NumberFormat> group_format(HfFields& weights, HfQuantization& result) {
  const std::int64_t bits = weights.whole("num_bits", 1, 64);
  const std::string type = weights.text_or("type", "int");
  const std::int64_t group = weights.whole_or("group_size", 0);
  const std::string strategy = weights.text_or("strategy", "");
  const std::vector<std::int64_t> block = weights.wholes("block_structure");
  if (type == "int" && bits == 4) return int4_format(result, group);
  if (type == "int" && bits == 8) return NumberFormat::int8;
  if (type == "float" && bits == 8 && strategy != "block") return NumberFormat::fp8;
  if (type == "float" && bits == 8 && is_128_square(block)) return NumberFormat::fp8_block;
  if (type == "float" && bits == 4 && group == 16) return NumberFormat::nvfp4;
  if (type == "float" && bits == 4 && group == 32) return NumberFormat::mxfp4;
  weights.refuse("num_bits", fmt::format("weights of {} bits of type \"{}\" in groups of {} are no format of "
                                         "this program: it decides bytes and times of the weights",
                                         bits, type, group));
  return std::nullopt;
}

void read_groups(const Statement& statement) {
  HfFields& groups = statement.fields->object("config_groups");
  std::optional<NumberFormat> first;
  for (const config::Member& member : groups.node().members) {
    HfFields& group = groups.object(member.key);
    const std::optional<NumberFormat> format = group_format(group.object("weights"), *statement.result);
    if (!format) return;
    if (element_bits(*format) == 8 && group.take("input_activations") == nullptr)
      note_weight_only(*statement.result);
    if (first && *first != *format) {
      groups.refuse(member.key,
                    "one format holds for all linear layers; groups of several cannot be expressed");
      return;
    }
    first = format;
  }
  if (!first) {
    groups.refuse("weights", "config_groups has no group with weights");
    return;
  }
  statement.result->weights = *first;
}

void read_weight_only(const Statement& statement, const std::string& method) {
  const std::int64_t bits = statement.fields->whole("bits", 1, 64);
  if (bits == 4) {
    const Node* group = statement.fields->take("group_size");  // -1: one scale per channel
    statement.result->weights =
        int4_format(*statement.result,
                    group == nullptr || group->kind != Node::Kind::integer ? kInt4Group : group->integer);
  } else if (bits == 8) {
    statement.result->weights = NumberFormat::int8;
    note_weight_only(*statement.result);
  } else {
    statement.refuse("bits", fmt::format("{} with {} bits", method, bits));
  }
}

// ModelOpt with a format for each layer: those that are listed must have one format.
void read_mixed(const Statement& statement) {
  HfFields& layers = statement.fields->object("quantized_layers");
  std::string first;
  for (const config::Member& member : layers.node().members) {
    const std::string algorithm = layers.object(member.key).text_or("quant_algo", "");
    if (first.empty()) first = algorithm;
    if (algorithm == first) continue;
    layers.refuse(member.key,
                  "one format holds for all linear layers; layers of several cannot be expressed");
    return;
  }
  read_modelopt(statement, first);
  const auto& entries = layers.node().members;
  if (std::all_of(entries.begin(), entries.end(),
                  [](const config::Member& entry) { return names_routed_experts(entry.key); })) {
    // What is not listed is as the rest of the checkpoint: fp8 with block scales where it says so.
    const bool blocks = statement.fields->text_or("quant_method", "") == "fp8" &&
                        is_128_square(statement.fields->wholes("weight_block_size"));
    const NumberFormat rest = blocks ? NumberFormat::fp8_block : NumberFormat::bf16;
    statement.result->attention_weights = rest;
    statement.result->dense_weights = rest;
    return;
  }
  statement.result->deviations.push_back(fmt::format(
      "only the {} entries of quantized_layers have it in the checkpoint: the other linear layers are wider",
      entries.size()));
}

void read_method(const Statement& statement) {
  const std::string method = statement.fields->text_or("quant_method", "");
  const std::string algorithm = statement.fields->text_or("quant_algo", "");
  if (algorithm == "MIXED_PRECISION") {
    read_mixed(statement);
  } else if (!algorithm.empty()) {
    read_modelopt(statement, algorithm);
  } else if (method == "fp8") {
    read_fp8(statement);
  } else if (method == "mxfp4") {
    statement.result->weights = NumberFormat::mxfp4;
  } else if (method == "compressed-tensors" || method == "modelopt") {
    read_groups(statement);
  } else if (method == "gptq" || method == "awq") {
    read_weight_only(statement, method);
  } else {
    statement.refuse(method.empty() ? "config_groups" : "quant_method", fmt::format("\"{}\"", method));
  }
}

void note_excluded(HfFields& fields, std::int64_t layers, HfQuantization& result) {
  std::vector<std::string> modules;
  for (const std::string_view key :
       {"ignore", "exclude_modules", "modules_to_not_convert", "ignored_layers"}) {
    for (std::string& module : fields.texts(key)) modules.push_back(std::move(module));
  }
  const HfExclusions excluded = judge_exclusions(modules, layers);
  if (excluded.attention && !result.attention_weights) result.attention_weights = NumberFormat::bf16;
  if (excluded.dense && !result.dense_weights) result.dense_weights = NumberFormat::bf16;
  if (excluded.other.empty()) return;
  constexpr std::size_t kShown = 80;
  std::string first = excluded.other.front();
  if (first.size() > kShown) first.resize(kShown);
  const std::size_t count = excluded.other.size();
  result.deviations.push_back(fmt::format(
      "{} entr{} of linear layers stay{} unquantised in the checkpoint (the first: {}) and are "
      "counted as {}",
      count, count == 1 ? "y" : "ies", count == 1 ? "s" : "", first, config::enum_name(result.weights)));
}

// Reads the statement of an object of the configuration.
HfQuantization read_statement(HfFields& fields, std::int64_t layers) {
  HfQuantization result;
  result.where = fields.node().where;
  result.pointer = fields.pointer();
  read_method({&fields, &result});
  note_excluded(fields, layers, result);
  return result;
}

// DeepSeek-V4: quantization_config says fp8 for all but the routed experts, which are nearly all weights:
// expert_dtype "fp4" is E2M1 with one scale of 8 bits per 32 (inference/kernel.py).
void read_expert_format(const std::vector<HfFields*>& holders, HfQuantization& result) {
  for (HfFields* holder : holders) {
    const Node* format = holder->take("expert_dtype");
    if (format == nullptr || format->kind != Node::Kind::string || format->text != "fp4") continue;
    if (result.weights != NumberFormat::fp8_block) continue;
    result.weights = NumberFormat::mxfp4;
    result.attention_weights = NumberFormat::fp8_block;
    result.dense_weights = NumberFormat::fp8_block;
  }
}

}  // namespace

std::filesystem::path hf_quant_file(const std::filesystem::path& config_file) {
  constexpr std::string_view kConfig = "config.json";
  std::string name = config_file.filename().string();
  const bool fits = name == kConfig || name.ends_with("_config.json");
  if (!fits || name.ends_with("hf_quant_config.json")) return {};
  name.insert(name.size() - kConfig.size(), "hf_quant_");
  return config_file.parent_path() / name;
}

HfQuantization read_hf_quantization(const std::vector<HfFields*>& holders, const std::filesystem::path& file,
                                    std::int64_t layers, config::Reader& reader) {
  std::optional<HfQuantization> inside;
  for (HfFields* holder : holders) {
    const Node* value = holder->take("quantization_config");
    if (value == nullptr || !HfFields::active(*value) || inside) continue;
    // The statement has fields of many tools; only those that decide the format are read, in fields of its
    // own so that the others are not listed as unknown.
    HfFields alone(holder->node(), holder->path(), reader);
    inside = read_statement(alone.object("quantization_config"), layers);
  }
  if (inside) read_expert_format(holders, *inside);
  const std::filesystem::path beside = hf_quant_file(file);
  if (beside.empty()) return inside.value_or(HfQuantization{});
  const std::optional<Node> tree = reader.read_companion(beside);
  if (!tree) return inside.value_or(HfQuantization{});
  HfFields root(*tree, {}, reader);
  if (!config::detail::read_object(*tree, reader)) return {};
  HfFields& quantization = root.object("quantization");
  if (quantization.take("quant_algo") == nullptr) return inside.value_or(HfQuantization{});
  HfQuantization found = read_statement(quantization, layers);
  found.file = beside.filename().string();
  if (inside && inside->weights != found.weights) {
    quantization.contradiction(
        "quant_algo", fmt::format("says {}, but quantization_config of the configuration says {}",
                                  config::enum_name(found.weights), config::enum_name(inside->weights)));
  }
  if (inside) {  // only the configuration may say what the other layers have
    if (inside->attention_weights) found.attention_weights = inside->attention_weights;
    if (inside->dense_weights) found.dense_weights = inside->dense_weights;
  }
  return found;
}

}  // namespace moesim::llm
