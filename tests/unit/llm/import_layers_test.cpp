// Importing config.json files: kinds of layers and their order, windows, rotation, prediction layers.
#include <string>
#include <vector>

#include "models/llm/hf_families.hpp"
#include "models/llm/parameters.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/hub.hpp"

namespace moesim::llm {
namespace {

using test::error_of;
using test::from_text;
using test::load;
using test::small_latent;
using test::small_moe;
using test::warning_of;
using Kinds = std::vector<std::int64_t>;
using Order = std::vector<LayerPattern>;

Kinds written_out(const Order& order) {
  Kinds kinds;
  for (const LayerPattern& pattern : order) {
    for (std::int64_t i = 0; i < pattern.repeat; ++i)
      kinds.insert(kinds.end(), pattern.groups.begin(), pattern.groups.end());
  }
  return kinds;
}

TEST_CASE("the order of layers is told by its shortest patterns") {
  CHECK(hf::shortest_order(Kinds{0, 1, 0, 1, 0, 1, 0, 1}) == Order{{4, {0, 1}}});
  CHECK(hf::shortest_order(Kinds{0, 0, 0, 1, 0, 0, 0, 1}) == Order{{2, {0, 0, 0, 1}}});
  CHECK(hf::shortest_order(Kinds{2, 2, 2, 2, 2, 2, 2, 0, 1, 0, 1, 0, 1}) == Order{{7, {2}}, {3, {0, 1}}});
  CHECK(hf::shortest_order(Kinds{0, 1, 0}) == Order{{1, {0, 1, 0}}});
  CHECK(hf::shortest_order(Kinds{}).empty());
  // Whatever the layers are, the patterns are these layers again.
  std::uint64_t state = 20261126;
  for (int i = 0; i < 200; ++i) {
    Kinds kinds;
    for (std::size_t size = static_cast<std::size_t>(i); kinds.size() < size;) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      kinds.push_back(static_cast<std::int64_t>(state >> 62));
    }
    CHECK(written_out(hf::shortest_order(kinds)) == kinds);
  }
  // A pattern longer than any that is looked for is still told, in parts.
  Kinds vast(1000);
  for (std::size_t i = 0; i < vast.size(); ++i) vast[i] = static_cast<std::int64_t>(i % 100);
  CHECK(written_out(hf::shortest_order(vast)) == vast);
}

// A model with three ways of saying its attention.
std::string small_dense(const std::string& type, const std::string& more) {
  return R"({"model_type": ")" + type + R"(", "hidden_size": 64, "num_hidden_layers": 6,
      "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100,
      "max_position_embeddings": 512)" +
         (more.empty() ? "" : ", " + more) + "}";
}

// The window of each layer.
Kinds windows(const Architecture& model) {
  Kinds result;
  for (const std::int64_t group : written_out(model.patterns())) {
    const LayerGroup& layer = model.layers.at(static_cast<std::size_t>(group));
    result.push_back(std::get<GroupedQueryAttention>(layer.attention).window_tokens);
  }
  return result;
}

TEST_CASE("windows are on where the family has them on") {
  const auto of = [](const std::string& type, const std::string& more) {
    return windows(from_text(small_dense(type, more)));
  };
  const Kinds none(6, 0), all(6, 128);
  CHECK(of("mistral", "\"sliding_window\": 128") == all);
  CHECK(of("mistral", "\"sliding_window\": null") == none);
  CHECK(of("mistral", "\"sliding_window\": 512") == none);  // as long as the context
  // Qwen2Config: a window only with use_sliding_window, from layer max_window_layers on.
  CHECK(of("qwen2", "\"sliding_window\": 128") == none);
  CHECK(of("qwen2", R"("sliding_window": 128, "use_sliding_window": false, "max_window_layers": 0)") == none);
  const std::string used = R"("sliding_window": 128, "use_sliding_window": true)";
  CHECK(of("qwen2", used + R"(, "max_window_layers": 4)") == Kinds{0, 0, 0, 0, 128, 128});
  CHECK(of("qwen3", used + R"(, "max_window_layers": 6)") == none);
  CHECK(error_of(small_dense("qwen2", used)).starts_with("missing_key "));
  CHECK(error_of(small_dense("qwen2", R"("use_sliding_window": true, "max_window_layers": 1)"))
            .starts_with("missing_key "));
  const std::string types = R"("layer_types": ["full_attention", "sliding_attention", "full_attention",
      "sliding_attention", "full_attention", "sliding_attention"])";
  CHECK(of("qwen3", types + R"(, "sliding_window": 128)") == Kinds{0, 128, 0, 128, 0, 128});
  CHECK(from_text(small_dense("qwen3", types + R"(, "sliding_window": 128)")).order == Order{{3, {0, 1}}});
  CHECK(error_of(small_dense("qwen3", types)).starts_with("missing_key "));
  CHECK(error_of(small_dense("qwen3", R"("layer_types": ["full_attention", "full_attention"])")) ==
        "contradiction /layer_types 3:54 layer_types has 2 entries, but the model has 6 layers");
  CHECK(error_of(small_moe(R"("layer_types": ["full_attention", "full_attention", "full_attention",
      "full_attention", "full_attention", "linear_attention"])"))
            .starts_with("unsupported /layer_types 15:18 this family has no layers of type "
                         "\"linear_attention\"; known are full_attention, sliding_attention"));
  const Architecture mixtral = from_text(
      small_dense("mixtral", R"("sliding_window": 64, "num_local_experts": 4, "num_experts_per_tok": 2)"));
  CHECK(windows(mixtral) == Kinds(6, 64));
}

TEST_CASE("the scaling of the rotation is read in its old and its new form") {
  const auto of = [](const std::string& more) { return from_text(small_moe(more)).rope_scaling; };
  using Kind = RopeScalingKind;
  CHECK(of(R"("rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024})") ==
        RopeScaling{Kind::yarn, 4, 1024});
  CHECK(of(R"("rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 512})") ==
        RopeScaling{Kind::llama3, 8, 512});
  CHECK(of(R"("rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0,
        "original_max_position_embeddings": 2048})") == RopeScaling{Kind::yarn, 2, 2048});
  CHECK(of(R"("rope_scaling": {"type": "linear", "factor": 2.0})") == RopeScaling{Kind::linear, 2, 4096});
  CHECK(of(R"("rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]},
        "original_max_position_embeddings": 1024)") == RopeScaling{Kind::longrope, 4, 1024});
  CHECK_FALSE(of(R"("rope_parameters": {"rope_type": "default", "rope_theta": 10000.0})"));
  CHECK_FALSE(of(R"("rope_scaling": {"type": "mrope", "mrope_section": [8, 4, 4]})"));
  CHECK_FALSE(of("\"rope_scaling\": null"));
  const auto strange = load(small_moe(R"("rope_scaling": {"type": "spiral", "factor": 2.0})"));
  CHECK_FALSE(strange.value.rope_scaling);
  CHECK(warning_of(strange, "left_out") ==
        "left out of the model: the scaling of the rotation, which is not known (type)");
  CHECK(warning_of(load(small_moe(R"("rope_scaling": {"type": "yarn", "factor": 2.0, "twist": 1})")),
                   "unknown_field") ==
        "the field \"rope_scaling.twist\" of the configuration is not known and had no effect");
  // llama3: what max_position_embeddings says is stretched already.
  CHECK(of(R"("rope_scaling": {"rope_type": "llama3", "factor": 8.0})") == RopeScaling{Kind::llama3, 8, 512});
  // A part of the head inside rope_parameters.
  const auto rotated = [](const std::string& more) {
    return std::get<GroupedQueryAttention>(from_text(small_moe(more)).layers.at(0).attention);
  };
  CHECK(rotated(R"("rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5})").rotated_dim ==
        16);
  CHECK(rotated("\"partial_rotary_factor\": 0.0").position_free);
  CHECK(error_of(small_moe(R"("rope_parameters": {"partial_rotary_factor": 0.3})"))
            .starts_with("contradiction /rope_parameters/partial_rotary_factor "));
}

TEST_CASE("a window that a family's code does not look at is told or refused, never passed over") {
  const std::string idle =
      "left out of the model: the window, which counts with \"use_sliding_window\": true "
      "only (sliding_window)";
  CHECK(warning_of(load(small_dense("qwen2", "\"sliding_window\": 128")), "left_out") == idle);
  CHECK(warning_of(load(small_moe("\"sliding_window\": 128")), "left_out") == idle);
  CHECK(load(small_moe("\"sliding_window\": 4096")).warnings.empty());  // as long as the context
  const std::string refused =
      "unsupported /sliding_window 3:57 this family has windows in the layers that "
      "layer_types names only";
  CHECK(error_of(small_dense("llama", "\"sliding_window\": 128")) == refused);
  CHECK(error_of(small_dense("llama", R"("sliding_window": 128, "use_sliding_window": true)")) == refused);
  CHECK(error_of(small_dense("llama", "\"sliding_window\": 512")) == "no error");
  CHECK(error_of(small_dense("llama", "\"sliding_window\": null")) == "no error");
  const std::string types = R"("sliding_window": 128, "layer_types": ["full_attention", "sliding_attention",
      "full_attention", "full_attention", "full_attention", "full_attention"])";
  CHECK(windows(from_text(small_dense("llama", types))) == Kinds{0, 128, 0, 0, 0, 0});
  CHECK(error_of(small_dense("glm4_moe", R"("sliding_window": 128, "n_routed_experts": 8,
      "num_experts_per_tok": 2, "moe_intermediate_size": 24, "first_k_dense_replace": 0)"))
            .starts_with("unsupported /sliding_window "));
  // Off is off, in any family.
  const std::string off = R"("sliding_window": 128, "use_sliding_window": false, "max_window_layers": 28)";
  for (const std::string& text : {small_dense("llama", off), small_dense("qwen3", off), small_moe(off),
                                  small_latent("\"first_k_dense_replace\": 5, " + off)}) {
    CHECK(load(text).warnings.empty());
  }
  CHECK(load(small_latent("\"use_sliding_window\": false")).warnings.empty());
  CHECK(
      error_of(small_latent("\"use_sliding_window\": true")).starts_with("unsupported /use_sliding_window "));
}

TEST_CASE("a dense family with fields of experts or of latent attention is refused") {
  for (const std::string type : {"llama", "mistral", "qwen2", "qwen3", "mimo"}) {
    for (const std::string key : {"num_experts", "num_local_experts", "n_routed_experts",
                                  "num_experts_per_tok", "moe_intermediate_size", "n_shared_experts"}) {
      CHECK(error_of(small_dense(type, "\"" + key + "\": 8")) ==
            "unsupported /" + key + " 3:" + std::to_string(43 + key.size()) + " \"" + key +
                "\" asks for a mixture of experts, which this family does not have");
      CHECK(load(small_dense(type, "\"" + key + "\": 0")).warnings.empty());
      CHECK(load(small_dense(type, "\"" + key + "\": null")).warnings.empty());
    }
    CHECK(error_of(small_dense(type, "\"kv_lora_rank\": 32"))
              .ends_with("asks for latent attention, which this family does not have"));
    CHECK(error_of(small_dense(type, "\"v_head_dim\": 32")).starts_with("unsupported /v_head_dim "));
  }
}

// small_moe with this scaling and 4,096 as max_position_embeddings.
std::int64_t context_with(const std::string& scaling) {
  return from_text(small_moe("\"rope_scaling\": " + scaling)).max_context_tokens;
}

TEST_CASE("the longest context is that of the stretched rotation") {
  // vLLM derives it so: yarn from the original context, whatever max_position_embeddings says.
  const auto yarn = [](const std::string& factor, const std::string& original) {
    return context_with(R"({"type": "yarn", "factor": )" + factor +
                        R"(, "original_max_position_embeddings": )" + original + "}");
  };
  CHECK(yarn("4.0", "2048") == 8192);
  CHECK(yarn("4.0", "1024") == 4096);
  CHECK(yarn("2.0", "1024") == 2048);
  CHECK(yarn("2.5", "1000") == 2500);
  CHECK(context_with(R"({"type": "yarn", "factor": 4.0})") == 16384);
  // Qwen3-4B as its makers document it.
  std::string qwen = small_dense("qwen3", R"("rope_scaling": {"rope_type": "yarn", "factor": 4.0,
      "original_max_position_embeddings": 32768})");
  qwen.replace(qwen.find("512"), 3, "40960");
  CHECK(from_text(qwen).max_context_tokens == 131072);
  CHECK(load(qwen).warnings.empty());
  for (const std::string method : {"linear", "dynamic"}) {
    const std::string scaling = R"({"type": ")" + method + R"(", "factor": 2.0)";
    CHECK(context_with(scaling + "}") == 8192);
    CHECK(context_with(scaling + R"(, "original_max_position_embeddings": 2048})") == 4096);
    CHECK(context_with(scaling + R"(, "original_max_position_embeddings": 1024})") == 4096);
    CHECK(context_with(scaling + R"(, "original_max_position_embeddings": 4096})") == 8192);
  }
  CHECK(context_with(R"({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 2048})") ==
        4096);
  CHECK(context_with(R"({"type": "mrope"})") == 4096);
  CHECK(error_of(small_moe(R"("rope_scaling": {"type": "linear", "factor": 1000000.0})")) ==
        "contradiction /rope_scaling/factor 15:48 the rotation would be stretched to 4096000000 tokens");
  // A window that is longer than max_position_embeddings, but not than the stretched context, is one.
  CHECK(windows(from_text(small_dense("mistral", R"("sliding_window": 1024, "rope_scaling": {"type": "yarn",
      "factor": 4.0, "original_max_position_embeddings": 512})"))) == Kinds(6, 1024));
}

TEST_CASE("a longer context than the rotation was stretched to is a warning") {
  const auto warning = [](const std::string& method, const std::string& context) {
    return warning_of(load(R"({"name": "x", "vocab_size": 100, "hidden_size": 64, "sources": {},
        "max_context_tokens": )" +
                           context + R"(, "rope_scaling": {"method": ")" + method + R"(", "factor": 4,
        "original_context_tokens": 1024}, "layers": [{"count": 1, "attention": {"kind": "none"},
        "ffn": {"kind": "dense", "width": 96}}]})"),
                      "suspicious");
  };
  CHECK(warning("yarn", "4096") == "no warning");
  CHECK(warning("yarn", "4097") == "the rotation was stretched to 4096 tokens only (1024 tokens times 4)");
  CHECK(warning("linear", "8192").starts_with("the rotation was stretched to 4096 tokens only"));
  CHECK(warning("llama3", "131072") == "no warning");
}

TEST_CASE("prediction layers are part of the model, beside its layers") {
  const auto loaded = load(small_moe("\"num_nextn_predict_layers\": 2"));
  const Architecture& model = loaded.value;
  CHECK(loaded.warnings.empty());
  REQUIRE(model.prediction);
  CHECK(model.prediction->count == 2);
  CHECK(model.prediction->attention == model.layers.at(0).attention);
  CHECK(model.prediction->ffn == model.layers.at(0).ffn);
  CHECK(model.layer_count() == 6);
  CHECK(count_parameters(model).total == count_parameters(from_text(small_moe())).total);
  CHECK(count_parameters(model).prediction > 0);
  CHECK_FALSE(from_text(small_moe("\"num_nextn_predict_layers\": 0")).prediction);
  CHECK_FALSE(from_text(small_moe()).prediction);
  CHECK(from_text(small_moe("\"mtp_num_hidden_layers\": 1")).prediction->count == 1);
  const std::string modules = R"("num_mtp_modules": 3, "mtp_transformer_layers": 2)";
  CHECK(from_text(small_moe(modules)).prediction->count == 6);
  CHECK(from_text(small_moe(modules + R"(, "use_mtp": true)")).prediction->count == 6);
  CHECK_FALSE(from_text(small_moe(modules + R"(, "use_mtp": false)")).prediction);
  // MiniMax-M3 says both: the layers of the checkpoint count.
  CHECK(from_text(small_moe(modules + R"(, "num_nextn_predict_layers": 1)")).prediction->count == 1);
  CHECK(error_of(small_moe(R"("mtp_num_hidden_layers": 1, "mtp_use_dedicated_embeddings": true)"))
            .starts_with("unsupported /mtp_use_dedicated_embeddings "));
  // The last layer, where a network begins with other ones.
  const Architecture latent = from_text(small_latent(
      R"("n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
         "first_k_dense_replace": 1, "num_nextn_predict_layers": 1)"));
  CHECK(latent.prediction->ffn == latent.layers.at(1).ffn);
}

}  // namespace
}  // namespace moesim::llm
