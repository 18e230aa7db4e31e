#include <string>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;
using Catch::Matchers::WithinRel;
using cost::Conditions;
using llm::NumberFormat;

namespace {

cost::DeviceFigures h100() {
  cost::DeviceFigures device;
  device.multiprocessors = 132;
  device.clock = 1.83e9;
  device.dram_bandwidth = 3.35e12;
  device.l2_bytes = 50.0 * 1024 * 1024;
  device.peak = {66.9e12, 989.4e12, 1978.9e12, 0, 0, 1978.9e12};
  return device;
}

// Parameters by name; the others keep their initial values.
std::vector<double> parameters_of(const cost::KernelFamily& family,
                                  const std::vector<std::pair<std::string_view, double>>& named) {
  std::vector<double> values;
  for (const cost::Parameter& parameter : family.parameters) {
    values.push_back(parameter.initial);
    for (const auto& [name, value] : named) {
      if (name == parameter.name) {
        values.back() = value;
      }
    }
  }
  return values;
}

// As fitted to the TensorRT-LLM rows of the H100.
std::vector<double> h100_parameters(NumberFormat format) {
  std::vector<std::pair<std::string_view, double>> named = {
      {"dram_fraction", 0.83},    {"l2_rate", 10.02}, {"split_time", 2.68}, {"weight_share", 0.636},
      {"activation_share", 0.51}, {"launch", 1.634},  {"throttle", 0.279},  {"throttle_time", 37.4}};
  const auto add = [&named](double tensor, double extra, double passes, double row, double tile,
                            double step) {
    named.insert(named.end(), {{"tensor_fraction", tensor},
                               {"extra_launch", extra},
                               {"quantise_passes", passes},
                               {"quantise_row", row},
                               {"tile_time", tile},
                               {"step", step}});
  };
  if (format == NumberFormat::fp8) {
    add(0.841, 9.71, 2.23, 35.1, 1.58, 64.2);
  } else if (format == NumberFormat::fp8_block) {
    add(0.608, 0.196, 1.35, 204, 2.94, 128);
  } else {
    add(1.1, 4, 1.5, 20, 1.18, 122);
  }
  return parameters_of(cost::gemm_family(), named);
}

cost::GemmShape product(std::int64_t m, std::int64_t n, std::int64_t k,
                        NumberFormat format = NumberFormat::bf16) {
  cost::GemmShape shape;
  shape.m = m;
  shape.n = n;
  shape.k = k;
  shape.formats = {format, format};
  shape.quantises = format != NumberFormat::bf16;
  return shape;
}

cost::KernelTime timed(const cost::GemmShape& shape, Conditions conditions,
                       const cost::DeviceFigures& device = h100()) {
  return cost::gemm_family().time(shape, device, h100_parameters(shape.formats.weights), conditions, nullptr);
}

double microseconds(const cost::GemmShape& shape, Conditions conditions = Conditions::benchmark) {
  return timed(shape, conditions).total * 1e6;
}

}  // namespace

TEST_CASE("products of the H100 take what was measured") {
  struct Measured {
    cost::GemmShape shape;
    double microseconds;
  };
  const std::vector<Measured> rows = {
      {product(1, 4096, 2048), 9.08},
      {product(16, 7168, 6144), 35.275},
      {product(64, 16384, 65536), 758.39},
      {product(512, 8192, 7168), 79.2},
      {product(4096, 5120, 8192), 435.36},
      {product(1, 16384, 5120, NumberFormat::fp8), 42.464},
      {product(64, 4096, 10240, NumberFormat::fp8), 30.021},
      {product(512, 8192, 7168, NumberFormat::fp8), 61.525},
      {product(4096, 65536, 3072, NumberFormat::fp8), 1159.6},
      {product(1, 4096, 2048, NumberFormat::fp8_block), 8.0256},
      {product(64, 4096, 10240, NumberFormat::fp8_block), 23.045},
      {product(512, 8192, 7168, NumberFormat::fp8_block), 60.608},
  };
  for (const Measured& row : rows) {
    CAPTURE(row.shape.m, row.shape.n, row.shape.k);
    CHECK_THAT(microseconds(row.shape), WithinRel(row.microseconds, 0.12));
  }
}

TEST_CASE("weights of a serving engine come from DRAM, those of a benchmark from L2 where they fit") {
  const cost::GemmShape small = product(16, 4096, 768);  // five copies take 0.6 of L2
  CHECK(microseconds(small, Conditions::serving) > 1.2 * microseconds(small));
  const cost::GemmShape large = product(16, 16384, 16384);
  CHECK_THAT(microseconds(large, Conditions::serving), WithinRel(microseconds(large), 1e-3));
  cost::GemmShape single = product(16, 4096, 2048);
  const double rotating = microseconds(single);
  single.benchmark_copies = 1;
  CHECK(microseconds(single) < 0.9 * rotating);
}

TEST_CASE("a benchmark without CUDA graphs has a floor that an engine with graphs has not") {
  auto parameters = h100_parameters(NumberFormat::bf16);
  cost::GemmShape shape = product(1, 512, 512);
  shape.eager = true;
  const auto& table = cost::gemm_family().parameters;
  REQUIRE(table.back().name == "host_floor");
  parameters.back() = 80;
  const auto time = [&](Conditions conditions) {
    return cost::gemm_family().time(shape, h100(), parameters, conditions, nullptr).total * 1e6;
  };
  CHECK_THAT(time(Conditions::benchmark), WithinRel(80.0, 0.01));
  CHECK(time(Conditions::serving) < 5);
  shape.eager = false;
  CHECK(time(Conditions::benchmark) < 5);
}

TEST_CASE("a last wave that is partly empty costs as much as the parameter says") {
  auto parameters = h100_parameters(NumberFormat::fp8_block);
  const auto& table = cost::gemm_family().parameters;
  const auto time = [&](double rounding, std::int64_t n) {
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (table[i].name == "wave_rounding") parameters[i] = rounding;
    }
    const cost::GemmShape shape = product(1024, n, 8192, NumberFormat::fp8_block);
    return cost::gemm_family().time(shape, h100(), parameters, Conditions::serving, nullptr).total;
  };
  CHECK_THAT(time(1, 132 * 256), WithinRel(time(0.01, 132 * 256), 1e-9));  // whole waves of any tile
  CHECK(time(1, 2176) > 1.2 * time(0.01, 2176));                           // 136 tiles of 128 x 128
}

TEST_CASE("activations that are quantised before cost no kernels here") {
  cost::GemmShape shape = product(4096, 4096, 4096, NumberFormat::fp8);
  const double with = microseconds(shape);
  shape.quantises = false;
  CHECK(microseconds(shape) < with - 9.7);
}

TEST_CASE("twice the machine takes half the time beyond the fixed parts") {
  cost::DeviceFigures twice = h100();
  twice.clock *= 2;
  twice.dram_bandwidth *= 2;
  for (double& peak : twice.peak) {
    peak *= 2;
  }
  for (const NumberFormat format : {NumberFormat::bf16, NumberFormat::fp8_block}) {
    const cost::GemmShape shape = product(1024, 8192, 8192, format);
    auto parameters = h100_parameters(format);
    const auto& table = cost::gemm_family().parameters;
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (table[i].name == "throttle") parameters[i] = table[i].low;
      if (table[i].name == "tile_time") parameters[i] = table[i].low;
    }
    const auto beyond = [&](const cost::DeviceFigures& device) {
      const auto time = cost::gemm_family().time(shape, device, parameters, Conditions::serving, nullptr);
      return time.total - time.latency;
    };
    CHECK_THAT(beyond(twice), WithinRel(beyond(h100()) / 2, 0.01));
  }
}

TEST_CASE("no product is faster than the datasheet allows") {
  for (const std::int64_t m : {1, 64, 1024, 32768}) {
    for (const NumberFormat format : {NumberFormat::bf16, NumberFormat::fp8, NumberFormat::fp8_block}) {
      const auto time = timed(product(m, 8192, 8192, format), Conditions::serving);
      CAPTURE(m);
      CHECK(time.total > time.speed_of_light);
      CHECK(time.total > time.latency);
      CHECK(time.speed_of_light >= 2.0 * static_cast<double>(m) * 8192 * 8192 / 1978.9e12);
    }
  }
  CHECK(timed(product(0, 8192, 8192), Conditions::serving).total == 0);
}

TEST_CASE("formats have the names of the tables, and multiply on the units of the wider operand") {
  using F = NumberFormat;
  const std::vector<std::pair<llm::LinearFormats, std::string>> names = {
      {{F::bf16, F::bf16}, "bf16"},    {{F::fp16, F::bf16}, "bf16"},
      {{F::fp8, F::fp8}, "fp8"},       {{F::fp8_block, F::fp8_block}, "fp8_block"},
      {{F::nvfp4, F::nvfp4}, "nvfp4"}, {{F::int8, F::bf16}, "int8_wo"},
      {{F::int4, F::bf16}, "int4_wo"}, {{F::int4_g32, F::bf16}, "int4_wo"},
      {{F::int8, F::int8}, "sq"},      {{F::mxfp4, F::bf16}, "w4a16_mxfp4"},
      {{F::mxfp4, F::mxfp4}, "mxfp4"}, {{F::mxfp4, F::fp8}, "w4a8_mxfp4_mxfp8"},
      {{F::int4, F::fp8}, "int4_fp8"}, {{F::nvfp4, F::bf16}, "nvfp4_wo"},
  };
  for (const auto& [formats, name] : names) {
    CHECK(cost::format_name(formats) == name);
  }
  const cost::DeviceFigures device = h100();
  CHECK(cost::matmul_peak(device, F::fp8_block) == 1978.9e12);
  CHECK(cost::matmul_peak(device, F::int4) == 989.4e12);
  CHECK(cost::matmul_peak(device, F::nvfp4) == 989.4e12);  // no such units
  CHECK(cost::matmul_peak(device, F::fp32) == 66.9e12);
}

TEST_CASE("products of one batch have a variant of their own") {
  cost::GemmShape shape = product(16, 512, 128);
  CHECK(cost::gemm_family().variant(shape) == "bf16");
  shape.batch = 128;
  CHECK(cost::gemm_family().variant(shape) == "bmm/bf16");
}
