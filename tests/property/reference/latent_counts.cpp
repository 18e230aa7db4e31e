// What the products around latent attention count while they run is what their Gemm operators say.
#include <vector>

#include "models/llm/operator.hpp"
#include "models/reference/mla.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

using llm::GemmRole;
using llm::NumberFormat;

// rapidcheck makes 100 cases; each looks at three shapes.
constexpr int kShapes = 3;

std::int64_t between(std::int64_t low, std::int64_t high) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<std::int64_t>(low, high + 1));
}

template <class Value>
std::vector<Value> some_values(std::int64_t count) {
  std::vector<Value> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = stored_as<Value>(static_cast<float>(i * 7919 % 201) / 100.0F - 1.0F);
  return values;
}

LatentSizes any_sizes() {
  LatentSizes sizes;
  sizes.heads = between(1, 4);
  sizes.hidden = between(1, 20);
  sizes.query_rank = between(0, 1) == 0 ? 0 : between(1, 10);
  sizes.latent = between(1, 12);
  sizes.nope = between(1, 6);
  sizes.rope = 2 * between(1, 3);
  sizes.value = between(1, 6);
  return sizes;
}

llm::Work gemm_work(GemmRole role, std::int64_t rows, std::int64_t columns, std::int64_t depth,
                    NumberFormat format, std::int64_t batch = 1) {
  return llm::work_of(llm::Gemm{role, batch, rows, columns, depth, format, format});
}

// Operators write bf16; `result_bytes` is what the kernel stores.
void expect_gemm(const CountingProbe& probe, const llm::Work& work, std::int64_t result_bytes) {
  const Counts counts = probe.result();
  RC_ASSERT(2 * counts.useful_macs == work.matmul_flops);
  RC_ASSERT(counts.executed_macs == counts.useful_macs);
  RC_ASSERT(counts.other_flops == work.other_flops);
  RC_ASSERT(counts.specials == work.specials);
  RC_ASSERT(counts.compulsory(Operand::weights) == work.weight_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::activations) == work.activation_read_bytes);
  RC_ASSERT(2 * counts.compulsory(Operand::result) == result_bytes * work.activation_write_bytes);
  RC_ASSERT(counts.compulsory(Operand::keys_values) == 0);
}

void expect_nothing(const CountingProbe& probe) {
  RC_ASSERT(probe.result().useful_macs == 0);
  RC_ASSERT(probe.result().compulsory(Operand::weights) == 0);
}

void check_projections() {
  const LatentSizes sizes = any_sizes();
  const std::int64_t tokens = between(1, 12), queries = sizes.heads * sizes.query_dim();
  const std::int64_t query_inputs = sizes.query_rank > 0 ? sizes.query_rank : sizes.hidden;
  const auto x = some_values<float>(tokens * sizes.hidden);
  const auto query_down = some_values<float>(sizes.query_rank * sizes.hidden);
  const auto query_up = some_values<float>(queries * query_inputs);
  const auto key_value_down = some_values<float>(sizes.cached_dim() * sizes.hidden);
  const auto output = some_values<float>(sizes.hidden * sizes.heads * sizes.value);
  const std::vector<float> query_norm(static_cast<std::size_t>(sizes.query_rank), 1.0F);
  const std::vector<float> key_value_norm(static_cast<std::size_t>(sizes.latent), 1.0F);
  const LatentWeights<float> weights{query_down,     query_norm, query_up, key_value_down,
                                     key_value_norm, {},         output};
  LatentProbes<CountingProbe> probes;
  const LatentProjection counted =
      latent_projection(x, weights, sizes, RopeTable{}, RopeLayout::interleaved, 1e-6F, probes);
  const LatentProjection plain =
      latent_projection(x, weights, sizes, RopeTable{}, RopeLayout::interleaved, 1e-6F);
  RC_ASSERT(counted.queries == plain.queries);
  const auto heads_out = some_values<float>(tokens * sizes.heads * sizes.value);
  const std::vector<float> y = latent_output(heads_out, weights, sizes, probes);
  RC_ASSERT(y == latent_output(heads_out, weights, sizes));
  constexpr NumberFormat format = NumberFormat::fp32;
  expect_gemm(
      probes.latent_down,
      gemm_work(GemmRole::latent_down, tokens, sizes.query_rank + sizes.cached_dim(), sizes.hidden, format),
      4);
  expect_gemm(probes.query_up, gemm_work(GemmRole::query_up, tokens, queries, query_inputs, format), 4);
  expect_gemm(probes.attention_output,
              gemm_work(GemmRole::attention_output, tokens, sizes.hidden, sizes.heads * sizes.value, format),
              4);
  for (const CountingProbe* unused : {&probes.key_value_up, &probes.query_absorb, &probes.value_absorb})
    expect_nothing(*unused);
}

template <class Value>
void check_forms(NumberFormat format) {
  const LatentSizes sizes = any_sizes();
  const std::int64_t count = between(1, 5), keys = count + between(0, 30);
  const auto q = some_values<Value>(sizes.heads * count * sizes.query_dim());
  const auto latent = some_values<Value>(keys * sizes.latent);
  const auto rope = some_values<Value>(keys * sizes.rope);
  const auto up = some_values<Value>(sizes.heads * (sizes.nope + sizes.value) * sizes.latent);
  std::vector<Value> o(static_cast<std::size_t>(sizes.heads * count * sizes.value));
  QueryRows<Value> queries;
  queries.rows = heads_first(std::span<const Value>(q), sizes.heads, count, sizes.query_dim());
  const LatentKeyValues<Value> cache =
      latent_cache(std::span<const Value>(latent), std::span<const Value>(rope), sizes);
  AttentionOutput<Value> out;
  out.rows = heads_first(std::span<Value>(o), sizes.heads, count, sizes.value);
  AttentionOptions options;
  options.first_query = keys - count;
  const std::int64_t bytes = sizeof(Value);
  LatentProbes<CountingProbe> naive, absorbed;
  CountingProbe kernel;
  latent_attention_naive(queries, cache, std::span<const Value>(up), sizes, options, out, kernel, naive);
  expect_gemm(
      naive.key_value_up,
      gemm_work(GemmRole::key_value_up, keys, sizes.heads * (sizes.nope + sizes.value), sizes.latent, format),
      bytes);
  expect_nothing(naive.query_absorb);
  expect_nothing(naive.value_absorb);
  latent_attention_absorbed(queries, cache, std::span<const Value>(up), sizes, options, out, kernel, {}, 0,
                            absorbed);
  expect_gemm(absorbed.query_absorb,
              gemm_work(GemmRole::query_absorb, count, sizes.latent, sizes.nope, format, sizes.heads), bytes);
  expect_gemm(absorbed.value_absorb,
              gemm_work(GemmRole::value_absorb, count, sizes.value, sizes.latent, format, sizes.heads),
              bytes);
  expect_nothing(absorbed.key_value_up);
}

TEST_CASE("projections of latent attention count as their Gemm operators") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapes; ++i) check_projections();
  }));
}

TEST_CASE("expansion and absorption of latent attention count as their Gemm operators") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapes; ++i) check_forms<Bf16>(NumberFormat::bf16);
    check_forms<float>(NumberFormat::fp32);
  }));
}

}  // namespace
}  // namespace moesim::reference
