#include <string>
#include <variant>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;
using Catch::Matchers::WithinRel;
using llm::NumberFormat;

namespace {

constexpr double kPartLatency = 4e-6;
constexpr double kPartBody = 10e-6;

// Remembers what it was asked, and answers with times that are easy to add up.
class FakeParts final : public cost::PartTimes {
 public:
  mutable std::vector<cost::KernelShape> asked;
  [[nodiscard]] cost::KernelTime time(const cost::KernelShape& shape) const override {
    asked.push_back(shape);
    cost::KernelTime time;
    time.latency = kPartLatency;
    time.total = kPartLatency + kPartBody;
    time.compute = 3e-6;
    time.memory = 5e-6;
    time.speed_of_light = 1e-6;
    return time;
  }
};

cost::DeviceFigures h100() {
  cost::DeviceFigures device;
  device.multiprocessors = 132;
  device.clock = 1.83e9;
  device.dram_bandwidth = 3.35e12;
  device.l2_bytes = 50.0 * 1024 * 1024;
  device.peak = {66.9e12, 989.4e12, 1978.9e12, 0, 0, 1978.9e12};
  return device;
}

cost::LatentModuleShape module_of(std::int64_t batch, std::int64_t queries, std::int64_t prefix) {
  cost::LatentModuleShape shape;
  shape.decode = queries == 1;
  shape.batch = batch;
  shape.queries = queries;
  shape.prefix = prefix;
  shape.heads = 16;
  return shape;
}

cost::LatentModuleShape sparse_of(std::int64_t batch, std::int64_t queries, std::int64_t prefix) {
  auto shape = module_of(batch, queries, prefix);
  shape.index_heads = 64;
  shape.index_dim = 128;
  shape.index_top_k = 2048;
  return shape;
}

// t0 15 us, half of the parts' latency, factors of 1, fill of a half; no passes worth a word.
std::vector<double> values(double t0 = 15, double fill = 0.5) {
  std::vector<double> all;
  for (const cost::Parameter& parameter : cost::latent_module_family().parameters) {
    all.push_back(parameter.initial);
    if (parameter.name == "t0") all.back() = t0;
    if (parameter.name == "passes") all.back() = 1e-9;
    if (parameter.name == "fill") all.back() = fill;
  }
  return all;
}

cost::KernelTime time_of(const cost::LatentModuleShape& shape, const FakeParts& parts,
                         const std::vector<double>& with = values()) {
  return cost::latent_module_family().time(shape, h100(), with, cost::Conditions::benchmark, &parts);
}

template <typename Shape>
std::vector<Shape> only(const FakeParts& parts) {
  std::vector<Shape> found;
  for (const auto& shape : parts.asked) {
    if (const auto* one = std::get_if<Shape>(&shape)) found.push_back(*one);
  }
  return found;
}

}  // namespace

TEST_CASE("decode of a latent layer runs absorbed: five products around one walk over latent rows") {
  const FakeParts parts;
  const auto time = time_of(module_of(32, 1, 1023), parts);
  const auto products = only<cost::GemmShape>(parts);
  REQUIRE(products.size() == 5);
  CHECK(products[0].n == 1536 + 512 + 64);
  CHECK(products[0].k == 7168);
  CHECK(products[1].n == 16 * 192);
  CHECK(products[2].k == 16 * 128);
  CHECK(products[3].batch == 16);
  CHECK(products[3].n == 512);
  CHECK(products[4].n == 128);
  for (const auto& product : products) CHECK(product.m == 32);
  const auto walks = only<cost::AttentionDecodeShape>(parts);
  REQUIRE(walks.size() == 1);
  CHECK(walks[0].batch == 32);
  CHECK(walks[0].context == 1024);
  CHECK(walks[0].query_heads == 16);
  CHECK(walks[0].qk_dim == 576);
  CHECK(walks[0].v_dim == 512);
  CHECK_THAT(time.latency, WithinRel(15e-6 + 6 * kPartLatency / 2, 1e-9));
  CHECK_THAT(time.total, WithinRel(time.latency + 6 * kPartBody, 1e-6));
  CHECK_THAT(time.compute, WithinRel(6 * 3e-6, 1e-9));
  CHECK_THAT(time.speed_of_light, WithinRel(6e-6, 1e-9));
}

TEST_CASE("a prompt without a choice of tokens expands keys and values, those of the prefix too") {
  const FakeParts parts;
  static_cast<void>(time_of(module_of(2, 512, 1536), parts));
  const auto products = only<cost::GemmShape>(parts);
  REQUIRE(products.size() == 4);
  CHECK(products[3].m == 2 * 2048);
  CHECK(products[3].n == 16 * 256);
  CHECK(products[3].k == 512);
  CHECK(only<cost::AttentionDecodeShape>(parts).empty());
  const auto prompts = only<cost::AttentionPrefillShape>(parts);
  REQUIRE(prompts.size() == 1);
  CHECK(prompts[0].latent);
  CHECK(prompts[0].queries == 512);
  CHECK(prompts[0].prefix == 1536);
  CHECK(prompts[0].qk_dim == 192);
  CHECK(prompts[0].v_dim == 128);
}

TEST_CASE("quantised projections quantise their activations") {
  const FakeParts parts;
  auto shape = module_of(32, 1, 1023);
  shape.projections = {NumberFormat::fp8_block, NumberFormat::fp8_block};
  static_cast<void>(time_of(shape, parts));
  const auto products = only<cost::GemmShape>(parts);
  CHECK(products[0].quantises);
  CHECK_FALSE(products[3].quantises);
}

TEST_CASE("an indexer scores the whole context, and attention walks over the choice") {
  const FakeParts parts;
  const auto near = time_of(sparse_of(32, 1, 16383), parts);
  const auto walks = only<cost::AttentionDecodeShape>(parts);
  REQUIRE(walks.size() == 1);
  CHECK(walks[0].context == 2048);
  CHECK(only<cost::GemmShape>(parts).size() == 7);
  const FakeParts again;
  const auto far = time_of(sparse_of(32, 1, 65535), again);
  // 32 x 49,152 more keys of 132 bytes, and scores of 4 bytes passed over four times.
  const double rate = 0.8 * 3.35e12;
  CHECK_THAT(far.total - near.total, WithinRel(32.0 * 49152 * (132 + 16) / rate, 1e-6));
  auto chosen = sparse_of(32, 1, 65535);
  chosen.indexes = false;
  const FakeParts without;
  CHECK(time_of(chosen, without).total < near.total);
  CHECK(only<cost::GemmShape>(without).size() == 5);
}

TEST_CASE("places of a choice that nothing fills cost their share") {
  const FakeParts parts;
  static_cast<void>(time_of(sparse_of(4, 1, 99), parts));
  const auto walks = only<cost::AttentionDecodeShape>(parts);
  REQUIRE(walks.size() == 2);
  CHECK(walks[0].context == 100);
  CHECK(walks[1].context == 2048);
  // The two walks count as one together.
  const double one = time_of(sparse_of(4, 1, 99), parts, values(15, 0.01)).total;
  const double all = time_of(sparse_of(4, 1, 99), parts, values(15, 1)).total;
  CHECK_THAT(one, WithinRel(all, 1e-9));
}

TEST_CASE("chunks of a prompt with a choice attend to what is before them, at most the choice") {
  const FakeParts parts;
  // 4 tokens with 2,046 before them see 2,047, 2,048, 2,048 and 2,048.
  static_cast<void>(time_of(sparse_of(3, 4, 2046), parts, values(15, 0.01)));
  const auto walks = only<cost::AttentionDecodeShape>(parts);
  REQUIRE(walks.size() == 2);
  CHECK(walks[0].batch == 12);
  CHECK(walks[0].context == 2047);
}

TEST_CASE("variants of latent layers name projections, cache and way of attention") {
  const auto variant = [](const cost::LatentModuleShape& shape) {
    return cost::latent_module_family().variant(shape);
  };
  CHECK(variant(module_of(1, 1, 10)) == "bf16");
  CHECK(variant(module_of(1, 16, 10)) == "bf16/prefill");
  CHECK(variant(sparse_of(1, 1, 10)) == "bf16/sparse");
  auto shape = sparse_of(1, 16, 10);
  shape.indexes = false;
  shape.kv = NumberFormat::fp8;
  shape.projections = {NumberFormat::nvfp4, NumberFormat::nvfp4};
  CHECK(variant(shape) == "nvfp4/kv_fp8/chosen/prefill");
  shape.index_top_k = 0;
  CHECK(variant(shape) == "nvfp4/kv_fp8/dense/prefill");
  CHECK(cost::latent_module_family().composed);
}
