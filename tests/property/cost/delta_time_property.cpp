#include <cmath>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

using namespace moesim;

namespace {

struct Delta {
  cost::DeltaShape shape;
  cost::DeviceFigures device;
  std::vector<double> parameters;
  cost::Conditions conditions = cost::Conditions::serving;

  [[nodiscard]] cost::KernelTime time() const {
    return cost::delta_family().time(shape, device, parameters, conditions, nullptr);
  }
};

double between(double low, double high) {
  const double u = static_cast<double>(*rc::gen::inRange(0, 1 << 20)) / (1 << 20);
  return low * std::pow(high / low, u);
}

std::int64_t count_to(double high) { return static_cast<std::int64_t>(between(1, high)); }

Delta any_delta() {
  Delta one;
  one.shape.part = *rc::gen::element(cost::DeltaShape::Part::convolution, cost::DeltaShape::Part::recurrence);
  one.shape.decode = *rc::gen::arbitrary<bool>();
  one.shape.batch = count_to(1000);
  one.shape.queries = one.shape.decode ? 1 : count_to(100'000);
  one.shape.key_heads = count_to(32);
  one.shape.key_dim = 32 * count_to(8);
  one.shape.value_heads = one.shape.key_heads * count_to(4);
  one.shape.value_dim = 32 * count_to(8);
  one.device.multiprocessors = *rc::gen::inRange(20, 200);
  one.device.clock = between(1e9, 3e9);
  one.device.dram_bandwidth = between(3e11, 1e13);
  one.device.l2_bytes = between(4e6, 2e8);
  one.device.peak = {5e13, 5e14, 1e15, 0, 2e15, 1e15};
  for (const cost::Parameter& parameter : cost::delta_family().parameters) {
    one.parameters.push_back(between(parameter.low, parameter.high));
  }
  if (*rc::gen::arbitrary<bool>()) one.conditions = cost::Conditions::benchmark;
  return one;
}

constexpr double kSlack = 1e-12;

}  // namespace

TEST_CASE("More of anything never makes a delta layer faster, nor does a slower device") {
  REQUIRE(rc::check([] {
    const Delta one = any_delta();
    Delta slower = one;
    switch (*rc::gen::inRange(0, 6)) {
      case 0:
        slower.shape.batch += 1;
        break;
      case 1:
        slower.shape.queries += *rc::gen::element<std::int64_t>(1, 63, 1000);
        break;
      case 2:
        slower.shape.value_heads += one.shape.key_heads;
        break;
      case 3:
        slower.device.clock *= 0.8;
        break;
      case 4:
        slower.device.dram_bandwidth *= 0.8;
        break;
      default:
        slower.device.l2_bytes *= 0.8;
        break;
    }
    RC_ASSERT(slower.time().total >= one.time().total * (1 - kSlack));
    RC_ASSERT(one.time().total >= one.time().latency && one.time().latency > 0);
  }));
}

TEST_CASE("A device with twice of every rate halves a delta layer's time beyond latency") {
  REQUIRE(rc::check([] {
    const Delta one = any_delta();
    Delta fast = one;
    fast.device.clock *= 2;
    fast.device.dram_bandwidth *= 2;
    const double beyond = one.time().total - one.time().latency;
    const double fast_beyond = fast.time().total - fast.time().latency;
    RC_ASSERT(std::abs(fast_beyond - beyond / 2) <= 1e-9 * beyond + 1e-15);
  }));
}
