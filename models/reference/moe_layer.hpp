// A mixture-of-experts layer: rows to experts, two grouped products with an activation between them, and the
// weighted sum back; shared experts beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "models/reference/grouped_gemm.hpp"
#include "models/reference/moe_stages.hpp"

namespace moesim::reference {

// Weights of all experts, F wide. Biases are empty or one value per expert and output.
template <class Value>
struct ExpertWeights {
  std::int64_t experts = 0;
  std::int64_t hidden = 0;
  std::int64_t width = 0;
  GateUpLayout layout = GateUpLayout::halves;
  std::span<const Value> gate_up;       // [experts, 2 F, hidden]; [experts, F, hidden] without a gate
  std::span<const Value> gate_up_bias;  // [experts, 2 F] or [experts, F]
  std::span<const Value> down;          // [experts, hidden, F]
  std::span<const Value> down_bias;     // [experts, hidden]
};

// All shared experts side by side, as engines fuse them. `score` [hidden] or empty: their result is
// multiplied by sigmoid(x . score) (Qwen2-MoE).
template <class Value>
struct SharedWeights {
  std::int64_t width = 0;          // 0: none
  std::span<const Value> gate_up;  // [2 F, hidden] or [F, hidden]
  std::span<const Value> down;     // [hidden, F]
  std::span<const Value> score;
};

struct MoeSpec {
  ExpertActivation activation;
  CombineOrder order = CombineOrder::expert_ascending;
  Accumulator accumulator = Accumulator::f32;
  bool weight_on_input = false;  // Llama 4
};

// One probe per step, because each has tensors of its own.
template <Probe P>
struct MoeProbes {
  P permute, gate_up, activation, down, combine;
  P shared_gate_up, shared_activation, shared_down, shared_score, shared_add;
};

// [experts, F, hidden] twice -> [experts, 2 F, hidden] with the gate first. `up` empty: a copy of `gate`.
// `matrix` is F x hidden, or F for biases.
template <class Value>
[[nodiscard]] std::vector<Value> fuse_gate_up(std::span<const Value> gate, std::span<const Value> up,
                                              std::int64_t experts, std::int64_t matrix) {
  core::check(std::cmp_equal(gate.size(), experts * matrix) && (up.empty() || up.size() == gate.size()),
              "gate and up of experts differ in size");
  std::vector<Value> fused;
  fused.reserve(gate.size() + up.size());
  const auto n = static_cast<std::size_t>(matrix);
  for (std::size_t e = 0; e < static_cast<std::size_t>(experts); ++e) {
    const auto g = gate.subspan(e * n, n);
    fused.insert(fused.end(), g.begin(), g.end());
    if (up.empty()) continue;
    const auto u = up.subspan(e * n, n);
    fused.insert(fused.end(), u.begin(), u.end());
  }
  return fused;
}

namespace detail {

template <class Value>
void check_layer(const MatrixView<Value>& x, const Routing& routing, const ExpertWeights<Value>& weights) {
  core::check(x.columns == weights.hidden, "a layer's input needs the width of its experts");
  core::check(routing.top_k >= 1 && std::cmp_equal(routing.experts.size(), x.rows * routing.top_k) &&
                  routing.weights.size() == routing.experts.size(),
              "routing needs tokens x top_k experts and weights");
}

// The shared experts' result [tokens, hidden], with their score applied by add_shared().
template <class Value, Probe P>
std::vector<Value> shared_rows(const MatrixView<Value>& x, const SharedWeights<Value>& shared,
                               const ExpertActivation& activation, MoeProbes<P>& probes) {
  const std::int64_t columns = (activation.gated() ? 2 : 1) * shared.width;
  std::vector<Value> h(static_cast<std::size_t>(x.rows * columns));
  std::vector<Value> a(static_cast<std::size_t>(x.rows * shared.width));
  std::vector<Value> y(static_cast<std::size_t>(x.rows * x.columns));
  const std::span<const Value> none;
  gemm(x, matrix(shared.gate_up, columns, x.columns), none, std::span<Value>(h), probes.shared_gate_up);
  activate_rows(std::span<const Value>(h), shared.width, activation, GateUpLayout::halves,
                std::span<Value>(a), probes.shared_activation);
  gemm(matrix(std::span<const Value>(a), x.rows, shared.width), matrix(shared.down, x.columns, shared.width),
       none, std::span<Value>(y), probes.shared_down);
  return y;
}

// out = routed + shared, or routed + sigmoid(score) x shared. With a bf16 accumulator each step is rounded.
template <class Value, class Routed, Probe P>
void add_shared(const MatrixView<Value>& x, std::span<const Routed> routed,
                const SharedWeights<Value>& shared, const MoeSpec& spec, MoeProbes<P>& probes,
                std::span<Value> out) {
  const std::vector<Value> y = shared_rows(x, shared, spec.activation, probes);
  std::vector<Value> scores;
  if (!shared.score.empty()) {
    scores.resize(static_cast<std::size_t>(x.rows));
    gemm(x, matrix(shared.score, 1, x.columns), std::span<const Value>{}, std::span<Value>(scores),
         probes.shared_score);
  }
  const bool narrow = spec.accumulator == Accumulator::bf16;
  P& probe = probes.shared_add;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    float score = 1.0F;
    if (!scores.empty()) {
      score = sigmoid(to_float(scores[static_cast<std::size_t>(t)]));
      if (narrow) score = rounded_to_bf16(score);
      probe.flops(2 + x.columns);
      probe.specials(1);
      probe.touch(Operand::activations, 3, t, 1, kBitsOf<Value>);
    }
    if constexpr (P::has(Fault::shared_expert_twice)) score *= 2.0F;
    for (std::int64_t i = t * x.columns; i < (t + 1) * x.columns; ++i) {
      const auto at = static_cast<std::size_t>(i);
      float weighted = to_float(y[at]) * score;
      if (narrow) weighted = rounded_to_bf16(weighted);
      out[at] = stored_as<Value>(to_float(routed[at]) + weighted);
    }
    probe.flops(x.columns);
    probe.touch(Operand::activations, 0, t * x.columns, x.columns, kBitsOf<Routed>);
    probe.touch(Operand::activations, 1, t * x.columns, x.columns, kBitsOf<Value>);
    probe.touch(Operand::result, 2, t * x.columns, x.columns, kBitsOf<Value>);
  }
}

// The end of a layer: rows of the experts -> weighted sums, shared experts, the stream's type.
template <class Value, Probe P>
std::vector<Value> finish_layer(const MatrixView<Value>& x, std::span<const Value> rows,
                                const Routing& routing, const gate::Permutation& permutation,
                                const SharedWeights<Value>& shared, const MoeSpec& spec,
                                MoeProbes<P>& probes) {
  bool on_input = spec.weight_on_input;
  if constexpr (P::has(Fault::weight_on_wrong_side)) on_input = !on_input;
  const std::span<const float> weights = on_input ? std::span<const float>{} : routing.weights;
  std::vector<Value> out(static_cast<std::size_t>(x.rows * x.columns));
  const auto combine = [&](auto result) {
    combine_rows(rows, x.columns, permutation, routing.top_k, weights, spec.order, spec.accumulator, result,
                 probes.combine);
  };
  if (shared.width == 0) {
    combine(std::span<Value>(out));
  } else if (spec.accumulator == Accumulator::f32) {
    std::vector<float> routed(out.size());
    combine(std::span<float>(routed));
    add_shared(x, std::span<const float>(routed), shared, spec, probes, std::span<Value>(out));
  } else {
    std::vector<Value> routed(out.size());
    combine(std::span<Value>(routed));
    add_shared(x, std::span<const Value>(routed), shared, spec, probes, std::span<Value>(out));
  }
  return out;
}

// Rows of x for the experts of a permutation, weighted if the layer does that on its input.
template <class Value, Probe P>
std::vector<Value> layer_rows(const MatrixView<Value>& x, const Routing& routing,
                              const gate::Permutation& permutation, const MoeSpec& spec, P& probe) {
  bool on_input = spec.weight_on_input;
  if constexpr (P::has(Fault::weight_on_wrong_side)) on_input = !on_input;
  std::vector<Value> rows(static_cast<std::size_t>(permutation.rows() * x.columns));
  gather_rows(x, permutation, routing.top_k, on_input ? routing.weights : std::span<const float>{},
              std::span<Value>(rows), probe);
  return rows;
}

// Gate, up and activation of sorted rows: [rows, F].
template <class Value, Probe P>
std::vector<Value> hidden_rows(std::span<const Value> rows, std::span<const std::int64_t> offsets,
                               const ExpertWeights<Value>& weights, const MoeSpec& spec,
                               MoeProbes<P>& probes) {
  const std::int64_t count = offsets.back();
  const std::int64_t columns = (spec.activation.gated() ? 2 : 1) * weights.width;
  std::span<const Value> bias = weights.gate_up_bias;
  if constexpr (P::has(Fault::drop_gate_bias)) bias = {};
  std::vector<Value> h(static_cast<std::size_t>(count * columns));
  std::vector<Value> a(static_cast<std::size_t>(count * weights.width));
  grouped_gemm(matrix(rows, count, weights.hidden), offsets,
               expert_matrices(weights.gate_up, weights.experts, columns, weights.hidden), bias,
               std::span<Value>(h), probes.gate_up);
  activate_rows(std::span<const Value>(h), weights.width, spec.activation, weights.layout,
                std::span<Value>(a), probes.activation);
  return a;
}

// The experts' results of sorted rows: [rows, hidden].
template <class Value, Probe P>
std::vector<Value> expert_rows(std::span<const Value> rows, std::span<const std::int64_t> offsets,
                               const ExpertWeights<Value>& weights, const MoeSpec& spec,
                               MoeProbes<P>& probes) {
  const std::vector<Value> a = hidden_rows(rows, offsets, weights, spec, probes);
  std::vector<Value> bias(weights.down_bias.begin(), weights.down_bias.end());
  if constexpr (P::has(Fault::down_bias_twice)) {
    for (Value& b : bias) b = stored_as<Value>(2.0F * to_float(b));
  }
  std::vector<Value> y(static_cast<std::size_t>(offsets.back() * weights.hidden));
  grouped_gemm(matrix(std::span<const Value>(a), offsets.back(), weights.width), offsets,
               expert_matrices(weights.down, weights.experts, weights.hidden, weights.width),
               std::span<const Value>(bias), std::span<Value>(y), probes.down);
  return y;
}

}  // namespace detail

// out [tokens, hidden] of x [tokens, hidden]. Dropped pairs add nothing: a token without rows gets 0 from the
// routed experts. Results of products and activations are stored as Value; see MoeSpec for the sums. Throws
// core::InvariantError for sizes that do not fit.
template <class Value, Probe P>
[[nodiscard]] std::vector<Value> moe_layer(const MatrixView<Value>& x, const Routing& routing,
                                           const ExpertWeights<Value>& weights,
                                           const SharedWeights<Value>& shared, const MoeSpec& spec,
                                           MoeProbes<P>& probes) {
  detail::check_layer(x, routing, weights);
  const gate::Permutation permutation = gate::permute(routing.experts, weights.experts, routing.keep);
  const std::vector<Value> rows = detail::layer_rows(x, routing, permutation, spec, probes.permute);
  const std::vector<Value> y =
      detail::expert_rows(std::span<const Value>(rows), permutation.offsets, weights, spec, probes);
  return detail::finish_layer(x, std::span<const Value>(y), routing, permutation, shared, spec, probes);
}
template <class Value>
[[nodiscard]] std::vector<Value> moe_layer(const MatrixView<Value>& x, const Routing& routing,
                                           const ExpertWeights<Value>& weights,
                                           const SharedWeights<Value>& shared, const MoeSpec& spec) {
  MoeProbes<NoProbe> probes;
  return moe_layer(x, routing, weights, shared, spec, probes);
}

}  // namespace moesim::reference
