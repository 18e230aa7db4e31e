// The shape of a large language model: what is computed, with no word about devices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/llm/attention.hpp"
#include "models/llm/feed_forward.hpp"
#include "models/llm/formats.hpp"
#include "sim/config/record.hpp"

namespace moesim::llm {

// `count` equal transformer layers. Every layer has a norm before attention and one before the FFN.
struct LayerGroup {
  std::int64_t count = 0;
  AttentionShape attention;
  FfnShape ffn;
  // Attention to the result of an encoder, between the two (Switch); with a norm of its own.
  std::optional<GroupedQueryAttention> cross_attention = std::nullopt;
  bool operator==(const LayerGroup&) const = default;
};

// A pattern of layers that repeats: indices of layer groups, one per layer.
struct LayerPattern {
  std::int64_t repeat = 1;
  std::vector<std::int64_t> groups;
  bool operator==(const LayerPattern&) const = default;
};

// Layers that predict further tokens (DeepSeek-V3, arXiv 2412.19437, part 2.2): each joins the normed state
// of the last one with the normed embedding of the next token by a projection, and shares embedding and head
// with the model. They are part of a checkpoint, and used for speculative decoding only.
struct PredictionLayers {
  std::int64_t count = 0;
  AttentionShape attention;
  FfnShape ffn;
  bool operator==(const PredictionLayers&) const = default;
};

enum class RopeScalingKind : std::uint8_t { linear, dynamic, yarn, llama3, longrope };

// How the rotation was stretched past the context of pre-training. It costs nothing at run time; it says how
// far the context was stretched.
struct RopeScaling {
  RopeScalingKind method = RopeScalingKind::yarn;
  double factor = 1;
  std::int64_t original_context_tokens = 0;
  bool operator==(const RopeScaling&) const = default;
};

// What is known of a model's quality at long contexts. Stated, not simulated.
struct QualityNote {
  std::int64_t from_tokens = 0;  // holds for contexts of so many tokens and more
  std::string note;
  std::string source;
  bool operator==(const QualityNote&) const = default;
};

struct Architecture {
  std::string name;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  bool tied_embeddings = false;  // the output head is the embedding matrix
  bool head_bias = false;        // the output head has a bias (Phi-3.5-MoE)
  bool layer_norm = false;       // LayerNorm in place of RMSNorm before attention, FFN and head
  bool norm_bias = false;        // of these LayerNorms
  bool post_norms = false;       // norms also behind attention and FFN, before the residual add (Grok-1)
  std::int64_t residual_streams =
      1;  // copies of the residual stream, mixed by hyper-connections (DeepSeek-V4)
  std::int64_t max_context_tokens = 0;
  std::optional<RopeScaling> rope_scaling;
  // Of the linear layers in the published checkpoint: of routed experts, and of the others where nothing else
  // is said (WeightKind).
  NumberFormat published_weights = NumberFormat::bf16;
  std::optional<NumberFormat> published_attention_weights;
  std::optional<NumberFormat> published_dense_weights;
  std::vector<LayerGroup> layers;              // in the order of the network, unless `order` says otherwise
  std::vector<LayerPattern> order;             // empty: each group's layers in a row
  std::vector<LayerGroup> encoder;             // layers of an encoder in front (Switch)
  std::optional<PredictionLayers> prediction;  // multi-token prediction
  std::vector<QualityNote> quality;
  std::map<std::string, std::string> sources;  // where the numbers come from

  // Number of transformer layers, without those of an encoder or for prediction.
  [[nodiscard]] std::int64_t layer_count() const;
  // The patterns of the network, with the default applied. Groups are in range and their counts agree with
  // `layers` (checked when the model is loaded).
  [[nodiscard]] std::vector<LayerPattern> patterns() const;
  // The formats of the published checkpoint.
  [[nodiscard]] Formats published_formats() const;
  // Weights of one norm over the residual stream.
  [[nodiscard]] std::int64_t norm_weights() const { return hidden_size * (norm_bias ? 2 : 1); }
};

// Equal layers in a row, as the network has them.
struct LayerRun {
  std::size_t group = 0;
  std::int64_t count = 0;
};

// The layers of an architecture in order, equal neighbours together.
[[nodiscard]] std::vector<LayerRun> layer_runs(const Architecture& architecture);

[[nodiscard]] const config::Record<LayerGroup>& record_of(config::Type<LayerGroup>);
[[nodiscard]] const config::Record<LayerPattern>& record_of(config::Type<LayerPattern>);
[[nodiscard]] const config::Record<PredictionLayers>& record_of(config::Type<PredictionLayers>);
[[nodiscard]] const config::Record<RopeScaling>& record_of(config::Type<RopeScaling>);
[[nodiscard]] const config::Record<QualityNote>& record_of(config::Type<QualityNote>);
[[nodiscard]] const config::Record<Architecture>& record_of(config::Type<Architecture>);

}  // namespace moesim::llm

template <>
struct moesim::config::EnumNames<moesim::llm::RopeScalingKind> {
  using K = moesim::llm::RopeScalingKind;
  static constexpr EnumName<K> table[] = {
      {K::linear, "linear", "all frequencies divided by the factor"},
      {K::dynamic, "dynamic", "the base grows with the context (NTK-aware)"},
      {K::yarn, "yarn", "by parts of the spectrum (arXiv 2309.00071)"},
      {K::llama3, "llama3", "by parts of the spectrum, as Llama 3.1 does"},
      {K::longrope, "longrope", "a factor per frequency (arXiv 2402.13753)"},
  };
};

template <>
struct moesim::config::CatalogueEntry<moesim::llm::Architecture> {
  static constexpr std::string_view folder = "models/zoo";
  static constexpr std::string_view noun = "model";
};
