// Products and expert layers with a planted mistake: the a-priori bound must notice each one.
#include <functional>
#include <string>

#include "models/reference/bounds_experts.hpp"
#include "models/reference/bounds_gemm.hpp"
#include "models/reference/grouped_gemm.hpp"
#include "models/reference/moe_layer.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/expert_rig.hpp"

namespace moesim::reference {
namespace {

using test::Numbers;
using test::RandomLayer;

// The error of a faulty product as a share of its bound.
template <Fault kFault>
double product_share(std::int64_t depth) {
  Numbers numbers(21);
  const auto a = numbers.values<float>(4 * depth);
  const auto b = numbers.values<float>(5 * depth);
  std::vector<float> c(20);
  FaultProbe<kFault> probe;
  const auto a_view = matrix(std::span<const float>(a), 4, depth);
  const auto b_view = matrix(std::span<const float>(b), 5, depth);
  const std::span<const float> none;
  gemm(a_view, b_view, none, std::span<float>(c), probe);
  const auto want = bounded_gemm<float>(a_view, b_view, none);
  return test::worst_share(std::span<const float>(c), std::span<const Bounded>(want));
}

template <Fault kFault>
double layer_share(const MoeSpec& spec, std::uint64_t seed) {
  Numbers numbers(seed);
  RandomLayer<float> layer;
  fill(layer, {6, 2, 4, 32, 24, true, 12, false, false}, spec, numbers);
  MoeProbes<FaultProbe<kFault>> probes;
  const auto y = moe_layer(layer.input(), layer.routing(), layer.routed, layer.shared, spec, probes);
  const auto want = bounded_moe_layer(layer.input(), layer.routing(), layer.routed, layer.shared, spec);
  return test::worst_share(std::span<const float>(y), std::span<const Bounded>(want));
}

struct Mutation {
  std::string name;
  std::function<double()> share;
};

const MoeSpec kSwiglu{};
const MoeSpec kClamped{{ExpertFunction::swiglu_oai, 1.702, 0.5}};

template <Fault kFault>
Mutation in_layer(const char* name, const MoeSpec& spec = kClamped) {
  return {name, [&spec] { return layer_share<kFault>(spec, 22); }};
}

}  // namespace

TEST_CASE("the bound notices each planted mistake of products and layers") {
  const std::vector<Mutation> mutations = {
      {"drop_depth_tail, short", [] { return product_share<Fault::drop_depth_tail>(8); }},
      {"drop_depth_tail, 64", [] { return product_share<Fault::drop_depth_tail>(64); }},
      {"drop_depth_tail, long", [] { return product_share<Fault::drop_depth_tail>(5000); }},
      {"bf16_accumulator, one block", [] { return product_share<Fault::bf16_accumulator>(64); }},
      {"bf16_accumulator, long", [] { return product_share<Fault::bf16_accumulator>(5000); }},
      in_layer<Fault::drop_depth_tail>("drop_depth_tail in a layer"),
      in_layer<Fault::bf16_accumulator>("bf16_accumulator in a layer"),
      in_layer<Fault::neighbour_expert>("neighbour_expert"),
      in_layer<Fault::drop_gate_bias>("drop_gate_bias"),
      in_layer<Fault::down_bias_twice>("down_bias_twice"),
      in_layer<Fault::skip_clamp>("skip_clamp"),
      in_layer<Fault::gate_and_up_swapped>("gate_and_up_swapped"),
      in_layer<Fault::gate_and_up_swapped>("gate_and_up_swapped, swiglu", kSwiglu),
      in_layer<Fault::shared_expert_twice>("shared_expert_twice"),
      in_layer<Fault::drop_last_choice>("drop_last_choice"),
      in_layer<Fault::weight_on_wrong_side>("weight_on_wrong_side"),
  };
  for (const Mutation& mutation : mutations) {
    INFO(mutation.name);
    CHECK(mutation.share() > 1.0);
  }
  CHECK(product_share<Fault::none>(5000) <= 1.0);
  CHECK(layer_share<Fault::none>(kClamped, 22) <= 1.0);
  CHECK(layer_share<Fault::none>(kSwiglu, 22) <= 1.0);
}

TEST_CASE("a sum in another order than the declared one is inside the bound, and its bits tell") {
  Numbers numbers(23);
  RandomLayer<float> layer;
  fill(layer, {20, 4, 8, 32, 24, false, 0, false, false}, {}, numbers);
  MoeProbes<FaultProbe<Fault::reverse_combine_order>> probes;
  const auto faulty =
      moe_layer(layer.input(), layer.routing(), layer.routed, layer.shared, layer.spec, probes);
  const auto want = bounded_moe_layer(layer.input(), layer.routing(), layer.routed, layer.shared, layer.spec);
  CHECK(test::worst_share(std::span<const float>(faulty), std::span<const Bounded>(want)) <= 1.0);
  CHECK(faulty != moe_layer(layer.input(), layer.routing(), layer.routed, layer.shared, layer.spec));
}

}  // namespace moesim::reference
