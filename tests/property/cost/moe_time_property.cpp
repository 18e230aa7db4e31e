#include <algorithm>
#include <cmath>
#include <vector>

#include "models/cost/moe_time.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

using namespace moesim;

namespace {

struct Layer {
  cost::MoeShape shape;
  std::vector<std::int64_t> rows;
  cost::DeviceFigures device;
  std::vector<double> parameters;
  cost::Conditions conditions = cost::Conditions::serving;

  [[nodiscard]] double seconds() {
    shape.draws = {cost::load_of(rows)};
    return cost::moe_family().time(shape, device, parameters, conditions, nullptr).total;
  }
};

double between(double low, double high) {
  const double u = static_cast<double>(*rc::gen::inRange(0, 1 << 20)) / (1 << 20);
  return low * std::pow(high / low, u);
}

Layer any_layer() {
  using NF = llm::NumberFormat;
  Layer layer;
  const auto experts = *rc::gen::inRange<std::size_t>(1, 40);
  for (std::size_t e = 0; e < experts; ++e) {
    layer.rows.push_back(*rc::gen::weightedOneOf<std::int64_t>(
        {{1, rc::gen::just<std::int64_t>(0)}, {3, rc::gen::inRange<std::int64_t>(0, 700)}}));
  }
  cost::MoeShape& shape = layer.shape;
  shape.tokens =
      *std::max_element(layer.rows.begin(), layer.rows.end()) + *rc::gen::inRange<std::int64_t>(0, 900);
  shape.hidden = 128 * *rc::gen::inRange<std::int64_t>(1, 60);
  shape.width = 32 * *rc::gen::inRange<std::int64_t>(1, 120);
  shape.top_k = *rc::gen::inRange<std::int64_t>(1, 9);
  shape.experts = static_cast<std::int64_t>(experts) * *rc::gen::inRange<std::int64_t>(1, 9);
  shape.local_experts = static_cast<std::int64_t>(experts);
  shape.gated = *rc::gen::arbitrary<bool>();
  const NF format = *rc::gen::element(NF::bf16, NF::fp8, NF::fp8_block, NF::nvfp4);
  shape.formats = {format, format};
  layer.device.multiprocessors = *rc::gen::inRange(20, 200);
  layer.device.clock = between(1e9, 3e9);
  layer.device.dram_bandwidth = between(3e11, 1e13);
  layer.device.l2_bytes = between(4e6, 2e8);
  const double peak = between(5e13, 3e15);
  layer.device.peak = {peak / 10, peak, 2 * peak, 0, 4 * peak, 2 * peak};
  for (const cost::Parameter& one : cost::moe_family().parameters) {
    layer.parameters.push_back(between(one.low, one.high));
  }
  if (*rc::gen::arbitrary<bool>()) layer.conditions = cost::Conditions::benchmark;
  return layer;
}

// Sums of many terms in another order may differ in the last bits.
constexpr double kSlack = 1e-9;

}  // namespace

TEST_CASE("More rows on any expert never make a layer faster") {
  REQUIRE(rc::check([] {
    Layer layer = any_layer();
    const auto expert = *rc::gen::inRange<std::size_t>(0, layer.rows.size());
    // Idle experts that get a few rows lower the mean of the active ones.
    if (*rc::gen::arbitrary<bool>()) layer.rows[expert] = 0;
    const double before = layer.seconds();
    layer.rows[expert] +=
        *rc::gen::oneOf(rc::gen::inRange<std::int64_t>(1, 5), rc::gen::inRange<std::int64_t>(1, 400));
    RC_ASSERT(layer.seconds() >= before * (1 - kSlack));
  }));
}

TEST_CASE("More tokens in the group, or wider experts, never make a layer faster") {
  REQUIRE(rc::check([] {
    Layer layer = any_layer();
    const double before = layer.seconds();
    switch (*rc::gen::inRange(0, 4)) {
      case 0:
        layer.shape.tokens += *rc::gen::inRange<std::int64_t>(1, 5000);
        break;
      case 1:
        layer.shape.hidden += *rc::gen::inRange<std::int64_t>(1, 2000);
        break;
      case 2:
        layer.shape.width += *rc::gen::inRange<std::int64_t>(1, 2000);
        break;
      default:
        layer.shape.experts += *rc::gen::inRange<std::int64_t>(1, 500);
        layer.shape.local_experts += *rc::gen::inRange<std::int64_t>(0, 100);
    }
    RC_ASSERT(layer.seconds() >= before * (1 - kSlack));
  }));
}

TEST_CASE("A slower device never makes a layer faster") {
  REQUIRE(rc::check([] {
    Layer layer = any_layer();
    const double before = layer.seconds();
    const double factor = between(0.2, 1);
    switch (*rc::gen::inRange(0, 4)) {
      case 0:
        layer.device.clock *= factor;
        break;
      case 1:
        layer.device.dram_bandwidth *= factor;
        break;
      case 2:
        for (double& peak : layer.device.peak) peak *= factor;
        break;
      default:
        layer.device.l2_bytes *= factor;
    }
    RC_ASSERT(layer.seconds() >= before * (1 - kSlack));
  }));
}

TEST_CASE("Twice the peaks halve a layer's time beyond its latency") {
  REQUIRE(rc::check([] {
    Layer layer = any_layer();
    layer.shape.draws = {cost::load_of(layer.rows)};
    const auto time = [&] {
      return cost::moe_family().time(layer.shape, layer.device, layer.parameters, layer.conditions, nullptr);
    };
    const cost::KernelTime slow = time();
    layer.device.clock *= 2;
    layer.device.dram_bandwidth *= 2;
    for (double& peak : layer.device.peak) peak *= 2;
    const cost::KernelTime fast = time();
    RC_ASSERT(fast.latency == slow.latency);
    RC_ASSERT(std::abs(2 * (fast.total - fast.latency) - (slow.total - slow.latency)) <= kSlack * slow.total);
  }));
}

TEST_CASE("Serving is never faster than the benchmark but for the gap between two replays") {
  REQUIRE(rc::check([] {
    Layer layer = any_layer();
    layer.conditions = cost::Conditions::benchmark;
    const double benchmark = layer.seconds();
    layer.conditions = cost::Conditions::serving;
    RC_ASSERT(layer.seconds() + 1e-6 >= benchmark * (1 - kSlack));
  }));
}
