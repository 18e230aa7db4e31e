#include <cmath>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

using namespace moesim;

namespace {

struct Prefill {
  cost::AttentionPrefillShape shape;
  cost::DeviceFigures device;
  std::vector<double> parameters;
  cost::Conditions conditions = cost::Conditions::serving;

  [[nodiscard]] const cost::KernelFamily& family() const {
    return shape.latent ? cost::latent_prefill_family() : cost::attention_prefill_family();
  }
  [[nodiscard]] cost::KernelTime time() const {
    return family().time(shape, device, parameters, conditions, nullptr);
  }
};

double between(double low, double high) {
  const double u = static_cast<double>(*rc::gen::inRange(0, 1 << 20)) / (1 << 20);
  return low * std::pow(high / low, u);
}

std::int64_t count_to(double high) { return static_cast<std::int64_t>(between(1, high)); }

Prefill any_prefill() {
  using NF = llm::NumberFormat;
  Prefill one;
  cost::AttentionPrefillShape& shape = one.shape;
  shape.batch = count_to(300);
  shape.queries = count_to(40'000);
  shape.prefix = *rc::gen::arbitrary<bool>() ? count_to(200'000) : 0;
  shape.kv_heads = count_to(64);
  shape.query_heads = shape.kv_heads * count_to(32);
  shape.qk_dim = 16 * count_to(33);
  shape.v_dim = 16 * count_to(33);
  shape.window = *rc::gen::arbitrary<bool>() ? count_to(50'000) : 0;
  shape.compute = *rc::gen::element(NF::bf16, NF::fp8);
  shape.kv = *rc::gen::element(NF::bf16, NF::fp8);
  shape.latent = *rc::gen::arbitrary<bool>();
  one.device.architecture =
      *rc::gen::element(hardware::Architecture::hopper, hardware::Architecture::blackwell,
                        hardware::Architecture::ada, hardware::Architecture::cdna3);
  one.device.multiprocessors = *rc::gen::inRange(20, 200);
  one.device.clock = between(1e9, 3e9);
  one.device.dram_bandwidth = between(3e11, 1e13);
  one.device.l2_bytes = between(4e6, 2e8);
  const double peak = between(5e13, 3e15);
  one.device.peak = {peak / 10, peak, 2 * peak, 0, 4 * peak, 2 * peak};
  for (const cost::Parameter& parameter : one.family().parameters) {
    one.parameters.push_back(between(parameter.low, parameter.high));
  }
  if (*rc::gen::arbitrary<bool>()) one.conditions = cost::Conditions::benchmark;
  return one;
}

// Sums in another order may differ in the last bits.
constexpr double kSlack = 1e-12;

void check_no_faster(const Prefill& less, const Prefill& more) {
  RC_ASSERT(more.time().total >= less.time().total * (1 - kSlack));
  RC_ASSERT(more.time().compute >= less.time().compute * (1 - kSlack));
  RC_ASSERT(more.time().memory >= less.time().memory * (1 - kSlack));
}

}  // namespace

TEST_CASE("More tokens, sequences, heads or cached tokens never make attention faster") {
  REQUIRE(rc::check([] {
    const Prefill one = any_prefill();
    Prefill more = one;
    switch (*rc::gen::inRange(0, 5)) {
      case 0:
        more.shape.queries += *rc::gen::element<std::int64_t>(1, 7, 64, 1000);
        break;
      case 1:
        more.shape.batch += 1;
        break;
      case 2:
        more.shape.prefix += *rc::gen::element<std::int64_t>(1, 7, 64, 1000);
        break;
      case 3:
        more.shape.query_heads += one.shape.kv_heads;
        break;
      default:
        more.shape.v_dim += 16;
        break;
    }
    check_no_faster(one, more);
  }));
}

TEST_CASE("A device with less of anything never runs attention faster") {
  REQUIRE(rc::check([] {
    const Prefill one = any_prefill();
    Prefill slower = one;
    switch (*rc::gen::inRange(0, 4)) {
      case 0:
        slower.device.clock *= 0.8;
        break;
      case 1:
        slower.device.dram_bandwidth *= 0.8;
        break;
      case 2:
        slower.device.l2_bytes *= 0.8;
        break;
      default:
        for (double& peak : slower.device.peak) peak *= 0.8;
        break;
    }
    RC_ASSERT(slower.time().total >= one.time().total * (1 - kSlack));
  }));
}

TEST_CASE("A device with twice of every rate halves the time beyond latency") {
  REQUIRE(rc::check([] {
    Prefill one = any_prefill();
    one.conditions = cost::Conditions::serving;
    Prefill fast = one;
    fast.device.clock *= 2;
    fast.device.dram_bandwidth *= 2;
    for (double& peak : fast.device.peak) peak *= 2;
    const double beyond = one.time().total - one.time().latency;
    const double fast_beyond = fast.time().total - fast.time().latency;
    RC_ASSERT(std::abs(fast_beyond - beyond / 2) <= 1e-9 * beyond + 1e-15);
  }));
}

TEST_CASE("Attention is never faster than its roofline with full efficiency allows") {
  REQUIRE(rc::check([] {
    Prefill one = any_prefill();
    one.parameters[0] = between(0.02, 1);  // of the peak
    const cost::KernelTime time = one.time();
    RC_ASSERT(time.latency > 0 && time.compute > 0 && time.memory >= 0);
    RC_ASSERT(time.total >= time.latency);
    RC_ASSERT(time.total >= time.compute);
    // Products alone: bytes may stay in L2 where a benchmark repeats the kernel.
    const double pairs =
        0.5 * static_cast<double>(one.shape.queries) * static_cast<double>(one.shape.queries);
    if (one.shape.window == 0) {
      RC_ASSERT(time.compute >= 2 * static_cast<double>(one.shape.batch * one.shape.query_heads) * pairs *
                                    static_cast<double>(one.shape.qk_dim + one.shape.v_dim) /
                                    cost::matmul_peak(one.device, one.shape.compute) * (1 - kSlack));
    }
  }));
}
