// Rules that the times of collectives and exchanges keep for any parameters between their bounds.
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "tests/support/catch.hpp"

namespace moesim::cost {

namespace {

std::int64_t whole_between(std::int64_t low, std::int64_t high) {
  return *rc::gen::inRange<std::int64_t>(low, high + 1);
}

double somewhere(double low, double high) {
  const double share = static_cast<double>(whole_between(0, 1000)) / 1000;
  return low + (high - low) * share * share * share;
}

std::vector<double> some_parameters(const KernelFamily& family) {
  std::vector<double> values;
  for (const Parameter& one : family.parameters) values.push_back(somewhere(one.low, one.high));
  return values;
}

DeviceFigures some_device() {
  DeviceFigures device;
  device.architecture = *rc::gen::element(hardware::Architecture::ampere, hardware::Architecture::hopper,
                                          hardware::Architecture::blackwell);
  device.multiprocessors = static_cast<double>(whole_between(40, 200));
  device.clock = somewhere(1e9, 3e9);
  device.dram_bandwidth = somewhere(0.5e12, 8e12);
  device.link_bandwidth = somewhere(16e9, 900e9);
  device.network_bandwidth = somewhere(10e9, 100e9);
  device.switched = *rc::gen::arbitrary<bool>();
  return device;
}

DeviceFigures faster(DeviceFigures device, double factor) {
  device.clock *= factor;
  device.dram_bandwidth *= factor;
  device.link_bandwidth *= factor;
  device.network_bandwidth *= factor;
  return device;
}

CollectiveShape some_collective(const KernelFamily& family) {
  CollectiveShape shape;
  shape.collective =
      *rc::gen::element(Collective::all_reduce, Collective::all_gather, Collective::reduce_scatter,
                        Collective::all_to_all, Collective::point_to_point);
  if (&family == &custom_all_reduce_family()) {
    shape.collective = Collective::all_reduce;
    shape.eager = *rc::gen::arbitrary<bool>();
  }
  shape.ranks = whole_between(2, 72);
  shape.bytes = std::int64_t{1} << whole_between(0, 34);
  shape.whole_numbers = *rc::gen::arbitrary<bool>();
  return shape;
}

ExchangeShape some_exchange() {
  using Kind = ExchangeShape::Kind;
  using Phase = ExchangeShape::Phase;
  ExchangeShape shape;
  shape.kind = *rc::gen::element(Kind::low_latency, Kind::normal, Kind::one_sided, Kind::two_sided);
  shape.phase = *rc::gen::element(Phase::prepare, Phase::dispatch, Phase::combine);
  shape.ranks_per_domain = std::int64_t{1} << whole_between(1, 6);
  shape.ranks = shape.ranks_per_domain << whole_between(0, 4);
  shape.tokens = whole_between(0, 100'000);
  shape.hidden = 512 * whole_between(1, 16);
  shape.experts = shape.ranks * whole_between(1, 8);
  shape.top_k = whole_between(1, std::min<std::int64_t>(12, shape.experts));
  shape.row_bytes = 2 * shape.hidden;
  shape.multiprocessors = whole_between(0, 24);
  return shape;
}

double total(const KernelFamily& family, const KernelShape& shape, const DeviceFigures& device,
             const std::vector<double>& values) {
  return family.time(shape, device, values, Conditions::benchmark, nullptr).total;
}

// The last bits of sums in another order.
constexpr double kRounding = 1 + 1e-12;

void check_parts(const KernelTime& time) {
  RC_ASSERT(time.total > 0);
  RC_ASSERT(time.latency >= 0);
  RC_ASSERT(time.latency <= time.total * kRounding);
  RC_ASSERT(time.link >= 0);
  RC_ASSERT(time.speed_of_light >= 0);
}

}  // namespace

TEST_CASE("more bytes or a slower device never make a collective faster") {
  for (const KernelFamily* family : {&collective_family(), &custom_all_reduce_family()}) {
    CHECK(rc::check([family] {
      const CollectiveShape shape = some_collective(*family);
      const DeviceFigures device = some_device();
      const std::vector<double> values = some_parameters(*family);
      const double time = total(*family, shape, device, values);
      check_parts(family->time(shape, device, values, Conditions::serving, nullptr));
      CollectiveShape more = shape;
      more.bytes += whole_between(1, more.bytes);
      RC_ASSERT(time <= total(*family, more, device, values) * kRounding);
      RC_ASSERT(total(*family, shape, faster(device, somewhere(1, 3)), values) <= time * kRounding);
    }));
  }
}

TEST_CASE("with twice the rates a collective takes half the time beyond its latency") {
  for (const KernelFamily* family : {&collective_family(), &custom_all_reduce_family()}) {
    CHECK(rc::check([family] {
      CollectiveShape shape = some_collective(*family);
      shape.eager = false;
      const DeviceFigures device = some_device();
      const std::vector<double> values = some_parameters(*family);
      const auto beyond = [&](const DeviceFigures& figures) {
        const KernelTime time = family->time(shape, figures, values, Conditions::serving, nullptr);
        return time.total - time.latency;
      };
      // Hardly less, and only where two protocols meet: there the shorter time is rounded off.
      const double latency = family->time(shape, device, values, Conditions::serving, nullptr).latency;
      RC_ASSERT(beyond(faster(device, 2)) >= 0.4 * beyond(device) - 0.1 * latency);
      shape.bytes = std::int64_t{1} << 39;
      const double ratio = beyond(faster(device, 2)) / beyond(device);
      RC_ASSERT(ratio > 0.499);
      RC_ASSERT(ratio < 0.51);
    }));
  }
}

TEST_CASE("more tokens, longer rows or a slower device never make an exchange faster") {
  const KernelFamily& family = exchange_family();
  CHECK(rc::check([&family] {
    const ExchangeShape shape = some_exchange();
    const DeviceFigures device = some_device();
    const std::vector<double> values = some_parameters(family);
    const double time = total(family, shape, device, values);
    check_parts(family.time(shape, device, values, Conditions::serving, nullptr));
    ExchangeShape more = shape;
    more.tokens += whole_between(0, 1000);
    RC_ASSERT(time <= total(family, more, device, values) * kRounding);
    ExchangeShape longer = shape;
    longer.row_bytes += whole_between(0, 10'000);
    RC_ASSERT(time <= total(family, longer, device, values) * kRounding);
    ExchangeShape wider = shape;
    wider.top_k = std::min(shape.experts, shape.top_k + 1);
    RC_ASSERT(time <= total(family, wider, device, values) * kRounding);
    RC_ASSERT(total(family, shape, faster(device, somewhere(1, 3)), values) <= time * kRounding);
  }));
}

TEST_CASE("with twice the rates an exchange takes half the time beyond its latency") {
  const KernelFamily& family = exchange_family();
  CHECK(rc::check([&family] {
    const ExchangeShape shape = some_exchange();
    const DeviceFigures device = some_device();
    const std::vector<double> values = some_parameters(family);
    const KernelTime slow = family.time(shape, device, values, Conditions::serving, nullptr);
    const KernelTime fast = family.time(shape, faster(device, 2), values, Conditions::serving, nullptr);
    const double half = (slow.total - slow.latency) / 2;
    RC_ASSERT(std::abs(fast.total - fast.latency - half) <= 1e-9 * slow.total);
  }));
}

}  // namespace moesim::cost
