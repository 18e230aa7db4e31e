#include "models/llm/layout.hpp"

#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::zoo;
using Messages = std::vector<std::string>;

TEST_CASE("legal layouts have no problems") {
  CHECK(layout_problems(zoo("llama-3.1-8b"), {8, 1, 1}).empty());
  CHECK(layout_problems(zoo("llama-3.1-8b"), {32, 1, 1}).empty());  // KV heads copied 4 times
  CHECK(layout_problems(zoo("mixtral-8x7b"), {4, 2, 4}).empty());
  CHECK(layout_problems(zoo("qwen3-30b-a3b"), {1, 8, 8}).empty());
  CHECK(layout_problems(zoo("deepseek-v3"), {1, 32, 32}).empty());
  CHECK(layout_problems(zoo("deepseek-v3"), {8, 1, 8}).empty());
}

TEST_CASE("problems name the failing equation with its numbers") {
  CHECK(layout_problems(zoo("llama-3.1-8b"), {3, 1, 1}) ==
        Messages{"query_heads % tp must be 0, but 32 % 3 = 2", "kv_heads % tp must be 0, but 8 % 3 = 2",
                 "dense FFN width % tp must be 0, but 14336 % 3 = 2"});
  CHECK(layout_problems(zoo("llama-3.1-8b"), {1, 1, 2}) ==
        Messages{"ep must be 1 for a model without experts, but it is 2"});
  CHECK(layout_problems(zoo("mixtral-8x7b"), {4, 1, 3}) ==
        Messages{"tp * dp % ep must be 0, but 4 % 3 = 1", "experts % ep must be 0, but 8 % 3 = 2"});
  CHECK(layout_problems(zoo("mixtral-8x7b"), {1, 16, 16}) ==
        Messages{"experts % ep must be 0, but 8 % 16 = 8"});
  CHECK(layout_problems(zoo("qwen3-30b-a3b"), {1, 5, 1}) ==
        Messages{"expert_width % moe_tp (= tp * dp / ep) must be 0, but 768 % 5 = 3"});
  CHECK(layout_problems(zoo("deepseek-v3"), {3, 1, 1}) ==
        Messages{"heads % tp must be 0, but 128 % 3 = 2",
                 "expert_width % moe_tp (= tp * dp / ep) must be 0, but 2048 % 3 = 2",
                 "shared expert width % its shards must be 0, but 2048 % 3 = 2"});
  CHECK(layout_problems(zoo("llama-3.1-8b"), {0, 1, 1}).size() == 1);
  CHECK(layout_problems(zoo("llama-3.1-8b"), {1, 1, 1, 2}).empty());
  CHECK(run_problems(zoo("llama-3.1-8b"), {1, 1, 1, 2}).size() == 1);
}

TEST_CASE("tensor ranks beyond the KV heads must copy them evenly") {
  Architecture model = zoo("llama-3.1-8b");
  std::get<GroupedQueryAttention>(model.layers.at(0).attention) = {24, 6, 128, false, false, false};
  std::get<DenseFfn>(model.layers.at(0).ffn).width = 24 * 64;
  CHECK(layout_problems(model, {12, 1, 1}).empty());
  CHECK(layout_problems(model, {8, 1, 1}) == Messages{"tp % kv_heads must be 0, but 8 % 6 = 2"});
}

TEST_CASE("exchange, groups and shards") {
  CHECK(moe_exchange({8, 1, 1}) == MoeExchange::all_reduce);
  CHECK(moe_exchange({8, 1, 8}) == MoeExchange::all_reduce);
  CHECK(moe_exchange({2, 4, 8}) == MoeExchange::dispatch);
  CHECK(moe_exchange({2, 4, 4}) == MoeExchange::gather_scatter);
  CHECK(shared_expert_shards({8, 1, 2}) == 8);
  CHECK(shared_expert_shards({2, 4, 8}) == 1);
  CHECK(shared_expert_shards({2, 4, 4}) == 8);
  const Layout layout{2, 4, 4};
  CHECK(layout.ranks() == 8);
  CHECK(layout.moe_tp() == 2);
  CHECK(group_size(layout, Group::tensor) == 2);
  CHECK(group_size(layout, Group::data) == 4);
  CHECK(group_size(layout, Group::expert) == 4);
}

TEST_CASE("the vocabulary is padded to 64 and to the tensor ranks") {
  Architecture model = zoo("llama-3.1-8b");
  CHECK(padded_vocab(model, {8, 1, 1}) == 128256);
  model.vocab_size = 50257;
  CHECK(padded_vocab(model, {1, 1, 1}) == 50304);
  CHECK(padded_vocab(model, {3, 1, 1}) == 50304);  // a multiple of 192
  CHECK(padded_vocab(model, {128, 1, 1}) == 50304);
  CHECK(padded_vocab(model, {256, 1, 1}) == 50432);
}

}  // namespace
}  // namespace moesim::llm
