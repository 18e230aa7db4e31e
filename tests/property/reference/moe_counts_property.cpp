// Expert layers and the choice of experts count what llm::work_of says; a token does not depend on its batch.
#include <algorithm>
#include <vector>

#include "models/llm/operator.hpp"
#include "models/reference/moe_layer.hpp"
#include "models/reference/router.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"
#include "tests/support/expert_rig.hpp"

namespace moesim::reference {
namespace {

using test::LayerShape;
using test::Numbers;
using test::RandomLayer;

constexpr int kShapesPerRound = 3;

std::int64_t number(std::int64_t low, std::int64_t high) {
  return *rc::gen::inRange<std::int64_t>(low, high + 1);
}

LayerShape arbitrary_shape() {
  LayerShape shape;
  shape.experts = number(1, 9);
  shape.top_k = number(1, shape.experts);
  shape.tokens = number(1, 12);
  shape.hidden = number(1, 80);
  shape.width = number(1, 80);
  shape.bias = *rc::gen::arbitrary<bool>();
  shape.shared_width = number(0, 1) == 0 ? 0 : number(1, 40);
  shape.scored = *rc::gen::arbitrary<bool>();
  shape.drops = *rc::gen::arbitrary<bool>();
  return shape;
}

void check_work(const CountingProbe& probe, const llm::Work& work) {
  const Counts counts = probe.result();
  RC_ASSERT(2 * counts.useful_macs == work.matmul_flops);
  RC_ASSERT(counts.other_flops == work.other_flops);
  RC_ASSERT(counts.specials == work.specials);
  RC_ASSERT(counts.compulsory(Operand::weights) == work.weight_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::activations) == work.activation_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::result) == work.activation_write_bytes);
}

// As lowering_ffn.cpp emits them.
llm::RoutedElementwise permute_of(const LayerShape& s) {
  return {llm::RoutedRole::permute, 2 * s.hidden, 2 * s.hidden, 0, 0, 0, 0, {}};
}
llm::RoutedElementwise activation_of(const LayerShape& s, bool gated) {
  return {llm::RoutedRole::expert_activation,
          (gated ? 2 : 1) * s.width * 2,
          s.width * 2,
          (gated ? 4 : 1) * s.width,
          gated ? s.width : 0,
          0,
          0,
          {}};
}
llm::RoutedElementwise unpermute_of(const LayerShape& s) {
  return {llm::RoutedRole::unpermute, 2 * s.hidden, 0, 2 * s.hidden, 0, 0, s.tokens * 2 * s.hidden, {}};
}

void check_shared(const MoeProbes<CountingProbe>& probes, const LayerShape& s, bool gated) {
  llm::Gemm op;
  op.rows = s.tokens;
  op.columns = (gated ? 2 : 1) * s.shared_width;
  op.depth = s.hidden;
  check_work(probes.shared_gate_up, llm::work_of(op));
  op.columns = s.hidden;
  op.depth = s.shared_width;
  check_work(probes.shared_down, llm::work_of(op));
  const std::int64_t elements = s.tokens * s.hidden;
  llm::Elementwise add{
      llm::ElementwiseRole::shared_add, elements, 4 * elements, 2 * elements, 0, elements, 0};
  if (s.scored) {
    op.columns = 1;
    op.depth = s.hidden;
    check_work(probes.shared_score, llm::work_of(op));
    add.read_bytes += 2 * s.tokens;
    add.other_flops += elements + 2 * s.tokens;
    add.specials += s.tokens;
  }
  check_work(probes.shared_add, llm::work_of(add));
}

void check_layer(const LayerShape& shape, bool gated) {
  Numbers numbers(static_cast<std::uint64_t>(shape.tokens * shape.hidden));
  const MoeSpec spec{{gated ? ExpertFunction::swiglu : ExpertFunction::relu},
                     CombineOrder::expert_ascending,
                     Accumulator::bf16};
  RandomLayer<Bf16> layer;
  fill(layer, shape, spec, numbers);
  MoeProbes<CountingProbe> probes;
  (void)moe_layer(layer.input(), layer.routing(), layer.routed, layer.shared, spec, probes);
  const auto rows = gate::rows_by_expert(layer.experts, shape.experts, layer.keep);
  const auto routed = [&](llm::RoutedElementwise op) {
    op.rows_by_expert = rows;
    return llm::work_of(op);
  };
  llm::GroupedGemm product;
  product.experts = shape.experts;
  product.columns = (gated ? 2 : 1) * shape.width;
  product.depth = shape.hidden;
  product.bias = shape.bias;
  product.rows_by_expert = rows;
  check_work(probes.gate_up, llm::work_of(product));
  product.columns = shape.hidden;
  product.depth = shape.width;
  check_work(probes.down, llm::work_of(product));
  check_work(probes.activation, routed(activation_of(shape, gated)));
  check_work(probes.combine, routed(unpermute_of(shape)));
  // A token's row is read once per choice: the operator counts each, the compulsory bytes only the first.
  const llm::Work permute = routed(permute_of(shape));
  const Counts moved = probes.permute.result();
  RC_ASSERT(moved.actual(Operand::activations) == permute.activation_read_bytes);
  RC_ASSERT(moved.compulsory(Operand::activations) <= permute.activation_read_bytes);
  RC_ASSERT(moved.compulsory(Operand::result) == permute.activation_write_bytes);
  RC_ASSERT(moved.other_flops == 0);
  if (shape.shared_width > 0) check_shared(probes, shape, gated);
}

CountingProbe counted(const gate::GateSpec& spec, std::int64_t tokens, std::int64_t experts) {
  Numbers numbers(static_cast<std::uint64_t>(tokens * experts));
  const auto logits = numbers.values<float>(tokens * experts, 4.0F);
  const auto bias = numbers.values<float>(experts);
  CountingProbe probe;
  (void)choose_experts(spec, logits, tokens, experts, bias, probe);
  return probe;
}

}  // namespace

TEST_CASE("each step of an expert layer counts as its operator") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapesPerRound; ++i) check_layer(arbitrary_shape(), *rc::gen::arbitrary<bool>());
  }));
}

TEST_CASE("renormalised softmax routers and corrected sigmoid routers count as TopK") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapesPerRound; ++i) {
      const std::int64_t experts = number(1, 60), tokens = number(1, 9);
      gate::GateSpec spec;
      spec.top_k = number(1, experts);
      spec.renormalise = *rc::gen::element(gate::Renormalise::sum, gate::Renormalise::norm);
      if (*rc::gen::arbitrary<bool>()) {
        spec.score = gate::Score::sigmoid;
        spec.bias = gate::Bias::choice;
        spec.epsilon = 1e-20;
      }
      check_work(counted(spec, tokens, experts), llm::work_of(llm::TopK{tokens, experts, spec.top_k}));
    }
  }));
}

TEST_CASE("look-ups by token count as TopK of a table") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapesPerRound; ++i) {
      const std::int64_t experts = number(1, 9), top_k = number(1, experts), tokens = number(1, 20);
      Numbers numbers(static_cast<std::uint64_t>(experts));
      const auto table = test::random_experts(numbers, 40, experts, top_k);
      // Different tokens: a row that is read twice is compulsory once.
      std::vector<std::int32_t> ids;
      for (std::int32_t t = 0; t < tokens; ++t) ids.push_back(t * 2);
      CountingProbe probe;
      (void)look_up_experts(table, experts, top_k, ids, probe);
      check_work(probe, llm::work_of(llm::TopK{tokens, experts, top_k, true}));
    }
  }));
}

TEST_CASE("a token's result does not depend on the batch that it is in") {
  CHECK(rc::check([] {
    LayerShape shape = arbitrary_shape();
    shape.tokens = number(1, 64);
    Numbers numbers(static_cast<std::uint64_t>(shape.hidden));
    const MoeSpec spec{{*rc::gen::element(ExpertFunction::swiglu, ExpertFunction::swiglu_oai)},
                       *rc::gen::element(CombineOrder::expert_ascending, CombineOrder::choice),
                       *rc::gen::element(Accumulator::f32, Accumulator::bf16),
                       *rc::gen::arbitrary<bool>()};
    RandomLayer<Bf16> layer;
    fill(layer, shape, spec, numbers);
    const auto all = moe_layer(layer.input(), layer.routing(), layer.routed, layer.shared, spec);
    const std::int64_t t = number(0, shape.tokens - 1);
    const auto at = static_cast<std::size_t>(t * shape.top_k);
    const auto k = static_cast<std::size_t>(shape.top_k);
    Routing own = layer.routing();
    own.experts = own.experts.subspan(at, k);
    own.weights = own.weights.subspan(at, k);
    if (!own.keep.empty()) own.keep = own.keep.subspan(at, k);
    const MatrixView<Bf16> row{layer.x.data() + t * shape.hidden, 1, shape.hidden, shape.hidden};
    const auto alone = moe_layer(row, own, layer.routed, layer.shared, spec);
    RC_ASSERT(std::equal(alone.begin(), alone.end(), all.begin() + t * shape.hidden));
  }));
}

}  // namespace moesim::reference
