// Rules that the time of decode attention keeps for every shape, device and set of parameters.
#include <rapidcheck.h>

#include <string_view>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "sim/core/math.hpp"
#include "tests/support/catch.hpp"

namespace moesim::cost {

namespace {

std::int64_t between(std::int64_t low, std::int64_t high) {
  return *rc::gen::inRange<std::int64_t>(low, high + 1);
}
double fraction() { return static_cast<double>(between(0, 1000)) / 1000; }
// Evenly spread in the logarithm.
double spread(double low, double high) {
  return low * core::math::exp(fraction() * core::math::log(high / low));
}

DeviceFigures some_device() {
  DeviceFigures device;
  device.architecture = *rc::gen::element(hardware::Architecture::ampere, hardware::Architecture::ada,
                                          hardware::Architecture::hopper, hardware::Architecture::blackwell);
  device.multiprocessors = static_cast<double>(between(40, 200));
  device.clock = spread(1e9, 3e9);
  device.dram_bandwidth = spread(5e11, 1e13);
  device.l2_bytes = spread(6e6, 2e8);
  const double bf16 = spread(1e14, 3e15);
  device.peak = {bf16 / 10, bf16, *rc::gen::arbitrary<bool>() ? 2 * bf16 : 0, 0, 0, 0};
  return device;
}

// Anywhere between their bounds.
std::vector<double> some_parameters(const KernelFamily& family) {
  std::vector<double> values;
  for (const Parameter& parameter : family.parameters) {
    values.push_back(spread(parameter.low, parameter.high));
  }
  return values;
}

AttentionDecodeShape some_shape(bool latent) {
  AttentionDecodeShape shape;
  shape.batch = between(1, 1024);
  shape.context = static_cast<std::int64_t>(spread(1, 200'000));
  shape.latent = latent;
  shape.kv = *rc::gen::element(llm::NumberFormat::bf16, llm::NumberFormat::fp8);
  shape.kv_heads = latent ? 1 : *rc::gen::element<std::int64_t>(1, 2, 8, 16);
  shape.query_heads = shape.kv_heads * *rc::gen::element<std::int64_t>(1, 4, 6, 16, 32, 64, 128);
  shape.qk_dim = latent ? 576 : *rc::gen::element<std::int64_t>(64, 128, 192, 256);
  shape.v_dim = latent ? 512 : shape.qk_dim;
  shape.window = *rc::gen::element<std::int64_t>(0, 0, 128, 1024);
  shape.sinks = *rc::gen::arbitrary<bool>();
  return shape;
}

struct Case {
  const KernelFamily* family = nullptr;
  AttentionDecodeShape shape;
  DeviceFigures device;
  std::vector<double> parameters;
  Conditions conditions = Conditions::benchmark;

  [[nodiscard]] KernelTime time() const {
    return family->time(shape, device, parameters, conditions, nullptr);
  }
};

Case some_case() {
  Case any;
  const bool latent = *rc::gen::arbitrary<bool>();
  any.family = latent ? &latent_decode_family() : &attention_decode_family();
  any.shape = some_shape(latent);
  any.device = some_device();
  any.parameters = some_parameters(*any.family);
  any.conditions = *rc::gen::element(Conditions::benchmark, Conditions::serving);
  return any;
}

// Both ways to reduce splits last as long, so that the choice between them does not depend on other rates.
void give_one_reduction(Case& any) {
  double reduction = 0;
  for (std::size_t i = 0; i < any.parameters.size(); ++i) {
    const std::string_view name = any.family->parameters[i].name;
    if (name == "reduction") reduction = any.parameters[i];
    if (name == "global_reduction") any.parameters[i] = reduction;
  }
}

void require_no_faster(const Case& more, double before) {
  RC_ASSERT(more.time().total >= before * (1 - 1e-12));
}

}  // namespace

TEST_CASE("more work never makes decode attention faster") {
  CHECK(rc::check("sequences, tokens, bytes", [] {
    const Case any = some_case();
    const double before = any.time().total;
    RC_ASSERT(before > 0);
    Case more = any;
    more.shape.batch += between(1, 64);
    require_no_faster(more, before);
    more = any;
    more.shape.context += between(1, 4096);
    require_no_faster(more, before);
    if (any.shape.latent) {
      more = any;
      more.shape.query_heads += between(1, 128);
      require_no_faster(more, before);
    }
    if (any.shape.window > 0) {
      more = any;
      more.shape.window += between(1, 2048);
      require_no_faster(more, before);
    }
  }));
}

TEST_CASE("a slower device never makes decode attention faster") {
  CHECK(rc::check("clock, DRAM, L2, peaks, multiprocessors", [] {
    const Case any = some_case();
    const double before = any.time().total;
    const double slower = 0.3 + 0.65 * fraction();
    Case less = any;
    less.device.clock *= slower;
    require_no_faster(less, before);
    less = any;
    less.device.dram_bandwidth *= slower;
    require_no_faster(less, before);
    less = any;
    less.device.l2_bytes *= slower;
    require_no_faster(less, before);
    less = any;
    for (double& peak : less.device.peak) peak *= slower;
    require_no_faster(less, before);
  }));
}

TEST_CASE("twice the rates halve decode attention beyond its latency") {
  CHECK(rc::check("clock, DRAM and peaks", [] {
    Case any = some_case();
    give_one_reduction(any);
    const KernelTime before = any.time();
    Case twice = any;
    twice.device.clock *= 2;
    twice.device.dram_bandwidth *= 2;
    for (double& peak : twice.device.peak) peak *= 2;
    const KernelTime after = twice.time();
    const auto close = [](double a, double b) { return a <= b * (1 + 1e-9) && a >= b * (1 - 1e-9); };
    RC_ASSERT(close(2 * after.speed_of_light, before.speed_of_light));
    RC_ASSERT(close(2 * after.memory + 1, before.memory + 1));
    RC_ASSERT(close(2 * after.compute, before.compute));
    // Two kernels may change places where their floors differ.
    if (any.shape.latent) {
      RC_ASSERT(close(after.latency, before.latency));
      RC_ASSERT(close(2 * (after.total - after.latency), before.total - before.latency));
    } else {
      RC_ASSERT(2 * after.total >= before.total * (1 - 1e-9));
      RC_ASSERT(after.total <= before.total * (1 + 1e-9));
    }
  }));
}

TEST_CASE("a serving step reads at least what a benchmark reads") {
  CHECK(rc::check("DRAM time and parts", [] {
    Case any = some_case();
    give_one_reduction(any);
    any.conditions = Conditions::benchmark;
    const KernelTime warm = any.time();
    any.conditions = Conditions::serving;
    const KernelTime cold = any.time();
    RC_ASSERT(cold.latency <= warm.latency || !any.shape.latent);
    RC_ASSERT(cold.total >= cold.latency);
    if (any.shape.latent) {
      RC_ASSERT(cold.memory >= warm.memory * (1 - 1e-12));
      RC_ASSERT(cold.total - cold.latency >= (warm.total - warm.latency) * (1 - 1e-9));
    }
  }));
}

}  // namespace moesim::cost
