// What the gated delta rule counts while it runs is what the operator of the simulator says.
#include <vector>

#include "models/llm/operator.hpp"
#include "models/reference/delta_chunk.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

std::int64_t between(std::int64_t low, std::int64_t high) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<std::int64_t>(low, high + 1));
}

std::vector<Bf16> some_values(std::int64_t count) {
  std::vector<Bf16> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = to_bf16(static_cast<float>(i * 7919 % 201) / 100.0F - 1.0F);
  return values;
}

Counts counts_of(const DeltaSizes& sizes, std::int64_t chunk) {
  const auto q = some_values(sizes.tokens * sizes.key_heads * sizes.key_dim);
  const auto v = some_values(sizes.tokens * sizes.value_heads * sizes.value_dim);
  const std::vector<float> g(static_cast<std::size_t>(sizes.tokens * sizes.value_heads), -0.1F);
  const std::vector<float> beta(g.size(), 0.5F);
  std::vector<float> state(static_cast<std::size_t>(sizes.value_heads * sizes.key_dim * sizes.value_dim));
  std::vector<Bf16> out(v.size());
  const DeltaInputs<Bf16> inputs{q, q, v, g, beta};
  CountingProbe probe;
  DeltaOptions options;
  if (chunk > 0) {
    options.chunk = chunk;
    delta_rule_chunked<float>(inputs, sizes, options, std::span(state), std::span(out), probe);
  } else {
    delta_rule_recurrent<float>(inputs, sizes, options, std::span(state), std::span(out), probe);
  }
  return probe.result();
}

llm::Work work_of(const DeltaSizes& sizes, llm::Phase phase, std::int64_t chunk) {
  return llm::work_of(llm::Recurrence{llm::RecurrentKind::gated_delta, phase, 1, sizes.tokens,
                                      sizes.key_heads, sizes.value_heads, sizes.key_dim, sizes.value_dim,
                                      chunk});
}

void expect_bytes(const Counts& counts, const llm::Work& work) {
  RC_ASSERT(counts.compulsory(Operand::keys_values) == work.kv_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::cached_result) == work.kv_write_bytes);
  RC_ASSERT(counts.compulsory(Operand::activations) == work.activation_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::result) == work.activation_write_bytes);
}

DeltaSizes any_sizes() {
  DeltaSizes sizes;
  sizes.key_heads = between(1, 2);
  sizes.value_heads = sizes.key_heads * between(1, 2);
  sizes.key_dim = between(1, 10);
  sizes.value_dim = between(1, 10);
  return sizes;
}

TEST_CASE("the recurrent delta rule counts the work of decode") {
  CHECK(rc::check([] {
    for (int i = 0; i < 3; ++i) {
      DeltaSizes sizes = any_sizes();
      sizes.tokens = between(1, 30);
      const Counts counts = counts_of(sizes, 0);
      const llm::Work work = work_of(sizes, llm::Phase::decode, 64);
      RC_ASSERT(2 * counts.useful_macs == work.matmul_flops);
      RC_ASSERT(counts.other_flops == work.other_flops);
      RC_ASSERT(counts.specials == work.specials);
      expect_bytes(counts, work);
    }
  }));
}

TEST_CASE("the delta rule in whole chunks counts the work of prefill") {
  CHECK(rc::check([] {
    for (int i = 0; i < 3; ++i) {
      DeltaSizes sizes = any_sizes();
      const std::int64_t chunk = *rc::gen::element<std::int64_t>(1, 2, 7, 16, 64);
      const std::int64_t chunks = between(1, 3);
      sizes.tokens = chunk * chunks;
      const Counts counts = counts_of(sizes, chunk);
      const llm::Work work = work_of(sizes, llm::Phase::prefill, chunk);
      RC_ASSERT(2 * counts.useful_macs == work.matmul_flops);
      RC_ASSERT(counts.other_flops == work.other_flops);
      RC_ASSERT(counts.specials == work.specials);
      expect_bytes(counts, work);
    }
  }));
}

TEST_CASE("a last chunk that is not full takes less than the operator says") {
  CHECK(rc::check([] {
    DeltaSizes sizes = any_sizes();
    const std::int64_t chunk = *rc::gen::element<std::int64_t>(16, 64);
    sizes.tokens = chunk * between(0, 2) + between(1, chunk - 1);
    const llm::Work work = work_of(sizes, llm::Phase::prefill, chunk);
    RC_ASSERT(2 * counts_of(sizes, chunk).useful_macs < work.matmul_flops);
  }));
}

}  // namespace
}  // namespace moesim::reference
