#include "models/routing/gate/scores.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "models/routing/gate/rounding.hpp"
#include "models/routing/gate/top_k.hpp"
#include "sim/core/math.hpp"

namespace moesim::gate::detail {

void check_logits(std::span<const float> logits, std::int64_t token) {
  for (std::size_t e = 0; e < logits.size(); ++e) {
    if (!std::isfinite(logits[e])) {
      throw LogitError("the router's logit of token " + std::to_string(token) + " for expert " +
                           std::to_string(e) + " is " + (std::isnan(logits[e]) ? "NaN" : "infinite"),
                       token, static_cast<std::int64_t>(e));
    }
  }
}

double sigmoid(double logit, Precision precision) {
  const double power = computed(core::math::exp(-logit), precision);
  return computed(1.0 / computed(1.0 + power, precision), precision);
}

// ln(1 + e^l) = max(l, 0) + ln(1 + e^-|l|) neither overflows nor loses small values.
double sqrt_softplus(double logit, Precision precision) {
  const double power = computed(core::math::exp(-std::fabs(logit)), precision);
  const double tail = computed(core::math::log1p(power), precision);
  return computed(core::math::sqrt(computed(std::max(logit, 0.0) + tail, precision)), precision);
}

double exponentials(std::span<double> values, Precision precision) {
  const double largest = *std::max_element(values.begin(), values.end());
  double sum = 0.0;
  for (double& value : values) {
    value = computed(core::math::exp(computed(value - largest, precision)), precision);
    sum += value;
  }
  return computed(sum, precision);
}

void softmax(std::span<double> values, Precision precision) {
  const double sum = exponentials(values, precision);
  for (double& value : values) value = computed(value / sum, precision);
}

// transformers, models/phimoe/modeling_phimoe.py `sparsemixer` (inference). In each round the threshold is
// that of the largest logit left, the distance to it is that of the original logits.
void sparsemix(const GateSpec& spec, std::span<const double> logits, std::vector<std::int32_t>& experts,
               std::vector<double>& weights, Operations& operations) {
  const auto n = static_cast<std::int64_t>(logits.size());
  const double limit = computed(2.0 * spec.jitter, spec.scores);
  std::vector<double> left(logits.begin(), logits.end());
  for (std::int64_t round = 0; round < spec.top_k; ++round) {
    const std::int32_t best = top_k(left, 1).front();
    const double largest = left[static_cast<std::size_t>(best)];
    double sum = 0.0;
    operations.flops += 5 * n;  // maximum, larger of |logit| and it, difference, quotient, threshold
    for (const double logit : left) {
      if (std::isinf(logit)) continue;  // chosen before
      const double distance = computed(largest - logit, spec.scores);
      const double scale = std::max(std::fabs(logit), largest);  // 0 only where the distance is 0 too
      if (scale > 0.0 && computed(distance / scale, spec.scores) > limit) continue;
      sum += computed(core::math::exp(-distance), spec.scores);
      operations.flops += 1;
      operations.specials += 1;
    }
    experts.push_back(best);
    weights.push_back(computed(1.0 / computed(sum, spec.scores), spec.scores));
    operations.flops += 1;
    left[static_cast<std::size_t>(best)] = -std::numeric_limits<double>::infinity();
  }
}

}  // namespace moesim::gate::detail
