#include <map>
#include <string>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;
using Catch::Matchers::WithinRel;
using Part = cost::DeltaShape::Part;

namespace {

using Values = std::map<std::string, double>;

cost::DeviceFigures h100() {
  cost::DeviceFigures device;
  device.multiprocessors = 132;
  device.clock = 1.83e9;
  device.dram_bandwidth = 3.35e12;
  device.l2_bytes = 50.0 * (1 << 20);
  device.peak = {66.9e12, 989.4e12, 1978.9e12, 0, 0, 1978.9e12};
  return device;
}

// The layer of Qwen3-Next: 16 key heads, 32 value heads, 128 dimensions each.
cost::DeltaShape layer(Part part, bool decode, std::int64_t batch, std::int64_t queries = 1) {
  cost::DeltaShape shape;
  shape.part = part;
  shape.decode = decode;
  shape.batch = batch;
  shape.queries = queries;
  shape.key_heads = 16;
  shape.key_dim = 128;
  shape.value_heads = 32;
  shape.value_dim = 128;
  return shape;
}

cost::KernelTime time_of(const cost::DeltaShape& shape, const Values& changes = {},
                         cost::Conditions conditions = cost::Conditions::serving) {
  std::vector<double> values;
  for (const cost::Parameter& one : cost::delta_family().parameters) {
    const auto at = changes.find(std::string(one.name));
    values.push_back(at == changes.end() ? one.initial : at->second);
  }
  return cost::delta_family().time(shape, h100(), values, conditions, nullptr);
}

}  // namespace

TEST_CASE("a decode step of the recurrence reads and writes the states of its sequences") {
  const double state_bytes = 2.0 * 256 * 32 * 128 * 128 * 4;
  const double row_bytes = 256.0 * 2 * (2 * 16 * 128 + 2 * 32 * 128);
  const cost::KernelTime time = time_of(layer(Part::recurrence, true, 256));
  CHECK_THAT(time.speed_of_light, WithinRel((state_bytes + row_bytes) / 3.35e12, 1e-9));
  CHECK_THAT(time.memory, WithinRel((state_bytes + row_bytes) / (0.8 * 3.35e12), 0.01));
  CHECK(time.compute == 0);
  // The state does not grow with the context: `queries` means nothing here.
  CHECK(time_of(layer(Part::recurrence, true, 256, 1000)).total == time.total);
}

TEST_CASE("serving finds states in DRAM, a benchmark in L2") {
  const cost::DeltaShape one = layer(Part::recurrence, true, 1);
  const double benchmark = time_of(one, {}, cost::Conditions::benchmark).memory;
  const double serving = time_of(one).memory;
  CHECK(benchmark < 0.01 * serving);
  CHECK(time_of(one).latency < time_of(one, {}, cost::Conditions::benchmark).latency);
}

TEST_CASE("a prompt of the recurrence is limited by chunks, and by their order in one long sequence") {
  const Values parameters = {{"chunk_clocks", 10000}, {"step_clocks", 8000}};
  // 64 sequences of 128 chunks of 32 heads.
  const cost::KernelTime many = time_of(layer(Part::recurrence, false, 64, 8192), parameters);
  CHECK_THAT(many.compute, WithinRel(64.0 * 128 * 32 * 10000 / 132 / 1.83e9, 0.01));
  cost::DeltaShape narrow = layer(Part::recurrence, false, 1, 8192);
  narrow.value_heads = 2;
  narrow.key_heads = 1;
  CHECK_THAT(time_of(narrow, parameters).compute, WithinRel(128.0 * 8000 / 1.83e9, 0.01));
  CHECK(time_of(layer(Part::recurrence, false, 64, 65), parameters).compute ==
        time_of(layer(Part::recurrence, false, 64, 128), parameters).compute);
}

TEST_CASE("a convolution streams its channels, and may take sequences one after another") {
  const cost::DeltaShape shape = layer(Part::convolution, false, 8, 8192);
  const double channels = 2 * 16 * 128 + 32 * 128;
  const double bytes = 2.0 * 8 * (8192 + 3) * channels * 2;
  CHECK_THAT(time_of(shape).speed_of_light, WithinRel(bytes / 3.35e12, 1e-9));
  CHECK_THAT(time_of(shape).memory, WithinRel(bytes / (0.8 * 3.35e12), 0.01));
  const Values slow = {{"sequence_clocks", 20000}};
  const double in_order = 64.0 * 20000 / 1.83e9;
  CHECK_THAT(time_of(layer(Part::convolution, false, 64, 1), slow).total, WithinRel(in_order + 4e-6, 0.05));
  CHECK(time_of(layer(Part::convolution, true, 64), slow).total < 0.1 * in_order);
}

TEST_CASE("value channels that a benchmark leaves out are there in a model") {
  const Values keys_only = {{"value_share", 0.01}};
  const cost::DeltaShape shape = layer(Part::convolution, false, 8, 8192);
  const double benchmark = time_of(shape, keys_only, cost::Conditions::benchmark).memory;
  CHECK(benchmark < 0.52 * time_of(shape, keys_only).memory);
  CHECK(time_of(shape, keys_only).memory == time_of(shape).memory);
}

TEST_CASE("variants of delta layers name the part and the phase") {
  const auto variant = [](Part part, bool decode) {
    return cost::delta_family().variant(layer(part, decode, 1));
  };
  CHECK(variant(Part::convolution, false) == "bf16/convolution");
  CHECK(variant(Part::convolution, true) == "bf16/convolution/decode");
  CHECK(variant(Part::recurrence, false) == "bf16/recurrence");
  CHECK(variant(Part::recurrence, true) == "bf16/recurrence/decode");
}
