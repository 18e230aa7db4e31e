// Small parts of a shape that some families have: their weights, bytes and work, by hand.
#include <string>

#include "models/llm/lowering.hpp"
#include "models/llm/memory.hpp"
#include "models/llm/parameters.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::zoo;

Work sum(const std::vector<Operator>& operators, ElementwiseRole role) {
  Work total;
  for (const Operator& op : operators) {
    const auto* part = std::get_if<Elementwise>(&op);
    if (part == nullptr || part->role != role) continue;
    const Work work = work_of(*part);
    total.other_flops += work.other_flops;
    total.specials += work.specials;
    total.activation_read_bytes += work.activation_read_bytes;
    total.activation_write_bytes += work.activation_write_bytes;
    total.kv_write_bytes += work.kv_write_bytes;
  }
  return total;
}

// One prefill of `tokens`.
StepOperators lowered(const Architecture& model, const Layout& layout, std::int64_t tokens) {
  REQUIRE(layout_problems(model, layout).empty());
  RankBatch batch;
  add_chunk(batch, {tokens, 0, true}, batch_rule(model, 1));
  StepOperators step;
  lower(model, layout, {}, batch, tokens * layout.dp, step);
  return step;
}

GroupedQueryAttention& attention_of(Architecture& model) {
  return std::get<GroupedQueryAttention>(model.layers.at(0).attention);
}

TEST_CASE("a norm over all heads has a weight per element, divided like the heads") {
  Architecture model = zoo("llama-3.1-8b");  // 32 query heads, 8 KV heads of 128
  const Parameters plain = count_parameters(model);
  attention_of(model).query_key_norm = true;
  attention_of(model).query_key_norm_over_heads = true;
  CHECK(count_parameters(model).by_category.norms == plain.by_category.norms + 32 * 40 * 128);
  const auto bytes = [&](std::int64_t tp) {
    return weight_bytes_per_rank(model, {tp, 1, 1}, {}).norms - (2 * 32 + 1) * 4096 * 2;
  };
  CHECK(bytes(1) == 32 * 40 * 128 * 2);
  CHECK(bytes(4) == 32 * 10 * 128 * 2);
  const std::int64_t t = 7;
  const Work work = sum(lowered(model, {}, t).layers[0].operators, ElementwiseRole::query_key_norm);
  CHECK(work.other_flops == t * 40 * 128 * 3);
  CHECK(work.specials == 2 * t);
  // Over ranks, the sums of squares of q and k: two f32 for each token.
  std::int64_t small = 0;
  const StepOperators over_ranks = lowered(model, {4, 1, 1}, t);
  for (const Operator& op : over_ranks.layers[0].operators) {
    const auto* reduce = std::get_if<AllReduce>(&op);
    if (reduce != nullptr && reduce->bytes == 2 * t * 4) ++small;
  }
  CHECK(small == 1);
}

TEST_CASE("a partial rotation rotates, reads and writes fewer elements; the cache stays whole") {
  Architecture model = zoo("llama-3.1-8b");
  const std::int64_t t = 5;
  const Work whole = sum(lowered(model, {}, t).layers[0].operators, ElementwiseRole::rope_and_cache);
  attention_of(model).rotated_dim = 64;
  const Work half = sum(lowered(model, {}, t).layers[0].operators, ElementwiseRole::rope_and_cache);
  CHECK(whole.other_flops == 3 * t * 40 * 128);
  CHECK(half.other_flops == 3 * t * 40 * 64);
  CHECK(half.activation_read_bytes == (t * 32 * 64 + 2 * t * 8 * 128) * 2);
  CHECK(half.activation_write_bytes == t * 32 * 64 * 2);
  CHECK(half.kv_write_bytes == whole.kv_write_bytes);
}

TEST_CASE("a soft cap is a tanh, a division and a product for each score") {
  Architecture model = zoo("llama-3.1-8b");
  const auto attention = [&] {
    const StepOperators step = lowered(model, {}, 9);
    for (const Operator& op : step.layers[0].operators) {
      if (std::holds_alternative<Attention>(op)) return work_of(op);
    }
    return Work{};
  };
  const Work plain = attention();
  attention_of(model).score_cap = true;
  const Work capped = attention();
  const std::int64_t scores = 32 * (9 * 10 / 2);
  CHECK(capped.specials == plain.specials + scores);
  CHECK(capped.other_flops == plain.other_flops + 2 * scores);
  CHECK(capped.matmul_flops == plain.matmul_flops);
}

TEST_CASE("biases of projections and head are read once and added once") {
  Architecture model = zoo("llama-3.1-8b");
  const std::int64_t t = 3;
  const auto work = [&](bool head, GemmRole role) {
    const StepOperators step = lowered(model, {}, t);
    for (const Operator& op : head ? step.head : step.layers[0].operators) {
      const auto* gemm = std::get_if<Gemm>(&op);
      if (gemm != nullptr && gemm->role == role) return work_of(*gemm);
    }
    return Work{};
  };
  const Work plain_qkv = work(false, GemmRole::query_key_value);
  const Work plain_output = work(false, GemmRole::attention_output);
  const Work plain_head = work(true, GemmRole::head);
  const ByCategory before = weight_bytes(model, {});
  attention_of(model).qkv_bias = true;
  attention_of(model).output_bias = true;
  model.head_bias = true;
  const std::int64_t qkv = (32 + 2 * 8) * 128;
  CHECK(work(false, GemmRole::query_key_value).other_flops == plain_qkv.other_flops + t * qkv);
  CHECK(work(false, GemmRole::query_key_value).weight_read_bytes == plain_qkv.weight_read_bytes + qkv * 2);
  CHECK(work(false, GemmRole::attention_output).other_flops == plain_output.other_flops + t * 4096);
  CHECK(work(true, GemmRole::head).weight_read_bytes == plain_head.weight_read_bytes + 128256 * 2);
  CHECK(weight_bytes(model, {}).head == before.head + 128256 * 2);
  CHECK(count_parameters(model).by_category.head == 128256 * 4096 + 128256);
}

TEST_CASE("LayerNorms with biases, and norms behind attention and FFN") {
  Architecture model = zoo("llama-3.1-8b");
  const std::int64_t t = 4, h = 4096;
  const auto input_norm = [&] {
    return sum(lowered(model, {}, t).layers[0].operators, ElementwiseRole::input_norm).other_flops;
  };
  CHECK(input_norm() == 4 * t * h);
  model.layer_norm = true;
  CHECK(count_parameters(model).by_category.norms == (2 * 32 + 1) * h);
  CHECK(input_norm() == 6 * t * h);
  model.norm_bias = true;
  CHECK(count_parameters(model).by_category.norms == (2 * 32 + 1) * 2 * h);
  CHECK(weight_bytes(model, {}).norms == (2 * 32 + 1) * 2 * h * 2);
  CHECK(input_norm() == 7 * t * h);
  Architecture post = zoo("llama-3.1-8b");
  post.post_norms = true;
  CHECK(count_parameters(post).by_category.norms == (4 * 32 + 1) * h);
  const StepOperators step = lowered(post, {}, t);
  CHECK(sum(step.layers[0].operators, ElementwiseRole::attention_output_norm).other_flops == 3 * t * h);
  CHECK(sum(step.layers[0].operators, ElementwiseRole::ffn_output_norm).other_flops == 3 * t * h);
}

TEST_CASE("the gate of shared experts is a vector of weights and a sigmoid per token") {
  Architecture model = zoo("deepseek-v3");
  const Parameters before = count_parameters(model);
  const std::int64_t t = 6, h = 7168;
  const Layout layout{1, 8, 8};
  const auto step = [&] { return lowered(model, layout, t); };
  const Work plain = sum(step().layers[1].operators, ElementwiseRole::shared_add);
  std::get<MoeFfn>(model.layers.at(1).ffn).shared_gate = true;
  CHECK(count_parameters(model).by_category.shared_experts == before.by_category.shared_experts + 58 * h);
  CHECK(weight_bytes(model, {}).shared_experts == (before.by_category.shared_experts + 58 * h) * 2);
  const StepOperators gated = step();
  const Work added = sum(gated.layers[1].operators, ElementwiseRole::shared_add);
  CHECK(added.other_flops == plain.other_flops + t * h + 2 * t);
  CHECK(added.specials == t);
  CHECK(added.activation_read_bytes == plain.activation_read_bytes + t * 2);
  int gates = 0;
  for (const Operator& op : gated.layers[1].operators) {
    const auto* gemm = std::get_if<Gemm>(&op);
    if (gemm == nullptr || gemm->role != GemmRole::shared_gate) continue;
    ++gates;
    CHECK(work_of(*gemm).matmul_flops == 2 * t * h);
    CHECK(work_of(*gemm).weight_read_bytes == h * 2);
  }
  CHECK(gates == 1);
}

TEST_CASE("details that contradict each other are errors") {
  const auto errors = [](const std::string& attention, const std::string& ffn, const std::string& model) {
    try {
      static_cast<void>(test::from_text(
          R"({"name": "x", "vocab_size": 100, "hidden_size": 64, "max_context_tokens": 10, "sources": {}, )" +
          model + R"("layers": [{"count": 1, "attention": {"kind": "grouped_query", "query_heads": 2,
          "kv_heads": 2, "head_dim": 32)" +
          attention + R"(}, "ffn": )" + ffn + "}]}"));
    } catch (const config::InputError& error) {
      return error.diagnostics().errors().at(0).pointer;
    }
    return std::string();
  };
  const std::string dense = R"({"kind": "dense", "width": 64})";
  CHECK(errors("", dense, "").empty());
  CHECK(errors(R"(, "query_key_norm_over_heads": true)", dense, "") ==
        "/layers/0/attention/query_key_norm_over_heads");
  CHECK(errors(R"(, "rotated_dim": 34)", dense, "") == "/layers/0/attention/rotated_dim");
  CHECK(errors(R"(, "rotated_dim": 7)", dense, "") == "/layers/0/attention/rotated_dim");
  CHECK(errors("", dense, R"("norm_bias": true, )") == "/norm_bias");
  CHECK(errors("", R"({"kind": "moe", "experts": 4, "top_k": 1, "expert_width": 8, "shared_gate": true})",
               "") == "/layers/0/ffn/shared_gate");
}

}  // namespace
}  // namespace moesim::llm
