// Random inputs of products, routers and expert layers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "models/reference/float16.hpp"
#include "models/reference/gemm.hpp"
#include "models/reference/moe_layer.hpp"

namespace moesim::test {

// A small generator of its own (splitmix64), so that a case depends on its seed only.
class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }
  // In [0, n).
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(n));
  }
  std::int64_t between(std::int64_t low, std::int64_t high) { return low + below(high - low + 1); }
  // In (-1, 1).
  float uniform() { return static_cast<float>(static_cast<double>(bits() >> 11U) * 0x1p-52 - 1.0); }

  // `spread` > 0: magnitudes over 2^-spread ... 2^spread, so that sums cancel and lose digits.
  template <class Value>
  std::vector<Value> values(std::int64_t n, float scale = 1.0F, std::int64_t spread = 0) {
    std::vector<Value> out;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto power = spread > 0 ? static_cast<int>(between(-spread, spread)) : 0;
      out.push_back(reference::stored_as<Value>(std::ldexp(scale * uniform(), power)));
    }
    return out;
  }

 private:
  std::uint64_t state_;
};

// A layer with everything it needs.
template <class Value>
struct RandomLayer {
  std::int64_t tokens = 0;
  std::int64_t top_k = 1;
  std::vector<Value> x, gate_up, gate_up_bias, down, down_bias, shared_gate_up, shared_down, score;
  std::vector<std::int32_t> experts;
  std::vector<float> weights;
  std::vector<std::uint8_t> keep;
  reference::ExpertWeights<Value> routed;
  reference::SharedWeights<Value> shared;
  reference::MoeSpec spec;

  [[nodiscard]] reference::MatrixView<Value> input() const {
    return reference::matrix(std::span<const Value>(x), tokens, routed.hidden);
  }
  [[nodiscard]] reference::Routing routing() const { return {experts, weights, top_k, keep}; }
};

struct LayerShape {
  std::int64_t tokens = 7;
  std::int64_t top_k = 2;
  std::int64_t experts = 4;
  std::int64_t hidden = 24;
  std::int64_t width = 16;
  bool bias = false;
  std::int64_t shared_width = 0;
  bool scored = false;
  bool drops = false;
};

// top_k different experts for each token.
inline std::vector<std::int32_t> random_experts(Numbers& numbers, std::int64_t tokens, std::int64_t experts,
                                                std::int64_t top_k) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(experts));
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::int32_t> chosen;
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t j = 0; j < top_k; ++j) {
      std::swap(all[static_cast<std::size_t>(j)],
                all[static_cast<std::size_t>(numbers.between(j, experts - 1))]);
      chosen.push_back(all[static_cast<std::size_t>(j)]);
    }
  }
  return chosen;
}

// The layer must not be copied: its spans look into its vectors.
template <class Value>
void fill(RandomLayer<Value>& layer, const LayerShape& shape, const reference::MoeSpec& spec,
          Numbers& numbers) {
  layer.tokens = shape.tokens;
  layer.top_k = shape.top_k;
  layer.spec = spec;
  const std::int64_t columns = (spec.activation.gated() ? 2 : 1) * shape.width;
  const std::int64_t shared_columns = (spec.activation.gated() ? 2 : 1) * shape.shared_width;
  const auto draw = [&](std::int64_t n, float scale) { return numbers.values<Value>(n, scale); };
  layer.x = draw(shape.tokens * shape.hidden, 2.0F);
  layer.gate_up = draw(shape.experts * columns * shape.hidden, 0.7F);
  layer.down = draw(shape.experts * shape.hidden * shape.width, 0.7F);
  if (shape.bias) {
    layer.gate_up_bias = draw(shape.experts * columns, 1.0F);
    layer.down_bias = draw(shape.experts * shape.hidden, 1.0F);
  }
  layer.routed = {shape.experts, shape.hidden,       shape.width, reference::GateUpLayout::halves,
                  layer.gate_up, layer.gate_up_bias, layer.down,  layer.down_bias};
  if (shape.shared_width > 0) {
    layer.shared_gate_up = draw(shared_columns * shape.hidden, 0.7F);
    layer.shared_down = draw(shape.shared_width * shape.hidden, 0.7F);
    if (shape.scored) layer.score = draw(shape.hidden, 0.5F);
    layer.shared = {shape.shared_width, layer.shared_gate_up, layer.shared_down, layer.score};
  }
  layer.experts = random_experts(numbers, shape.tokens, shape.experts, shape.top_k);
  for (std::int64_t i = 0; i < shape.tokens * shape.top_k; ++i) {
    layer.weights.push_back(0.55F + 0.45F * numbers.uniform());
    if (shape.drops) layer.keep.push_back(numbers.below(4) == 0 ? 0 : 1);
  }
}

// The largest |got - exact| as a share of its bound; infinite where the result is not a number.
template <class Value>
double worst_share(std::span<const Value> got, std::span<const reference::Bounded> want) {
  double worst = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(reference::to_float(got[i])) - want[i].value);
    if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
    if (difference > want[i].error) worst = std::max(worst, difference / want[i].error);
    if (want[i].error > 0.0) worst = std::max(worst, difference / want[i].error);
  }
  return worst;
}

}  // namespace moesim::test
