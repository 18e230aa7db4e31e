// What the families of the hub share about layers: kinds and their order, windows, rotation, prediction.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "models/llm/hf_families.hpp"

namespace moesim::llm::hf {

namespace {

constexpr std::size_t kLongestPattern = 64;
constexpr std::int64_t kPatternCost = 3;  // of one pattern beside its entries: few long ones read better

// The best first pattern from a layer on.
struct OrderChoice {
  std::int64_t cost = 0;  // of all layers from here on
  std::size_t period = 0;
  std::size_t repeat = 0;
};

bool each_kind_in_a_row(std::span<const std::int64_t> kinds) {
  std::int64_t highest = -1;
  for (const std::int64_t kind : kinds) {
    if (kind < highest) return false;
    highest = kind;
  }
  return true;
}

void check_length(HfFields& fields, std::string_view key, std::size_t size, std::int64_t layers) {
  if (size == static_cast<std::size_t>(layers)) return;
  fields.contradiction(key, fmt::format("{} has {} entries, but the model has {} layers", key, size, layers));
}

// The layers as kinds, and the kind of each, numbered by their first layers.
std::pair<std::vector<LayerGroup>, std::vector<std::int64_t>> sort_layers(
    std::int64_t count, const std::function<LayerGroup(std::int64_t)>& layer_at) {
  std::vector<LayerGroup> groups;
  std::vector<std::int64_t> kinds;
  for (std::int64_t i = 0; i < count; ++i) {
    LayerGroup layer = layer_at(i);
    layer.count = 0;
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const LayerGroup& group) {
      return group.attention == layer.attention && group.ffn == layer.ffn &&
             group.cross_attention == layer.cross_attention;
    });
    const auto at = static_cast<std::size_t>(same - groups.begin());
    if (same == groups.end()) groups.push_back(std::move(layer));
    ++groups[at].count;
    kinds.push_back(static_cast<std::int64_t>(at));
  }
  return {std::move(groups), std::move(kinds)};
}

}  // namespace

std::vector<LayerPattern> shortest_order(std::span<const std::int64_t> kinds) {
  const std::size_t count = kinds.size();
  std::vector<OrderChoice> best(count + 1);
  std::array<std::size_t, kLongestPattern + 1> match{};  // layers from here on that equal those p later
  for (std::size_t i = count; i-- > 0;) {
    best[i].cost = std::numeric_limits<std::int64_t>::max();
    for (std::size_t p = 1; p <= std::min(kLongestPattern, count - i); ++p) {
      match[p] = i + p < count && kinds[i] == kinds[i + p] ? match[p] + 1 : 0;
      for (const std::size_t repeat : {1 + match[p] / p, std::size_t{1}}) {
        const std::int64_t cost = kPatternCost + static_cast<std::int64_t>(p) + best[i + repeat * p].cost;
        // Of equal ones the one that says more by repetition.
        const std::size_t saved = (repeat - 1) * p;
        if (cost < best[i].cost || (cost == best[i].cost && saved > (best[i].repeat - 1) * best[i].period))
          best[i] = {cost, p, repeat};
      }
    }
  }
  std::vector<LayerPattern> order;
  for (std::size_t i = 0; i < count; i += best[i].period * best[i].repeat) {
    const auto first = kinds.begin() + static_cast<std::ptrdiff_t>(i);
    order.push_back({static_cast<std::int64_t>(best[i].repeat),
                     {first, first + static_cast<std::ptrdiff_t>(best[i].period)}});
  }
  return order;
}

void set_layers(Architecture& architecture, std::int64_t count,
                const std::function<LayerGroup(std::int64_t)>& layer_at) {
  auto [groups, kinds] = sort_layers(count, layer_at);
  architecture.layers = std::move(groups);
  architecture.order = each_kind_in_a_row(kinds) ? std::vector<LayerPattern>{} : shortest_order(kinds);
}

std::vector<LayerGroup> layer_kinds(std::int64_t count,
                                    const std::function<LayerGroup(std::int64_t)>& layer_at) {
  return sort_layers(count, layer_at).first;
}

std::vector<std::int64_t> per_layer(HfFields& fields, std::string_view key, std::int64_t layers) {
  std::vector<std::int64_t> list = fields.wholes(key);
  if (list.empty()) return list;
  check_length(fields, key, list.size(), layers);
  list.resize(static_cast<std::size_t>(layers));
  return list;
}

std::vector<std::string> layer_types(HfFields& fields, std::string_view key, std::int64_t layers,
                                     Names known) {
  std::vector<std::string> list = fields.texts(key);
  if (list.empty()) return list;
  check_length(fields, key, list.size(), layers);
  list.resize(static_cast<std::size_t>(layers), std::string(*known.begin()));
  for (const std::string& type : list) {
    if (std::find(known.begin(), known.end(), type) != known.end()) continue;
    fields.refuse(key, fmt::format("this family has no layers of type \"{}\"; known are {}",
                                   type.substr(0, 40), fmt::join(known, ", ")));
    break;
  }
  return list;
}

std::vector<std::int64_t> read_late_moe_layers(HfFields& fields, std::int64_t layers,
                                               std::optional<std::int64_t> first_otherwise) {
  const config::Node* frequency = fields.take("moe_layer_freq");
  const std::int64_t first = first_otherwise ? fields.whole_or("first_k_dense_replace", *first_otherwise)
                                             : fields.whole("first_k_dense_replace", 0);
  if (frequency != nullptr && frequency->kind == config::Node::Kind::array && !frequency->items.empty())
    return per_layer(fields, "moe_layer_freq", layers);
  const std::int64_t every = fields.whole_or("moe_layer_freq", 1, 1);
  std::vector<std::int64_t> moe;
  for (std::int64_t i = 0; i < layers; ++i) moe.push_back(i >= first && i % every == 0 ? 1 : 0);
  return moe;
}

std::vector<std::int64_t> read_qwen_moe_layers(HfFields& fields, std::int64_t layers) {
  std::vector<std::int64_t> dense = fields.wholes("mlp_only_layers");
  std::sort(dense.begin(), dense.end());
  const std::int64_t step = fields.whole_or("decoder_sparse_step", 1, 1);
  std::vector<std::int64_t> moe;
  for (std::int64_t i = 0; i < layers; ++i)
    moe.push_back((i + 1) % step == 0 && !std::binary_search(dense.begin(), dense.end(), i) ? 1 : 0);
  return moe;
}

DenseFfn read_dense_ffn(HfFields& fields, std::string_view key, const std::vector<std::int64_t>& is_moe) {
  DenseFfn ffn;
  if (std::find(is_moe.begin(), is_moe.end(), 0) != is_moe.end()) ffn.width = fields.whole(key);
  fields.skip({key});  // says nothing where every layer has experts
  return ffn;
}

namespace {

// A window that no list of layers and no switch asks for.
void judge_idle_window(HfFields& fields, HfWindows meaning) {
  if (meaning == HfWindows::if_used) {
    fields.leave_out("sliding_window", "the window, which counts with \"use_sliding_window\": true only");
  } else {
    fields.refuse("sliding_window", "this family has windows in the layers that layer_types names only");
  }
}

}  // namespace

std::vector<std::int64_t> read_windows(HfFields& fields, const Architecture& architecture,
                                       std::int64_t layers, HfWindows meaning) {
  std::vector<std::int64_t> windows(static_cast<std::size_t>(layers), 0);
  const bool stated = fields.take("use_sliding_window") != nullptr;
  const bool used = fields.flag_or("use_sliding_window", meaning == HfWindows::always);
  const std::vector<std::string> types =
      layer_types(fields, "layer_types", layers, {"full_attention", "sliding_attention"});
  const bool listed = std::find(types.begin(), types.end(), "sliding_attention") != types.end();
  std::int64_t window = fields.whole_or("sliding_window", 0);
  // Qwen: the layers before max_window_layers have full attention.
  std::int64_t from = fields.whole_or("max_window_layers", 0);
  const bool shorter = window > 0 && window < architecture.max_context_tokens;
  if (meaning == HfWindows::if_listed && used && types.empty() && shorter) {
    judge_idle_window(fields, meaning);
    return windows;
  }
  if (!used && !(listed && !stated)) {
    if (!stated && types.empty() && shorter) judge_idle_window(fields, meaning);
    return windows;
  }
  if (listed || (stated && types.empty())) window = fields.whole("sliding_window");
  if (stated && types.empty()) from = fields.whole("max_window_layers", 0);
  if (window >= architecture.max_context_tokens) return windows;
  for (std::int64_t i = 0; i < layers; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (types.empty() ? i >= from : types[at] == "sliding_attention") windows[at] = window;
  }
  return windows;
}

HfFields* rope_parameters(HfFields& fields) {
  const config::Node* value = fields.take("rope_parameters");
  if (value == nullptr || value->kind != config::Node::Kind::object) return nullptr;
  HfFields& parameters = fields.object("rope_parameters");
  // Gemma 3 has one for each kind of layer.
  parameters.skip({"sliding_attention"});
  const config::Node* full = parameters.take("full_attention");
  if (full == nullptr || full->kind != config::Node::Kind::object) return &parameters;
  return &parameters.object("full_attention");
}

namespace {

constexpr double kLongestContext = 1e9;  // of the record

// Constants of the rotation beside those that an Architecture has.
void skip_rope_constants(HfFields& scaling) {
  scaling.skip({"rope_theta", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
                "low_freq_factor", "high_freq_factor", "attention_factor", "short_factor", "long_factor",
                "short_mscale", "long_mscale", "finetuned", "mrope_section", "mrope_interleaved",
                "extrapolation_factor", "partial_rotary_factor"});
}

std::optional<RopeScalingKind> rope_kind(const std::string& name) {
  constexpr std::pair<std::string_view, RopeScalingKind> kNames[] = {
      {"linear", RopeScalingKind::linear}, {"dynamic", RopeScalingKind::dynamic},
      {"yarn", RopeScalingKind::yarn},     {"deepseek_yarn", RopeScalingKind::yarn},
      {"llama3", RopeScalingKind::llama3}, {"longrope", RopeScalingKind::longrope},
      {"su", RopeScalingKind::longrope},  // the older name, of Phi-3
  };
  for (const auto& [known, kind] : kNames) {
    if (known == name) return kind;
  }
  return std::nullopt;
}

// The context before the rotation was stretched, where no field says it. With yarn, linear and dynamic
// transformers takes max_position_embeddings (modeling_rope_utils.py); what is stretched already is divided.
std::int64_t original_context(std::int64_t longest, double factor, bool stretched) {
  if (!stretched || factor < 1.0) return longest;
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(longest) / factor));
}

// The longest context of a model whose rotation is stretched, as vLLM has it (_get_and_verify_max_len of
// vllm/config/model.py): with yarn the original context times the factor, whatever max_position_embeddings
// says; with linear and dynamic max_position_embeddings times the factor, unless it is as long already; else
// max_position_embeddings.
double stretched_context(const RopeScaling& scaling, std::int64_t longest, bool stretched) {
  const double product = std::round(static_cast<double>(scaling.original_context_tokens) * scaling.factor);
  if (stretched) return static_cast<double>(longest);
  if (scaling.method == RopeScalingKind::yarn) return product;
  return std::max(product, static_cast<double>(longest));
}

}  // namespace

void read_rope_scaling(HfFields& fields, Architecture& architecture, HfContext context) {
  const std::int64_t outside = fields.whole_or("original_max_position_embeddings", 0);
  const bool old = fields.take("rope_scaling") != nullptr;
  HfFields* scaling = old ? &fields.object("rope_scaling") : rope_parameters(fields);
  if (old) rope_parameters(fields);  // marks it as known
  if (scaling == nullptr) return;
  for (HfFields* one : {scaling, old ? rope_parameters(fields) : nullptr}) {
    if (one != nullptr) skip_rope_constants(*one);
    if (one != nullptr) one->skip({"rope_type", "type"});
  }
  const std::string name = scaling->text_or("rope_type", scaling->text_or("type", "default"));
  const std::int64_t inside = scaling->whole_or("original_max_position_embeddings", 0);
  const double factor = scaling->number_or("factor", 0.0, 0.0, 1e6);
  if (name == "default" || name == "mrope") return;  // mrope: positions in time and space, not stretched
  const std::optional<RopeScalingKind> kind = rope_kind(name);
  if (!kind) {
    scaling->leave_out(scaling->take("rope_type") != nullptr ? "rope_type" : "type",
                       "the scaling of the rotation, which is not known");
    return;
  }
  RopeScaling result;
  result.method = *kind;
  const std::int64_t longest = architecture.max_context_tokens;
  const bool stretched = context == HfContext::after_scaling || *kind == RopeScalingKind::llama3 ||
                         *kind == RopeScalingKind::longrope;
  result.original_context_tokens = inside > 0    ? inside
                                   : outside > 0 ? outside
                                                 : original_context(longest, factor, stretched);
  // longrope of Phi-3.5 says no factor: it is the quotient of the contexts (modeling_rope_utils.py).
  result.factor = factor >= 1.0
                      ? factor
                      : static_cast<double>(longest) / static_cast<double>(result.original_context_tokens);
  if (result.factor < 1.0) {
    scaling->contradiction("factor", "the rotation cannot be stretched by a factor below 1");
    return;
  }
  const double tokens = stretched_context(result, longest, stretched);
  if (tokens > kLongestContext) {
    scaling->contradiction("factor", fmt::format("the rotation would be stretched to {:.0f} tokens", tokens));
    return;
  }
  architecture.max_context_tokens = static_cast<std::int64_t>(tokens);
  architecture.rope_scaling = result;
}

void read_prediction(HfFields& fields, Architecture& architecture) {
  std::int64_t count = fields.whole_or("num_nextn_predict_layers", 0, 0, kMostHfLayers);
  const std::int64_t hidden = fields.whole_or("mtp_num_hidden_layers", 0, 0, kMostHfLayers);
  // MiniMax: modules of mtp_transformer_layers layers each. M3 states both ways; what counts there is how
  // many layers the checkpoint has.
  const std::int64_t modules = fields.whole_or("num_mtp_modules", 0, 0, 1000);
  const std::int64_t in_module = fields.whole_or("mtp_transformer_layers", 1, 1, 1000);
  fields.skip({"mtp_layer_type", "mtp_loss_scaling_factor"});
  if (count == 0) count = hidden;
  if (count == 0 && fields.flag_or("use_mtp", true)) count = modules * in_module;
  fields.skip({"use_mtp"});
  if (fields.flag_or("mtp_use_dedicated_embeddings", false)) {
    fields.refuse("mtp_use_dedicated_embeddings",
                  "prediction layers share the model's embedding; one of their own cannot be expressed");
  }
  if (count == 0 || architecture.layers.empty()) {
    architecture.prediction.reset();
    return;
  }
  if (!architecture.prediction) {
    const auto last = static_cast<std::size_t>(architecture.patterns().back().groups.back());
    const LayerGroup& layer = architecture.layers.at(last);
    architecture.prediction = PredictionLayers{0, layer.attention, layer.ffn};
  }
  architecture.prediction->count = count;
}

}  // namespace moesim::llm::hf
