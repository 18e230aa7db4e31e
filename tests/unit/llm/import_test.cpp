// Importing config.json files of the Hugging Face hub, by texts that the tests write.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "models/llm/hf_families.hpp"
#include "models/llm/hf_import.hpp"
#include "models/llm/parameters.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/hub.hpp"

namespace moesim::llm {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::errors_of;
using test::Folder;
using test::from_text;
using test::load;
using test::load_file;
using test::small_latent;
using test::small_moe;
using test::warning_of;

std::vector<std::int64_t> moe_counts(const Architecture& model) {
  std::vector<std::int64_t> counts;  // positive: layers with experts
  for (const LayerGroup& group : model.layers)
    counts.push_back(std::holds_alternative<MoeFfn>(group.ffn) ? group.count : -group.count);
  return counts;
}

TEST_CASE("a configuration of a known family is a model") {
  const auto loaded = load(small_moe(), "org--small_config.json");
  const Architecture& model = loaded.value;
  CHECK(model.name == "org/small");
  CHECK(model.sources.at("config") == "org--small_config.json (Qwen3MoeForCausalLM)");
  CHECK(model.hidden_size == 64);
  CHECK(model.vocab_size == 1000);
  CHECK(model.max_context_tokens == 4096);
  CHECK_FALSE(model.tied_embeddings);
  CHECK(model.published_weights == NumberFormat::bf16);
  REQUIRE(model.layers.size() == 1);
  CHECK(model.layers[0].count == 6);
  GroupedQueryAttention attention{4, 2, 32};
  attention.query_key_norm = true;
  CHECK(std::get<GroupedQueryAttention>(model.layers[0].attention) == attention);
  CHECK(std::get<MoeFfn>(model.layers[0].ffn) == MoeFfn{16, 2, 48});
  CHECK(loaded.warnings.empty());
  // Each value is at the field it comes from.
  const config::Node* top_k = config::resolve_pointer(loaded.resolved, "/layers/0/ffn/top_k");
  REQUIRE(top_k != nullptr);
  CHECK(loaded.document.sources.line_text(top_k->where) == "  \"num_experts_per_tok\": 2,");
}

TEST_CASE("a model of a known family is one JSON file and no C++") {
  const Folder folder;
  folder.write("models/zoo/new-model.json", small_moe());
  const config::Catalogue catalogue({folder.path(), MOESIM_SOURCE_DIR});
  const auto by_name = config::load_entry<Architecture>("new-model", catalogue);
  CHECK(count_parameters(by_name.value).total == count_parameters(from_text(small_moe())).total);
  CHECK(by_name.value.name == "new-model");
  const auto by_path = load_file(folder.write("some-model/config.json", small_moe()));
  CHECK(by_path.value.name == "some-model");
  CHECK(by_path.value.layers == by_name.value.layers);
}

TEST_CASE("another file and --set change an imported model") {
  const Folder folder;
  folder.write("m/config.json", small_moe());
  const fs::path child =
      folder.write("child.json", R"({"extends": "m/config.json", "name": "Child", "max_context_tokens": 99,
                        "num_experts_per_tok": 3, "sources": {"change": "a test"}})");
  const Architecture model = load_file(child).value;
  CHECK(model.name == "Child");
  CHECK(model.max_context_tokens == 99);
  CHECK(std::get<MoeFfn>(model.layers.at(0).ffn).top_k == 3);
  CHECK(model.sources.size() == 2);
  // A field of the record inside a configuration of the hub is not one of its fields.
  CHECK(warning_of(load(small_moe(R"("published_weights": "fp8")")), "unknown_field") ==
        "the field \"published_weights\" of the configuration is not known and had no effect");
}

TEST_CASE("fields that are not known are listed in one warning") {
  const auto loaded = load(small_moe(
      R"("bos_token_id": 1, "attention_dropout": 0.0, "torch_dtype": "float16", "rope_scaling": null,
         "zeta": 1, "alpha_mode": "x", "beta": null)"));
  REQUIRE(loaded.warnings.size() == 1);
  CHECK(warning_of(loaded, "unknown_field") ==
        "2 fields of the configuration are not known and had no effect | zeta, alpha_mode");
  CHECK(loaded.warnings[0].pointer == "/zeta");
}

TEST_CASE("a field that changes the work and cannot be expressed is refused where it is on") {
  for (const std::string_view off : {"null", "0", "false"}) {
    CHECK(error_of(small_moe("\"index_topk\": " + std::string(off))) == "no error");
  }
  CHECK(error_of(small_moe("\"index_topk\": 2048")) ==
        "unsupported /index_topk 15:17 \"index_topk\" asks for sparse attention with an indexer, which this "
        "family does not have");
  CHECK(error_of(small_moe("\"attention_chunk_size\": 8192"))
            .starts_with("unsupported /attention_chunk_size "));
  CHECK(error_of(small_moe("\"hidden_act\": \"relu\"")).starts_with("unsupported /hidden_act "));
  CHECK(error_of(small_latent("\"attention_bias\": true")).starts_with("unsupported /attention_bias "));
}

TEST_CASE("architectures are told by model type, else by class") {
  CHECK(error_of(R"({"model_type": "falcon_h9", "architectures": ["FalconH9ForCausalLM"]})") ==
        "unknown_architecture /model_type 1:16 the model type \"falcon_h9\" (FalconH9ForCausalLM) is not "
        "known");
  CHECK(error_of(R"({"architectures": ["NoSuchForCausalLM"]})") ==
        "unknown_architecture /architectures 1:19 the architecture \"NoSuchForCausalLM\" is not known");
  CHECK(error_of(R"({"model_type": "longcat_flash", "architectures": ["LongcatFlashForCausalLM"]})") ==
        "unsupported /model_type 1:16 LongcatFlashForCausalLM (longcat_flash) cannot be imported: it has two "
        "attentions and two dense FFNs beside each mixture of experts (shortcut-connected experts)");
  std::string by_class = small_moe();
  by_class.replace(by_class.find("  \"model_type\""),
                   std::string("  \"model_type\": \"qwen3_moe\",\n").size(), "");
  CHECK(from_text(by_class).layers == from_text(small_moe()).layers);
  std::string other = small_moe();
  other.replace(other.find("Qwen3MoeForCausalLM"), 19, "LlamaForCausalLM");
  CHECK(error_of(other).starts_with(
      "contradiction /architectures 2:20 LlamaForCausalLM belongs to the model type"));
  other.replace(other.find("LlamaForCausalLM"), 16, "QwenForQuestions");
  CHECK(warning_of(load(other), "unknown_architecture") ==
        "the architecture \"QwenForQuestions\" is not known; it is read as Qwen3MoeForCausalLM");
}

TEST_CASE("dense layers between layers with experts become groups") {
  using Counts = std::vector<std::int64_t>;
  CHECK(moe_counts(from_text(small_moe())) == Counts{6});
  CHECK(moe_counts(from_text(small_moe("\"decoder_sparse_step\": 2"))) == Counts{-3, 3});
  CHECK(moe_counts(from_text(small_moe("\"decoder_sparse_step\": 3"))) == Counts{-4, 2});
  CHECK(moe_counts(from_text(small_moe("\"mlp_only_layers\": [0, 5, 1]"))) == Counts{-3, 3});
  using Order = std::vector<LayerPattern>;
  CHECK(from_text(small_moe()).order.empty());
  CHECK(from_text(small_moe("\"decoder_sparse_step\": 2")).order == Order{{3, {0, 1}}});
  CHECK(from_text(small_moe("\"decoder_sparse_step\": 3")).order == Order{{2, {0, 0, 1}}});
  CHECK(from_text(small_moe("\"mlp_only_layers\": [0, 5, 1]")).order == Order{{1, {0, 0, 1, 1, 1, 0}}});
  const std::string experts = R"("n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
                                 "n_shared_experts": 1, )";
  CHECK(moe_counts(from_text(small_latent(experts + "\"first_k_dense_replace\": 1"))) == Counts{-1, 4});
  CHECK(moe_counts(from_text(
            small_latent(experts + "\"first_k_dense_replace\": 1, \"moe_layer_freq\": 2"))) == Counts{-3, 2});
  CHECK(moe_counts(from_text(small_latent(experts + "\"first_k_dense_replace\": 0"))) == Counts{5});
  CHECK(moe_counts(from_text(small_latent("\"n_routed_experts\": null"))) == Counts{-5});
  const auto bias = [&](const std::string& method) {
    return std::get<MoeFfn>(
               from_text(small_latent(experts + "\"first_k_dense_replace\": 0, \"topk_method\": " + method))
                   .layers.at(0)
                   .ffn)
        .router_score_bias;
  };
  CHECK(bias("\"noaux_tc\""));
  CHECK_FALSE(bias("\"group_limited_greedy\""));
  CHECK(bias("null"));
}

TEST_CASE("a query projection without low rank is the null of q_lora_rank") {
  const auto rank = [](const std::string& more) {
    return std::get<LatentAttention>(from_text(small_latent(more)).layers.at(0).attention).q_lora_rank;
  };
  CHECK(rank("\"q_lora_rank\": 48") == 48);
  CHECK(rank("\"q_lora_rank\": null") == 0);
}

TEST_CASE("parts that a model does not have are named") {
  std::string text;
  text = R"({"model_type": "qwen3_vl_moe", "architectures": ["Qwen3VLMoeForConditionalGeneration"],
             "vision_config": {"depth": 27}, "image_token_id": 5, "tie_word_embeddings": true, "text_config": )" +
         small_moe() + "}";
  const std::size_t at = text.rfind("qwen3_moe");
  text.replace(at, 9, "qwen3_vl_moe_text");
  const auto loaded = load(text);
  CHECK(warning_of(loaded, "left_out") == "left out of the model: the vision part (vision_config)");
  CHECK(loaded.warnings.size() == 1);
  CHECK(loaded.value.tied_embeddings);
  CHECK(loaded.value.layers == from_text(small_moe()).layers);
  text.replace(text.find("\"vocab_size\": 1000"), 18, "\"vocab_size\": 10.5");
  CHECK(error_of(text).starts_with("wrong_type /text_config/vocab_size "));
}

TEST_CASE("errors of a configuration name its fields") {
  CHECK(
      error_of(small_moe("\"decoder_sparse_step\": 0")) ==
      "out_of_range /decoder_sparse_step 15:26 0 is out of range: must be at least 1 and at most 1000000000");
  const auto with = [](const std::string& field, const std::string& value) {
    std::string text = small_moe();
    const std::size_t at = text.find("\"" + field + "\": ") + field.size() + 4;
    text.replace(at, text.find_first_of(",\n", at) - at, value);
    return text;
  };
  CHECK(error_of(with("num_key_value_heads", "3")) ==
        "contradiction /num_key_value_heads 7:26 the 4 query heads are not a multiple of the 3 KV heads");
  CHECK(error_of(with("num_experts_per_tok", "17")) ==
        "contradiction /num_experts_per_tok 12:26 17 experts for each token, but the model has 16");
  CHECK(error_of(with("vocab_size", "\"1000\"")).starts_with("wrong_type /vocab_size 14:17 "));
  // What follows from an error is not told.
  CHECK(errors_of(with("num_experts", "\"16\"")) == 1);
  CHECK(error_of(with("hidden_size", "null")).starts_with("missing_key /hidden_size 4:18 "));
  CHECK(error_of(with("num_hidden_layers", "1000000000")).starts_with("out_of_range /num_hidden_layers "));
  std::string vast = with("moe_intermediate_size", "1000000000");
  vast.replace(vast.find("\"num_experts\": 16"), 17, "\"num_experts\": 1000000");
  CHECK(
      error_of(vast).starts_with("contradiction /hidden_size 4:18 the model has more than 1e15 parameters"));
  CHECK(error_of(with("head_dim", "null")) == "no error");  // 64 / 4
  CHECK(error_of(small_moe("\"partial_rotary_factor\": 0.3"))
            .starts_with("contradiction /partial_rotary_factor "));
}

TEST_CASE("hostile configurations are models or errors") {
  test::check_hostile({
      small_moe(R"("quantization_config": {"quant_method": "fp8"}, "mlp_only_layers": [1], "layer_types": [],
                   "sliding_window": null, "decoder_sparse_step": 1, "partial_rotary_factor": 1.0)"),
      small_latent(
          R"("n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "q_lora_rank": 8,
                      "n_shared_experts": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1,
                      "topk_method": "greedy", "num_nextn_predict_layers": 1, "text_config": null)"),
      R"({"model_type": "dbrx", "d_model": 64, "n_heads": 4, "n_layers": 2, "max_seq_len": 64, "vocab_size": 100,
          "attn_config": {"kv_n_heads": 2, "clip_qkv": 8},
          "ffn_config": {"moe_num_experts": 4, "moe_top_k": 2, "ffn_hidden_size": 32}})",
  });
}

TEST_CASE("families: biases, norms and gates as their code has them") {
  const auto frame = [](const std::string& type, const std::string& more) {
    return from_text(R"({"model_type": ")" + type + R"(", "hidden_size": 64, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100,
      "max_position_embeddings": 512)" +
                     (more.empty() ? "" : ", " + more) + "}");
  };
  const auto attention = [](const Architecture& model) {
    return std::get<GroupedQueryAttention>(model.layers.at(0).attention);
  };
  const auto moe = [](const Architecture& model) { return std::get<MoeFfn>(model.layers.at(0).ffn); };
  CHECK_FALSE(attention(frame("llama", "")).qkv_bias);
  CHECK(attention(frame("llama", "\"attention_bias\": true")).output_bias);
  CHECK(attention(frame("qwen2", "")).qkv_bias);
  CHECK_FALSE(attention(frame("qwen2", "")).output_bias);
  CHECK(attention(frame("qwen3", "")).query_key_norm);
  CHECK(attention(frame("mimo", "\"attention_bias\": true")).qkv_bias);
  CHECK(attention(frame("mistral", "")) == attention(frame("llama", "")));
  const std::string local = R"("num_local_experts": 8, "num_experts_per_tok": 2)";
  CHECK(moe(frame("mixtral", local)) == MoeFfn{8, 2, 96});
  const Architecture phi = frame("phimoe", local + R"(, "attention_bias": true, "lm_head_bias": true)");
  CHECK((phi.layer_norm && phi.norm_bias && phi.head_bias && attention(phi).output_bias));
  const Architecture minimax = frame("minimax_m2", local + R"(, "use_qk_norm": true, "use_routing_bias": true,
      "rotary_dim": 8, "num_mtp_modules": 3)");
  CHECK((attention(minimax).query_key_norm_over_heads && moe(minimax).router_score_bias));
  CHECK(attention(minimax).rotated_dim == 8);
  const std::string experts = R"("num_experts": 8, "num_experts_per_tok": 2)";
  CHECK(attention(frame("olmoe", experts)).query_key_norm_over_heads);
  const Architecture grok = frame("grok-1", experts + R"(, "max_attn_value": 30.0)");
  CHECK((grok.post_norms && grok.tied_embeddings && attention(grok).score_cap));
  const Architecture qwen2 = frame("qwen2_moe", experts + R"(, "moe_intermediate_size": 24,
      "shared_expert_intermediate_size": 80)");
  CHECK(moe(qwen2).shared_gate);
  CHECK(moe(qwen2).total_shared_width() == 80);
  CHECK((attention(qwen2).qkv_bias && !attention(qwen2).output_bias));
  const Architecture glm = frame("glm4_moe", R"("n_routed_experts": 8, "num_experts_per_tok": 2,
      "moe_intermediate_size": 24, "n_shared_experts": 1, "first_k_dense_replace": 1, "attention_bias": true,
      "use_qk_norm": true, "partial_rotary_factor": 0.5)");
  CHECK(moe_counts(glm) == std::vector<std::int64_t>{-1, 1});
  CHECK(attention(glm).rotated_dim == 8);
  CHECK((attention(glm).qkv_bias && !attention(glm).output_bias && attention(glm).query_key_norm));
  const Architecture dbrx = from_text(R"({"model_type": "dbrx", "d_model": 64, "n_heads": 4, "n_layers": 2,
      "max_seq_len": 64, "vocab_size": 100, "attn_config": {"kv_n_heads": 2, "clip_qkv": 8},
      "ffn_config": {"moe_num_experts": 4, "moe_top_k": 2, "ffn_hidden_size": 32}})");
  CHECK((dbrx.layer_norm && !dbrx.norm_bias));
  CHECK(moe(dbrx) == MoeFfn{4, 2, 32});
  CHECK(attention(dbrx) == GroupedQueryAttention{4, 2, 16});
}

TEST_CASE("every family has a name and either a reader or a reason") {
  for (const HfFamily& family : hf_families()) {
    INFO(family.model_type);
    CHECK_FALSE(family.architecture.empty());
    CHECK((family.read == nullptr) != family.missing.empty());
    CHECK(hf_family_of_type(family.model_type) != nullptr);
  }
  CHECK(hf_family_of_type("") == nullptr);
}

}  // namespace
}  // namespace moesim::llm
