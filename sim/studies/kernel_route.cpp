#include "sim/studies/kernel_route.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <system_error>
#include <utility>

#include "models/reference/float16.hpp"
#include "sim/config/document.hpp"
#include "sim/io/line_reader.hpp"
#include "sim/studies/router_inputs.hpp"

namespace moesim::studies {

namespace fs = std::filesystem;
using reference::WeightSet;
using reference::WeightTensor;

namespace {

constexpr std::int64_t kRowsAtOnce = 256;

constexpr std::array<std::string_view, 7> kEmbeddingNames = {
    "model.embed_tokens.weight",
    "model.language_model.embed_tokens.weight",
    "language_model.model.embed_tokens.weight",
    "embed.weight",
    "transformer.wte.weight",
    "backbone.embeddings.weight",
    "token_embd.weight",
};

// The sum over one row of inputs in eight partial sums, added in a fixed order.
double route_dot(const float* input, const float* weight, std::int64_t n) {
  constexpr std::int64_t kLanes = 8;
  double sums[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      sums[lane] += static_cast<double>(input[i + lane]) * static_cast<double>(weight[i + lane]);
    }
  }
  double tail = 0.0;
  for (; i < n; ++i) tail += static_cast<double>(input[i]) * static_cast<double>(weight[i]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + tail;
}

// x / rms(x) x weight, in f64 and rounded once.
void route_norm(std::span<float> row, std::span<const float> weight, double epsilon) {
  double squares = 0.0;
  for (const float value : row) squares += static_cast<double>(value) * static_cast<double>(value);
  const double scale = 1.0 / std::sqrt(squares / static_cast<double>(row.size()) + epsilon);
  for (std::size_t i = 0; i < row.size(); ++i) {
    row[i] = static_cast<float>(static_cast<double>(row[i]) * scale * static_cast<double>(weight[i]));
  }
}

std::vector<float> finite_floats(const WeightSet& weights, const WeightTensor& tensor) {
  std::vector<float> values = weights.to_floats(tensor);
  for (const float value : values) {
    if (std::isfinite(value)) continue;
    throw config::InputError("not_finite", fmt::format("{}: the tensor \"{}\" has a value that is not finite",
                                                       tensor.file, tensor.name));
  }
  return values;
}

// config.json beside the weights, if it is there.
std::optional<config::Document> read_model_config(const fs::path& folder, RouteReport& report) {
  const fs::path file = folder / "config.json";
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return std::nullopt;
  report.files.push_back(file);
  return config::parse_text(io::read_file(file, config::kMaxFileBytes), file.string());
}

class Router {
 public:
  Router(const RouteOptions& options, const std::function<void(std::string_view)>& line)
      : options_(&options), line_(&line), weights_(options.weights), inputs_(options.tokens) {
    report_.files = weights_.files();
    report_.files.push_back(options.tokens);
    config_ = read_model_config(weights_.folder(), report_);
  }

  RouteReport run() {
    const std::vector<LayerRouter> routers = wanted(find_routers(weights_));
    for (const LayerRouter& router : routers) route(router);
    if (report_.layers.empty()) {
      throw config::InputError("no_input", fmt::format("{} has no input for any of the {} routers",
                                                       inputs_.file(), routers.size()));
    }
    finish_warnings();
    return std::move(report_);
  }

 private:
  // One layer while it is routed.
  struct Layer {
    const LayerRouter* router = nullptr;
    gate::GateSpec spec;
    std::int64_t experts = 0;
    std::int64_t hidden = 0;
    std::vector<float> weight;
    std::vector<float> bias;
    std::vector<float> norm;  // for embeddings
    std::optional<WeightTensor> states;
    std::vector<std::int32_t> table;
    RoutedLayer out;
  };

  std::vector<LayerRouter> wanted(std::vector<LayerRouter> all) const {
    if (options_->layers.empty()) return all;
    std::vector<LayerRouter> chosen;
    std::vector<std::int64_t> known;
    for (const LayerRouter& router : all) known.push_back(router.layer);
    for (const std::int64_t layer : options_->layers) {
      const auto found = std::find(known.begin(), known.end(), layer);
      if (found == known.end()) {
        throw config::InputError("unknown_name", fmt::format("layer {} has no router", layer), "",
                                 fmt::format("layers with one: {}", fmt::join(known, ", ")));
      }
      chosen.push_back(all[static_cast<std::size_t>(found - known.begin())]);
    }
    return chosen;
  }

  void route(const LayerRouter& router) {
    const RouterGate gate = router_gate(weights_, router, config_ ? &config_->root : nullptr, options_->gate);
    if (router.table != nullptr) {
      report_.facts.push_back(fmt::format("layer {}: {} experts by token id from {}", router.layer,
                                          gate.spec.top_k, router.table->name));
    } else {
      tell_gate(gate, router.layer);
    }
    Layer layer;
    layer.router = &router;
    layer.spec = gate.spec;
    layer.out.layer = router.layer;
    layer.out.top_k = gate.spec.top_k;
    if (!(router.table != nullptr ? prepare_table(layer) : prepare_scores(layer))) return;
    layer.out.counts.assign(static_cast<std::size_t>(layer.experts), 0);
    for (std::int64_t first = 0; first < layer.out.tokens; first += options_->step_tokens) {
      write_step(layer, first, std::min(options_->step_tokens, layer.out.tokens - first));
    }
    report_.layers.push_back(std::move(layer.out));
  }

  // The gate of the first layer is reported, and what is different in others.
  void tell_gate(const RouterGate& gate, std::int64_t layer) {
    const std::string words = gate_words(gate.spec), precision = gate_precision_words(gate.spec);
    if (report_.gate.empty()) {
      report_.gate = words;
      report_.precision = precision;
      report_.facts = gate.facts;
      report_.assumptions = gate.assumptions;
    } else if (words != report_.gate || precision != report_.precision) {
      report_.facts.push_back(fmt::format("layer {} differs: {}; {}", layer, words, precision));
    }
  }

  // False if there is nothing to route this layer by.
  bool prepare_table(Layer& layer) {
    const WeightTensor& table = *layer.router->table;
    if (!inputs_.has_ids()) {
      report_.warnings.push_back(
          fmt::format("layer {} looks its experts up by token id (\"{}\"): it is left out, "
                      "because {} holds hidden states",
                      layer.out.layer, table.name, inputs_.file()));
      return false;
    }
    layer.table = read_expert_table(table, layer.spec.top_k);
    const std::int64_t most = *std::max_element(layer.table.begin(), layer.table.end());
    layer.experts = layer.router->weight != nullptr ? layer.router->weight->shape[0] : most + 1;
    if (most >= layer.experts) {
      throw config::InputError("out_of_range", fmt::format("{}: the table \"{}\" names the expert {} of {}",
                                                           table.file, table.name, most, layer.experts));
    }
    layer.out.router = table.name;
    layer.out.input = inputs_.file();
    layer.out.kind = RouterInputKind::token_ids;
    layer.out.tokens = static_cast<std::int64_t>(inputs_.ids().size());
    check_ids(table.shape[0], table.name);
    return true;
  }

  bool prepare_scores(Layer& layer) {
    const WeightTensor& weight = *layer.router->weight;
    layer.experts = weight.shape[0];
    layer.hidden = weight.shape[1];
    layer.out.router = weight.name;
    if (inputs_.hidden()) {
      layer.states = inputs_.states(layer.out.layer, layer.hidden);
      if (!layer.states) {
        report_.warnings.push_back(
            fmt::format("{} has no input for layer {}: it is left out", inputs_.file(), layer.out.layer));
        return false;
      }
      layer.out.kind = RouterInputKind::hidden_states;
      layer.out.input = layer.states->name;
      layer.out.tokens = layer.states->rows();
    } else {
      prepare_embedding(layer);
    }
    layer.weight = finite_floats(weights_, weight);
    const WeightTensor* bias = layer.spec.bias == gate::Bias::choice   ? layer.router->correction
                               : layer.spec.bias == gate::Bias::logits ? layer.router->bias
                                                                       : nullptr;
    if (bias != nullptr) layer.bias = finite_floats(weights_, *bias);
    return true;
  }

  void prepare_embedding(Layer& layer) {
    if (embedding_ == nullptr) {
      for (const std::string_view name : kEmbeddingNames) {
        if (embedding_ == nullptr) embedding_ = weights_.find(name);
      }
    }
    if (embedding_ == nullptr) {
      throw config::InputError(
          "no_input",
          fmt::format("{} holds token ids, and the weights have neither a table of experts for "
                      "layer {} nor an embedding",
                      inputs_.file(), layer.out.layer),
          "--tokens with the hidden states that enter the routers");
    }
    if (embedding_->shape.size() != 2 || embedding_->shape[1] != layer.hidden) {
      throw config::InputError(
          "wrong_shape",
          fmt::format("{}: the embedding \"{}\" has the shape {}; the router of layer {} takes {} "
                      "values",
                      embedding_->file, embedding_->name, reference::shape_text(embedding_->shape),
                      layer.out.layer, layer.hidden));
    }
    check_ids(embedding_->shape[0], embedding_->name);
    layer.out.kind = RouterInputKind::embedding_only;
    layer.out.input = embedding_->name;
    layer.out.tokens = static_cast<std::int64_t>(inputs_.ids().size());
    if (const WeightTensor* norm = find_norm(*layer.router->weight)) {
      layer.norm = finite_floats(weights_, *norm);
      if (std::cmp_not_equal(layer.norm.size(), layer.hidden)) {
        throw config::InputError("wrong_shape",
                                 fmt::format("{}: the norm \"{}\" has the shape {}", norm->file, norm->name,
                                             reference::shape_text(norm->shape)));
      }
    }
  }

  // The norm before the router: beside it in the same layer.
  [[nodiscard]] const WeightTensor* find_norm(const WeightTensor& router) const {
    for (const std::string_view part :
         {"mlp.", "block_sparse_moe.", "feed_forward.", "ffn.", "ffn_gate_inp"}) {
      const std::size_t at = router.name.rfind(part);
      if (at == std::string::npos) continue;
      const std::string layer = router.name.substr(0, at);
      for (const std::string_view norm :
           {"post_attention_layernorm.weight", "ffn_norm.weight", "post_attention_norm.weight"}) {
        if (const WeightTensor* found = weights_.find(layer + std::string(norm))) return found;
      }
    }
    return nullptr;
  }

  void check_ids(std::int64_t rows, const std::string& tensor) const {
    for (const std::int64_t id : inputs_.ids()) {
      if (id < rows) continue;
      throw config::InputError(
          "out_of_range", fmt::format("{}: the token {} is outside \"{}\", which has {} rows", inputs_.file(),
                                      id, tensor, rows));
    }
  }

  [[nodiscard]] double norm_epsilon() const {
    constexpr double kUsual = 1e-6;
    const config::Node* found = config_ ? config_->root.find("rms_norm_eps") : nullptr;
    return found != nullptr && found->kind == config::Node::Kind::real ? found->real : kUsual;
  }

  // Inputs of `rows` tokens from `first` on.
  [[nodiscard]] std::vector<float> input_rows(const Layer& layer, std::int64_t first,
                                              std::int64_t rows) const {
    std::vector<float> values;
    if (layer.states) {
      values = reference::to_floats(*layer.states, first, rows);
    } else {
      const double epsilon = norm_epsilon();
      for (std::int64_t t = first; t < first + rows; ++t) {
        std::vector<float> row =
            weights_.to_floats(*embedding_, inputs_.ids()[static_cast<std::size_t>(t)], 1);
        if (!layer.norm.empty()) route_norm(row, layer.norm, epsilon);
        values.insert(values.end(), row.begin(), row.end());
      }
    }
    if (layer.spec.logits == gate::Precision::bf16) {
      for (float& value : values) value = reference::rounded_to_bf16(value);
    }
    return values;
  }

  [[nodiscard]] std::vector<std::int32_t> choose_rows(const Layer& layer, std::int64_t first,
                                                      std::int64_t rows) const {
    if (!layer.table.empty()) {
      std::vector<std::int32_t> ids;
      for (std::int64_t t = first; t < first + rows; ++t) {
        ids.push_back(static_cast<std::int32_t>(inputs_.ids()[static_cast<std::size_t>(t)]));
      }
      return gate::look_up(layer.table, layer.spec.top_k, ids);
    }
    const std::vector<float> values = input_rows(layer, first, rows);
    std::vector<float> logits;
    logits.reserve(static_cast<std::size_t>(rows * layer.experts));
    for (std::int64_t t = 0; t < rows; ++t) {
      for (std::int64_t e = 0; e < layer.experts; ++e) {
        logits.push_back(static_cast<float>(route_dot(values.data() + t * layer.hidden,
                                                      layer.weight.data() + e * layer.hidden, layer.hidden)));
      }
    }
    try {
      return gate::choose(layer.spec, logits, rows, layer.experts, layer.bias).experts;
    } catch (const gate::LogitError& error) {
      throw config::InputError("not_finite",
                               fmt::format("{}: layer {}, token {}: {}", layer.out.input, layer.out.layer,
                                           first + error.token(), error.what()));
    }
  }

  void write_step(Layer& layer, std::int64_t first, std::int64_t rows) {
    const RoutedLayer& out = layer.out;
    std::string text = fmt::format(
        R"({{"step": {}, "stage": "forward", "block": "decoder", "layer": {}, "rank": 0, "num_tokens": {}, "topk": {}, )"
        R"("input": "{}", "top_indices": [)",
        first / options_->step_tokens, out.layer, rows, out.top_k, to_string(out.kind));
    std::string_view between = "[";
    for (std::int64_t done = 0; done < rows; done += kRowsAtOnce) {
      const std::int64_t part = std::min(kRowsAtOnce, rows - done);
      const std::vector<std::int32_t> experts = choose_rows(layer, first + done, part);
      for (std::size_t i = 0; i < experts.size(); ++i) {
        const bool starts_token = i % static_cast<std::size_t>(out.top_k) == 0;
        fmt::format_to(std::back_inserter(text), "{}{}", starts_token ? between : std::string_view(", "),
                       experts[i]);
        between = "], [";
        ++layer.out.counts[static_cast<std::size_t>(experts[i])];
      }
    }
    text += "]]}\n";
    (*line_)(text);
  }

  void finish_warnings() {
    const auto count = [&](RouterInputKind kind) {
      return std::count_if(report_.layers.begin(), report_.layers.end(),
                           [&](const RoutedLayer& layer) { return layer.kind == kind; });
    };
    if (const auto layers = count(RouterInputKind::embedding_only); layers > 0) {
      report_.warnings.push_back(
          fmt::format("embedding_only: {} layers were routed by token embeddings, not by hidden states. No "
                      "layer of the model sees "
                      "such inputs; give the hidden states that enter the routers for a trace of the model",
                      layers));
    }
  }

  const RouteOptions* options_;
  const std::function<void(std::string_view)>* line_;
  WeightSet weights_;
  RouterInputs inputs_;
  std::optional<config::Document> config_;
  const WeightTensor* embedding_ = nullptr;
  RouteReport report_;
};

}  // namespace

RouteReport route_tokens(const RouteOptions& options, const std::function<void(std::string_view)>& line) {
  return Router(options, line).run();
}

}  // namespace moesim::studies
