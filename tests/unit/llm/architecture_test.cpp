#include "models/llm/architecture.hpp"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "sim/config/node.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::from_text;
using test::zoo;

std::string model_text(const std::string& attention, const std::string& ffn) {
  return R"({"name": "test", "vocab_size": 100, "hidden_size": 64, "max_context_tokens": 1000,
             "layers": [{"count": 2, "attention": )" +
         attention + R"(, "ffn": )" + ffn + R"(}], "sources": {"test": "made up"}})";
}

const std::string kGrouped = R"({"kind": "grouped_query", "query_heads": 8, "kv_heads": 2, "head_dim": 16})";
const std::string kDense = R"({"kind": "dense", "width": 96})";

std::string error_pointer(std::string text) {
  try {
    (void)from_text(std::move(text));
  } catch (const config::InputError& error) {
    return error.diagnostics().errors().at(0).pointer;
  }
  return "no error";
}

TEST_CASE("alternatives and defaults are read") {
  const Architecture model = from_text(model_text(kGrouped, R"({"kind": "moe", "experts": 8, "top_k": 2,
      "expert_width": 32, "shared_experts": 2, "shared_width": 16})"));
  const auto& attention = std::get<GroupedQueryAttention>(model.layers.at(0).attention);
  CHECK(attention == GroupedQueryAttention{8, 2, 16, false, false, false});
  const auto& ffn = std::get<MoeFfn>(model.layers.at(0).ffn);
  CHECK(ffn == MoeFfn{8, 2, 32, 2, 16, false});
  CHECK(ffn.total_shared_width() == 32);
  CHECK_FALSE(model.tied_embeddings);
  CHECK(model.layer_count() == 2);
}

TEST_CASE("contradictions in a model are refused at their place") {
  CHECK(error_pointer(model_text(kGrouped, kDense)) == "no error");
  CHECK(error_pointer(model_text(
            R"({"kind": "grouped_query", "query_heads": 8, "kv_heads": 3, "head_dim": 16})", kDense)) ==
        "/layers/0/attention/kv_heads");
  CHECK(error_pointer(model_text(
            R"({"kind": "grouped_query", "query_heads": 0, "kv_heads": 1, "head_dim": 16})", kDense)) ==
        "/layers/0/attention/query_heads");
  CHECK(error_pointer(model_text(R"({"kind": "latent", "heads": 4, "kv_lora_rank": 32, "rope_head_dim": 7,
                                     "nope_head_dim": 16, "v_head_dim": 16})",
                                 kDense)) == "/layers/0/attention/rope_head_dim");
  CHECK(error_pointer(
            model_text(kGrouped, R"({"kind": "moe", "experts": 4, "top_k": 5, "expert_width": 32})")) ==
        "/layers/0/ffn/top_k");
  CHECK(error_pointer(model_text(
            kGrouped,
            R"({"kind": "moe", "experts": 4, "top_k": 2, "expert_width": 32, "shared_experts": 1})")) ==
        "/layers/0/ffn/shared_width");
  CHECK(error_pointer(model_text(kGrouped, R"({"kind": "sparse"})")) == "/layers/0/ffn/kind");
}

TEST_CASE("latent layers of one model may differ, in at most six ways of seeing their keys") {
  const std::string head =
      R"({"name": "test", "vocab_size": 100, "hidden_size": 64, "max_context_tokens": 1000,
    "sources": {}, "layers": [)";
  const auto layer = [](const std::string& rank) {
    return R"({"count": 1, "ffn": {"kind": "dense", "width": 96}, "attention": {"kind": "latent", "heads": 4,
      "kv_lora_rank": )" +
           rank + R"(, "rope_head_dim": 8, "nope_head_dim": 16, "v_head_dim": 16}})";
  };
  CHECK(error_pointer(head + layer("32") + "," + layer("32") + "]}") == "no error");
  CHECK(error_pointer(head + layer("32") + "," + layer("16") + "]}") == "no error");
  std::string many = layer("8");
  for (const char* rank : {"16", "24", "32", "40", "48"}) many += "," + layer(rank);
  CHECK(error_pointer(head + many + "]}") == "no error");
  CHECK(error_pointer(head + many + "," + layer("56") + "]}") == "/layers");
}

// --- the zoo against the published config.json files, where the reference data is present ---

config::Node published(const std::string& file) {
  const auto path = std::filesystem::path(MOESIM_TEST_DATA_DIR) / "model_configs" / file;
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return in.good() ? config::parse_text(text.str(), file).root : config::Node{};
}

std::int64_t number(const config::Node& node, std::string_view key) {
  const config::Node* value = node.find(key);
  REQUIRE(value != nullptr);
  return value->integer;
}

void check_common(const Architecture& model, const config::Node& file) {
  CHECK(model.vocab_size == number(file, "vocab_size"));
  CHECK(model.hidden_size == number(file, "hidden_size"));
  CHECK(model.max_context_tokens == number(file, "max_position_embeddings"));
  CHECK(model.layer_count() == number(file, "num_hidden_layers"));
  CHECK(model.tied_embeddings == file.find("tie_word_embeddings")->boolean);
}

void check_grouped(const Architecture& model, const config::Node& file) {
  const auto& attention = std::get<GroupedQueryAttention>(model.layers.at(0).attention);
  const std::int64_t heads = number(file, "num_attention_heads");
  CHECK(attention.query_heads == heads);
  CHECK(attention.kv_heads == number(file, "num_key_value_heads"));
  const bool stated = file.find("head_dim") != nullptr;
  CHECK(attention.head_dim == (stated ? number(file, "head_dim") : number(file, "hidden_size") / heads));
}

TEST_CASE("grouped-query models of the zoo equal their published configurations") {
  const auto llama = published("meta-llama--Meta-Llama-3.1-8B_config.json");
  if (llama.kind == config::Node::Kind::null) {
    WARN("skipped: no data");
    return;
  }
  check_common(zoo("llama-3.1-8b"), llama);
  check_grouped(zoo("llama-3.1-8b"), llama);
  CHECK(std::get<DenseFfn>(zoo("llama-3.1-8b").layers.at(0).ffn).width == number(llama, "intermediate_size"));

  const auto mixtral = published("mistralai--Mixtral-8x7B-v0.1_config.json");
  check_common(zoo("mixtral-8x7b"), mixtral);
  check_grouped(zoo("mixtral-8x7b"), mixtral);
  CHECK(std::get<MoeFfn>(zoo("mixtral-8x7b").layers.at(0).ffn) ==
        MoeFfn{number(mixtral, "num_local_experts"), number(mixtral, "num_experts_per_tok"),
               number(mixtral, "intermediate_size"), 0, 0, false});

  const auto qwen = published("Qwen--Qwen3-30B-A3B_config.json");
  check_common(zoo("qwen3-30b-a3b"), qwen);
  check_grouped(zoo("qwen3-30b-a3b"), qwen);
  CHECK(std::get<MoeFfn>(zoo("qwen3-30b-a3b").layers.at(0).ffn) ==
        MoeFfn{number(qwen, "num_experts"), number(qwen, "num_experts_per_tok"),
               number(qwen, "moe_intermediate_size"), 0, 0, false});
}

TEST_CASE("DeepSeek-V3 of the zoo equals its published configuration") {
  const auto file = published("deepseek-ai--DeepSeek-V3_config.json");
  if (file.kind == config::Node::Kind::null) {
    WARN("skipped: no data");
    return;
  }
  const Architecture model = zoo("deepseek-v3");
  check_common(model, file);
  REQUIRE(model.layers.size() == 2);
  CHECK(model.layers[0].count == number(file, "first_k_dense_replace"));
  CHECK(std::get<DenseFfn>(model.layers[0].ffn).width == number(file, "intermediate_size"));
  CHECK(std::get<MoeFfn>(model.layers[1].ffn) ==
        MoeFfn{number(file, "n_routed_experts"), number(file, "num_experts_per_tok"),
               number(file, "moe_intermediate_size"), number(file, "n_shared_experts"),
               number(file, "moe_intermediate_size"), true});
  const LatentAttention want{number(file, "num_attention_heads"), number(file, "q_lora_rank"),
                             number(file, "kv_lora_rank"),        number(file, "qk_rope_head_dim"),
                             number(file, "qk_nope_head_dim"),    number(file, "v_head_dim")};
  for (const LayerGroup& group : model.layers) CHECK(std::get<LatentAttention>(group.attention) == want);
}

}  // namespace
}  // namespace moesim::llm
