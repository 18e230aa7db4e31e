#include <string>
#include <utility>
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
std::vector<double> h100_attention(NumberFormat kv) {
  std::vector<std::pair<std::string_view, double>> named = {
      {"l2_share", 0.45}, {"wave_rounding", 0.2}, {"overlap", 1.3}, {"head_rows", 1}};
  const auto add = [&named](const std::vector<std::pair<std::string_view, double>>& more) {
    named.insert(named.end(), more.begin(), more.end());
  };
  if (kv == NumberFormat::fp8) {
    add({{"sinks", 2.9}, {"group_block_clocks", 1.1}, {"group_row_clocks", 3.5}, {"group_t0", 4.3}});
  } else {
    add({{"sinks", 0.9}, {"group_block_clocks", 6.2}, {"group_row_clocks", 3.1}, {"group_t0", 5.3}});
  }
  return parameters_of(cost::attention_decode_family(), named);
}

cost::AttentionDecodeShape attention(std::int64_t batch, std::int64_t context, std::int64_t heads,
                                     std::int64_t kv_heads, NumberFormat kv = NumberFormat::bf16) {
  cost::AttentionDecodeShape shape;
  shape.batch = batch;
  shape.context = context;
  shape.query_heads = heads;
  shape.kv_heads = kv_heads;
  shape.qk_dim = 128;
  shape.v_dim = 128;
  shape.kv = kv;
  return shape;
}

cost::AttentionDecodeShape latent(std::int64_t batch, std::int64_t context, std::int64_t heads,
                                  NumberFormat kv = NumberFormat::bf16) {
  cost::AttentionDecodeShape shape = attention(batch, context, heads, 1, kv);
  shape.qk_dim = 576;
  shape.v_dim = 512;
  shape.latent = true;
  return shape;
}

cost::KernelTime attention_time(const cost::AttentionDecodeShape& shape,
                                const cost::DeviceFigures& device = h100(),
                                Conditions conditions = Conditions::benchmark) {
  return cost::attention_decode_family().time(shape, device, h100_attention(shape.kv), conditions, nullptr);
}

cost::KernelTime latent_time(const cost::AttentionDecodeShape& shape, Conditions conditions,
                             const std::vector<std::pair<std::string_view, double>>& named = {},
                             const cost::DeviceFigures& device = h100()) {
  const cost::KernelFamily& family = cost::latent_decode_family();
  return family.time(shape, device, parameters_of(family, named), conditions, nullptr);
}

}  // namespace

TEST_CASE("decode attention of long contexts streams the cache from DRAM") {
  const auto time = attention_time(attention(64, 32768, 32, 8));
  const double bytes = 64.0 * 8 * 32768 * 2 * 128 * 2;
  CHECK(time.memory > bytes / 3.35e12);
  CHECK(time.total < 1.25 * bytes / 3.35e12);
  CHECK_THAT(time.speed_of_light, WithinRel(bytes / 3.35e12, 0.001));
  CHECK(time.link == 0);
}

TEST_CASE("decode attention with every term set by hand") {
  // 4 sequences x 2 KV heads: 8 units of 8 query heads (16 rows), 1,024 tokens in 8 splits of 128.
  const auto values = parameters_of(cost::attention_decode_family(), {{"overlap", 1},
                                                                      {"wave_rounding", 1},
                                                                      {"resident_blocks", 0.5},
                                                                      {"group_split_tokens", 128},
                                                                      {"group_split_waves", 1},
                                                                      {"group_block_clocks", 2},
                                                                      {"group_row_clocks", 3},
                                                                      {"group_t0", 5},
                                                                      {"reduction", 2},
                                                                      {"head_t0", 100}});
  const auto time = cost::attention_decode_family().time(attention(4, 1024, 16, 2), h100(), values,
                                                         Conditions::benchmark, nullptr);
  // 64 blocks fit into one wave; what they read stays in L2 and is quick beside 5,000 clocks.
  const double begin = 5000 / 1.83e9;
  const double bytes_of_a_block = 128 * 2 * 128 * 2;
  const double l2 = bytes_of_a_block / (40 * 1.83e9);
  CHECK_THAT(time.latency, WithinRel(7e-6, 1e-12));
  CHECK(time.total > 7e-6 + begin + l2);
  CHECK(time.total < 7e-6 + begin + 1.05 * l2);
}

TEST_CASE("a serving engine finds no cache in L2 and no gap between replays") {
  const auto shape = attention(2, 1024, 32, 8);  // 8 MiB
  const auto warm = attention_time(shape);
  const auto cold = attention_time(shape, h100(), Conditions::serving);
  CHECK(warm.memory < 0.9 * cold.memory);
  CHECK_THAT(cold.memory, WithinRel(8388608 / (0.9 * 3.35e12), 0.01));
  CHECK_THAT(warm.latency - cold.latency, WithinRel(1e-6, 1e-9));

  const auto large = attention(256, 8192, 32, 8);
  const double gap = attention_time(large).total - attention_time(large, h100(), Conditions::serving).total;
  CHECK_THAT(gap, WithinRel(1e-6, 1e-6));
}

TEST_CASE("an 8-bit cache halves what decode attention reads") {
  const double wide = attention_time(attention(64, 32768, 32, 8)).memory;
  const double narrow = attention_time(attention(64, 32768, 32, 8, NumberFormat::fp8)).memory;
  CHECK_THAT(narrow, WithinRel(wide / 2, 0.001));
}

TEST_CASE("more than 32 query heads on a KV head fall back to blocks of single heads") {
  // 64 heads read the cache once each through L2.
  const double group = attention_time(attention(64, 4096, 32, 1)).total;
  const double heads = attention_time(attention(64, 4096, 64, 1)).total;
  CHECK(heads > 4 * group);

  // A library with blocks for large groups does not.
  std::vector<double> values = h100_attention(NumberFormat::bf16);
  const cost::KernelFamily& family = cost::attention_decode_family();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (family.parameters[i].name == "head_rows") values[i] = 64;
  }
  const auto shape = attention(64, 4096, 64, 1);
  CHECK(family.time(shape, h100(), values, Conditions::benchmark, nullptr).total < heads / 4);
}

TEST_CASE("datacentre Blackwell runs single heads on the kernel for groups") {
  cost::DeviceFigures b200 = h100();
  b200.architecture = hardware::Architecture::blackwell;
  const auto shape = attention(64, 1024, 16, 16);
  std::vector<double> values = h100_attention(NumberFormat::bf16);
  const cost::KernelFamily& family = cost::attention_decode_family();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (family.parameters[i].name == "head_t0") values[i] = 300;
  }
  CHECK(family.time(shape, b200, values, Conditions::benchmark, nullptr).total < 300e-6);
  CHECK(family.time(shape, h100(), values, Conditions::benchmark, nullptr).total > 300e-6);
}

TEST_CASE("few units of a 16-bit cache take the quicker of two kernels") {
  // The kernel for groups alone would start with 4.3 us more here.
  std::vector<double> values = h100_attention(NumberFormat::bf16);
  const auto shape = attention(1, 16, 4, 1);
  const cost::KernelFamily& family = cost::attention_decode_family();
  const double quicker = family.time(shape, h100(), values, Conditions::benchmark, nullptr).total;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (family.parameters[i].name == "head_t0") values[i] = 300;
  }
  const double grouped = family.time(shape, h100(), values, Conditions::benchmark, nullptr).total;
  CHECK(quicker < grouped);
  CHECK(grouped < 100e-6);
}

TEST_CASE("rows of the query tile are padded to 16, and cost clocks of their block") {
  const auto of = [](std::int64_t heads) {
    const cost::KernelFamily& family = cost::attention_decode_family();
    const auto values =
        parameters_of(family, {{"group_row_clocks", 60}, {"group_block_clocks", 0.3}, {"head_t0", 400}});
    const auto time =
        family.time(attention(2048, 16, heads, 1), h100(), values, Conditions::benchmark, nullptr);
    return time.total - time.latency;
  };
  CHECK_THAT(of(16), WithinRel(of(2), 0.01));
  CHECK_THAT(of(32), WithinRel(2 * of(16), 0.05));
  CHECK_THAT(of(24), WithinRel(of(32), 0.01));
}

TEST_CASE("a window bounds what decode attention reads, but its blocks are still begun") {
  auto shape = attention(4, 65536, 32, 8);
  const double full = attention_time(shape).total;
  shape.window = 1024;
  const double windowed = attention_time(shape).total;
  CHECK(windowed < full / 3);
  auto short_context = attention(4, 1024, 32, 8);
  CHECK(windowed > attention_time(short_context).total);
  CHECK_THAT(attention_time(shape).memory, WithinRel(attention_time(short_context).memory, 1e-9));
}

TEST_CASE("attention sinks add their time") {
  auto shape = attention(16, 1024, 32, 8);
  const double without = attention_time(shape).total;
  shape.sinks = true;
  CHECK_THAT(attention_time(shape).total - without, WithinRel(0.9e-6, 1e-6));
}

TEST_CASE("latent decode shares its rows among up to 64 heads") {
  const auto of = [](std::int64_t heads) {
    return latent_time(latent(256, 8192, heads), Conditions::serving);
  };
  const double bytes = 256.0 * 8192 * 576 * 2;
  CHECK_THAT(of(16).memory, WithinRel(bytes / (0.9 * 3.35e12), 0.01));
  CHECK(of(64).total < 1.25 * of(1).total);
  CHECK(of(128).total > of(64).total);
  CHECK_THAT(of(128).memory, WithinRel(of(64).memory, 0.05));
  CHECK_THAT(of(128).compute, WithinRel(2 * of(64).compute, 1e-9));
  CHECK_THAT(of(16).speed_of_light, WithinRel(bytes / 3.35e12, 0.01));
}

TEST_CASE("each group of 64 heads walks over the latent rows by itself") {
  const std::vector<std::pair<std::string_view, double>> slow = {
      {"tile_clocks", 20}, {"row_clocks", 0.05}, {"reduction", 0.1}, {"wave_rounding", 0.02}};
  const auto of = [&slow](std::int64_t heads) {
    const auto time = latent_time(latent(256, 8192, heads), Conditions::serving, slow);
    return time.total - time.latency;
  };
  CHECK_THAT(of(64), WithinRel(of(32), 0.01));
  CHECK_THAT(of(128), WithinRel(2 * of(64), 0.05));
}

TEST_CASE("an SM of twice the tensor speed takes half the clocks and reads twice as fast") {
  cost::DeviceFigures plain = h100();
  plain.l2_bytes = 1e10;
  cost::DeviceFigures strong = plain;
  for (double& peak : strong.peak) peak *= 2;
  const auto beyond_latency = [](const cost::AttentionDecodeShape& shape, const cost::DeviceFigures& device,
                                 Conditions conditions) {
    const auto time = attention_time(shape, device, conditions);
    return time.total - time.latency;
  };
  // Blocks of one step, then caches in L2; but DRAM stays what it is.
  for (const auto& shape : {attention(2048, 16, 32, 1), attention(4, 4096, 32, 8)}) {
    CHECK_THAT(beyond_latency(shape, strong, Conditions::benchmark),
               WithinRel(beyond_latency(shape, plain, Conditions::benchmark) / 2, 1e-6));
  }
  const auto streamed = attention(256, 32768, 32, 8);
  CHECK(beyond_latency(streamed, strong, Conditions::serving) >
        0.75 * beyond_latency(streamed, plain, Conditions::serving));
}

TEST_CASE("a context has no more splits than the library makes") {
  const cost::KernelFamily& family = cost::attention_decode_family();
  const auto of = [&family](double most, std::int64_t batch) {
    const auto values = parameters_of(
        family, {{"group_most_splits", most}, {"head_t0", 400}, {"overlap", 6}, {"l2_bytes_per_clock", 400}});
    const auto time =
        family.time(attention(batch, 131072, 8, 1), h100(), values, Conditions::benchmark, nullptr);
    return time.total - time.latency;
  };
  CHECK_THAT(of(16, 1), WithinRel(2 * of(32, 1), 0.1));
  // Enough sequences fill the device with few splits each.
  CHECK_THAT(of(64, 132), WithinRel(of(32, 132), 1e-9));
}

TEST_CASE("latent decode reduces in a cluster of 16 blocks or through memory, whichever is quicker") {
  const auto of = [](double global_reduction, std::int64_t context) {
    return latent_time(latent(1, context, 16), Conditions::benchmark,
                       {{"t0", 8}, {"reduction", 2}, {"global_reduction", global_reduction}});
  };
  // Up to 16 splits of 256 tokens, memory has nothing to offer.
  CHECK_THAT(of(6, 4096).latency, WithinRel(10e-6, 1e-9));
  // One SM of 132 in eight reads this cache, or one in two.
  CHECK_THAT(of(6, 131072).latency, WithinRel(14e-6, 1e-9));
  CHECK_THAT(of(40, 16384).latency, WithinRel(10e-6, 1e-9));
  CHECK(of(6, 131072).total < of(40, 131072).total);
  CHECK(of(40, 16384).total > of(6, 16384).total);
}

TEST_CASE("pairs of blocks of datacentre Blackwell work on 128 heads and read the cache once") {
  cost::DeviceFigures b200 = h100();
  b200.architecture = hardware::Architecture::blackwell;
  const auto of = [](std::int64_t heads, const cost::DeviceFigures& device,
                     const std::vector<std::pair<std::string_view, double>>& named = {}) {
    return latent_time(latent(256, 8192, heads), Conditions::serving, named, device);
  };
  // 16 heads need no padding; 64 are padded to the rows of 128.
  CHECK_THAT(of(64, b200).compute, WithinRel(8 * of(16, b200).compute, 1e-9));
  CHECK_THAT(of(128, b200).compute, WithinRel(of(64, b200).compute, 1e-9));
  CHECK_THAT(of(256, b200).compute, WithinRel(2 * of(128, b200).compute, 1e-9));
  // Hopper pads to 64, older warps to 16.
  CHECK_THAT(of(16, h100()).compute, WithinRel(of(64, h100()).compute, 1e-9));
  cost::DeviceFigures old = h100();
  old.architecture = hardware::Architecture::ampere;
  CHECK_THAT(of(64, old).compute, WithinRel(4 * of(16, old).compute, 1e-9));
  // Where feeding the SMs decides, 128 heads take a pair no longer than 64 take a block.
  const std::vector<std::pair<std::string_view, double>> starved = {
      {"l2_bytes_per_clock", 5}, {"row_clocks", 0.05}, {"block_clocks", 0.3}, {"tile_clocks", 0.1}};
  CHECK_THAT(of(128, b200, starved).total, WithinRel(of(64, b200, starved).total, 0.05));
  CHECK(of(128, h100(), starved).total > 1.8 * of(64, h100(), starved).total);
}

TEST_CASE("what a cache is inflated by is read, but is no work that must be done") {
  const auto plain = latent_time(latent(256, 8192, 16), Conditions::serving);
  const auto inflated = latent_time(latent(256, 8192, 16), Conditions::serving, {{"inflation", 2.0}});
  CHECK_THAT(inflated.memory, WithinRel(2 * plain.memory, 0.01));
  CHECK_THAT(inflated.speed_of_light, WithinRel(plain.speed_of_light, 1e-9));
}

TEST_CASE("a floor of the host is no part of a serving step") {
  const std::vector<std::pair<std::string_view, double>> eager = {{"t0", 150}, {"reduction", 0.1}};
  CHECK(latent_time(latent(1, 16, 16), Conditions::benchmark, eager).total > 150e-6);
  CHECK(latent_time(latent(1, 16, 16), Conditions::serving, eager).latency < 20.2e-6);
}

TEST_CASE("variants and places of decode attention") {
  const cost::KernelFamily& family = cost::attention_decode_family();
  CHECK(family.variant(attention(1, 1, 8, 1)) == "bf16");
  CHECK(family.variant(attention(1, 1, 8, 1, NumberFormat::fp8)) == "fp8");
  auto shape = attention(16, 4096, 32, 8);
  shape.window = 128;
  const auto place = family.place(shape, h100());
  CHECK_THAT(place[0], WithinRel(7.0, 1e-12));  // 128 units
  CHECK_THAT(place[1], WithinRel(7.0, 1e-12));  // 128 tokens seen
  CHECK_THAT(place[2], WithinRel(2.0, 1e-12));  // 4 heads each
  CHECK_THAT(place[3], WithinRel(14.0, 1e-12));
  CHECK_THAT(place[4], WithinRel(5.0, 1e-12));  // 32 windows
  const auto surface = family.surface_place(shape, h100());
  CHECK(surface[0] == place[0]);
  CHECK(surface[1] == place[1]);
  for (const cost::KernelFamily* one : {&family, &cost::latent_decode_family()}) {
    std::int64_t nodes = 1;
    for (const auto& axis : one->surface_axes) nodes *= axis.nodes;
    CHECK(nodes <= 64);
    CHECK_FALSE(one->composed);
  }
  const auto latent_place = cost::latent_decode_family().place(latent(8, 1024, 32), h100());
  CHECK_THAT(latent_place[0], WithinRel(3.0, 1e-12));
  CHECK_THAT(latent_place[1], WithinRel(10.0, 1e-12));
  CHECK_THAT(latent_place[2], WithinRel(1.0, 1e-12));
  const auto two_groups = cost::latent_decode_family().place(latent(8, 1024, 128), h100());
  CHECK_THAT(two_groups[0], WithinRel(4.0, 1e-12));
}
