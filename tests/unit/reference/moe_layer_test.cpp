// Expert layers: the a-priori bound against an f64 oracle that knows no permutation, declared orders, shards.
#include "models/reference/moe_layer.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

#include "models/reference/bounds_experts.hpp"
#include "models/reference/moe_sharded.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/expert_rig.hpp"

namespace moesim::reference {
namespace {

using test::LayerShape;
using test::Numbers;
using test::RandomLayer;

const std::vector<ExpertActivation> kActivations = {{ExpertFunction::swiglu},
                                                    {ExpertFunction::swiglu_oai, 1.702, 1.5},
                                                    {ExpertFunction::swiglu_clamp, 1.702, 0.75},
                                                    {ExpertFunction::geglu_tanh},
                                                    {ExpertFunction::relu}};

// Tokens of one, no drops; all choices; drops; shared experts, plain and scored; depths beyond a block.
const std::vector<LayerShape> kShapes = {
    {1, 1, 3, 8, 5, true, 0, false, false},    {6, 4, 4, 24, 16, true, 0, false, false},
    {9, 2, 5, 70, 130, false, 0, false, true}, {5, 3, 8, 16, 12, false, 20, false, false},
    {5, 2, 4, 16, 12, true, 9, true, true},    {0, 2, 4, 16, 12, true, 9, true, true}};

template <class Value>
std::vector<Value> run(const RandomLayer<Value>& layer) {
  return moe_layer(layer.input(), layer.routing(), layer.routed, layer.shared, layer.spec);
}

template <class Value>
double share_of_bound(const RandomLayer<Value>& layer, std::span<const Value> got, std::int64_t ranks = 1) {
  const auto want =
      bounded_moe_layer(layer.input(), layer.routing(), layer.routed, layer.shared, layer.spec, ranks);
  REQUIRE(want.size() == got.size());
  return test::worst_share(got, std::span<const Bounded>(want));
}

template <class Value>
void for_each_layer(std::uint64_t seed, const std::function<void(RandomLayer<Value>&)>& look) {
  Numbers numbers(seed);
  for (const ExpertActivation& activation : kActivations) {
    for (const LayerShape& shape : kShapes) {
      for (const Accumulator accumulator : {Accumulator::f32, Accumulator::bf16}) {
        const CombineOrder order =
            numbers.below(2) == 0 ? CombineOrder::choice : CombineOrder::expert_ascending;
        RandomLayer<Value> layer;
        fill(layer, shape, {activation, order, accumulator, numbers.below(3) == 0}, numbers);
        look(layer);
      }
    }
  }
}

template <class Value>
bool same(const std::vector<Value>& a, const std::vector<Value>& b) {
  return a == b;
}

}  // namespace

TEST_CASE("layers stay inside their bound in f32 and bf16, for every activation and kind of shared expert") {
  double widest = 0.0;
  for_each_layer<float>(11, [&](RandomLayer<float>& layer) {
    const std::vector<float> y = run(layer);
    const double share = share_of_bound(layer, std::span<const float>(y));
    CHECK(share <= 1.0);
    widest = std::max(widest, share);
  });
  for_each_layer<Bf16>(12, [&](RandomLayer<Bf16>& layer) {
    const std::vector<Bf16> y = run(layer);
    CHECK(share_of_bound(layer, std::span<const Bf16>(y)) <= 1.0);
  });
  CHECK(widest > 0.05);
}

TEST_CASE("expert parallelism gives the bits of one rank") {
  for_each_layer<Bf16>(13, [](RandomLayer<Bf16>& layer) {
    for (std::int64_t ranks = 1; ranks <= layer.routed.experts; ++ranks) {
      if (layer.routed.experts % ranks != 0) continue;
      CHECK(same(run(layer), moe_layer_expert_parallel(layer.input(), layer.routing(), layer.routed,
                                                       layer.shared, layer.spec, ranks)));
    }
  });
}

TEST_CASE("tensor parallelism stays inside the bound in either order, and one rank gives the same bits") {
  int differ = 0;
  for_each_layer<float>(14, [&](RandomLayer<float>& layer) {
    for (const std::int64_t ranks : {1, 2, 4, 5}) {
      if (layer.routed.width % ranks != 0) continue;
      for (const ReduceOrder order : {ReduceOrder::ring, ReduceOrder::tree}) {
        const auto y = moe_layer_tensor_parallel(layer.input(), layer.routing(), layer.routed, layer.shared,
                                                 layer.spec, ranks, order);
        CHECK(share_of_bound(layer, std::span<const float>(y), ranks) <= 1.0);
        if (ranks == 1) CHECK(same(y, run(layer)));
        if (ranks > 1 && !same(y, run(layer))) ++differ;
      }
    }
  });
  CHECK(differ > 0);
}

TEST_CASE("interleaved gate and up give the bits of halves, also on shards") {
  Numbers numbers(15);
  RandomLayer<float> layer;
  fill(layer, {6, 2, 4, 16, 12, true, 0, false, false}, {{ExpertFunction::swiglu_oai, 1.702, 1.0}}, numbers);
  const std::vector<float> halves = run(layer);
  const auto interleaved = [&](const std::vector<float>& from, std::int64_t inner) {
    std::vector<float> to(from.size());
    for (std::int64_t e = 0; e < 4; ++e) {
      for (std::int64_t half = 0; half < 2; ++half) {
        for (std::int64_t i = 0; i < 12 * inner; ++i) {
          const std::int64_t row = 2 * (i / inner) + half;
          to[static_cast<std::size_t>((e * 24 + row) * inner + i % inner)] =
              from[static_cast<std::size_t>((e * 24 + half * 12) * inner + i)];
        }
      }
    }
    return to;
  };
  const std::vector<float> gate_up = interleaved(layer.gate_up, 16),
                           bias = interleaved(layer.gate_up_bias, 1);
  layer.routed.layout = GateUpLayout::interleaved;
  layer.routed.gate_up = gate_up;
  layer.routed.gate_up_bias = bias;
  CHECK(same(run(layer), halves));
  const auto sharded = moe_layer_tensor_parallel(layer.input(), layer.routing(), layer.routed, layer.shared,
                                                 layer.spec, 3, ReduceOrder::ring);
  CHECK(share_of_bound(layer, std::span<const float>(sharded), 3) <= 1.0);
}

TEST_CASE("the order of a token's sum is the declared one") {
  // Two experts that return 1 and 2^24, weights 1; a third returns 1 again. From the left: (1 + 2^24) loses
  // the 1, 2^24 first loses both, 1 + 1 first keeps both.
  const std::vector<float> rows = {1.0F, 0x1p24F, 1.0F};
  const std::vector<std::int32_t> experts = {1, 0, 2};  // best first
  const auto permutation = gate::permute(experts, 3);
  std::vector<float> sorted(3);
  for (std::size_t r = 0; r < 3; ++r) sorted[r] = rows[static_cast<std::size_t>(permutation.pair_of_row[r])];
  const auto sum = [&](CombineOrder order, Accumulator accumulator) {
    std::vector<float> out(1);
    NoProbe probe;
    combine_rows(std::span<const float>(sorted), 1, permutation, 3, {}, order, accumulator,
                 std::span<float>(out), probe);
    return out[0];
  };
  CHECK(sum(CombineOrder::choice, Accumulator::f32) == 0x1p24F);            // (1 + 2^24) + 1
  CHECK(sum(CombineOrder::expert_ascending, Accumulator::f32) == 0x1p24F);  // (2^24 + 1) + 1
  const std::vector<std::int32_t> other = {0, 2, 1};
  const auto twice = gate::permute(other, 3);
  std::vector<float> out(1);
  NoProbe probe;
  // Experts 0, 1, 2 return 1, 2^24, 1; choices are 0, 2, 1.
  const std::vector<float> by_expert = {1.0F, 0x1p24F, 1.0F};
  combine_rows(std::span<const float>(by_expert), 1, twice, 3, {}, CombineOrder::choice, Accumulator::f32,
               std::span<float>(out), probe);
  CHECK(out[0] == 0x1p24F + 2.0F);
  combine_rows(std::span<const float>(by_expert), 1, twice, 3, {}, CombineOrder::expert_ascending,
               Accumulator::f32, std::span<float>(out), probe);
  CHECK(out[0] == 0x1p24F);
  // bf16 rounds the weight, the weighted row and the sum: 1 + 2^-8 is 1.
  const std::vector<float> fine = {1.0F, 0x1p-8F, 0.0F};
  combine_rows(std::span<const float>(fine), 1, twice, 3, {}, CombineOrder::expert_ascending,
               Accumulator::bf16, std::span<float>(out), probe);
  CHECK(out[0] == 1.0F);
}

TEST_CASE("all tokens on one expert, and tokens whose choices are all dropped") {
  Numbers numbers(16);
  RandomLayer<float> layer;
  fill(layer, {70, 1, 6, 16, 12, true, 0, false, false}, {}, numbers);
  std::fill(layer.experts.begin(), layer.experts.end(), 4);
  std::vector<float> y = run(layer);
  CHECK(share_of_bound(layer, std::span<const float>(y)) <= 1.0);
  layer.keep.assign(layer.experts.size(), 0);
  y = run(layer);
  CHECK(std::all_of(y.begin(), y.end(), [](float v) { return v == 0.0F; }));
}

TEST_CASE("a weight on the input is not a weight on the output") {
  Numbers numbers(17);
  RandomLayer<float> layer;
  fill(layer, {5, 1, 4, 16, 12, false, 0, false, false}, {}, numbers);
  const std::vector<float> output = run(layer);
  layer.spec.weight_on_input = true;
  const std::vector<float> input = run(layer);
  CHECK(share_of_bound(layer, std::span<const float>(input)) <= 1.0);
  CHECK(share_of_bound(layer, std::span<const float>(output)) > 100.0);
}

TEST_CASE("activations keep their values far out") {
  NoProbe probe;
  const auto value = [&](ExpertFunction function, float gate, float up) {
    return activate(ExpertActivation{function, 1.702, 7.0}, gate, up, probe);
  };
  CHECK(value(ExpertFunction::swiglu, -200.0F, 1.0F) == 0.0F);
  CHECK(value(ExpertFunction::swiglu, 200.0F, 2.0F) == 400.0F);
  CHECK(value(ExpertFunction::geglu_tanh, -50.0F, 1.0F) == 0.0F);
  CHECK(value(ExpertFunction::geglu_tanh, 50.0F, 1.0F) == 50.0F);
  CHECK(value(ExpertFunction::geglu_tanh, 1.0F, 1.0F) == Approx(0.8411919906).epsilon(1e-7));
  CHECK(value(ExpertFunction::swiglu_oai, 100.0F, -100.0F) ==
        Approx(-6.0 * 7.0 / (1.0 + std::exp(-7 * 1.702))));
  CHECK(value(ExpertFunction::swiglu_oai, -100.0F, 3.0F) == Approx(0.0).margin(1e-30));
  CHECK(value(ExpertFunction::swiglu_clamp, -9.0F, 100.0F) == Approx(7.0 * -9.0 / (1.0 + std::exp(9.0))));
  CHECK(value(ExpertFunction::relu, -1.0F, 5.0F) == 0.0F);
}

}  // namespace moesim::reference
