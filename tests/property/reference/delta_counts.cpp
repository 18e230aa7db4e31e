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

// In chunks, or token after token if `chunk` is 0; with a decay per head or per channel of the keys.
Counts counts_of(const DeltaSizes& sizes, std::int64_t chunk, bool per_channel = false) {
  const auto q = some_values(sizes.tokens * sizes.key_heads * sizes.key_dim);
  const auto v = some_values(sizes.tokens * sizes.value_heads * sizes.value_dim);
  const std::int64_t gates = sizes.tokens * sizes.value_heads;
  const std::vector<float> g(static_cast<std::size_t>(gates * (per_channel ? sizes.key_dim : 1)), -0.1F);
  const std::vector<float> beta(static_cast<std::size_t>(gates), 0.5F);
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

llm::Work work_of(const DeltaSizes& sizes, llm::Phase phase, std::int64_t chunk,
                  llm::RecurrentKind kind = llm::RecurrentKind::gated_delta) {
  return llm::work_of(llm::Recurrence{kind, phase, 1, sizes.tokens, sizes.key_heads, sizes.value_heads,
                                      sizes.key_dim, sizes.value_dim, chunk});
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

TEST_CASE("Kimi delta attention counts the work of decode, and an exponential per channel beside it") {
  CHECK(rc::check([] {
    for (int i = 0; i < 3; ++i) {
      DeltaSizes sizes = any_sizes();
      sizes.key_dim = between(2, 10);
      sizes.tokens = between(1, 30);
      const Counts counts = counts_of(sizes, 0, true);
      const llm::Work work = work_of(sizes, llm::Phase::decode, 64, llm::RecurrentKind::kimi_delta);
      RC_ASSERT(2 * counts.useful_macs == work.matmul_flops);
      RC_ASSERT(counts.executed_macs == counts.useful_macs);
      RC_ASSERT(counts.other_flops == work.other_flops);
      RC_ASSERT(counts.specials == work.specials);
      RC_ASSERT(counts.extra_specials == sizes.tokens * sizes.value_heads * sizes.key_dim);
      expect_bytes(counts, work);
    }
  }));
}

// Multiply-accumulates of one head and one chunk of n tokens, pair by pair: all that are multiplied, or only
// those whose factors are not 0 by construction.
struct ChunkMacs {
  std::int64_t executed = 0;
  std::int64_t useful = 0;

  ChunkMacs(std::int64_t n, std::int64_t k, std::int64_t v) {
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        // Keys with keys, queries with keys; the inverse times keys and values, the scores times the deltas.
        add(k, j < i);
        add(k, j <= i);
        add(k + 2 * v, j <= i);
        // Inverse: row i takes from each row j above it the columns before i, of which those up to j are set.
        for (std::int64_t m = 0; j < i && m < i; ++m) add(1, m <= j);
      }
      // Prediction and result from the state, and its update.
      add(3 * k * v, true);
    }
  }

 private:
  void add(std::int64_t macs, bool is_set) {
    executed += macs;
    useful += is_set ? macs : 0;
  }
};

TEST_CASE("the delta rule in whole chunks executes the work of prefill, of which triangles are useful") {
  CHECK(rc::check([] {
    for (int i = 0; i < 3; ++i) {
      DeltaSizes sizes = any_sizes();
      const std::int64_t chunk = *rc::gen::element<std::int64_t>(1, 2, 7, 16, 64);
      const std::int64_t chunks = between(1, 3);
      sizes.tokens = chunk * chunks;
      const Counts counts = counts_of(sizes, chunk);
      const llm::Work work = work_of(sizes, llm::Phase::prefill, chunk);
      RC_ASSERT(2 * counts.executed_macs == work.matmul_flops);
      const ChunkMacs one(chunk, sizes.key_dim, sizes.value_dim);
      RC_ASSERT(counts.executed_macs == sizes.value_heads * chunks * one.executed);
      RC_ASSERT(counts.useful_macs == sizes.value_heads * chunks * one.useful);
      RC_ASSERT(counts.other_flops == work.other_flops);
      RC_ASSERT(counts.specials == work.specials);
      expect_bytes(counts, work);
    }
  }));
}

TEST_CASE("a last chunk that is not full counts as a chunk of its own size") {
  CHECK(rc::check([] {
    for (int i = 0; i < 3; ++i) {
      DeltaSizes sizes = any_sizes();
      const std::int64_t chunk = *rc::gen::element<std::int64_t>(2, 7, 16, 64);
      const std::int64_t whole = between(0, 2), rest = between(1, chunk - 1);
      sizes.tokens = chunk * whole + rest;
      const Counts counts = counts_of(sizes, chunk);
      const ChunkMacs full(chunk, sizes.key_dim, sizes.value_dim);
      const ChunkMacs last(rest, sizes.key_dim, sizes.value_dim);
      RC_ASSERT(counts.executed_macs == sizes.value_heads * (whole * full.executed + last.executed));
      RC_ASSERT(counts.useful_macs == sizes.value_heads * (whole * full.useful + last.useful));
      // Per chunk the decays of two squares and of the state once; beside that the norms.
      const std::int64_t state = sizes.key_dim * sizes.value_dim;
      const std::int64_t decays = whole * (2 * chunk * chunk + state) + 2 * rest * rest + state;
      const std::int64_t rows = 2 * sizes.tokens * sizes.key_heads;
      RC_ASSERT(counts.other_flops == sizes.value_heads * decays + 3 * rows * sizes.key_dim);
      RC_ASSERT(counts.specials == 2 * sizes.tokens * sizes.value_heads + rows);
      // The operator takes the last chunk as whole.
      const llm::Work work = work_of(sizes, llm::Phase::prefill, chunk);
      RC_ASSERT(2 * counts.executed_macs < work.matmul_flops);
      expect_bytes(counts, work);
    }
  }));
}

}  // namespace
}  // namespace moesim::reference
