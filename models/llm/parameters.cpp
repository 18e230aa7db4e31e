#include "models/llm/parameters.hpp"

#include "models/llm/weights.hpp"

namespace moesim::llm {

namespace {

void count_ffn(const DenseFfn& ffn, std::int64_t hidden, std::int64_t layers, ByCategory& count) {
  count.dense_ffn += layers * gated_matrices(GemmRole::gate_up, GemmRole::down, hidden, ffn.width).elements();
}

void count_ffn(const MoeFfn& ffn, std::int64_t hidden, std::int64_t layers, ByCategory& count) {
  const auto expert =
      gated_matrices(GemmRole::expert_gate_up, GemmRole::expert_down, hidden, ffn.expert_width);
  const auto shared =
      gated_matrices(GemmRole::shared_gate_up, GemmRole::shared_down, hidden, ffn.total_shared_width());
  count.routed_experts += layers * ffn.experts * expert.elements();
  count.shared_experts += layers * (shared.elements() + (ffn.shared_gate ? hidden : 0));
  count.router += layers * ffn.experts * (hidden + (ffn.router_score_bias ? 1 : 0));
}

// Routed parameters of a layer group that one token does not use.
std::int64_t idle_experts(const FfnShape& ffn, std::int64_t hidden, std::int64_t layers) {
  const auto* moe = std::get_if<MoeFfn>(&ffn);
  if (moe == nullptr) return 0;
  const auto expert =
      gated_matrices(GemmRole::expert_gate_up, GemmRole::expert_down, hidden, moe->expert_width);
  return layers * (moe->experts - moe->top_k) * expert.elements();
}

}  // namespace

Parameters count_parameters(const Architecture& architecture) {
  const std::int64_t hidden = architecture.hidden_size;
  Parameters result;
  ByCategory& count = result.by_category;
  std::int64_t idle = 0;
  count.embedding = architecture.vocab_size * hidden;
  count.head = (architecture.tied_embeddings ? 0 : architecture.vocab_size * hidden) +
               (architecture.head_bias ? architecture.vocab_size : 0);
  count.norms = architecture.norm_weights();
  for (const LayerGroup& group : architecture.layers) {
    std::visit(
        [&](const auto& attention) {
          count.attention += group.count * (attention_matrices(attention, hidden, 1).elements() +
                                            attention_biases(attention, hidden, 1));
          count.norms += group.count * (architecture.norms_per_layer() * architecture.norm_weights() +
                                        attention_norms(attention, 1));
        },
        group.attention);
    std::visit([&](const auto& ffn) { count_ffn(ffn, hidden, group.count, count); }, group.ffn);
    idle += idle_experts(group.ffn, hidden, group.count);
  }
  result.total = count.total();
  result.active = result.total - idle;
  // A tied matrix is the head as well, so a token uses all of it.
  result.active_without_input_embedding =
      result.active - (architecture.tied_embeddings ? 0 : count.embedding);
  result.active_without_embeddings = result.active - count.embedding - count.head;
  return result;
}

}  // namespace moesim::llm
