#include "models/llm/architecture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "models/llm/hf_import.hpp"
#include "models/llm/key_rule.hpp"

namespace moesim::llm {

namespace {

// The largest number of parameters that passes: far above any model, and low enough that bytes and operations
// of a step stay exact in 64 bits.
constexpr double kMostParameters = 1e15;

// Far above any model: layers are numbered one by one.
constexpr double kMostLayers = 100'000;

// The widths below are upper bounds of parameters / hidden size, in doubles so that they cannot overflow.
double real(std::int64_t n) { return static_cast<double>(n); }

double rough_width(const GroupedQueryAttention& a) {
  const double index =
      a.block_indexer ? (real(a.block_indexer->heads) + 1) * real(a.block_indexer->head_dim) : 0;
  return 6 * real(a.query_heads) * std::max(real(a.head_dim), real(a.value_dim())) + index;
}
double rough_width(const LatentAttention& a) {
  return 5 * real(a.heads) * (real(a.naive_key_dim()) + real(a.v_head_dim)) + real(a.q_lora_rank) +
         real(a.cached_dim()) +
         (a.indexer ? 3 * real(a.indexer->heads) * (real(a.indexer->head_dim) + 1) : 0);
}
double rough_width(const CompressedAttention& a) {
  return real(a.q_lora_rank) + 5 * real(a.head_dim) + real(a.output_groups) * real(a.output_lora_rank) +
         (a.indexer ? real(a.indexer->heads) + 4 * real(a.indexer->head_dim) : 0);
}
double rough_width(const RecurrentAttention& a) {
  return 3 * real(a.key_heads) * real(a.key_dim) + 4 * real(a.value_heads) * (real(a.value_dim) + 1) +
         real(a.gate_rank) + real(a.value_dim);
}
double rough_width(const NoAttention&) { return 0; }
double rough_width(const DenseFfn& ffn) { return 3 * real(ffn.width); }
double rough_width(const MoeFfn& moe) {
  const double experts = real(moe.experts) * (moe.latent_width > 0 ? 0 : 3 * real(moe.expert_width) + 1);
  return experts + real(moe.experts) + real(moe.zero_experts) +
         3 * real(moe.shared_experts) * real(moe.shared_width) + 2 * real(moe.latent_width) + 1;
}
double rough_width(const NoFfn&) { return 0; }

// Parameters between inner dimensions, whatever the hidden size.
double rough_inside(const GroupedQueryAttention&) { return 0; }
double rough_inside(const LatentAttention& a) {
  const double heads = real(a.heads) * (real(a.naive_key_dim()) + real(a.v_head_dim));
  const double index = a.indexer ? real(a.indexer->heads) * real(a.indexer->head_dim) : 0;
  return (real(a.q_lora_rank) + real(a.kv_lora_rank)) * heads + real(a.q_lora_rank) * index;
}
double rough_inside(const CompressedAttention& a) {
  const double index = a.indexer ? real(a.indexer->heads) * real(a.indexer->head_dim) : 0;
  const double index_width = a.indexer ? real(a.indexer->head_dim) : 0;
  return (real(a.q_lora_rank) + real(a.output_lora_rank)) * real(a.query_heads) * real(a.head_dim) +
         real(a.q_lora_rank) * index + 2 * real(a.ratio) * (real(a.head_dim) + index_width);
}
double rough_inside(const RecurrentAttention& a) {
  const double channels = 2 * real(a.key_heads) * real(a.key_dim) + real(a.value_heads) * real(a.value_dim);
  return (real(a.convolution) + 1) * channels +
         (real(a.gate_rank) + real(a.value_dim)) * (channels + real(a.value_heads));
}
double rough_inside(const NoAttention&) { return 0; }
double rough_inside(const DenseFfn&) { return 0; }
double rough_inside(const MoeFfn& moe) {
  return real(moe.experts) * 3 * (real(moe.expert_width) + 1) * (real(moe.latent_width) + 1);
}
double rough_inside(const NoFfn&) { return 0; }

double rough_layer(const LayerGroup& group, double hidden) {
  const auto width = [](const auto& shape) { return rough_width(shape); };
  const auto inside = [](const auto& shape) { return rough_inside(shape); };
  const double cross = group.cross_attention ? rough_width(*group.cross_attention) : 0;
  return hidden * (std::visit(width, group.attention) + std::visit(width, group.ffn) + cross) +
         std::visit(inside, group.attention) + std::visit(inside, group.ffn);
}

double rough_parameters(const Architecture& architecture) {
  const double hidden = real(architecture.hidden_size);
  double sum = 2 * real(architecture.vocab_size) * hidden;
  for (const LayerGroup& group : architecture.layers) sum += real(group.count) * rough_layer(group, hidden);
  for (const LayerGroup& group : architecture.encoder) sum += real(group.count) * rough_layer(group, hidden);
  if (const auto& more = architecture.prediction)
    sum += real(more->count) *
           (rough_layer(LayerGroup{1, more->attention, more->ffn}, hidden) + 2 * hidden * hidden);
  return sum;
}

void check_group(const LayerGroup& group, const std::string& pointer, config::Problems& problems) {
  if (std::holds_alternative<NoAttention>(group.attention) && std::holds_alternative<NoFfn>(group.ffn)) {
    problems.error(pointer, "a layer needs an attention or a feed-forward network");
  }
  const auto* compressed = std::get_if<CompressedAttention>(&group.attention);
  if (compressed != nullptr && group.cross_attention) {
    problems.error(pointer + "/cross_attention", "a layer with compressed attention has no cross attention");
  }
}

// The patterns must use every layer of every group.
void check_order(const Architecture& architecture, config::Problems& problems) {
  if (architecture.order.empty()) return;
  std::vector<double> used(architecture.layers.size(), 0);
  for (std::size_t i = 0; i < architecture.order.size(); ++i) {
    const LayerPattern& pattern = architecture.order[i];
    const std::string pointer = "/order/" + std::to_string(i) + "/groups";
    if (pattern.groups.empty()) problems.error(pointer, "a pattern needs at least one layer");
    for (const std::int64_t group : pattern.groups) {
      if (group >= static_cast<std::int64_t>(used.size())) {
        problems.error(pointer, "there is no layer group " + std::to_string(group) + ": \"layers\" has " +
                                    std::to_string(used.size()) + ", counted from 0");
        return;
      }
      used[static_cast<std::size_t>(group)] += real(pattern.repeat);
    }
  }
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (used[i] == real(architecture.layers[i].count)) continue;
    problems.error("/order", "the patterns use group " + std::to_string(i) + " " +
                                 std::to_string(static_cast<std::int64_t>(std::min(used[i], 1e18))) +
                                 " times, but it has " + std::to_string(architecture.layers[i].count) +
                                 " layers");
  }
}

// A longer context than the rotation was stretched to works, with positions that the model has not seen. The
// factor of llama3 is that of some frequencies and says nothing of the context (Llama 3.1: 8 x 8,192 tokens,
// and a context of 131,072).
void check_rotation(const Architecture& architecture, config::Problems& problems) {
  const std::optional<RopeScaling>& scaling = architecture.rope_scaling;
  if (!scaling || scaling->method == RopeScalingKind::llama3) return;
  const double reach = std::round(real(scaling->original_context_tokens) * scaling->factor);
  if (real(architecture.max_context_tokens) <= reach) return;
  problems.warning("/max_context_tokens",
                   fmt::format("the rotation was stretched to {:.0f} tokens only ({} tokens times {})", reach,
                               scaling->original_context_tokens, scaling->factor));
}

void check_architecture(const Architecture& architecture, config::Problems& problems) {
  check_rotation(architecture, problems);
  if (architecture.norm_bias && !architecture.layer_norm) {
    problems.error("/norm_bias", "only LayerNorm has biases: it needs \"layer_norm\": true");
  }
  double layers = 0;
  for (const LayerGroup& group : architecture.layers) layers += real(group.count);
  for (const LayerGroup& group : architecture.encoder) layers += real(group.count);
  if (layers > kMostLayers)
    problems.error("/layers", "the model has more than 100,000 layers: check its sizes");
  if (architecture.layers.empty()) problems.error("/layers", "a model needs at least one layer");
  if (rough_parameters(architecture) > kMostParameters) {
    problems.error("/hidden_size", "the model has more than 1e15 parameters: check its sizes");
  }
  for (std::size_t i = 0; i < architecture.layers.size(); ++i) {
    check_group(architecture.layers[i], "/layers/" + std::to_string(i), problems);
  }
  for (std::size_t i = 0; i < architecture.encoder.size(); ++i) {
    check_group(architecture.encoder[i], "/encoder/" + std::to_string(i), problems);
    if (architecture.encoder[i].cross_attention)
      problems.error("/encoder/" + std::to_string(i) + "/cross_attention",
                     "an encoder has nothing to attend to");
  }
  if (layers <= kMostLayers) check_order(architecture, problems);
  if (key_rules(architecture).size() > kMostKeyRules) {
    problems.error("/layers", "the layers see their keys in more than " + std::to_string(kMostKeyRules) +
                                  " different ways (windows, chunks, choices): that is not supported");
  }
}

}  // namespace

std::int64_t Architecture::layer_count() const {
  std::int64_t count = 0;
  for (const LayerGroup& group : layers) count += group.count;
  return count;
}

Formats Architecture::published_formats() const {
  Formats formats;
  formats.weights = published_weights;
  formats.attention_weights = published_attention_weights;
  formats.dense_weights = published_dense_weights;
  return formats;
}

std::vector<LayerPattern> Architecture::patterns() const {
  if (!order.empty()) return order;
  std::vector<LayerPattern> result;
  for (std::size_t i = 0; i < layers.size(); ++i)
    result.push_back({layers[i].count, {static_cast<std::int64_t>(i)}});
  return result;
}

std::vector<LayerRun> layer_runs(const Architecture& architecture) {
  std::vector<LayerRun> runs;
  const auto add = [&](std::int64_t group, std::int64_t count) {
    const auto index = static_cast<std::size_t>(group);
    if (!runs.empty() && runs.back().group == index) {
      runs.back().count += count;
    } else {
      runs.push_back({index, count});
    }
  };
  for (const LayerPattern& pattern : architecture.patterns()) {
    if (pattern.groups.size() == 1) {
      add(pattern.groups.front(), pattern.repeat);
      continue;
    }
    for (std::int64_t i = 0; i < pattern.repeat; ++i) {
      for (const std::int64_t group : pattern.groups) add(group, 1);
    }
  }
  return runs;
}

const config::Record<LayerGroup>& record_of(config::Type<LayerGroup>) {
  static const auto record =
      config::Record<LayerGroup>("layer_group", "Equal transformer layers")
          .required("count", &LayerGroup::count, "Number of layers", config::between(1, 1e9))
          .required("attention", &LayerGroup::attention, "Attention of each layer")
          .required("ffn", &LayerGroup::ffn, "Feed-forward part of each layer")
          .optional("cross_attention", &LayerGroup::cross_attention,
                    "Attention to the result of the encoder, between the two");
  return record;
}

const config::Record<LayerPattern>& record_of(config::Type<LayerPattern>) {
  static const auto record = config::Record<LayerPattern>("layer_pattern", "Layers that repeat")
                                 .optional("repeat", &LayerPattern::repeat, "Times that the pattern repeats",
                                           config::between(1, 1e9))
                                 .required("groups", &LayerPattern::groups,
                                           "Indices of layer groups, one per layer", config::between(0, 1e9));
  return record;
}

const config::Record<PredictionLayers>& record_of(config::Type<PredictionLayers>) {
  using P = PredictionLayers;
  static const auto record =
      config::Record<P>("prediction_layers", "Layers that predict further tokens (multi-token prediction)")
          .required("count", &P::count, "Number of layers", config::between(1, 1e9))
          .required("attention", &P::attention, "Attention of each layer")
          .required("ffn", &P::ffn, "Feed-forward part of each layer");
  return record;
}

const config::Record<RopeScaling>& record_of(config::Type<RopeScaling>) {
  using R = RopeScaling;
  static const auto record =
      config::Record<R>("rope_scaling", "How the rotation was stretched past the context of pre-training")
          .required("method", &R::method, "Method")
          .required("factor", &R::factor, "How far it was stretched", config::between(1, 1e6))
          .required("original_context_tokens", &R::original_context_tokens, "Context before that",
                    config::between(1, 1e12));
  return record;
}

const config::Record<QualityNote>& record_of(config::Type<QualityNote>) {
  using Q = QualityNote;
  static const auto record =
      config::Record<Q>("quality_note", "What is known of the quality at long contexts; not simulated")
          .required("from_tokens", &Q::from_tokens, "Holds for contexts of so many tokens and more",
                    config::between(0, 1e12))
          .required("note", &Q::note, "One sentence", config::at_least(1))
          .required("source", &Q::source, "Where it was read", config::at_least(1));
  return record;
}

const config::Record<Architecture>& record_of(config::Type<Architecture>) {
  using A = Architecture;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<A>("model", "Shape of a large language model")
          .required("name", &A::name, "Name as its makers write it", positive)
          .required("vocab_size", &A::vocab_size, "Rows of the embedding", positive)
          .required("hidden_size", &A::hidden_size, "Width of the residual stream", positive)
          .optional("tied_embeddings", &A::tied_embeddings, "The output head is the embedding matrix")
          .optional("head_bias", &A::head_bias, "Bias on the output head")
          .optional("layer_norm", &A::layer_norm, "LayerNorm in place of RMSNorm")
          .optional("norm_bias", &A::norm_bias, "Biases of the LayerNorms")
          .optional("post_norms", &A::post_norms, "Norms behind attention and FFN too")
          .required("max_context_tokens", &A::max_context_tokens, "Longest context the model was made for",
                    positive)
          .optional("published_weights", &A::published_weights,
                    "Number format of the linear layers in the published checkpoint")
          .optional("published_attention_weights", &A::published_attention_weights,
                    "That of attention, where it differs")
          .optional("published_dense_weights", &A::published_dense_weights,
                    "That of dense feed-forward layers and shared experts, where it differs")
          .optional("residual_streams", &A::residual_streams,
                    "Copies of the residual stream, mixed by hyper-connections", config::between(1, 64))
          .optional("rope_scaling", &A::rope_scaling, "How far the rotation was stretched")
          .required("layers", &A::layers, "Groups of equal layers, in the order of the network", positive)
          .optional("order", &A::order, "Order of the layers, where groups take turns")
          .optional("encoder", &A::encoder, "Layers of an encoder in front")
          .optional("prediction", &A::prediction, "Layers for multi-token prediction")
          .optional("quality", &A::quality, "Quality at long contexts; stated, not simulated")
          .required("sources", &A::sources, "Where the numbers come from")
          .foreign({is_hugging_face, import_hugging_face})
          .check(check_architecture);
  return record;
}

}  // namespace moesim::llm
