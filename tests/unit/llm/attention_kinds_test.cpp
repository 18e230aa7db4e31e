// Kinds of attention: visible keys against counting one by one, work by hand, operators in order.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "models/llm/key_rule.hpp"
#include "models/llm/lowering.hpp"
#include "models/llm/memory.hpp"
#include "models/llm/parameters.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::from_text;

// The keys of one query, one by one.
std::set<std::int64_t> keys_of(const KeyRule& rule, std::int64_t position) {
  std::set<std::int64_t> keys;
  if (rule.chunk > 0) {
    for (std::int64_t j = 0; j <= position; ++j) {
      if (j / rule.chunk == position / rule.chunk) keys.insert(j);
    }
    return keys;
  }
  // Entry e pools the tokens e x ratio, ..., e x ratio + ratio - 1, all of which must have been seen.
  for (std::int64_t e = 0; (e + 1) * rule.ratio - 1 <= position; ++e) keys.insert(e);
  while (rule.limit > 0 && static_cast<std::int64_t>(keys.size()) > rule.limit) keys.erase(keys.begin());
  return keys;
}

TEST_CASE("visible pairs and keys, counted one by one") {
  std::vector<KeyRule> rules;
  for (const std::int64_t ratio : {1, 2, 4, 7}) {
    for (const std::int64_t limit : {0, 1, 3, 8}) {
      for (const bool latest : {false, true}) {
        KeyRule rule;
        rule.ratio = ratio;
        rule.limit = limit;
        rule.latest = latest && ratio == 1;
        rules.push_back(rule);
      }
    }
  }
  for (const std::int64_t chunk : {1, 3, 8}) {
    KeyRule rule;
    rule.chunk = chunk;
    rules.push_back(rule);
  }
  for (const KeyRule& rule : rules) {
    for (std::int64_t first = 0; first < 20; ++first) {
      std::int64_t pairs = 0;
      std::set<std::int64_t> seen;
      for (std::int64_t queries = 0; queries < 25; ++queries) {
        INFO("ratio " << rule.ratio << " limit " << rule.limit << " chunk " << rule.chunk << " first "
                      << first << " queries " << queries);
        CHECK(visible_pairs(rule, first, queries) == pairs);
        const std::int64_t keys = visible_keys(rule, first, queries);
        if (rule.latest || rule.chunk > 0 || rule.limit == 0) {
          CHECK(keys == static_cast<std::int64_t>(seen.size()));
        } else {
          CHECK(keys >= static_cast<std::int64_t>(seen.size()));
          CHECK(keys <= pairs);
        }
        const auto own = keys_of(rule, first + queries);
        CHECK(keys_of_query(rule, first + queries) == static_cast<std::int64_t>(own.size()));
        pairs += static_cast<std::int64_t>(own.size());
        seen.insert(own.begin(), own.end());
      }
    }
  }
  CHECK_THROWS_AS(visible_pairs({}, -1, 2), core::InvariantError);
}

TEST_CASE("scores, choice and recurrence: work by hand") {
  const Work scores = work_of(IndexScores{Phase::prefill, 10, 55, 10, 4, 16, 20, NumberFormat::fp8});
  CHECK(scores.matmul_flops == 2 * 4 * 55 * 16);
  CHECK(scores.other_flops == 3 * 4 * 55);
  CHECK(scores.compute == NumberFormat::fp8);
  CHECK(scores.kv_read_bytes == 200);
  CHECK(scores.activation_read_bytes == 10 * 4 * (16 + 2));
  CHECK(scores.activation_write_bytes == 55 * 4);
  const Work choice = work_of(KeyChoice{1000, 40});
  CHECK(choice.other_flops == 1000);
  CHECK(choice.activation_read_bytes == 4000);
  CHECK(choice.activation_write_bytes == 160);

  // Two sequences decode: prediction, update and result, each 8 x 16 multiply-accumulates per state; decay.
  const Work step = work_of(Recurrence{RecurrentKind::gated_delta, Phase::decode, 2, 2, 2, 4, 8, 16});
  CHECK(step.matmul_flops == 2 * (2 * 4) * 3 * 8 * 16);
  CHECK(step.other_flops == 2 * 4 * 8 * 16 + 3 * 2 * (2 * 2 * 8));  // decay; norms of q and k
  CHECK(step.specials == 2 * (2 * 2));
  CHECK(step.kv_read_bytes == 2 * 4 * 8 * 16 * 4);
  CHECK(step.kv_write_bytes == step.kv_read_bytes);
  CHECK(step.activation_read_bytes == 2 * (2 * 2 * 8 + 4 * 16) * 2);
  CHECK(step.activation_write_bytes == 2 * 4 * 16 * 2);
  const Work simple = work_of(Recurrence{RecurrentKind::mamba2, Phase::decode, 2, 2, 2, 4, 8, 16});
  CHECK(simple.matmul_flops == 2 * (2 * 4) * 2 * 8 * 16);
  // Groups of Mamba-2 share the products of their queries and keys; chunks may be longer.
  const Work groups = work_of(Recurrence{RecurrentKind::mamba2, Phase::prefill, 1, 128, 2, 8, 8, 16, 128});
  CHECK(groups.matmul_flops == 2 * (2 * 128 * 128 * 8 + 8 * (128 * 128 * 16 + 2 * 128 * 8 * 16)));

  // One whole chunk of 64 tokens and one head, product by product.
  const std::int64_t c = 64, k = 8, v = 16;
  const std::int64_t within = c * c * k + c * c * v;      // Q K^T and its product with V
  const std::int64_t with_state = c * k * v + c * k * v;  // Q S, and K^T V into the state
  const std::int64_t triangular =
      c * c * k + c * c * k + c * c * v + (c - 1) * c * (2 * c - 1) / 6;  // K K^T, T K, T V, T
  const std::int64_t prediction = c * k * v;                              // (T K) S
  const Work chunk = work_of(Recurrence{RecurrentKind::lightning, Phase::prefill, 1, c, 1, 1, k, v});
  CHECK(chunk.matmul_flops == 2 * (within + with_state));
  const Work delta = work_of(Recurrence{RecurrentKind::kimi_delta, Phase::prefill, 1, c, 1, 1, k, v});
  CHECK(delta.matmul_flops == 2 * (within + with_state + triangular + prediction));
  CHECK(delta.kv_read_bytes == k * v * 4);
}

TEST_CASE("sinks add an exponential per query and head, and are read once") {
  Attention op;
  op.query_tokens = 5;
  op.pairs = 15;
  op.kv_tokens = 5;
  op.query_heads = 4;
  op.kv_heads = 2;
  op.qk_dim = op.v_dim = 8;
  const Work plain = work_of(op);
  op.sinks = true;
  const Work sinks = work_of(op);
  CHECK(sinks.specials == plain.specials + 20);
  CHECK(sinks.other_flops == plain.other_flops + 20);
  CHECK(sinks.weight_read_bytes == 8);
  CHECK(sinks.matmul_flops == plain.matmul_flops);
}

std::string model_text(const std::string& attention, const std::string& ffn) {
  return R"({"name": "test", "vocab_size": 1000, "hidden_size": 64, "max_context_tokens": 100000,
             "sources": {}, "layers": [{"count": 2, "attention": )" +
         attention + R"(, "ffn": )" + ffn + "}]}";
}

StepOperators lowered(const Architecture& model, const Layout& layout, std::vector<SequenceChunk> chunks,
                      const Formats& formats = {}) {
  RankBatch batch;
  for (const SequenceChunk& chunk : chunks) add_chunk(batch, chunk, batch_rule(model, 1));
  StepOperators step;
  lower(model, layout, formats, batch, batch.tokens * layout.token_groups(), step);
  return step;
}

template <class Op>
std::vector<Op> all_of(const std::vector<Operator>& operators) {
  std::vector<Op> found;
  for (const Operator& op : operators) {
    if (const auto* one = std::get_if<Op>(&op)) found.push_back(*one);
  }
  return found;
}

const Gemm& gemm(const std::vector<Operator>& operators, GemmRole role) {
  for (const Operator& op : operators) {
    const auto* one = std::get_if<Gemm>(&op);
    if (one != nullptr && one->role == role) return *one;
  }
  FAIL("no product of this role");
  throw 0;
}

constexpr const char* kDense = R"({"kind": "dense", "width": 96})";

TEST_CASE("a window sees its tokens, prefill and decode apart") {
  const Architecture model = from_text(model_text(
      R"({"kind": "grouped_query", "query_heads": 4, "kv_heads": 2, "head_dim": 16, "window_tokens": 10})",
      kDense));
  const auto kernels = all_of<Attention>(lowered(model, {}, {{30, 5}, {1, 99}, {1, 3}}).layers[0].operators);
  REQUIRE(kernels.size() == 2);
  CHECK(kernels[0].pairs == 6 + 7 + 8 + 9 + 26 * 10);
  CHECK(kernels[0].kv_tokens == 35);
  CHECK(kernels[1].pairs == 10 + 4);
  CHECK(kernels[1].kv_tokens == 14);
  CHECK(kv_bytes(model, {}, NumberFormat::bf16, 1000) == 2 * 10 * 2 * 2 * 16 * 2);
  CHECK(kv_bytes(model, {}, NumberFormat::bf16, 4) == 2 * 4 * 2 * 2 * 16 * 2);
  CHECK(kv_bytes_per_token(model, NumberFormat::bf16) == 0);
}

TEST_CASE("sparse latent attention scores all keys and attends to the best") {
  const std::string shape = R"({"kind": "latent", "heads": 8, "q_lora_rank": 24, "kv_lora_rank": 128,
      "rope_head_dim": 8, "nope_head_dim": 16, "v_head_dim": 16,
      "indexer": {"heads": 4, "head_dim": 32, "top_k": 50)";
  const Architecture own = from_text(model_text(shape + "}}", kDense));
  const Architecture shared = from_text(model_text(shape + R"(, "shared": true}})", kDense));
  const Formats fp8{NumberFormat::bf16, std::nullopt, NumberFormat::fp8};
  const auto step = lowered(own, {2, 1, 1}, {{1, 199}, {1, 29}}, fp8);
  const auto& operators = step.layers[0].operators;
  const auto scores = all_of<IndexScores>(operators);
  REQUIRE(scores.size() == 1);
  CHECK(scores[0].pairs == 230);
  CHECK(scores[0].heads == 4);  // on every rank
  CHECK(scores[0].key_bytes == 36);
  CHECK(scores[0].compute == NumberFormat::fp8);
  const auto choices = all_of<KeyChoice>(operators);
  REQUIRE(choices.size() == 1);
  CHECK(choices[0].candidates == 230);
  CHECK(choices[0].chosen == 50 + 30);
  const auto kernels = all_of<Attention>(operators);
  REQUIRE(kernels.size() == 1);
  CHECK(kernels[0].form == AttentionForm::latent_absorbed);
  CHECK(kernels[0].pairs == 80);
  CHECK(kernels[0].query_heads == 4);
  // 128 elements of 8 bits, one scale, 8 rotated ones of 16 bits.
  CHECK(work_of(kernels[0]).kv_read_bytes == 80 * (128 + 4 + 16));
  CHECK(gemm(operators, GemmRole::index_query).columns == 4 * 32);
  CHECK(gemm(operators, GemmRole::index_down).columns == 32 + 4);
  CHECK(kv_bytes_per_token(own, NumberFormat::fp8) == 2 * (148 + 36));
  CHECK(kv_bytes_per_token(own, NumberFormat::bf16) == 2 * (136 * 2 + 64));
  // A prompt whose queries choose keys is absorbed; one that sees all keys takes the cheaper form.
  const auto chosen = all_of<Attention>(lowered(own, {}, {{60, 0}}).layers[0].operators);
  REQUIRE(chosen.size() == 1);
  CHECK(chosen[0].form == AttentionForm::latent_absorbed);
  CHECK(chosen[0].pairs == 50 * 51 / 2 + 10 * 50);
  CHECK(all_of<Attention>(lowered(own, {}, {{50, 0}}).layers[0].operators)[0].form ==
        AttentionForm::latent_naive);
  // A layer that shares the choice scores nothing, and attends to as many keys.
  const auto less = lowered(shared, {2, 1, 1}, {{1, 199}, {1, 29}}, fp8);
  CHECK(all_of<IndexScores>(less.layers[0].operators).empty());
  CHECK(all_of<Attention>(less.layers[0].operators)[0].pairs == 80);
  CHECK(kv_bytes_per_token(shared, NumberFormat::fp8) == 2 * (148 + 36));
}

TEST_CASE("compressed attention reads its window and pooled entries in one kernel") {
  const Architecture model = from_text(model_text(
      R"({"kind": "compressed", "query_heads": 8, "head_dim": 64, "rope_head_dim": 16, "q_lora_rank": 24,
          "output_groups": 4, "output_lora_rank": 12, "window_tokens": 16, "ratio": 4, "overlapping": true,
          "indexer": {"heads": 2, "head_dim": 32, "top_k": 10}})",
      kDense));
  const auto step = lowered(model, {2, 1, 1}, {{1, 99}});
  const auto& operators = step.layers[0].operators;
  const auto kernels = all_of<Attention>(operators);
  REQUIRE(kernels.size() == 1);
  CHECK(kernels[0].form == AttentionForm::compressed);
  CHECK(kernels[0].pairs == 16 + 10);
  CHECK(kernels[0].query_heads == 4);
  CHECK(kernels[0].sinks);
  CHECK(work_of(kernels[0]).kv_read_bytes == 26 * 128);
  CHECK(work_of(kernels[0]).matmul_flops == 2 * 4 * 26 * 128);
  CHECK(all_of<IndexScores>(operators)[0].pairs == 25);
  const Gemm& down = gemm(operators, GemmRole::output_down);
  CHECK(down.batch == 2);
  CHECK(down.columns == 12);
  CHECK(down.depth == 2 * 64);
  CHECK(gemm(operators, GemmRole::attention_output).depth == 2 * 12);
  CHECK(gemm(operators, GemmRole::pooling).columns == 4 * 64);
  // 100 tokens: the window, and 25 entries with their index keys.
  CHECK(kv_bytes(model, {}, NumberFormat::bf16, 100) == 2 * (16 * 128 + 25 * (128 + 64)));
  CHECK(pooled_row_bytes(std::get<CompressedAttention>(model.layers[0].attention), NumberFormat::fp8) ==
        48 + 32 + 8);
}

TEST_CASE("pages of pooled rows have whole rows, and ranks share windows") {
  const Architecture model = from_text(model_text(
      R"({"kind": "compressed", "query_heads": 8, "head_dim": 64, "rope_head_dim": 16, "q_lora_rank": 24,
          "output_groups": 8, "output_lora_rank": 12, "window_tokens": 64, "ratio": 32})",
      kDense));
  // Blocks of 16 tokens: two layers with a window of 64 tokens (5 pages when it straddles), and one entry of
  // 128 bytes for 32 tokens, not for each block.
  const KvPages pages(model, {}, NumberFormat::bf16, 16);
  CHECK(pages.units(3200) * pages.unit_bytes() == 2 * 128 * (5 * 16 + 100));
  CHECK(pages.units(33) * pages.unit_bytes() == 2 * 128 * (3 * 16 + 2));
  Layout shared{8, 1, 1};
  shared.dcp = 8;
  CHECK(kv_bytes(model, shared, NumberFormat::bf16, 3200) == 2 * 128 * (8 + 12));
  CHECK(kv_bytes_per_token_per_rank(model, shared, NumberFormat::bf16) == 1);  // 8 B over 8 ranks
  const KvPages parts(model, shared, NumberFormat::bf16, 16);
  CHECK(parts.units(3200) * parts.unit_bytes() == 2 * 128 * (2 * 16 + 13));
  // Each rank writes the new rows that it keeps.
  RankBatch batch;
  add_chunk(batch, {64, 0, true}, batch_rule(model, 1));
  StepOperators step;
  lower(model, shared, {}, batch, 64, step);
  std::int64_t written = 0;
  for (const Operator& op : step.layers[0].operators) written += work_of(op).kv_write_bytes;
  CHECK(written == 8 * 128 + 128);
}

TEST_CASE("sizes whose products overflow are errors") {
  const auto message = [](const std::string& attention, const std::string& ffn) {
    try {
      from_text(model_text(attention, ffn));
    } catch (const config::InputError& error) {
      return error.diagnostics().errors().front().message;
    }
    return std::string("no error");
  };
  const std::string gqa = R"({"kind": "grouped_query", "query_heads": 4, "kv_heads": 2, "head_dim": 16})";
  for (
      const auto& [attention, ffn] : std::vector<std::pair<std::string, std::string>>{
          {gqa, R"({"kind": "moe", "experts": 10, "top_k": 1, "expert_width": 1000000000,
                     "latent_width": 1000000000})"},
          {R"({"kind": "latent", "heads": 1000, "q_lora_rank": 1000000000, "kv_lora_rank": 4, "rope_head_dim": 8,
                "nope_head_dim": 1000000000, "v_head_dim": 4})",
           kDense},
          {R"({"kind": "recurrent", "recurrence": "kimi_delta", "key_heads": 1, "value_heads": 1, "key_dim": 1,
                "value_dim": 1000000000, "gate_rank": 1000000000})",
           kDense},
          {R"({"kind": "compressed", "query_heads": 8, "head_dim": 100000000, "rope_head_dim": 16,
                "q_lora_rank": 100000000, "output_groups": 8, "output_lora_rank": 12, "window_tokens": 64})",
           kDense}}) {
    INFO(attention << ffn);
    CHECK(message(attention, ffn).find("1e15 parameters") != std::string::npos);
  }
}

TEST_CASE("recurrent layers keep a constant state and no rows") {
  const Architecture model = from_text(model_text(
      R"({"kind": "recurrent", "recurrence": "gated_delta", "key_heads": 2, "value_heads": 4, "key_dim": 8,
          "value_dim": 16, "convolution": 4})",
      kDense));
  const auto step = lowered(model, {2, 1, 1}, {{50, 7}, {1, 99}, {1, 5}});
  const auto kernels = all_of<Recurrence>(step.layers[0].operators);
  REQUIRE(kernels.size() == 2);
  CHECK(kernels[0].phase == Phase::prefill);
  CHECK(kernels[0].tokens == 50);
  CHECK(kernels[0].value_heads == 2);
  CHECK(kernels[1].phase == Phase::decode);
  CHECK(kernels[1].sequences == 2);
  CHECK(kernels[1].tokens == 2);
  CHECK(all_of<Attention>(step.layers[0].operators).empty());
  // q, k, v and the gate; beta and decay.
  CHECK(gemm(step.layers[0].operators, GemmRole::recurrent_in).columns == 2 * 8 + 2 * 2 * 16 + 2 * 2);
  const std::int64_t state = 2 * (4 * 8 * 16 * 4 + 3 * (2 * 2 * 8 + 4 * 16) * 2);
  CHECK(state_bytes(model, {}) == state);
  CHECK(state_bytes(model, {2, 1, 1}) == state / 2);
  CHECK(kv_bytes(model, {}, NumberFormat::bf16, 1) == state);
  CHECK(kv_bytes(model, {}, NumberFormat::bf16, 1'000'000) == state);
}

TEST_CASE("latent experts: dispatched rows are narrow, and their sum is projected back") {
  const Architecture model = from_text(model_text(
      R"({"kind": "grouped_query", "query_heads": 4, "kv_heads": 2, "head_dim": 16})",
      R"({"kind": "moe", "experts": 8, "top_k": 2, "expert_width": 48, "latent_width": 32, "latent_norm": true,
          "zero_experts": 4, "gated": false})"));
  const auto step = lowered(model, {1, 4, 4}, {{6, 0}});
  const auto& operators = step.layers[0].operators;
  const auto dispatch = all_of<Dispatch>(operators);
  REQUIRE(dispatch.size() == 1);
  CHECK(dispatch[0].bytes_per_row == 32 * 2);
  CHECK(all_of<Router>(operators)[0].experts == 12);
  CHECK(all_of<TopK>(operators)[0].experts == 12);
  const auto grouped = all_of<GroupedGemm>(operators);
  REQUIRE(grouped.size() == 2);
  CHECK(grouped[0].columns == 48);
  CHECK(grouped[0].depth == 32);
  CHECK(grouped[0].experts == 2);
  CHECK(gemm(operators, GemmRole::expert_latent_down).columns == 32);
  CHECK(gemm(operators, GemmRole::expert_latent_up).columns == 64);
  // Tensor parallel: a norm needs the sum, which is made in the narrow space; without one the partial sums
  // are projected. Token groups take their rows back in the narrow space.
  const auto reduces = all_of<AllReduce>(lowered(model, {2, 1, 1}, {{6, 0}}).layers[0].operators);
  REQUIRE(reduces.size() == 2);
  CHECK(reduces[1].bytes == 6 * 32 * 2);
  Architecture linear = model;
  std::get<MoeFfn>(linear.layers[0].ffn).latent_norm = false;
  const auto wide = all_of<AllReduce>(lowered(linear, {2, 1, 1}, {{6, 0}}).layers[0].operators);
  REQUIRE(wide.size() == 2);
  CHECK(wide[1].bytes == 6 * 64 * 2);
  const auto cut = lowered(model, {2, 2, 2}, {{6, 0}});
  CHECK(all_of<ReduceScatter>(cut.layers[0].operators)[0].bytes == 12 * 32 * 2);
  CHECK(gemm(cut.layers[0].operators, GemmRole::expert_latent_down).rows == 12);
  CHECK(gemm(cut.layers[0].operators, GemmRole::expert_latent_up).rows == 6);
}

TEST_CASE("experts from a table need no router, or its weights alone") {
  const auto model = [](const std::string& selection) {
    return from_text(
        model_text(R"({"kind": "grouped_query", "query_heads": 4, "kv_heads": 2, "head_dim": 16})",
                   R"({"kind": "moe", "experts": 8, "top_k": 2, "expert_width": 48, "selection": ")" +
                       selection + "\"}"));
  };
  const auto hash = lowered(model("hash"), {}, {{6, 0}});
  CHECK(all_of<Router>(hash.layers[0].operators).empty());
  CHECK(work_of(all_of<TopK>(hash.layers[0].operators)[0]).other_flops == 0);
  const auto weighted = lowered(model("weighted_hash"), {}, {{6, 0}});
  CHECK(all_of<Router>(weighted.layers[0].operators).size() == 1);
  CHECK(work_of(all_of<TopK>(weighted.layers[0].operators)[0]).other_flops == 0);
}

TEST_CASE("sequence-parallel norms: two collectives for each all-reduce, and norms on a part") {
  const Architecture model = from_text(
      model_text(R"({"kind": "grouped_query", "query_heads": 4, "kv_heads": 2, "head_dim": 16})", kDense));
  Layout layout{2, 1, 1};
  layout.sequence_parallel = true;
  const auto step = lowered(model, layout, {{7, 0}});
  const auto& operators = step.layers[0].operators;
  CHECK(all_of<AllReduce>(operators).empty());
  const auto gathers = all_of<AllGather>(operators);
  const auto scatters = all_of<ReduceScatter>(operators);
  REQUIRE(gathers.size() == 2);
  REQUIRE(scatters.size() == 2);
  CHECK(gathers[0].bytes == 8 * 64 * 2);  // 7 tokens in two parts of 4
  CHECK(scatters[0].bytes == 8 * 64 * 2);
  CHECK(all_of<Elementwise>(operators)[0].elements == 4 * 64);
  CHECK(gemm(operators, GemmRole::query_key_value).rows == 7);
}

TEST_CASE("decode context parallelism: queries come, shares of the keys are read, results go") {
  const Architecture model = from_text(
      model_text(R"({"kind": "grouped_query", "query_heads": 8, "kv_heads": 2, "head_dim": 16})", kDense));
  Layout layout{8, 1, 1};
  layout.dcp = 4;
  const auto step = lowered(model, layout, {{1, 99}, {5, 10}});
  const auto& operators = step.layers[0].operators;
  const auto kernels = all_of<Attention>(operators);
  REQUIRE(kernels.size() == 2);
  CHECK(kernels[0].query_heads == 1);  // prefill: its own head, all keys
  CHECK(kernels[1].query_heads == 4);
  CHECK(kernels[1].pairs == 25);
  CHECK(kernels[1].kv_tokens == 25);
  const auto gathers = all_of<AllGather>(operators);
  REQUIRE(gathers.size() == 3);
  CHECK(gathers[0].bytes == 10 * 2 * 16 * 2);  // rows of the prompt's context
  CHECK(gathers[1].bytes == 1 * 4 * 16 * 2);   // queries
  CHECK(gathers[2].bytes == 1 * 4 * 4);        // log-sum-exps
  CHECK(all_of<ReduceScatter>(operators)[0].bytes == 1 * 4 * 16 * 2);
  CHECK(layout_problems(model, {4, 1, 1, 1, 1, 4}).size() == 1);
}

TEST_CASE("context parallelism passes the rows of prompts around") {
  const Architecture model = from_text(
      model_text(R"({"kind": "grouped_query", "query_heads": 4, "kv_heads": 2, "head_dim": 16})", kDense));
  std::vector<RankBatch> ranks(2);
  add_chunk(ranks, {40, 20, true}, batch_rule(model, 1));
  Layout layout;
  layout.cp = 2;
  StepOperators step;
  lower(model, layout, {}, ranks[0], 40, step);
  const auto ring = all_of<RingPass>(step.layers[0].operators);
  REQUIRE(ring.size() == 1);
  CHECK(ring[0].bytes == (10 + 20) * 2 * 2 * 16 * 2);
  CHECK(ring[0].ranks == 2);
  CHECK(work_of(ring[0]).payload_bytes == ring[0].bytes);
  // Pieces 0 and 3 of 10 tokens each.
  CHECK(all_of<Attention>(step.layers[0].operators)[0].pairs ==
        visible_pairs({}, 20, 10) + visible_pairs({}, 50, 10));
}

TEST_CASE("a prediction layer joins state and embedding, and has the model's head") {
  const Architecture model = test::zoo("deepseek-v3");
  RankBatch batch;
  add_chunk(batch, {5, 100, true}, batch_rule(model, 1));
  StepOperators step;
  lower_prediction(model, {8, 1, 8}, {}, batch, 5, step);
  const auto& operators = step.layers.at(0).operators;
  CHECK(gemm(operators, GemmRole::prediction_join).depth == 2 * 7168);
  CHECK(gemm(operators, GemmRole::prediction_join).columns == 7168);
  CHECK(all_of<Attention>(operators)[0].pairs == visible_pairs({}, 100, 5));
  CHECK(all_of<GroupedGemm>(operators).size() == 2);
  CHECK(gemm(step.head, GemmRole::head).columns == 129280 / 8);
  // The weights that it reads in naive form are those of the layer, the projection and the head: the
  // published count of the layer less its norms and score biases, which are no operators' weights.
  StepOperators whole;
  RankBatch prompt;
  add_chunk(prompt, {5, 0, true}, batch_rule(model, 1));
  lower_prediction(model, {}, {}, prompt, 5, whole);
  const std::vector<std::int64_t> rows(256, 1);
  set_expert_rows(whole.layers[0].operators, rows);
  std::int64_t read = 0;
  for (const Operator& op : whole.layers[0].operators) read += work_of(op).weight_read_bytes;
  const std::int64_t norms = 5 * 7168 + 1536 + 512;
  CHECK(read == 2 * (count_parameters(model).prediction - norms - 256));
  CHECK_THROWS_AS(lower_prediction(test::zoo("llama-3.1-8b"), {}, {}, prompt, 5, whole),
                  core::InvariantError);
}

}  // namespace
}  // namespace moesim::llm
