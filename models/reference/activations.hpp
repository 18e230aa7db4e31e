// Pointwise functions of language models. Each is computed in double from a float and rounded to float once,
// so that results are within 0.51 ulp of the exact value wherever that is a normal number, and within half a
// denormal elsewhere. (A vectorised kernel may be up to 4 ulp off and be as good.)
#pragma once

#include <cstdint>
#include <span>

#include "models/reference/float16.hpp"
#include "models/reference/probe.hpp"
#include "models/reference/storage.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

// 1 / (1 + e^-x).
[[nodiscard]] double sigmoid_f64(double x);
[[nodiscard]] float sigmoid(float x);
// x sigmoid(x). Goes to 0 at minus infinity.
[[nodiscard]] double silu_f64(double x);
[[nodiscard]] float silu(float x);
// log(1 + e^x).
[[nodiscard]] double softplus_f64(double x);
[[nodiscard]] float softplus(float x);
// The root of softplus: scores of DeepSeek-V4's router.
[[nodiscard]] double sqrt_softplus_f64(double x);
[[nodiscard]] float sqrt_softplus(float x);
// The tanh form of GELU, 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (jax.nn.gelu's default).
[[nodiscard]] double gelu_tanh_f64(double x);
[[nodiscard]] float gelu_tanh(float x);
// cap tanh(x / cap). Throws core::InvariantError unless the cap is above 0.
[[nodiscard]] double softcap_f64(double x, double cap);
[[nodiscard]] float softcap(float x, float cap);
// gpt-oss: g = min(gate, limit), u = clamp(up, +-limit), g sigmoid(alpha g) (u + 1).
[[nodiscard]] double clamped_swiglu_f64(double gate, double up, double alpha, double limit);
[[nodiscard]] float clamped_swiglu(float gate, float up, float alpha, float limit);

// out = silu(gate) up for rows of `width`; counts as llm's activation: 4 FLOP (the sum and the quotient of
// the sigmoid, two products) and an exponential per element.
template <class Value, Probe P>
void silu_and_multiply(std::span<const Value> gate, std::span<const Value> up, std::span<Value> out,
                       P& probe) {
  core::check(gate.size() == out.size() && up.size() == out.size(), "gate, up and result are of one size");
  constexpr int kBits = kBitsOf<Value>;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    probe.touch(Operand::activations, 0, at, 1, kBits);
    probe.touch(Operand::activations, 1, at, 1, kBits);
    const float activated = silu(to_float(gate[i]));
    probe.specials(1);
    probe.flops(3);
    out[i] = stored_as<Value>(activated * to_float(up[i]));
    probe.flops(1);
    probe.touch(Operand::result, 2, at, 1, kBits);
  }
}

// out = x sigmoid(gate): the gate of attention's output; 3 FLOP and an exponential per element.
template <class Value, Probe P>
void sigmoid_gate(std::span<const Value> x, std::span<const Value> gate, std::span<Value> out, P& probe) {
  core::check(gate.size() == out.size() && x.size() == out.size(), "values, gate and result are of one size");
  constexpr int kBits = kBitsOf<Value>;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    probe.touch(Operand::activations, 0, at, 1, kBits);
    probe.touch(Operand::activations, 1, at, 1, kBits);
    const float open = sigmoid(to_float(gate[i]));
    probe.specials(1);
    probe.flops(2);
    out[i] = stored_as<Value>(to_float(x[i]) * open);
    probe.flops(1);
    probe.touch(Operand::result, 2, at, 1, kBits);
  }
}

}  // namespace moesim::reference
