// How the routers of a checkpoint choose: from its config.json or GGUF metadata.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "models/routing/gate/families.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/studies/router_weights.hpp"

namespace moesim::studies {

using config::Node;

namespace {

struct ModelFamily {
  std::string_view model_type;  // of config.json, or general.architecture of GGUF
  std::string_view family;
};

constexpr std::array<ModelFamily, 41> kModelFamilies = {{
    {"mixtral", "mixtral"},
    {"qwen2_moe", "qwen2-moe"},
    {"qwen2moe", "qwen2-moe"},
    {"qwen3_moe", "qwen3"},
    {"qwen3moe", "qwen3"},
    {"qwen3_vl_moe", "qwen3"},
    {"qwen3_next", "qwen3-next"},
    {"qwen3next", "qwen3-next"},
    {"qwen3_5_moe", "qwen3.5"},
    {"qwen35moe", "qwen3.5"},
    {"olmoe", "olmoe"},
    {"dbrx", "dbrx"},
    {"grok-1", "grok-1"},
    {"grok", "grok-1"},
    {"switch_transformers", "switch"},
    {"gpt_oss", "gpt-oss"},
    {"gpt-oss", "gpt-oss"},
    {"llama4", "llama4"},
    {"llama4_text", "llama4"},
    {"deepseek_v2", "deepseek-v2"},
    {"deepseek_v3", "deepseek-v3"},
    {"deepseek_v32", "deepseek-v3"},
    {"deepseek_v4", "deepseek-v4-flash"},
    {"deepseek4", "deepseek-v4-flash"},
    {"kimi_k2", "kimi-k2"},
    {"kimi_k25", "kimi-k2"},
    {"glm4_moe", "glm-4.5"},
    {"glm4moe", "glm-4.5"},
    {"glm4_moe_lite", "glm-4.5"},
    {"glm_moe_dsa", "glm-5"},
    {"glm-dsa", "glm-5"},
    {"minimax_m2", "minimax-m2"},
    {"minimax-m2", "minimax-m2"},
    {"phimoe", "phi-3.5-moe"},
    {"phi3moe", "phi-3.5-moe"},
    {"longcat_flash", ""},
    {"ernie4_5_moe", ""},
    {"hunyuan_v1_moe", ""},
    {"granitemoe", ""},
    {"nemotron_h", ""},
    {"step3p5", ""},
}};

// Values of config.json, or of the metadata of GGUF, and where each was found.
class RouterSettings {
 public:
  RouterSettings(const Node* config, const reference::Gguf* gguf) : config_(config), gguf_(gguf) {
    if (gguf_ != nullptr) architecture_ = gguf_->text("general.architecture").value_or("");
  }

  [[nodiscard]] std::string model() const {
    if (config_ == nullptr) return std::string(architecture_);
    // The text model of a model that also sees.
    const Node* text = config_->find("text_config");
    for (const Node* tree : {text, config_}) {
      const Node* type = tree == nullptr ? nullptr : tree->find("model_type");
      if (type != nullptr && type->kind == Node::Kind::string) return type->text;
    }
    return std::string(architecture_);
  }

  struct Found {
    const Node* node = nullptr;
    std::optional<double> number;  // numbers and truth values
    std::string_view text;
    std::string where;  // "n_group of config.json"
  };
  // The first of the keys that is there. A key "*.x" is one of GGUF: "ARCHITECTURE.x".
  [[nodiscard]] std::optional<Found> find(std::initializer_list<std::string_view> keys) const {
    for (const std::string_view key : keys) {
      auto found = key.starts_with("*.") ? from_gguf(key.substr(1)) : from_config(key);
      if (found) return found;
    }
    return std::nullopt;
  }
  // A whole number in a range that no router leaves.
  [[nodiscard]] std::optional<std::pair<std::int64_t, std::string>> integer(
      std::initializer_list<std::string_view> keys) const {
    const auto found = find(keys);
    if (!found) return std::nullopt;
    constexpr double kMost = 65536;
    const double value = found->number.value_or(-1);
    if (!(value >= 0 && value <= kMost) || value != static_cast<double>(static_cast<std::int64_t>(value))) {
      throw config::InputError("out_of_range",
                               fmt::format("{} is no whole number from 0 to 65536", found->where));
    }
    return std::pair(static_cast<std::int64_t>(value), found->where);
  }

 private:
  [[nodiscard]] std::optional<Found> from_config(std::string_view key) const {
    if (config_ == nullptr) return std::nullopt;
    for (const std::string_view inner : {"text_config", "ffn_config", ""}) {
      const Node* tree = inner.empty() ? config_ : config_->find(inner);
      const Node* node = tree == nullptr ? nullptr : tree->find(key);
      if (node == nullptr || node->kind == Node::Kind::null) continue;
      Found found;
      found.node = node;
      found.where = fmt::format("{} of config.json", key);
      if (node->kind == Node::Kind::integer) found.number = static_cast<double>(node->integer);
      if (node->kind == Node::Kind::real) found.number = node->real;
      if (node->kind == Node::Kind::boolean) found.number = node->boolean ? 1 : 0;
      if (node->kind == Node::Kind::string) found.text = node->text;
      return found;
    }
    return std::nullopt;
  }
  [[nodiscard]] std::optional<Found> from_gguf(std::string_view tail) const {
    if (gguf_ == nullptr) return std::nullopt;
    const std::string key = std::string(architecture_) + std::string(tail);
    const auto number = gguf_->number(key);
    if (!number) return std::nullopt;
    Found found;
    found.number = *number;
    found.where = key + " of the GGUF metadata";
    return found;
  }

  const Node* config_;
  const reference::Gguf* gguf_;
  std::string_view architecture_;
};

class GateReader {
 public:
  GateReader(const reference::WeightSet& weights, const LayerRouter& router, const Node* config,
             const GateRequest& request)
      : router_(&router), request_(&request), settings_(config, weights.gguf()) {}

  RouterGate read() {
    start();
    read_top_k();
    // A family that was asked for by name is taken as it is.
    if (!request_->family) {
      read_score();
      read_renormalisation();
      read_groups();
      read_scale();
    }
    read_biases();
    read_precision();
    check();
    return std::move(out_);
  }

 private:
  template <class... Arguments>
  void fact(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    out_.facts.push_back(fmt::format(text, std::forward<Arguments>(arguments)...));
  }
  template <class... Arguments>
  void assume(fmt::format_string<Arguments...> text, Arguments&&... arguments) {
    out_.assumptions.push_back(fmt::format(text, std::forward<Arguments>(arguments)...));
  }

  void take_family(const gate::Family& family, const std::string& why) {
    out_.family = family.name;
    out_.spec = family.spec;
    fact("router of {} ({}): {}", family.name, family.source, why);
  }

  void start() {
    if (request_->family) {
      const gate::Family* family = gate::find_family(*request_->family);
      if (family == nullptr) fail_family();
      return take_family(*family, "--gate");
    }
    const std::string model = settings_.model();
    const auto known = std::find_if(kModelFamilies.begin(), kModelFamilies.end(),
                                    [&](const ModelFamily& one) { return one.model_type == model; });
    if (known != kModelFamilies.end() && !known->family.empty()) {
      return take_family(*gate::find_family(known->family), fmt::format("the model is a \"{}\"", model));
    }
    if (model == "deepseek2") {
      // One name for V2, V3 and their relatives: the scores tell them apart.
      const auto function = settings_.find({"*.expert_gating_func"});
      const bool sigmoid = function && function->number == 2.0;
      return take_family(*gate::find_family(sigmoid ? "deepseek-v3" : "deepseek-v2"),
                         "the model is a \"deepseek2\" with these scores");
    }
    start_plain(model);
  }

  // Nothing names the model.
  void start_plain(const std::string& model) {
    gate::GateSpec& spec = out_.spec;
    spec.renormalise = gate::Renormalise::sum;
    const std::string unknown =
        model.empty() ? "nothing names the model" : fmt::format("the router of a \"{}\" is not known", model);
    if (router_->correction != nullptr) {
      spec.score = gate::Score::sigmoid;
      spec.group_score = gate::GroupScore::top_two_sum;
      spec.epsilon = 1e-20;
      assume("{}: sigmoid scores, because there is a correction bias", unknown);
    } else {
      const bool bf16 = router_->weight != nullptr && router_->weight->type == reference::WeightType::bf16;
      spec.logits = bf16 ? gate::Precision::bf16 : gate::Precision::f32;
      assume("{}: softmax scores, logits in {} like the router's weights", unknown, bf16 ? "bf16" : "f32");
    }
    assume("weights divided by their sum, unless a setting says otherwise");
  }

  [[noreturn]] void fail_family() const {
    std::vector<std::string> names;
    for (const gate::Family& family : gate::families()) names.emplace_back(family.name);
    throw config::InputError(
        "unknown_name", fmt::format("there is no router called \"{}\"", *request_->family),
        config::nearest(*request_->family, names), fmt::format("known: {}", fmt::join(names, ", ")));
  }

  void read_top_k() {
    if (request_->top_k) {
      out_.spec.top_k = *request_->top_k;
      return fact("top_k = {}: --top-k", out_.spec.top_k);
    }
    const auto found = settings_.integer({"num_experts_per_tok", "num_experts_per_token", "moe_topk",
                                          "moe_top_k", "moe_k", "num_selected_experts", "experts_per_token",
                                          "n_activated_experts", "*.expert_used_count"});
    if (found) {
      out_.spec.top_k = found->first;
      fact("top_k = {}: {}", found->first, found->second);
    } else if (router_->table != nullptr) {
      out_.spec.top_k = router_->table->shape[1];
      fact("top_k = {}: the width of {}", out_.spec.top_k, router_->table->name);
    } else if (!out_.family.empty()) {
      assume("top_k = {}, as published of {}", out_.spec.top_k, out_.family);
    } else {
      throw config::InputError("missing_flag", "nothing says how many experts a token has", "--top-k 8",
                               "a config.json beside the weights would say it in num_experts_per_tok");
    }
  }

  void read_score() {
    gate::GateSpec& spec = out_.spec;
    if (const auto found = settings_.find({"scoring_func", "score_func", "moe_router_activation_func"})) {
      constexpr std::array<std::pair<std::string_view, gate::Score>, 3> kScores = {
          {{"softmax", gate::Score::softmax},
           {"sigmoid", gate::Score::sigmoid},
           {"sqrtsoftplus", gate::Score::sqrt_softplus}}};
      for (const auto& [name, score] : kScores) {
        if (found->text != name) continue;
        spec.score = score;
        return fact("{} scores: {}", name, found->where);
      }
      throw config::InputError("unknown_name", fmt::format("{} is \"{}\"", found->where, found->text), "",
                               "known: softmax, sigmoid, sqrtsoftplus");
    }
    if (const auto found = settings_.find({"*.expert_gating_func"})) {
      // enum llama_expert_gating_func_type of ggml-org/llama.cpp.
      const double number = found->number.value_or(0);
      if (number == 1.0 || number == 3.0) {
        spec.score = gate::Score::softmax;
        if (number == 3.0) spec.order = gate::Order::choose_then_score;
      } else if (number == 2.0) {
        spec.score = gate::Score::sigmoid;
      } else if (number == 4.0) {
        spec.score = gate::Score::sqrt_softplus;
      } else {
        throw config::InputError("out_of_range",
                                 fmt::format("{} is {}; 1 to 4 are known", found->where, number));
      }
      fact("scores: {}", found->where);
    }
  }

  void read_renormalisation() {
    gate::GateSpec& spec = out_.spec;
    const auto found = settings_.find({"norm_topk_prob", "moe_renormalize", "*.expert_weights_norm"});
    if (!found || !found->number || spec.order == gate::Order::choose_then_score) return;
    const bool wanted = *found->number != 0;
    // Any kind of renormalisation will do; the family knows which.
    if (wanted != (spec.renormalise != gate::Renormalise::none)) {
      spec.renormalise = wanted ? gate::Renormalise::sum : gate::Renormalise::none;
    }
    fact("weights {}: {}", wanted ? "divided by their sum" : "as scored", found->where);
  }

  void read_groups() {
    gate::GateSpec& spec = out_.spec;
    const auto groups =
        settings_.integer({"n_group", "num_expert_group", "n_expert_groups", "*.expert_group_count"});
    const auto kept = settings_.integer({"topk_group", "n_limited_groups", "*.expert_group_used_count"});
    if (const auto method = settings_.find({"topk_method"})) {
      if (method->text == "group_limited_greedy") spec.group_score = gate::GroupScore::maximum;
      if (method->text == "noaux_tc") spec.group_score = gate::GroupScore::top_two_sum;
      fact("groups by \"{}\": {}", method->text, method->where);
      if (method->text == "greedy") {
        spec.groups = spec.kept_groups = 1;
        return;
      }
    }
    if (groups && kept && groups->first > 0 && kept->first > 0) {
      spec.groups = groups->first;
      spec.kept_groups = kept->first;
      fact("{} of {} groups: {}", spec.kept_groups, spec.groups, groups->second);
    } else if (spec.groups > 1) {
      assume("{} of {} groups, as published of {}", spec.kept_groups, spec.groups, out_.family);
    }
  }

  void read_scale() {
    gate::GateSpec& spec = out_.spec;
    const auto found = settings_.find(
        {"routed_scaling_factor", "route_scale", "moe_router_topk_scaling_factor", "*.expert_weights_scale"});
    if (found && found->number) {
      // GGUF writes 0 for "none".
      spec.scale = *found->number == 0 ? 1.0 : *found->number;
      fact("weights x {}: {}", spec.scale, found->where);
    } else if (spec.scale != 1.0) {
      assume("weights x {}, as published of {}", spec.scale, out_.family);
    }
  }

  // The tensors decide.
  void read_biases() {
    gate::GateSpec& spec = out_.spec;
    const gate::Bias published = spec.bias;
    spec.bias = router_->correction != nullptr ? gate::Bias::choice
                : router_->bias != nullptr     ? gate::Bias::logits
                                               : gate::Bias::none;
    if (spec.bias == published) return;
    if (spec.bias == gate::Bias::none) {
      assume("no bias: the router of {} has one, the file has no tensor of it", out_.family);
    } else {
      fact("bias: the tensor {}",
           (spec.bias == gate::Bias::choice ? router_->correction : router_->bias)->name);
    }
  }

  void read_precision() {
    gate::GateSpec& spec = out_.spec;
    if (!request_->precision) return;
    spec.logits = *request_->precision;
    fact("logits in {}: --router-dtype", spec.logits == gate::Precision::bf16 ? "bf16" : "f32");
  }

  void check() const {
    const gate::GateSpec& spec = out_.spec;
    const auto fail = [](std::string message) {
      throw config::InputError("out_of_range", std::move(message));
    };
    if (router_->weight == nullptr) return;
    const std::int64_t experts = router_->weight->shape[0];
    if (spec.top_k < 1 || spec.top_k > experts) {
      fail(fmt::format("a token cannot have {} of the {} experts of \"{}\"", spec.top_k, experts,
                       router_->weight->name));
    }
    if (spec.kept_groups < 1 || spec.kept_groups > spec.groups || experts % spec.groups != 0) {
      fail(fmt::format("{} of {} groups cannot be made of {} experts", spec.kept_groups, spec.groups,
                       experts));
    }
    if (spec.kept_groups * (experts / spec.groups) < spec.top_k) {
      fail(fmt::format("{} groups of {} experts do not hold {}", spec.kept_groups, experts / spec.groups,
                       spec.top_k));
    }
    if (spec.score == gate::Score::sparsemixer && spec.top_k != 2) {
      fail(fmt::format("sparsemixer chooses 2 experts, not {}", spec.top_k));
    }
  }

  const LayerRouter* router_;
  const GateRequest* request_;
  RouterSettings settings_;
  RouterGate out_;
};

}  // namespace

RouterGate router_gate(const reference::WeightSet& weights, const LayerRouter& router, const Node* config,
                       const GateRequest& request) {
  return GateReader(weights, router, config, request).read();
}

std::string gate_words(const gate::GateSpec& spec) {
  std::string words;
  switch (spec.score) {
    case gate::Score::softmax:
      words = "softmax";
      break;
    case gate::Score::sigmoid:
      words = "sigmoid";
      break;
    case gate::Score::sqrt_softplus:
      words = "sqrt(softplus)";
      break;
    case gate::Score::identity:
      words = "identity";
      break;
    case gate::Score::sparsemixer:
      words = "sparsemixer";
      break;
  }
  words = spec.order == gate::Order::choose_then_score
              ? fmt::format("the best {} logits, {} of them", spec.top_k, words)
              : fmt::format("{} scores", words);
  if (spec.bias == gate::Bias::choice) words += " + bias to choose";
  if (spec.bias == gate::Bias::logits) words += ", bias on the logits";
  if (spec.groups > 1) words += fmt::format(", {} of {} groups", spec.kept_groups, spec.groups);
  if (spec.order == gate::Order::score_then_choose) words += fmt::format(", best {}", spec.top_k);
  if (spec.renormalise != gate::Renormalise::none) words += ", weights divided by their sum";
  if (spec.scale != 1.0) words += fmt::format(", x {}", spec.scale);
  return words;
}

std::string gate_precision_words(const gate::GateSpec& spec) {
  const auto word = [](gate::Precision precision) {
    if (precision == gate::Precision::f64) return "f64";
    return precision == gate::Precision::bf16 ? "bf16" : "f32";
  };
  return fmt::format("logits {}, scores {}, weights {}; of equal scores the lower expert wins",
                     word(spec.logits), word(spec.scores), word(spec.weights));
}

}  // namespace moesim::studies
