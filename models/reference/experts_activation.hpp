// Activations of experts: from gate and up to the row that the down projection multiplies.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "models/reference/activations.hpp"
#include "models/reference/bounds.hpp"
#include "models/reference/probe.hpp"

namespace moesim::reference {

enum class ExpertFunction : std::uint8_t {
  swiglu,        // silu(g) u
  swiglu_oai,    // g' = min(g, limit), u' = clamp(u, +-limit): g' sigmoid(alpha g') (u' + 1) (gpt-oss)
  swiglu_clamp,  // silu(min(g, limit)) clamp(u, +-limit) (DeepSeek-V4)
  geglu_tanh,    // gelu_tanh(g) u (Grok-1)
  relu,          // max(g, 0), two matrices (Switch)
};

struct ExpertActivation {
  ExpertFunction function = ExpertFunction::swiglu;
  double alpha = 1.702;  // of swiglu_oai
  double limit = std::numeric_limits<double>::infinity();

  [[nodiscard]] bool gated() const { return function != ExpertFunction::relu; }
};

namespace experts {

// FLOP and exponentials of one element. swiglu: 1 + e^-g, its reciprocal, two products.
struct ElementWork {
  std::int64_t flops = 0;
  std::int64_t specials = 0;
};
[[nodiscard]] constexpr ElementWork element_work(ExpertFunction function) {
  switch (function) {
    case ExpertFunction::swiglu:
      return {4, 1};
    case ExpertFunction::swiglu_oai:  // three clamps, alpha g, u + 1
      return {9, 1};
    case ExpertFunction::swiglu_clamp:  // three clamps
      return {7, 1};
    case ExpertFunction::geglu_tanh:  // five for the argument of the sigmoid
      return {9, 1};
    case ExpertFunction::relu:
      return {1, 0};
  }
  return {};
}

}  // namespace experts

// One element in f32: the function of the gate is rounded to f32 once, then each sum and product. `up` is not
// looked at without a gate. Counts what it does.
template <Probe P>
[[nodiscard]] float activate(const ExpertActivation& activation, float gate, float up, P& probe) {
  const experts::ElementWork work = experts::element_work(activation.function);
  probe.flops(work.flops);
  probe.specials(work.specials);
  if constexpr (P::has(Fault::gate_and_up_swapped)) std::swap(gate, up);
  if constexpr (!P::has(Fault::skip_clamp)) {
    const auto limit = static_cast<float>(activation.limit);
    if (activation.function == ExpertFunction::swiglu_oai ||
        activation.function == ExpertFunction::swiglu_clamp) {
      gate = std::min(gate, limit);
      up = std::clamp(up, -limit, limit);
    }
  }
  const auto wide = static_cast<double>(gate);
  switch (activation.function) {
    case ExpertFunction::swiglu:
    case ExpertFunction::swiglu_clamp:
      return silu(gate) * up;
    case ExpertFunction::swiglu_oai:
      return static_cast<float>(wide * sigmoid_f64(activation.alpha * wide)) * (up + 1.0F);
    case ExpertFunction::geglu_tanh:
      return gelu_tanh(gate) * up;
    case ExpertFunction::relu:
      return std::max(gate, 0.0F);
  }
  return 0.0F;
}

// The same in f64, and the error of activate() on inputs with errors. g sigmoid(a g) and g Phi(g) have slopes
// of at most 1.13 (1.0998 and 1.1290 at their largest), clamps of 1; sigmoid, two products and u + 1 round.
[[nodiscard]] inline Bounded bounded_activation(const ExpertActivation& activation, Bounded gate,
                                                Bounded up) {
  constexpr double kSlope = 1.13;
  const bool clamped = activation.function == ExpertFunction::swiglu_oai ||
                       activation.function == ExpertFunction::swiglu_clamp;
  if (clamped) {
    gate.value = std::min(gate.value, activation.limit);
    up.value = std::clamp(up.value, -activation.limit, activation.limit);
  }
  const double g = gate.value;
  switch (activation.function) {
    case ExpertFunction::swiglu:
    case ExpertFunction::swiglu_clamp:
      gate = {silu_f64(g), kSlope * gate.error};
      break;
    case ExpertFunction::swiglu_oai:
      gate = {g * sigmoid_f64(activation.alpha * g), kSlope * gate.error};
      up.value += 1.0;
      up = rounded_f32(up);
      break;
    case ExpertFunction::geglu_tanh:
      gate = {gelu_tanh_f64(g), kSlope * gate.error};
      break;
    case ExpertFunction::relu:
      return {std::max(g, 0.0), gate.error};
  }
  return rounded_f32(product(rounded_f32(gate, 2), up));
}

}  // namespace moesim::reference
