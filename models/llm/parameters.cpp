#include "models/llm/parameters.hpp"

#include <algorithm>
#include <optional>

#include "models/llm/weights.hpp"

namespace moesim::llm {

namespace {

void count_ffn(const DenseFfn& ffn, std::int64_t hidden, std::int64_t layers, ByCategory& count) {
  count.dense_ffn +=
      layers * ffn_matrices(GemmRole::gate_up, GemmRole::down, ffn.gated, hidden, ffn.width).elements();
}

// Weights of one routed expert, biases included.
std::int64_t expert_weights(const MoeFfn& ffn, std::int64_t hidden) {
  return ffn_matrices(GemmRole::expert_gate_up, GemmRole::expert_down, ffn.gated, ffn.row_width(hidden),
                      ffn.expert_width)
             .elements() +
         expert_biases(ffn, hidden, 1) / ffn.experts;
}

void count_ffn(const MoeFfn& ffn, std::int64_t hidden, std::int64_t layers, ByCategory& count) {
  const auto shared = ffn_matrices(GemmRole::shared_gate_up, GemmRole::shared_down, ffn.gated, hidden,
                                   ffn.total_shared_width());
  count.routed_experts += layers * ffn.experts * expert_weights(ffn, hidden);
  count.shared_experts += layers * (shared.elements() + (ffn.shared_gate ? hidden : 0));
  count.router += layers * ((ffn.has_router() ? ffn.choices() * hidden : 0) + router_biases(ffn));
  count.routed_experts += layers * latent_expert_matrices(ffn, hidden).elements();
  count.norms += layers * (ffn.latent_norm ? ffn.latent_width : 0);
}

void count_ffn(const NoFfn&, std::int64_t, std::int64_t, ByCategory&) {}

std::int64_t ffn_biases(const FfnShape& ffn, std::int64_t hidden) {
  const auto* moe = std::get_if<MoeFfn>(&ffn);
  return moe == nullptr ? 0 : expert_biases(*moe, hidden, 1) + router_biases(*moe);
}

// Routed parameters of a layer group that one token does not use.
std::int64_t idle_experts(const FfnShape& ffn, std::int64_t hidden, std::int64_t layers) {
  const auto* moe = std::get_if<MoeFfn>(&ffn);
  if (moe == nullptr) return 0;
  const std::int64_t used = std::min(moe->top_k, moe->experts);
  return layers * (moe->experts - used) * expert_weights(*moe, hidden);
}

struct Count {
  ByCategory by_category;
  std::int64_t idle = 0;
  std::int64_t biases = 0;
};

void count_attention(const AttentionShape& attention, std::int64_t hidden, std::int64_t layers,
                     Count& count) {
  count.by_category.attention += layers * (attention_matrices(attention, hidden, 1).elements() +
                                           attention_vectors(attention, hidden, 1));
  count.by_category.norms += layers * attention_norms(attention, 1);
  count.biases += layers * attention_biases(attention, hidden, 1);
}

void count_group(const LayerGroup& group, const Architecture& architecture, Count& count) {
  const std::int64_t hidden = architecture.hidden_size;
  count_attention(group.attention, hidden, group.count, count);
  if (group.cross_attention) count_attention(*group.cross_attention, hidden, group.count, count);
  count.by_category.norms += group.count * stream_norms(group, architecture) * architecture.norm_weights();
  count.by_category.hyper_connections += group.count * hyper_connection_weights(group, architecture);
  std::visit([&](const auto& ffn) { count_ffn(ffn, hidden, group.count, count.by_category); }, group.ffn);
  count.biases += group.count * ffn_biases(group.ffn, hidden);
  count.idle += idle_experts(group.ffn, hidden, group.count);
}

// Each prediction layer has two more norms and one behind it, and a projection of the two joined rows.
std::int64_t count_prediction(const Architecture& architecture) {
  if (!architecture.prediction) return 0;
  const PredictionLayers& more = *architecture.prediction;
  Count count;
  count_group({more.count, more.attention, more.ffn}, architecture, count);
  const std::int64_t hidden = architecture.hidden_size;
  return count.by_category.total() + more.count * (2 * hidden * hidden + 3 * architecture.norm_weights());
}

}  // namespace

Parameters count_parameters(const Architecture& architecture) {
  const std::int64_t hidden = architecture.hidden_size;
  Count count;
  ByCategory& by = count.by_category;
  by.embedding = architecture.vocab_size * hidden;
  by.head = (architecture.tied_embeddings ? 0 : architecture.vocab_size * hidden) +
            (architecture.head_bias ? architecture.vocab_size : 0);
  by.norms = architecture.norm_weights() * (architecture.encoder.empty() ? 1 : 2);
  for (const LayerGroup& group : architecture.layers) count_group(group, architecture, count);
  for (const LayerGroup& group : architecture.encoder) count_group(group, architecture, count);
  // The last streams are added up by factors of their own.
  const std::int64_t streams = architecture.residual_streams;
  if (streams > 1) by.hyper_connections += streams * (streams * hidden + 1) + 1;
  Parameters result;
  result.by_category = by;
  result.biases = count.biases + (architecture.head_bias ? architecture.vocab_size : 0);
  result.prediction = count_prediction(architecture);
  result.total = by.total();
  result.active = result.total - count.idle;
  // A tied matrix is the head as well, so a token uses all of it.
  result.active_without_input_embedding = result.active - (architecture.tied_embeddings ? 0 : by.embedding);
  result.active_without_embeddings = result.active - by.embedding - by.head;
  return result;
}

Architecture dense_twin(const Architecture& architecture) {
  Architecture twin = architecture;
  const auto widen = [&](FfnShape& shape) {
    const auto* moe = std::get_if<MoeFfn>(&shape);
    if (moe == nullptr) return;
    const std::int64_t routed = moe->experts * moe->expert_width * moe->row_width(architecture.hidden_size) /
                                architecture.hidden_size;
    shape = DenseFfn{routed + moe->total_shared_width(), moe->gated};
  };
  for (LayerGroup& group : twin.layers) widen(group.ffn);
  for (LayerGroup& group : twin.encoder) widen(group.ffn);
  if (twin.prediction) widen(twin.prediction->ffn);
  twin.published_dense_weights.reset();  // its networks are the experts
  twin.name += " (dense twin)";
  return twin;
}

}  // namespace moesim::llm
