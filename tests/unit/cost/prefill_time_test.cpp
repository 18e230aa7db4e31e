#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "models/cost/prefill_walk.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;
using Catch::Matchers::WithinRel;

namespace {

using Values = std::map<std::string, double>;

cost::DeviceFigures h100() {
  cost::DeviceFigures device;
  device.architecture = hardware::Architecture::hopper;
  device.multiprocessors = 132;
  device.clock = 1.83e9;
  device.dram_bandwidth = 3.35e12;
  device.l2_bytes = 50.0 * (1 << 20);
  device.peak = {66.9e12, 989.4e12, 1978.9e12, 0, 0, 1978.9e12};
  return device;
}

cost::DeviceFigures a100() {
  cost::DeviceFigures device = h100();
  device.architecture = hardware::Architecture::ampere;
  device.multiprocessors = 108;
  device.clock = 1.41e9;
  device.dram_bandwidth = 2.039e12;
  device.peak = {19.5e12, 312e12, 0, 0, 0, 624e12};
  return device;
}

cost::AttentionPrefillShape shape_of(std::int64_t batch, std::int64_t queries) {
  cost::AttentionPrefillShape shape;
  shape.batch = batch;
  shape.queries = queries;
  shape.query_heads = 32;
  shape.kv_heads = 8;
  shape.qk_dim = 128;
  shape.v_dim = 128;
  return shape;
}

cost::AttentionPrefillShape latent_of(std::int64_t batch, std::int64_t queries) {
  cost::AttentionPrefillShape shape = shape_of(batch, queries);
  shape.kv_heads = shape.query_heads;
  shape.qk_dim = 192;
  shape.latent = true;
  return shape;
}

const cost::KernelFamily& family_for(const cost::AttentionPrefillShape& shape) {
  return shape.latent ? cost::latent_prefill_family() : cost::attention_prefill_family();
}

cost::KernelTime time_of(const cost::AttentionPrefillShape& shape, const cost::DeviceFigures& device,
                         const Values& changes = {},
                         cost::Conditions conditions = cost::Conditions::benchmark) {
  const cost::KernelFamily& family = family_for(shape);
  std::vector<double> values;
  for (const cost::Parameter& one : family.parameters) {
    const auto at = changes.find(std::string(one.name));
    values.push_back(at == changes.end() ? one.initial : at->second);
  }
  return family.time(shape, device, values, conditions, nullptr);
}

// The walk tile by tile, as the kernel does it.
cost::PrefillWalk slow_walk(const cost::AttentionPrefillShape& shape, const cost::PrefillTiling& tiling) {
  const auto window = static_cast<double>(shape.window);
  cost::PrefillWalk walk;
  for (double first = 0; first < static_cast<double>(shape.queries); first += tiling.queries) {
    const double end = std::min(first + tiling.queries, static_cast<double>(shape.queries));
    const double reach = static_cast<double>(shape.prefix) + end;
    const double padded = std::ceil((end - first) / tiling.row_step) * tiling.row_step / 128;
    double steps = std::ceil(reach / tiling.keys);
    if (window > 0) {
      steps = std::min(steps, (window + end - first - 1) / tiling.keys + 1);
      walk.edge += std::clamp((reach - window) / 128, 0.0, 1.0) * padded;
    }
    const double work = padded * steps * tiling.keys / 128;
    walk.tiles += 1;
    walk.total += work;
    walk.longest = std::max(walk.longest, work);
  }
  return walk;
}

}  // namespace

TEST_CASE("the closed form of the walk is its sum over tiles") {
  for (const auto architecture : {hardware::Architecture::hopper, hardware::Architecture::ada}) {
    const cost::PrefillTiling tiling = cost::prefill_tiling(architecture);
    for (const std::int64_t queries : {1, 16, 63, 64, 65, 127, 128, 129, 500, 1024, 4097}) {
      for (const std::int64_t prefix : {0, 1, 64, 100, 1000, 5000}) {
        for (const std::int64_t window : {0, 1, 64, 128, 129, 200, 1024, 4096, 100'000}) {
          cost::AttentionPrefillShape shape = shape_of(1, queries);
          shape.prefix = prefix;
          shape.window = window;
          const cost::PrefillWalk fast = cost::prefill_walk(shape, tiling);
          const cost::PrefillWalk slow = slow_walk(shape, tiling);
          CAPTURE(queries, prefix, window, tiling.queries);
          REQUIRE(fast.tiles == slow.tiles);
          REQUIRE_THAT(fast.total, WithinRel(slow.total, 1e-12));
          REQUIRE_THAT(fast.longest, WithinRel(slow.longest, 1e-12));
          REQUIRE_THAT(fast.edge + 1, WithinRel(slow.edge + 1, 1e-12));
        }
      }
    }
  }
}

TEST_CASE("a long prompt runs at the share of the peak that the parameters say") {
  // 64 heads x 16 sequences of 32 Ki tokens: waves and masks are below one per cent.
  cost::AttentionPrefillShape shape = shape_of(16, 1 << 15);
  const double flops = 2.0 * 16 * 32 * (32768.0 * 32769 / 2) * 256;
  const cost::DeviceFigures device = h100();
  const double scores = 16.0 * 32 * (32768.0 * 32769 / 2) * 0.1 / device.clock / 132;
  const cost::KernelTime time = time_of(shape, device, {{"matrix_fraction", 0.7}, {"score_clocks", 0.1}});
  CHECK_THAT(time.compute, WithinRel(flops / (0.7 * 989.4e12) + scores, 0.02));
  CHECK(time.total < 1.06 * time.compute);
  CHECK_THAT(time.speed_of_light, WithinRel(flops / 989.4e12, 1e-9));
  shape.compute = llm::NumberFormat::fp8;
  CHECK_THAT(time_of(shape, device).speed_of_light, WithinRel(flops / 1978.9e12, 1e-9));
  // No fp8 units: those of bf16 do it.
  CHECK_THAT(time_of(shape, a100()).speed_of_light, WithinRel(flops / 312e12, 1e-9));
}

TEST_CASE("cached tokens cost the scores that the new ones have with them") {
  cost::AttentionPrefillShape shape = shape_of(4, 2048);
  const double alone = time_of(shape, h100()).compute;
  shape.prefix = 30 * 2048;
  // Scores with the prefix are 60 times those among the new tokens.
  CHECK(time_of(shape, h100()).compute / alone > 45);
  CHECK(time_of(shape, h100()).compute / alone < 62);
  const double pairs = 2048.0 * 30 * 2048 + 2048.0 * 2049 / 2;
  CHECK_THAT(time_of(shape, h100()).speed_of_light, WithinRel(2.0 * 4 * 32 * pairs * 256 / 989.4e12, 1e-9));
  shape.window = 128;
  CHECK_THAT(time_of(shape, h100()).speed_of_light,
             WithinRel(4 * (2048.0 * (32 * 256 + 32 * 256 + 8 * 512) + 128 * 8 * 512) / 3.35e12, 0.2));
}

TEST_CASE("a window that no query fills changes nothing") {
  cost::AttentionPrefillShape shape = shape_of(2, 1000);
  const double full = time_of(shape, h100()).total;
  shape.window = 1000;
  CHECK(time_of(shape, h100()).total == full);
  shape.window = 128;
  CHECK(time_of(shape, h100()).compute < full);
}

TEST_CASE("serving reads the cached prefix from DRAM and has no gap between replays") {
  cost::AttentionPrefillShape shape = shape_of(1, 16);
  const double small = time_of(shape, h100()).total;
  CHECK_THAT(small - time_of(shape, h100(), {}, cost::Conditions::serving).total, WithinRel(1e-6, 1e-6));
  shape.prefix = 1024;  // 4 MiB of cache: in L2 when a benchmark repeats the kernel
  const cost::KernelTime benchmark = time_of(shape, h100());
  const cost::KernelTime serving = time_of(shape, h100(), {}, cost::Conditions::serving);
  const double prefix_bytes = 1024.0 * 8 * 256 * 2;
  CHECK(benchmark.memory < 0.1 * prefix_bytes / 3.35e12);
  CHECK_THAT(serving.memory, WithinRel(prefix_bytes / (0.8 * 3.35e12), 0.02));
  // Keys and values that latent attention expands have just been written.
  cost::AttentionPrefillShape latent = latent_of(1, 16);
  latent.prefix = 1024;
  CHECK(time_of(latent, h100(), {}, cost::Conditions::serving).memory == time_of(latent, h100()).memory);
}

TEST_CASE("a host that launches without a graph is a floor of benchmarks only") {
  const cost::AttentionPrefillShape tiny = latent_of(1, 1);
  const Values eager = {{"host", 200}};
  CHECK_THAT(time_of(tiny, h100(), eager).total, WithinRel(200e-6, 1e-3));
  CHECK(time_of(tiny, h100(), eager, cost::Conditions::serving).total < 30e-6);
  const cost::AttentionPrefillShape large = latent_of(16, 8192);
  CHECK_THAT(time_of(large, h100(), eager).total,
             WithinRel(time_of(large, h100(), {{"host", 1}}).total, 1e-6));
}

TEST_CASE("thread blocks of short prompts pay for rows that the matrix instructions add") {
  const Values bare = {{"block_clocks", 0}};
  const auto compute = [&](std::int64_t queries, const cost::DeviceFigures& device) {
    return time_of(shape_of(256, queries), device, bare).compute;
  };
  CHECK(compute(1, h100()) == compute(64, h100()));
  CHECK(compute(65, h100()) > 1.9 * compute(64, h100()));
  CHECK(compute(1, a100()) == compute(16, a100()));
  CHECK(compute(17, a100()) > 1.9 * compute(16, a100()));
}

TEST_CASE("variants name formats and the widths for which libraries compile kernels") {
  using NF = llm::NumberFormat;
  cost::AttentionPrefillShape shape = shape_of(1, 1);
  const auto variant = [&](NF compute, NF kv, std::int64_t width) {
    shape.compute = compute;
    shape.kv = kv;
    shape.qk_dim = width;
    return family_for(shape).variant(shape);
  };
  CHECK(variant(NF::bf16, NF::bf16, 128) == "bf16");
  CHECK(variant(NF::bf16, NF::fp8, 192) == "bf16/kv_fp8");
  CHECK(variant(NF::bf16, NF::fp8, 64) == "bf16/kv_fp8/narrow");
  CHECK(variant(NF::fp8, NF::fp8, 256) == "fp8/wide");
  shape.latent = true;
  CHECK(variant(NF::bf16, NF::fp8, 256) == "bf16/kv_fp8");
}

TEST_CASE("parameters of attention over prompts have bounds around their initial values") {
  for (const auto* family : {&cost::attention_prefill_family(), &cost::latent_prefill_family()}) {
    for (const cost::Parameter& one : family->parameters) {
      CAPTURE(one.name);
      CHECK(one.low > 0);
      CHECK(one.low <= one.initial);
      CHECK(one.initial <= one.high);
      CHECK_FALSE(one.sentence.empty());
    }
    std::int64_t nodes = 1;
    for (const cost::SurfaceAxis& axis : family->surface_axes) {
      nodes *= axis.nodes;
    }
    CHECK(nodes <= 64);
  }
}
