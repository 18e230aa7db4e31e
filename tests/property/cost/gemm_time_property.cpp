// More rows, a longer depth, a slower device: none of them makes a product or a pass faster.
#include <cmath>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::cost {
namespace {

constexpr double kRounding = 1 + 1e-12;

double arbitrary_between(double low, double high) {
  const double share = static_cast<double>(*rc::gen::inRange<std::int64_t>(0, 1001)) / 1000;
  return low * std::pow(high / low, share);
}

std::vector<double> arbitrary_parameters(const KernelFamily& family) {
  std::vector<double> values;
  for (const Parameter& parameter : family.parameters) {
    values.push_back(arbitrary_between(parameter.low, parameter.high));
  }
  return values;
}

DeviceFigures arbitrary_device() {
  DeviceFigures device;
  device.multiprocessors = static_cast<double>(*rc::gen::inRange<std::int64_t>(40, 200));
  device.clock = arbitrary_between(1e9, 3e9);
  device.dram_bandwidth = arbitrary_between(5e11, 8e12);
  device.l2_bytes = arbitrary_between(6e6, 1.3e8);
  const double peak = arbitrary_between(1e14, 2.5e15);
  device.peak = {peak / 16, peak, 2 * peak, 0, *rc::gen::element(0.0, 4 * peak), 2 * peak};
  return device;
}

GemmShape arbitrary_product() {
  using llm::NumberFormat;
  const auto size = [] { return static_cast<std::int64_t>(std::llround(arbitrary_between(1, 40000))); };
  GemmShape shape;
  shape.batch = *rc::gen::element<std::int64_t>(1, 1, 1, 2, 16, 128);
  shape.m = size();
  shape.n = size();
  shape.k = size();
  const auto formats = [](NumberFormat weights, NumberFormat activations) {
    return llm::LinearFormats{weights, activations};
  };
  shape.formats = *rc::gen::element(
      formats(NumberFormat::bf16, NumberFormat::bf16), formats(NumberFormat::fp8, NumberFormat::fp8),
      formats(NumberFormat::fp8_block, NumberFormat::fp8_block),
      formats(NumberFormat::nvfp4, NumberFormat::nvfp4), formats(NumberFormat::int8, NumberFormat::int8),
      formats(NumberFormat::int4, NumberFormat::bf16));
  shape.quantises = shape.formats.activations != NumberFormat::bf16;
  shape.eager = *rc::gen::arbitrary<bool>();
  return shape;
}

}  // namespace

TEST_CASE("a larger product is never faster") {
  CHECK(rc::check([] {
    const DeviceFigures device = arbitrary_device();
    const std::vector<double> parameters = arbitrary_parameters(gemm_family());
    const GemmShape shape = arbitrary_product();
    const auto time = [&](const GemmShape& any, Conditions conditions) {
      return gemm_family().time(any, device, parameters, conditions, nullptr).total;
    };
    const std::int64_t more = *rc::gen::element<std::int64_t>(1, 1, 3, 64, 1000);
    GemmShape rows = shape;
    rows.m += more;
    RC_ASSERT(time(rows, Conditions::benchmark) * kRounding >= time(shape, Conditions::benchmark));
    RC_ASSERT(time(rows, Conditions::serving) * kRounding >= time(shape, Conditions::serving));
    GemmShape columns = shape;
    columns.n += more;
    RC_ASSERT(time(columns, Conditions::serving) * kRounding >= time(shape, Conditions::serving));
    GemmShape depth = shape;
    depth.k += more;
    RC_ASSERT(time(depth, Conditions::serving) * kRounding >= time(shape, Conditions::serving));
    GemmShape batch = shape;
    batch.batch += more;
    RC_ASSERT(time(batch, Conditions::serving) * kRounding >= time(shape, Conditions::serving));
    // Warm weights only help; an eager benchmark has the host as well.
    RC_ASSERT(time(shape, Conditions::benchmark) <=
              (time(shape, Conditions::serving) + parameters.back() * 1e-6) * kRounding);
  }));
}

TEST_CASE("a product on a slower device is never faster") {
  CHECK(rc::check([] {
    const DeviceFigures device = arbitrary_device();
    const std::vector<double> parameters = arbitrary_parameters(gemm_family());
    const GemmShape shape = arbitrary_product();
    const auto time = [&](const DeviceFigures& any) {
      return gemm_family().time(shape, any, parameters, Conditions::serving, nullptr).total;
    };
    DeviceFigures slower = device;
    switch (*rc::gen::inRange(0, 4)) {
      case 0:
        slower.clock *= 0.7;
        break;
      case 1:
        slower.dram_bandwidth *= 0.7;
        break;
      case 2:
        slower.l2_bytes *= 0.7;
        break;
      default:
        for (double& peak : slower.peak) {
          peak *= 0.7;
        }
    }
    RC_ASSERT(time(slower) * kRounding >= time(device));
  }));
}

TEST_CASE("a longer pass over memory is never faster") {
  CHECK(rc::check([] {
    const DeviceFigures device = arbitrary_device();
    const std::vector<double> parameters = arbitrary_parameters(stream_family());
    StreamShape shape;
    shape.rows = *rc::gen::inRange<std::int64_t>(1, 40000);
    shape.columns = *rc::gen::inRange<std::int64_t>(1, 70000);
    shape.read_bytes = 2 * shape.rows * shape.columns;
    shape.write_bytes = shape.read_bytes * *rc::gen::inRange<std::int64_t>(0, 3) / 2;
    const auto time = [&](const StreamShape& any, const DeviceFigures& on) {
      return stream_family().time(any, on, parameters, Conditions::serving, nullptr).total;
    };
    StreamShape longer = shape;
    longer.rows += 1;
    longer.read_bytes += 2 * shape.columns;
    RC_ASSERT(time(longer, device) >= time(shape, device));
    DeviceFigures slower = device;
    slower.dram_bandwidth *= 0.5;
    RC_ASSERT(time(shape, slower) >= time(shape, device));
    RC_ASSERT(time(shape, device) > 0);
  }));
}

}  // namespace moesim::cost
