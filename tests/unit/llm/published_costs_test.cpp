// Costs of one decoded token against published ratios (reference/routing_and_context.md 4.1 and 4.2).
#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "models/llm/lowering.hpp"
#include "models/llm/memory.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

struct TokenCost {
  double attention_flops = 0;  // scores of an indexer included
  double all_flops = 0;        // every product of the step
  double kv_read_bytes = 0;
};

// One token behind `context` cached ones, on one rank, all layers; its experts have one row each.
TokenCost decode_cost(std::string_view id, std::int64_t context, const Formats& formats = {}) {
  const Architecture model = test::zoo(id);
  RankBatch batch;
  add_chunk(batch, {1, context - 1, true}, batch_rule(model, 1));
  StepOperators step;
  lower(model, {}, formats, batch, 1, step);
  TokenCost cost;
  const auto add = [&](const std::vector<Operator>& operators, std::int64_t layers) {
    for (const Operator& op : operators) {
      const Work work = work_of(op);
      const double flops = static_cast<double>(work.matmul_flops) * static_cast<double>(layers);
      cost.all_flops += flops;
      if (std::holds_alternative<Attention>(op) || std::holds_alternative<IndexScores>(op)) {
        cost.attention_flops += flops;
        cost.kv_read_bytes += static_cast<double>(work.kv_read_bytes) * static_cast<double>(layers);
      }
    }
  };
  for (LayerOperators& layer : step.layers) {
    const auto* moe = std::get_if<MoeFfn>(&model.layers[layer.group].ffn);
    std::vector<std::int64_t> rows(moe == nullptr ? 0 : static_cast<std::size_t>(moe->experts), 0);
    for (std::int64_t e = 0; moe != nullptr && e < moe->top_k; ++e) rows[static_cast<std::size_t>(e)] = 1;
    set_expert_rows(layer.operators, rows);
    add(layer.operators, layer.count);
  }
  add(step.head, 1);
  return cost;
}

TEST_CASE("dense against sparse latent attention: the published ratios of operations and bytes") {
  struct Row {
    std::int64_t context;
    double flops, bytes;
  };
  // 4.2, row DSA: ratio of dense to sparse at 2K, 4K, 32K, 128K and 1M; printed to two or three digits.
  const Row rows[] = {{2048, 0.94, 0.83},
                      {4096, 1.79, 1.43},
                      {32'768, 8.2, 3.8},
                      {131'072, 13.4, 4.6},
                      {1'048'576, 16.5, 4.9}};
  const Formats fp8{NumberFormat::fp8_block, std::nullopt, NumberFormat::fp8};
  for (const Row& row : rows) {
    INFO(row.context);
    const TokenCost dense = decode_cost("deepseek-v3", row.context);
    const TokenCost sparse = decode_cost("deepseek-v3.2", row.context, fp8);
    CHECK(dense.attention_flops / sparse.attention_flops == Approx(row.flops).epsilon(0.01));
    const double dense_bytes =
        61.0 * 656 * static_cast<double>(row.context);  // with the sparse kernel's rows
    CHECK(dense_bytes / sparse.kv_read_bytes == Approx(row.bytes).epsilon(0.015));
  }
}

TEST_CASE("DeepSeek-V4-Pro needs 27 % of the operations of V3.2 for a token at 1M, as its makers say") {
  const double ratio =
      decode_cost("deepseek-v4-pro", 1'000'000).all_flops / decode_cost("deepseek-v3.2", 1'000'000).all_flops;
  CHECK(ratio == Approx(0.27).margin(0.01));
}

}  // namespace
}  // namespace moesim::llm
