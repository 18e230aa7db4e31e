// The check of a feed-forward network: the numbers of its kernels, and their counts.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "models/llm/lowering.hpp"
#include "models/reference/bounds_experts.hpp"
#include "models/reference/moe_sharded.hpp"
#include "models/reference/router.hpp"
#include "sim/serving/numerics.hpp"
#include "sim/studies/numerics_counts.hpp"

namespace moesim::studies {

// The experts of some tokens, and what the kernels counted that found them.
struct CountedChoice {
  std::vector<float> logits;  // [tokens, experts]; empty without a router
  gate::Choice choice;
  reference::CountingProbe router, top_k;
};

// As much of a router as the description of a model has: softmax over all experts, or sigmoid scores where a
// correction chooses; the chosen weights divided by their sum; or a table by token id.
class ExpertRouter {
 public:
  // Weights [experts, hidden] and corrections are drawn.
  ExpertRouter(const llm::MoeFfn& moe, std::int64_t hidden, NumericsDraws& draws);
  // x [tokens, hidden].
  [[nodiscard]] CountedChoice choose(std::span<const reference::Bf16> x, std::int64_t tokens) const;
  [[nodiscard]] const std::vector<reference::Bf16>& weights() const { return weights_; }

 private:
  llm::MoeFfn moe_;
  std::int64_t hidden_;
  std::vector<reference::Bf16> weights_;
  std::vector<float> bias_;
};

// Tensors of a feed-forward network. A dense one has one expert that every token chooses with weight 1.
struct ExpertTensors {
  std::int64_t tokens = 0;
  std::int64_t hidden = 0;
  std::int64_t inputs = 0;  // of an expert: hidden, or the width of the experts' own space
  std::int64_t experts = 1;
  std::int64_t top_k = 1;
  std::int64_t width = 0;
  std::int64_t shared_width = 0;
  bool gated = true;
  std::vector<reference::Bf16> x;    // [tokens, inputs]
  std::vector<float> gate_up, down;  // as drawn: [experts, columns, inputs], [experts, inputs, width]
  std::vector<reference::Bf16> gate_up_bias, down_bias;
  std::vector<float> shared_gate_up, shared_down;  // as drawn, on `hidden`
  std::vector<reference::Bf16> shared_score;       // [hidden] or empty
  // In the formats of the deployment, as kernels widen them: bf16.
  std::vector<reference::Bf16> gate_up_stored, down_stored, shared_gate_up_stored, shared_down_stored;
  std::vector<reference::Bf16> router;  // [experts, hidden]
  std::vector<float> logits;            // [tokens, experts]
  gate::Choice choice;

  [[nodiscard]] std::int64_t columns() const { return (gated ? 2 : 1) * width; }
  [[nodiscard]] reference::MatrixView<reference::Bf16> input() const {
    return reference::matrix(std::span<const reference::Bf16>(x), tokens, inputs);
  }
  [[nodiscard]] reference::Routing routing() const { return {choice.experts, choice.weights, top_k, {}}; }
  [[nodiscard]] reference::ExpertWeights<reference::Bf16> weights() const {
    return {experts,        inputs,       width,       reference::GateUpLayout::halves,
            gate_up_stored, gate_up_bias, down_stored, down_bias};
  }
  // None where the experts work in a space of their own.
  [[nodiscard]] reference::SharedWeights<reference::Bf16> shared() const {
    if (shared_width == 0 || inputs != hidden) return {};
    return {shared_width, shared_gate_up_stored, shared_down_stored, shared_score};
  }
  [[nodiscard]] reference::MoeSpec spec() const {
    return {{gated ? reference::ExpertFunction::swiglu : reference::ExpertFunction::relu},
            reference::CombineOrder::expert_ascending,
            reference::Accumulator::bf16,
            false};
  }
};

// The scaled tensors of a layer's FFN for `tokens` tokens, and how far its formats are from what was drawn.
[[nodiscard]] ExpertTensors expert_tensors(const llm::FfnShape& ffn, std::int64_t hidden,
                                           const llm::Formats& formats, std::int64_t tokens,
                                           std::uint64_t seed, std::uint64_t entity,
                                           std::vector<serving::FormatError>& errors);

// Worst |error| / bound; infinite for what is not a number, or is off where the bound is 0.
[[nodiscard]] double worst_share(std::span<const reference::Bf16> got,
                                 std::span<const reference::Bounded> want);

// Ranks over which the layer is cut for a property: those of the layout, or a few where it has one.
struct PropertyRanks {
  std::int64_t expert = 1;
  std::int64_t tensor = 1;
};
[[nodiscard]] PropertyRanks property_ranks(const ExpertTensors& tensors, const llm::Layout& layout);

// Bounds and properties of the layer, with the probe's fault planted in the unsharded kernel.
template <reference::Probe P>
void check_expert_claims(const ExpertTensors& tensors, const PropertyRanks& ranks,
                         serving::LayerCheck& check) {
  using reference::Bf16;
  const auto& t = tensors;
  const auto x = t.input();
  const auto shared = t.shared();
  reference::MoeProbes<P> probes;
  const std::vector<Bf16> y = reference::moe_layer(x, t.routing(), t.weights(), shared, t.spec(), probes);
  const auto bounds = reference::bounded_moe_layer(x, t.routing(), t.weights(), shared, t.spec());
  const double share = worst_share(y, bounds);
  check.claims.push_back({"layer within its bound of the f64 oracle", share <= 1.0, share});
  bool alone = true;
  for (const std::int64_t token : {std::int64_t{0}, t.tokens / 2, t.tokens - 1}) {
    const auto at = static_cast<std::size_t>(token * t.top_k), k = static_cast<std::size_t>(t.top_k);
    reference::Routing own = t.routing();
    own.experts = own.experts.subspan(at, k);
    own.weights = own.weights.subspan(at, k);
    const reference::MatrixView<Bf16> row{x.row(token), 1, t.inputs, t.inputs};
    const std::vector<Bf16> one = reference::moe_layer(row, own, t.weights(), shared, t.spec());
    alone = alone && std::equal(one.begin(), one.end(), y.begin() + token * t.inputs);
  }
  check.claims.push_back({"a token alone = the token in its batch", alone, std::nullopt});
  if (t.experts > 1) {
    const bool same = reference::moe_layer_expert_parallel(x, t.routing(), t.weights(), shared, t.spec(),
                                                           ranks.expert) == y;
    check.claims.push_back(
        {"expert parallel over " + std::to_string(ranks.expert) + " ranks = unsharded", same, std::nullopt});
  }
  // Part of the tokens: the bound takes longer than the kernel.
  const std::int64_t some = std::min<std::int64_t>(t.tokens, 8);
  reference::Routing own = t.routing();
  own.experts = own.experts.first(static_cast<std::size_t>(some * t.top_k));
  own.weights = own.weights.first(static_cast<std::size_t>(some * t.top_k));
  const reference::MatrixView<Bf16> rows{x.data, some, t.inputs, t.inputs};
  const std::vector<Bf16> cut = reference::moe_layer_tensor_parallel(
      rows, own, t.weights(), shared, t.spec(), ranks.tensor, reference::ReduceOrder::ring);
  const double cut_share =
      worst_share(cut, reference::bounded_moe_layer(rows, own, t.weights(), shared, t.spec(), ranks.tensor));
  check.claims.push_back({"tensor parallel over " + std::to_string(ranks.tensor) + " ranks within its bound",
                          cut_share <= 1.0, cut_share});
}

// Router logits against their bound, and the rows of the experts against the choices.
void check_router_claims(const ExpertTensors& tensors, serving::LayerCheck& check);

// What rank 0 counts against `operators`, which are those of one layer without attention: `model` with one
// layer group.
void count_experts(const llm::Architecture& model, const llm::Layout& layout, const llm::Formats& formats,
                   std::int64_t tokens, std::uint64_t seed, std::span<llm::Operator> operators,
                   serving::LayerCheck& check);

}  // namespace moesim::studies
