#include "models/llm/context_work.hpp"

#include <cmath>

#include "models/llm/batch.hpp"
#include "models/llm/key_rule.hpp"
#include "models/llm/lowering.hpp"
#include "models/llm/parameters.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using core::Int128;
using test::from_text;
using test::zoo;

// The first four digits of a count, and its number of digits.
struct Digits {
  std::int64_t first_four = 0;
  int count = 0;
  bool operator==(const Digits&) const = default;
};
Digits digits(Int128 count) {
  Digits result;
  Int128 rest = count;
  Int128 scale = 1;
  for (; rest > 0; rest /= 10) ++result.count;
  for (int i = 4; i < result.count; ++i) scale *= 10;
  result.first_four = static_cast<std::int64_t>((count + scale / 2) / scale);
  return result;
}

// `got` is within a share of a number.
bool near(double got, double value, double share) { return std::abs(got - value) <= share * value; }

// Per mille of `part` in `whole`, rounded to nearest.
std::int64_t per_mille(Int128 part, Int128 whole) {
  return static_cast<std::int64_t>((2000 * part + whole) / (2 * whole));
}

TEST_CASE("a prefill of Llama 3.1 405B at a million tokens") {
  const Architecture llama = zoo("llama-3.1-405b");
  const ContextWork million = prefill_work(llama, 1'000'000);
  CHECK(digits(million.linear_flops) == Digits{8117, 18});     // 8.117e17
  CHECK(digits(million.attention_flops) == Digits{4129, 19});  // 4.129e18
  CHECK(per_mille(million.attention_flops, million.total()) == 836);
  const ContextWork binary = prefill_work(llama, 1 << 20);
  CHECK(digits(binary.linear_flops) == Digits{8511, 18});
  CHECK(digits(binary.attention_flops) == Digits{4540, 19});
  CHECK(per_mille(binary.attention_flops, binary.total()) == 842);
  // By hand: pairs x 2 x heads x (128 + 128) x layers.
  const Int128 pairs = static_cast<Int128>(1'000'000) * 1'000'001 / 2;
  CHECK(million.attention_flops == pairs * 2 * 128 * 256 * 126);
  CHECK(million.index_flops == 0);
  CHECK(million.recurrent_flops == 0);
}

TEST_CASE("counts of long contexts pass 63 bits") {
  const ContextWork work = prefill_work(zoo("llama-3.1-405b"), 10'000'000);
  CHECK(work.attention_flops == static_cast<Int128>(50'000'005'000'000) * 2 * 128 * 256 * 126);
  CHECK(as_double(work.attention_flops) > 4.1e20);
}

// The claim that a mixture of experts costs a tenth at a million tokens: attention is the same in both, so
// the advantage of one token's linear work melts away.
TEST_CASE("a mixture of experts against its dense twin") {
  const Architecture moe = zoo("qwen3-235b-a22b");
  const Architecture twin = dense_twin(moe);
  const auto advantage = [&](std::int64_t tokens) {
    return as_double(prefill_work(twin, tokens).total()) / as_double(prefill_work(moe, tokens).total());
  };
  CHECK(near(advantage(4'096), 9.4, 0.02));
  CHECK(near(advantage(32'768), 5.5, 0.02));
  CHECK(near(advantage(131'072), 2.7, 0.02));
  CHECK(near(advantage(1 << 20), 1.26, 0.02));
  CHECK(near(as_double(prefill_work(twin, 1).linear_flops) / as_double(prefill_work(moe, 1).linear_flops),
             10.6, 0.01));
  CHECK(prefill_work(twin, 5000).attention_flops == prefill_work(moe, 5000).attention_flops);
}

TEST_CASE("tokens one after another do the work of the prefill") {
  for (const std::string_view id : {"deepseek-v3", "mixtral-8x7b", "llama-3.1-8b"}) {
    INFO(id);
    const Architecture model = zoo(id);
    ContextWork sum;
    for (std::int64_t context = 1; context <= 40; ++context) {
      const ContextWork one = token_work(model, context);
      sum.linear_flops += one.linear_flops;
      sum.attention_flops += one.attention_flops;
    }
    CHECK(sum == prefill_work(model, 40));
  }
}

// Every kind of attention, in numbers by hand: 10 tokens.
Architecture one_layer(const std::string& attention) {
  return from_text(R"({"name": "one", "vocab_size": 128, "hidden_size": 64, "max_context_tokens": 4096,
      "layers": [{"count": 3, "attention": )" +
                   attention + R"(, "ffn": {"kind": "dense", "width": 64}}],
      "sources": {"assumed": "made up"}})");
}

TEST_CASE("each kind of attention by hand") {
  const auto work = [](const std::string& attention) { return prefill_work(one_layer(attention), 10); };
  // Windows of 4: 1 + 2 + 3 + 7 x 4 = 34 pairs.
  CHECK(work(R"({"kind": "grouped_query", "query_heads": 4, "kv_heads": 2, "head_dim": 16,
                 "value_head_dim": 8, "window_tokens": 4})")
            .attention_flops == 3 * 2 * 34 * 4 * (16 + 8));
  // Chunks of 4: 10 + 10 + 3 pairs.
  CHECK(work(R"({"kind": "grouped_query", "query_heads": 4, "kv_heads": 2, "head_dim": 16,
                 "chunk_tokens": 4})")
            .attention_flops == 3 * 2 * 23 * 4 * 32);
  // Latent, naive: keys of 8 + 4, values of 6; an indexer keeps 4 keys and scores all 55 pairs.
  const ContextWork latent = work(
      R"({"kind": "latent", "heads": 4, "kv_lora_rank": 16, "rope_head_dim": 4, "nope_head_dim": 8,
          "v_head_dim": 6, "q_lora_rank": 12, "indexer": {"heads": 2, "head_dim": 8, "top_k": 4}})");
  CHECK(latent.attention_flops == 3 * 2 * 34 * 4 * (12 + 6));
  CHECK(latent.index_flops == 3 * 2 * 55 * 2 * 8);
  CHECK(latent.total() == latent.linear_flops + latent.attention_flops + latent.index_flops);
  // Compressed: a window of 4 and entries of 2 tokens, of which 2 are kept: 34, and 0 + 1 + 1 + 2 x 7 pairs;
  // scored are 0 + 1 + 1 + 2 + 2 + 3 + 3 + 4 + 4 + 5.
  const ContextWork compressed = work(
      R"({"kind": "compressed", "query_heads": 4, "head_dim": 16, "rope_head_dim": 4, "q_lora_rank": 16,
          "output_groups": 2, "output_lora_rank": 8, "window_tokens": 4, "ratio": 2,
          "indexer": {"heads": 2, "head_dim": 8, "top_k": 2}})");
  CHECK(compressed.attention_flops == 3 * 2 * (34 + 16) * 4 * 32);
  CHECK(compressed.index_flops == 3 * 2 * 25 * 2 * 8);
  // A delta rule: 3 k v multiply-accumulates per token and head.
  const ContextWork recurrent = work(
      R"({"kind": "recurrent", "recurrence": "gated_delta", "key_heads": 2, "value_heads": 4, "key_dim": 8,
          "value_dim": 16, "convolution": 4})");
  CHECK(recurrent.recurrent_flops == 3 * 10 * 2 * 4 * 3 * 8 * 16);
  CHECK(recurrent.attention_flops == 0);
}

// The operators of a step do the same products, but for one row of logits and parameters that multiply
// nothing.
TEST_CASE("the operators of a prefill do this work") {
  const Architecture model = zoo("deepseek-v3");
  const std::int64_t tokens = 256;
  RankBatch batch;
  add_chunk(batch, {tokens, 0, true}, batch_rule(model, 1));
  StepOperators step;
  lower(model, Layout{}, Formats{}, batch, tokens, step);
  const std::vector<std::int64_t> rows(256, 8);  // 256 tokens x 8 over 256 experts
  Int128 attention = 0, linear = 0;
  for (LayerOperators& layer : step.layers) {
    const bool moe = std::holds_alternative<MoeFfn>(model.layers[layer.group].ffn);
    if (moe) set_expert_rows(layer.operators, rows);
    for (const Operator& op : layer.operators)
      (std::holds_alternative<Attention>(op) ? attention : linear) += layer.count * work_of(op).matmul_flops;
  }
  const ContextWork work = prefill_work(model, tokens);
  CHECK(attention == work.attention_flops);
  const Parameters parameters = count_parameters(model);
  const ByCategory& by = parameters.by_category;
  CHECK(linear == work.linear_flops - 2 * tokens * (by.embedding + by.head + by.norms + parameters.biases));
}

}  // namespace
}  // namespace moesim::llm
