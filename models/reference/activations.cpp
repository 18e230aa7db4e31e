#include "models/reference/activations.hpp"

#include <algorithm>
#include <cmath>

#include "sim/core/math.hpp"

namespace moesim::reference {

namespace math = core::math;

double sigmoid_f64(double x) { return 1.0 / (1.0 + math::exp(-x)); }
float sigmoid(float x) { return static_cast<float>(sigmoid_f64(static_cast<double>(x))); }

double silu_f64(double x) {
  const double decay = math::exp(-x);
  // x / infinity is 0 also where x is minus infinity.
  return std::isinf(decay) ? 0.0 : x / (1.0 + decay);
}
float silu(float x) { return static_cast<float>(silu_f64(static_cast<double>(x))); }

double softplus_f64(double x) { return std::fmax(x, 0.0) + math::log1p(math::exp(-std::fabs(x))); }
float softplus(float x) { return static_cast<float>(softplus_f64(static_cast<double>(x))); }

double sqrt_softplus_f64(double x) { return math::sqrt(softplus_f64(x)); }
float sqrt_softplus(float x) { return static_cast<float>(sqrt_softplus_f64(static_cast<double>(x))); }

double gelu_tanh_f64(double x) {
  // 0.5 (1 + tanh z) is the sigmoid of 2 z, which does not cancel below 0.
  constexpr double kTwiceRootTwoOverPi = 1.5957691216057307117597842397375;
  const double decay = math::exp(-kTwiceRootTwoOverPi * (x + 0.044715 * x * x * x));
  return std::isinf(decay) ? 0.0 : x / (1.0 + decay);
}
float gelu_tanh(float x) { return static_cast<float>(gelu_tanh_f64(static_cast<double>(x))); }

double softcap_f64(double x, double cap) {
  core::check(cap > 0.0, "a soft cap must be above 0");
  return cap * math::tanh(x / cap);
}
float softcap(float x, float cap) {
  return static_cast<float>(softcap_f64(static_cast<double>(x), static_cast<double>(cap)));
}

double clamped_swiglu_f64(double gate, double up, double alpha, double limit) {
  const double cut = std::min(gate, limit);
  const double decay = math::exp(-alpha * cut);
  const double open = std::isinf(decay) ? 0.0 : cut / (1.0 + decay);
  return open * (std::clamp(up, -limit, limit) + 1.0);
}
float clamped_swiglu(float gate, float up, float alpha, float limit) {
  return static_cast<float>(clamped_swiglu_f64(static_cast<double>(gate), static_cast<double>(up),
                                               static_cast<double>(alpha), static_cast<double>(limit)));
}

}  // namespace moesim::reference
