// Products count what llm::work_of says, operand by operand, and a row does not depend on its batch.
#include <cstring>
#include <numeric>
#include <vector>

#include "models/llm/operator.hpp"
#include "models/llm/tile_work.hpp"
#include "models/reference/gemm.hpp"
#include "models/reference/gemm_fp8.hpp"
#include "models/reference/grouped_gemm.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"
#include "tests/support/expert_rig.hpp"

namespace moesim::reference {
namespace {

using llm::NumberFormat;
using test::Numbers;

// Each property looks at three shapes a round, 300 in all.
constexpr int kShapesPerRound = 3;

std::int64_t number(std::int64_t low, std::int64_t high) {
  return *rc::gen::inRange<std::int64_t>(low, high + 1);
}

template <class Value>
std::span<const Value> view(const std::vector<Value>& values) {
  return values;
}

void check_work(const Counts& counts, const llm::Work& work) {
  RC_ASSERT(2 * counts.useful_macs == work.matmul_flops);
  RC_ASSERT(counts.other_flops == work.other_flops);
  RC_ASSERT(counts.specials == work.specials);
  RC_ASSERT(counts.compulsory(Operand::weights) == work.weight_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::activations) == work.activation_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::result) == work.activation_write_bytes);
  RC_ASSERT(counts.compulsory(Operand::keys_values) == work.kv_read_bytes);
}

// Value as stored, bias and result bf16.
template <class Value>
void check_gemm(NumberFormat format) {
  const std::int64_t m = number(0, 140), n = number(1, 140), k = number(1, 140);
  const bool has_bias = *rc::gen::arbitrary<bool>();
  Numbers numbers(static_cast<std::uint64_t>(m * 1000 + n));
  const auto a = numbers.values<Value>(m * k);
  const auto b = numbers.values<Value>(n * k);
  const auto bias = numbers.values<Bf16>(has_bias ? n : 0);
  std::vector<Bf16> c(static_cast<std::size_t>(m * n));
  CountingProbe probe;
  gemm(matrix(view(a), m, k), matrix(view(b), n, k), view(bias), std::span<Bf16>(c), probe, {128, 128, true});
  llm::Gemm op;
  op.rows = m;
  op.columns = n;
  op.depth = k;
  op.weights = op.activations = format;
  op.bias = has_bias;
  const Counts counts = probe.result();
  if (m == 0) return;  // an operator without rows is not emitted: its weights would be read for nothing
  check_work(counts, llm::work_of(op));
  RC_ASSERT(counts.useful_macs == llm::macs_of(op).useful);
  RC_ASSERT(counts.executed_macs == llm::macs_of(op).executed);
}

}  // namespace

TEST_CASE("products count as Gemm, tiles included") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapesPerRound; ++i) check_gemm<Bf16>(NumberFormat::bf16);
    check_gemm<float>(NumberFormat::fp32);
  }));
}

TEST_CASE("grouped products count as GroupedGemm, experts without rows included") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapesPerRound; ++i) {
      const std::int64_t experts = number(1, 7), n = number(1, 40), k = number(1, 140);
      const bool has_bias = *rc::gen::arbitrary<bool>();
      std::vector<std::int64_t> rows, offsets = {0};
      for (std::int64_t e = 0; e < experts; ++e) {
        rows.push_back(number(0, 2) == 0 ? 0 : number(0, 9));
        offsets.push_back(offsets.back() + rows.back());
      }
      Numbers numbers(static_cast<std::uint64_t>(offsets.back()));
      const auto x = numbers.values<Bf16>(offsets.back() * k);
      const auto w = numbers.values<Bf16>(experts * n * k);
      const auto bias = numbers.values<Bf16>(has_bias ? experts * n : 0);
      std::vector<Bf16> y(static_cast<std::size_t>(offsets.back() * n));
      CountingProbe probe;
      grouped_gemm(matrix(view(x), offsets.back(), k), offsets, expert_matrices(view(w), experts, n, k),
                   view(bias), std::span<Bf16>(y), probe, {128, 128, true});
      llm::GroupedGemm op;
      op.experts = experts;
      op.columns = n;
      op.depth = k;
      op.bias = has_bias;
      op.rows_by_expert = rows;
      check_work(probe.result(), llm::work_of(op));
      RC_ASSERT(probe.result().executed_macs == llm::macs_of(op).executed);
    }
  }));
}

TEST_CASE("router logits count as Router, tiles included") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapesPerRound; ++i) {
      const std::int64_t tokens = number(1, 140), experts = number(1, 140), hidden = number(1, 100);
      Numbers numbers(static_cast<std::uint64_t>(tokens));
      const auto x = numbers.values<Bf16>(tokens * hidden);
      const auto w = numbers.values<Bf16>(experts * hidden);
      std::vector<float> logits(static_cast<std::size_t>(tokens * experts));
      CountingProbe probe;
      router_logits(matrix(view(x), tokens, hidden), matrix(view(w), experts, hidden),
                    std::span<float>(logits), probe);
      const llm::Router op{tokens, experts, hidden};
      check_work(probe.result(), llm::work_of(op));
      RC_ASSERT(probe.result().useful_macs == llm::macs_of(op).useful);
    }
  }));
}

TEST_CASE("FP8 block products count as Gemm with block scales") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapesPerRound; ++i) {
      const std::int64_t m = number(1, 20), n = number(1, 150), k = number(1, 300);
      const std::int64_t blocks = (k + 127) / 128;
      const std::vector<std::uint8_t> a_codes(static_cast<std::size_t>(m * k), 1);
      const std::vector<std::uint8_t> b_codes(static_cast<std::size_t>(n * k), 1);
      const std::vector<float> a_scales(static_cast<std::size_t>(m * blocks), 1.0F);
      const std::vector<float> b_scales(static_cast<std::size_t>((n + 127) / 128 * blocks), 1.0F);
      const std::vector<float> table(256, 0.5F);
      std::vector<Bf16> c(static_cast<std::size_t>(m * n));
      CountingProbe probe;
      gemm_fp8_block(Fp8Blocks{a_codes, a_scales, m, k, 1}, Fp8Blocks{b_codes, b_scales, n, k, 128},
                     std::span<const float, 256>(table.data(), 256), std::span<Bf16>(c), probe);
      llm::Gemm op;
      op.rows = m;
      op.columns = n;
      op.depth = k;
      op.weights = op.activations = NumberFormat::fp8_block;
      check_work(probe.result(), llm::work_of(op));
    }
  }));
}

TEST_CASE("a row's bits do not depend on the batch that it is in") {
  CHECK(rc::check([] {
    const std::int64_t m = number(1, 70), n = number(1, 20), k = number(1, 300);
    Numbers numbers(static_cast<std::uint64_t>(m * k));
    const auto a = numbers.values<Bf16>(m * k);
    const auto b = numbers.values<Bf16>(n * k);
    std::vector<float> all(static_cast<std::size_t>(m * n)), one(static_cast<std::size_t>(n));
    gemm(matrix(view(a), m, k), matrix(view(b), n, k), std::span<float>(all));
    const std::int64_t row = number(0, m - 1);
    gemm(MatrixView<Bf16>{a.data() + row * k, 1, k, k}, matrix(view(b), n, k), std::span<float>(one));
    RC_ASSERT(std::memcmp(one.data(), all.data() + row * n, one.size() * sizeof(float)) == 0);
  }));
}

}  // namespace moesim::reference
