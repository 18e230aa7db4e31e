// What the ranks of every legal layout do together is what one rank would do alone, plus stated copies: for
// every kind of layer, over tensor, data, context, decode context, expert and pipeline parallelism.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "models/llm/lowering.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

constexpr std::int64_t kMostRanks = 16;

std::string model_text(const std::string& layers, const std::string& more = "") {
  return R"({"name": "test", "vocab_size": 1000, "hidden_size": 64, "max_context_tokens": 100000,
             "sources": {}, )" +
         more + R"("layers": [)" + layers + "]}";
}

std::string group(int count, const std::string& attention, const std::string& ffn) {
  return fmt::format(R"({{"count": {}, "attention": {{{}}}, "ffn": {{{}}}}})", count, attention, ffn);
}

const std::string kGrouped = R"("kind": "grouped_query", "query_heads": 16, "kv_heads": 2, "head_dim": 16)";
const std::string kLatent = R"("kind": "latent", "heads": 16, "q_lora_rank": 24, "kv_lora_rank": 32,
    "rope_head_dim": 8, "nope_head_dim": 16, "v_head_dim": 16)";
const std::string kCompressed =
    R"("kind": "compressed", "query_heads": 16, "head_dim": 32, "rope_head_dim": 8,
    "q_lora_rank": 24, "output_groups": 8, "output_lora_rank": 16, "window_tokens": 32)";
const std::string kRecurrent = R"("kind": "recurrent", "key_heads": 8, "value_heads": 16, "key_dim": 16,
    "value_dim": 16, "convolution": 4, "recurrence": )";
const std::string kDense = R"("kind": "dense", "width": 96)";
const std::string kMoe = R"("kind": "moe", "experts": 16, "top_k": 3, "expert_width": 32)";

struct Model {
  std::string name;
  Architecture architecture;
};

const std::vector<Model>& models() {
  static const std::vector<Model> all = [] {
    const std::string indexer = R"(, "indexer": {"heads": 4, "head_dim": 16, "top_k": 40})";
    const std::string shared = R"(, "indexer": {"heads": 4, "head_dim": 16, "top_k": 40, "shared": true})";
    const std::vector<std::pair<std::string, std::string>> texts = {
        {"windows and sinks",
         model_text(group(3, kGrouped + R"(, "window_tokens": 20, "sinks": true)", kDense) + "," +
                        group(3, kGrouped + R"(, "sinks": true, "qkv_bias": true)", kDense),
                    R"("order": [{"repeat": 3, "groups": [0, 1]}], )")},
        {"chunks and gates",
         model_text(group(3, kGrouped + R"(, "chunk_tokens": 32, "output_gate": true)", kDense) + "," +
                    group(1, kGrouped + R"(, "position_free": true, "value_head_dim": 8)", kMoe))},
        {"blocks", model_text(group(2, kGrouped + R"(, "block_indexer": {"heads": 2, "head_dim": 16,
            "block_tokens": 16, "top_blocks": 2, "local_blocks": 1})",
                                    kMoe))},
        {"sparse latent", model_text(group(2, kLatent + indexer, kDense) + "," +
                                     group(3, kLatent + shared + R"(, "output_gate": true)", kMoe))},
        {"compressed",
         model_text(group(1, kCompressed, kDense) + "," +
                        group(2, kCompressed + R"(, "ratio": 4, "overlapping": true)" + indexer, kMoe) + "," +
                        group(2, kCompressed + R"(, "ratio": 32)", kMoe),
                    R"("residual_streams": 4, )")},
        {"recurrent",
         model_text(group(3, kRecurrent + R"("gated_delta")", kMoe + R"(, "shared_experts": 1, "shared_width":
            32, "shared_gate": true)") +
                    "," + group(1, kRecurrent + R"("kimi_delta", "gate_rank": 8)", kDense) + "," +
                    group(1, kRecurrent + R"("mamba2")", R"("kind": "none")") + "," +
                    group(1, kRecurrent + R"("lightning")", kDense) + "," +
                    group(1, R"("kind": "none")", R"("kind": "dense", "width": 64, "gated": false)"))},
        {"latent experts", model_text(group(2, kGrouped, kMoe + R"(, "latent_width": 32, "latent_norm": true,
            "shared_experts": 1, "shared_width": 64, "gated": false)"))},
        {"linear latent experts", model_text(group(2, kGrouped, kMoe + R"(, "latent_width": 32)"))},
        {"other experts", model_text(group(2, kLatent, kMoe + R"(, "zero_experts": 8, "expert_bias": true,
            "router_bias": true)") + "," +
                                     group(1, kLatent, kMoe + R"(, "selection": "hash")"))},
    };
    std::vector<Model> loaded;
    for (const auto& [name, text] : texts) loaded.push_back({name, test::from_text(text)});
    return loaded;
  }();
  return all;
}

std::vector<Layout> legal_layouts(const Architecture& model) {
  std::vector<Layout> layouts;
  for (const std::int64_t tp : {1, 2, 4, 8, 16}) {
    for (const std::int64_t dp : {1, 2, 3}) {
      for (const std::int64_t cp : {1, 2, 4}) {
        for (const std::int64_t dcp : {1, 2, 4}) {
          for (const std::int64_t pp : {1, 2, 3}) {
            for (std::int64_t ep = 1; ep <= tp * dp * cp; ++ep) {
              const Layout layout{tp, dp, ep, pp, cp, dcp, false};
              if (layout.ranks() > kMostRanks || !layout_problems(model, layout).empty()) continue;
              layouts.push_back(layout);
              layouts.push_back({tp, dp, ep, pp, cp, dcp, true});
            }
          }
        }
      }
    }
  }
  return layouts;
}

constexpr int kAttention = 100, kRouter = 101, kScores = 102, kRecurrence = 103;
using Flops = std::map<int, std::int64_t>;

void add_flops(const std::vector<Operator>& operators, std::int64_t count, Flops& flops) {
  for (const Operator& op : operators) {
    int key = -1;
    if (const auto* gemm = std::get_if<Gemm>(&op)) key = static_cast<int>(gemm->role);
    if (const auto* grouped = std::get_if<GroupedGemm>(&op)) key = static_cast<int>(grouped->role);
    if (std::holds_alternative<Attention>(op)) key = kAttention;
    if (std::holds_alternative<Router>(op)) key = kRouter;
    if (std::holds_alternative<IndexScores>(op)) key = kScores;
    if (std::holds_alternative<Recurrence>(op)) key = kRecurrence;
    const std::int64_t matmul = work_of(op).matmul_flops;
    if (key >= 0 && matmul > 0) flops[key] += count * matmul;
    RC_ASSERT(key >= 0 || matmul == 0);
  }
}

void add_step(StepOperators& step, const std::vector<std::int64_t>& rows, Flops& flops) {
  add_flops(step.embedding, 1, flops);
  for (LayerOperators& layer : step.layers) {
    set_expert_rows(layer.operators, rows);
    add_flops(layer.operators, layer.count, flops);
  }
  add_flops(step.head, 1, flops);
}

// 16 experts with different rows each.
std::vector<std::int64_t> routed_rows(std::int64_t tokens) {
  std::vector<std::int64_t> rows(16, tokens * 3 / 16);
  rows[3] += 5;
  rows[9] = 0;
  return rows;
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
  const std::int64_t stage_ranks = layout.ranks() / layout.pp;
  for (std::int64_t stage = 0; stage < layout.pp; ++stage) {
    for (std::int64_t rank = 0; rank < stage_ranks; ++rank) {
      const RankBatch& batch = batches.at(static_cast<std::size_t>(rank / layout.tp));
      lower_stage(model, layout, {}, batch, total_tokens(batches), stage, step);
      const auto per_shard = static_cast<std::ptrdiff_t>(rows.size()) / layout.ep;
      const auto first = rows.begin() + per_shard * (rank / layout.moe_tp());
      add_step(step, {first, first + per_shard}, flops);
    }
  }
  return flops;
}

// Tokens that pass a role on all tensor ranks of a token group together, against those of one rank: copies on
// every rank, or the rounding of a division of the tokens.
struct Copies {
  std::int64_t tokens = 0;
  std::int64_t of = 0;
};

Copies copies_of(int key, const Layout& layout, std::int64_t tokens, std::int64_t all_tokens,
                 bool latent_norm) {
  const std::int64_t even = (tokens + layout.tp - 1) / layout.tp * layout.tp;
  const auto is = [&](std::initializer_list<GemmRole> roles) {
    return std::any_of(roles.begin(), roles.end(),
                       [&](GemmRole role) { return key == static_cast<int>(role); });
  };
  if (is({GemmRole::latent_down, GemmRole::index_query, GemmRole::index_down, GemmRole::pooling,
          GemmRole::decay_down, GemmRole::recurrent_gate_down}) ||
      key == kScores) {
    return {layout.tp, 1};
  }
  if (is({GemmRole::hyper_connection})) return {layout.sequence_parallel ? even : tokens * layout.tp, tokens};
  // The sum of latent experts is projected where their norm is computed: on a part with sequence-parallel
  // norms.
  if (is({GemmRole::expert_latent_up}) && moe_exchange(layout) != MoeExchange::dispatch)
    return {layout.sequence_parallel && latent_norm ? even : tokens * layout.tp, tokens};
  const bool by_expert_tokens =
      is({GemmRole::expert_latent_down, GemmRole::expert_latent_up, GemmRole::shared_gate}) || key == kRouter;
  const bool shared = is({GemmRole::shared_gate_up, GemmRole::shared_down});
  if (!by_expert_tokens && !shared) return {1, 1};
  switch (moe_exchange(layout)) {
    case MoeExchange::all_reduce:
      return shared ? Copies{1, 1} : Copies{tokens * layout.tp, tokens};
    case MoeExchange::dispatch:
      return {even, tokens};
    case MoeExchange::gather_scatter:
      // Every rank has the tokens of all groups; the shared experts are cut over all ranks.
      return shared ? Copies{all_tokens, tokens * layout.token_groups()}
                    : Copies{all_tokens * layout.tp, tokens};
  }
  return {};
}

// KV heads that are copied: the fused projection of grouped-query layers has more columns on all ranks
// together.
std::int64_t copied_projection(const Architecture& model, const Layout& layout, std::int64_t tokens) {
  std::int64_t flops = 0;
  for (const LayerGroup& layers : model.layers) {
    const auto* grouped = std::get_if<GroupedQueryAttention>(&layers.attention);
    if (grouped == nullptr) continue;
    const std::int64_t more = kv_heads_per_rank(*grouped, layout.tp) * layout.tp - grouped->kv_heads;
    flops +=
        layers.count * 2 * tokens * model.hidden_size * more * (grouped->head_dim + grouped->value_dim());
  }
  return flops;
}

Flops expected(const Architecture& model, const Layout& layout, const std::vector<RankBatch>& batches,
               const std::vector<std::int64_t>& rows) {
  const std::int64_t all_tokens = total_tokens(batches);
  const bool normed = std::any_of(model.layers.begin(), model.layers.end(), [](const LayerGroup& layers) {
    const auto* moe = std::get_if<MoeFfn>(&layers.ffn);
    return moe != nullptr && moe->latent_norm;
  });
  Flops sum;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    StepOperators step;
    lower(model, {}, {}, batches[i], batches[i].tokens, step);
    Flops flops;
    add_step(step, i == 0 ? rows : std::vector<std::int64_t>(rows.size(), 0), flops);
    for (const auto& [key, count] : flops) {
      const Copies copies = copies_of(key, layout, batches[i].tokens, all_tokens, normed);
      sum[key] += count / copies.of * copies.tokens;
    }
    sum[static_cast<int>(GemmRole::query_key_value)] += copied_projection(model, layout, batches[i].tokens);
  }
  auto& head = sum[static_cast<int>(GemmRole::head)];
  head = head / padded_vocab(model, {}) * padded_vocab(model, layout);
  std::erase_if(sum, [](const auto& entry) { return entry.second == 0; });
  return sum;
}

std::vector<RankBatch> arbitrary_batches(const Architecture& model, const Layout& layout) {
  const BatchRule rule = batch_rule(model, 64);
  std::vector<RankBatch> batches(static_cast<std::size_t>(layout.token_groups()));
  const auto cp = static_cast<std::size_t>(layout.cp);
  for (std::size_t first = 0; first < batches.size(); first += cp) {
    const int count = *rc::gen::inRange(1, 5);
    for (int i = 0; i < count; ++i) {
      const auto tokens =
          *rc::gen::oneOf(rc::gen::just<std::int64_t>(1), rc::gen::inRange<std::int64_t>(1, 600));
      add_chunk(std::span(batches).subspan(first, cp),
                {tokens, *rc::gen::inRange<std::int64_t>(0, 5000), true}, rule);
    }
    for (std::size_t r = 0; r < cp; ++r) {  // an idle rank runs a dummy token
      if (batches[first + r].tokens == 0) add_chunk(batches[first + r], {1, 0, true}, rule);
    }
  }
  return batches;
}

TEST_CASE("every kind of layer has layouts of every kind to test") {
  std::set<std::string> kinds;
  for (const Model& model : models()) {
    const auto layouts = legal_layouts(model.architecture);
    INFO(model.name);
    CHECK(layouts.size() >= 20);
    for (const Layout& layout : layouts) {
      if (layout.cp > 1) kinds.insert("cp");
      if (layout.dcp > 1) kinds.insert("dcp");
      if (layout.pp > 1) kinds.insert("pp");
      if (layout.cp > 1 && layout.dcp > 1 && layout.tp > 1 && layout.ep > 1) kinds.insert("all");
      kinds.insert(fmt::format("exchange {}", static_cast<int>(moe_exchange(layout))));
    }
  }
  CHECK(kinds.size() == 7);
}

TEST_CASE("products of all ranks = products of one rank + stated copies, every kind of layer and layout") {
  CHECK(rc::check([] {
    const Model& model = *rc::gen::elementOf(models());
    const Architecture& architecture = model.architecture;
    const Layout layout = *rc::gen::elementOf(legal_layouts(architecture));
    RC_LOG() << model.name
             << fmt::format(" tp {} dp {} ep {} pp {} cp {} dcp {} sp {}", layout.tp, layout.dp, layout.ep,
                            layout.pp, layout.cp, layout.dcp, layout.sequence_parallel);
    const std::vector<RankBatch> batches = arbitrary_batches(architecture, layout);
    const auto rows = routed_rows(total_tokens(batches));
    Flops got = sharded(architecture, layout, batches, rows);
    Flops want = expected(architecture, layout, batches, rows);
    if (layout.dcp > 1) {
      // Shares of the keys are rounded up to whole pairs, once per decode kernel.
      const std::int64_t slack = layout.ranks() * architecture.layer_count() * 2 * 16 * 4 * 64;
      RC_ASSERT(got[kAttention] >= want[kAttention]);
      RC_ASSERT(got[kAttention] < want[kAttention] + slack);
      // Scores of decode tokens are shared.
      RC_ASSERT(got[kScores] <= want[kScores]);
      RC_ASSERT(got[kScores] * layout.dcp >= want[kScores]);
      for (const int key : {kAttention, kScores}) {
        got.erase(key);
        want.erase(key);
      }
    }
    RC_ASSERT(got == want);
  }));
}

TEST_CASE("context-parallel ranks have the pairs and tokens of the whole chunk") {
  CHECK(rc::check([] {
    const Model& model = *rc::gen::elementOf(models());
    const BatchRule rule = batch_rule(model.architecture, 64);
    const auto ranks = static_cast<std::size_t>(*rc::gen::inRange(1, 9));
    const SequenceChunk chunk{*rc::gen::inRange<std::int64_t>(1, 3000),
                              *rc::gen::inRange<std::int64_t>(0, 9000), *rc::gen::arbitrary<bool>()};
    std::vector<RankBatch> parts(ranks);
    add_chunk(parts, chunk, rule);
    RankBatch whole, sum;
    add_chunk(whole, chunk, rule);
    for (const RankBatch& part : parts) sum += part;
    RC_ASSERT(sum.tokens == whole.tokens);
    RC_ASSERT(sum.logit_sequences == whole.logit_sequences);
    for (std::size_t i = 0; i < whole.loads.size(); ++i) {
      RC_ASSERT(sum.loads[i].prefill.pairs == whole.loads[i].prefill.pairs);
      RC_ASSERT(sum.loads[i].decode.pairs == whole.loads[i].decode.pairs);
      RC_ASSERT(sum.loads[i].prefill.query_tokens == whole.loads[i].prefill.query_tokens);
      RC_ASSERT(sum.loads[i].prefill.kv_tokens >= whole.loads[i].prefill.kv_tokens);
    }
  }));
}

TEST_CASE("zigzag pieces of a causal prompt have the same pairs on every rank") {
  const BatchRule rule{1, {KeyRule{}}};
  for (const std::int64_t ranks : {2, 4, 8}) {
    std::vector<RankBatch> parts(static_cast<std::size_t>(ranks));
    add_chunk(parts, {2 * ranks * 100, 0, true}, rule);
    for (const RankBatch& part : parts) {
      CHECK(part.loads[0].prefill.pairs == parts[0].loads[0].prefill.pairs);
      CHECK(part.tokens == 200);
    }
  }
}

TEST_CASE("pipeline stages have every layer once") {
  CHECK(rc::check([] {
    const Model& model = *rc::gen::elementOf(models());
    const Architecture& architecture = model.architecture;
    const auto stages = *rc::gen::inRange<std::int64_t>(1, architecture.layer_count() + 1);
    std::vector<std::int64_t> sum(architecture.layers.size(), 0);
    std::int64_t least = INT64_MAX, most = 0;
    for (std::int64_t stage = 0; stage < stages; ++stage) {
      std::int64_t layers = 0;
      const auto counts = stage_layers(architecture, stages, stage);
      for (std::size_t g = 0; g < counts.size(); ++g) {
        sum[g] += counts[g];
        layers += counts[g];
      }
      least = std::min(least, layers);
      most = std::max(most, layers);
    }
    for (std::size_t g = 0; g < sum.size(); ++g) RC_ASSERT(sum[g] == architecture.layers[g].count);
    RC_ASSERT(most - least <= 1);
  }));
}

}  // namespace
}  // namespace moesim::llm
