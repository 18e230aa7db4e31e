// What the ranks of any legal layout do together is what one rank would do alone, plus the copied work that
// lowering.hpp states.
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "models/llm/lowering.hpp"
#include "models/llm/memory.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

constexpr std::int64_t kMostRanks = 64;

const Architecture& model_of(std::string_view id) {
  static std::map<std::string, Architecture, std::less<>> models;
  const auto known = models.find(id);
  return known != models.end() ? known->second : models.emplace(id, test::zoo(id)).first->second;
}

// Every legal layout of at most kMostRanks ranks.
std::vector<Layout> legal_layouts(const Architecture& model) {
  std::vector<Layout> layouts;
  for (std::int64_t tp = 1; tp <= kMostRanks; ++tp) {
    for (std::int64_t dp = 1; tp * dp <= kMostRanks; ++dp) {
      for (std::int64_t ep = 1; ep <= tp * dp; ++ep) {
        const Layout layout{tp, dp, ep};
        if (layout_problems(model, layout).empty()) layouts.push_back(layout);
      }
    }
  }
  return layouts;
}

// FLOPs of matrix products by what they are for; attention forms and the router have keys of their own.
enum class Key : std::uint8_t { attention = 100, router = 101 };
using Flops = std::map<int, std::int64_t>;

void add_flops(const std::vector<Operator>& operators, std::int64_t count, Flops& flops) {
  for (const Operator& op : operators) {
    int key = -1;
    if (const auto* gemm = std::get_if<Gemm>(&op)) key = static_cast<int>(gemm->role);
    if (const auto* grouped = std::get_if<GroupedGemm>(&op)) key = static_cast<int>(grouped->role);
    if (std::holds_alternative<Attention>(op)) key = static_cast<int>(Key::attention);
    if (std::holds_alternative<Router>(op)) key = static_cast<int>(Key::router);
    const std::int64_t matmul = work_of(op).matmul_flops;
    if (key >= 0) flops[key] += count * matmul;
    RC_ASSERT(key >= 0 || matmul == 0);
  }
}

// All products of one rank; `rows` are those of the experts on it.
void add_rank(StepOperators& step, const std::vector<std::int64_t>& rows, Flops& flops) {
  add_flops(step.embedding, 1, flops);
  for (LayerOperators& layer : step.layers) {
    set_expert_rows(layer.operators, rows);
    add_flops(layer.operators, layer.count, flops);
  }
  add_flops(step.head, 1, flops);
}

const MoeFfn* moe_of(const Architecture& model) {
  for (const LayerGroup& group : model.layers) {
    if (const auto* moe = std::get_if<MoeFfn>(&group.ffn)) return moe;
  }
  return nullptr;
}

// Rows of each expert: `rows` spread at random.
std::vector<std::int64_t> routed_rows(const Architecture& model, std::int64_t tokens, std::uint64_t seed) {
  const MoeFfn* moe = moe_of(model);
  if (moe == nullptr) return {};
  std::vector<std::int64_t> rows(static_cast<std::size_t>(moe->experts), 0);
  for (std::int64_t i = 0; i < tokens * moe->top_k; ++i) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    ++rows[static_cast<std::size_t>(seed >> 33) % rows.size()];
  }
  return rows;
}

// The experts of one rank, by the rule of Layout.
std::vector<std::int64_t> rows_of_rank(const std::vector<std::int64_t>& rows, const Layout& layout,
                                       std::int64_t rank) {
  const auto per_shard = static_cast<std::ptrdiff_t>(rows.size()) / layout.ep;
  const auto first = rows.begin() + per_shard * (rank / layout.moe_tp());
  return rows.empty() ? rows : std::vector<std::int64_t>(first, first + per_shard);
}

std::int64_t total_tokens(const std::vector<RankBatch>& batches) {
  std::int64_t tokens = 0;
  for (const RankBatch& batch : batches) tokens += batch.tokens;
  return tokens;
}

Flops sharded(const Architecture& model, const Layout& layout, const std::vector<RankBatch>& batches,
              const std::vector<std::int64_t>& rows) {
  Flops flops;
  StepOperators step;
  for (std::int64_t rank = 0; rank < layout.ranks(); ++rank) {
    const RankBatch& batch = batches.at(static_cast<std::size_t>(rank / layout.tp));
    lower(model, layout, {}, batch, total_tokens(batches), step);
    add_rank(step, rows_of_rank(rows, layout, rank), flops);
  }
  return flops;
}

// One rank that has all sequences of all data-parallel ranks, with the stated copies multiplied in by hand.
Flops expected(const Architecture& model, const Layout& layout, const std::vector<RankBatch>& batches,
               const std::vector<std::int64_t>& rows) {
  RankBatch all;
  for (const RankBatch& batch : batches) all += batch;
  StepOperators step;
  lower(model, {}, {}, all, all.tokens, step);
  Flops flops;
  add_rank(step, rows, flops);

  flops[static_cast<int>(GemmRole::latent_down)] *= layout.tp;
  const auto* grouped = std::get_if<GroupedQueryAttention>(&model.layers.front().attention);
  if (grouped != nullptr) {
    const std::int64_t copies = std::max<std::int64_t>(1, layout.tp / grouped->kv_heads);
    auto& projection = flops[static_cast<int>(GemmRole::query_key_value)];
    projection = projection / (grouped->query_heads + 2 * grouped->kv_heads) *
                 (grouped->query_heads + 2 * grouped->kv_heads * copies);
  }
  // Token rows that pass router and shared experts on all ranks together, against all.tokens on one rank.
  std::int64_t routed = all.tokens * layout.tp;  // all_reduce
  std::int64_t shared = all.tokens;
  const bool whole = layout.ep == layout.tp * layout.dp;
  if (layout.dp > 1 && whole) {
    routed = 0;
    for (const RankBatch& batch : batches) routed += (batch.tokens + layout.tp - 1) / layout.tp * layout.tp;
    shared = routed;
  } else if (layout.dp > 1) {
    routed = all.tokens * layout.tp * layout.dp;
  }
  const auto scale = [&](int key, std::int64_t token_rows) {
    flops[key] = flops[key] / all.tokens * token_rows;
  };
  scale(static_cast<int>(Key::router), routed);
  scale(static_cast<int>(GemmRole::shared_gate_up), shared);
  scale(static_cast<int>(GemmRole::shared_down), shared);
  auto& head = flops[static_cast<int>(GemmRole::head)];
  head = head / padded_vocab(model, {}) * padded_vocab(model, layout);
  std::erase_if(flops, [](const auto& entry) { return entry.second == 0; });
  return flops;
}

std::vector<SequenceChunk> arbitrary_chunks() {
  std::vector<SequenceChunk> chunks;
  const int count = *rc::gen::inRange(1, 6);
  for (int i = 0; i < count; ++i) {
    const auto tokens =
        *rc::gen::oneOf(rc::gen::just<std::int64_t>(1), rc::gen::inRange<std::int64_t>(1, 600));
    chunks.push_back({tokens, *rc::gen::inRange<std::int64_t>(0, 5000), *rc::gen::arbitrary<bool>()});
  }
  return chunks;
}

RankBatch arbitrary_batch(const Architecture& model, std::int64_t block_tokens) {
  RankBatch batch;
  for (const SequenceChunk& chunk : arbitrary_chunks())
    add_chunk(batch, chunk, batch_rule(model, block_tokens));
  return batch;
}

Flops nonzero(Flops flops) {
  std::erase_if(flops, [](const auto& entry) { return entry.second == 0; });
  return flops;
}

TEST_CASE("all four models have layouts of every exchange to test") {
  std::set<MoeExchange> seen;
  for (const auto id : test::kZoo) {
    const auto layouts = legal_layouts(model_of(id));
    CHECK(layouts.size() >= 7);
    for (const Layout& layout : layouts) seen.insert(moe_exchange(layout));
  }
  CHECK(seen.size() == 3);
}

TEST_CASE("FLOPs of all ranks = FLOPs of one rank + stated copies, random batches") {
  CHECK(rc::check([] {
    const auto& model = model_of(*rc::gen::elementOf(test::kZoo));
    const Layout layout = *rc::gen::elementOf(legal_layouts(model));
    std::vector<RankBatch> batches;
    for (std::int64_t i = 0; i < layout.dp; ++i) batches.push_back(arbitrary_batch(model, 64));
    const auto rows = routed_rows(model, total_tokens(batches), *rc::gen::arbitrary<std::uint64_t>());
    RC_ASSERT(nonzero(sharded(model, layout, batches, rows)) == expected(model, layout, batches, rows));
  }));
}

TEST_CASE("FLOPs of all ranks = FLOPs of one rank + stated copies, every legal layout") {
  for (const auto id : test::kZoo) {
    const auto& model = model_of(id);
    for (const Layout& layout : legal_layouts(model)) {
      std::vector<RankBatch> batches(static_cast<std::size_t>(layout.dp));
      for (std::size_t i = 0; i < batches.size(); ++i) {
        const auto rank = static_cast<std::int64_t>(i);
        add_chunk(batches[i], {37 + rank, 100 * rank}, batch_rule(model, 64));
        add_chunk(batches[i], {1, 5000 - rank}, batch_rule(model, 64));
      }
      const auto rows = routed_rows(model, total_tokens(batches), 7);
      INFO(id << " tp " << layout.tp << " dp " << layout.dp << " ep " << layout.ep);
      CHECK(nonzero(sharded(model, layout, batches, rows)) == expected(model, layout, batches, rows));
    }
  }
}

// With a row for every expert and naive attention, a step reads each weight of the rank once.
TEST_CASE("the weights that a step reads are the weights that the rank stores, every legal layout") {
  for (const auto id : test::kZoo) {
    const auto& model = model_of(id);
    const MoeFfn* moe = moe_of(model);
    Formats mixed;  // each kind of matrix in a format of its own
    mixed.weights = NumberFormat::nvfp4;
    mixed.attention_weights = NumberFormat::bf16;
    mixed.dense_weights = NumberFormat::fp8_block;
    std::vector<Formats> all = {mixed};
    for (const NumberFormat format : {NumberFormat::bf16, NumberFormat::fp8_block, NumberFormat::nvfp4})
      all.push_back({format, std::nullopt, NumberFormat::bf16});
    for (const Formats& formats : all) {
      for (const Layout& layout : legal_layouts(model)) {
        RankBatch batch;
        add_chunk(batch, {100, 0}, batch_rule(model, 64));
        StepOperators step;
        lower(model, layout, formats, batch, batch.tokens * layout.dp, step);
        const std::vector<std::int64_t> rows(
            moe == nullptr ? 0 : static_cast<std::size_t>(moe->experts / layout.ep), 3);
        std::int64_t read = 0;
        const auto add = [&](std::vector<Operator>& operators, std::int64_t count) {
          set_expert_rows(operators, rows);
          for (const Operator& op : operators) read += count * work_of(op).weight_read_bytes;
        };
        for (LayerOperators& layer : step.layers) add(layer.operators, layer.count);
        add(step.head, 1);
        const ByCategory stored = weight_bytes_per_rank(model, layout, formats);
        const std::int64_t score_biases = id == "deepseek-v3" ? 58 * 256 * 4 : 0;
        INFO(id << " tp " << layout.tp << " dp " << layout.dp << " ep " << layout.ep);
        CHECK(read == stored.total() - stored.embedding - stored.norms - score_biases);
      }
    }
  }
}

TEST_CASE("weights of all ranks are the model's weights plus copies, never fewer") {
  CHECK(rc::check([] {
    const auto& model = model_of(*rc::gen::elementOf(test::kZoo));
    const Layout layout = *rc::gen::elementOf(legal_layouts(model));
    const ByCategory whole = weight_bytes(model, {});
    const ByCategory rank = weight_bytes_per_rank(model, layout, {});
    RC_ASSERT(rank.routed_experts * layout.ranks() == whole.routed_experts);
    RC_ASSERT(rank.dense_ffn * layout.tp == whole.dense_ffn);
    RC_ASSERT(rank.embedding * layout.tp == padded_vocab(model, layout) * model.hidden_size * 2);
    RC_ASSERT(rank.shared_experts * shared_expert_shards(layout) == whole.shared_experts);
    RC_ASSERT(rank.attention * layout.tp >= whole.attention);
    RC_ASSERT(rank.router == whole.router);
    RC_ASSERT(rank.norms == whole.norms);
  }));
}

TEST_CASE("KV bytes that a step writes are the tokens' bytes on the rank") {
  CHECK(rc::check([] {
    const auto& model = model_of(*rc::gen::elementOf(test::kZoo));
    const Layout layout = *rc::gen::elementOf(legal_layouts(model));
    const auto kv = *rc::gen::element(NumberFormat::bf16, NumberFormat::fp8);
    const RankBatch batch = arbitrary_batch(model, 64);
    StepOperators step;
    lower(model, layout, {NumberFormat::bf16, std::nullopt, kv}, batch, batch.tokens * layout.dp, step);
    std::int64_t written = 0;
    for (const LayerOperators& layer : step.layers) {
      for (const Operator& op : layer.operators) {
        if (const auto* write = std::get_if<Elementwise>(&op))
          written += layer.count * work_of(*write).kv_write_bytes;
      }
    }
    const std::int64_t per_token = kv_bytes_per_token_per_rank(model, layout, kv);
    RC_ASSERT(written == batch.tokens * per_token);
    RC_ASSERT(per_token * layout.tp >= kv_bytes_per_token(model, kv));
  }));
}

}  // namespace
}  // namespace moesim::llm
