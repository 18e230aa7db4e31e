// Importing config.json files: families whose layers differ, by small configurations that the tests write.
#include <string>
#include <vector>

#include "models/llm/parameters.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/hub.hpp"

namespace moesim::llm {
namespace {

using test::error_of;
using test::from_text;
using test::load;
using test::warning_of;
using Order = std::vector<LayerPattern>;

// A configuration of `layers` layers with these lines more.
std::string frame(const std::string& type, int layers, const std::string& more) {
  return R"({"model_type": ")" + type + R"(", "hidden_size": 64, "num_hidden_layers": )" +
         std::to_string(layers) +
         R"(, "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 4096, )" + more + "}";
}

template <class Shape>
Shape attention(const Architecture& model, std::size_t group) {
  return std::get<Shape>(model.layers.at(group).attention);
}
MoeFfn moe(const Architecture& model, std::size_t group) {
  return std::get<MoeFfn>(model.layers.at(group).ffn);
}

const std::string kGptOss = R"("num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 48,
    "num_local_experts": 8, "num_experts_per_tok": 2, "experts_per_token": 2, "sliding_window": 128,
    "swiglu_limit": 7.0, "attention_bias": true)";

TEST_CASE("gpt-oss: sinks, biases everywhere, windows on every second layer") {
  const auto loaded = load(frame("gpt_oss", 4, kGptOss));
  const Architecture& model = loaded.value;
  CHECK(loaded.warnings.empty());
  CHECK(model.order == Order{{2, {0, 1}}});
  GroupedQueryAttention expected{4, 2, 16};
  expected.sinks = expected.qkv_bias = expected.output_bias = true;
  expected.window_tokens = 128;
  CHECK(attention<GroupedQueryAttention>(model, 0) == expected);
  expected.window_tokens = 0;
  CHECK(attention<GroupedQueryAttention>(model, 1) == expected);
  MoeFfn experts{8, 2, 48};
  experts.router_bias = experts.expert_bias = true;
  CHECK((moe(model, 0) == experts && moe(model, 1) == experts));
  const Architecture listed = from_text(frame("gpt_oss", 2, kGptOss + R"(,
      "layer_types": ["full_attention", "sliding_attention"])"));
  CHECK(attention<GroupedQueryAttention>(listed, 0).window_tokens == 0);
  std::string other = kGptOss;
  other.replace(other.find("\"experts_per_token\": 2"), 22, "\"experts_per_token\": 3");
  CHECK(error_of(frame("gpt_oss", 4, other)).starts_with("contradiction /experts_per_token "));
}

const std::string kLlama4 = R"("num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 48,
    "intermediate_size_mlp": 96, "num_local_experts": 8, "num_experts_per_tok": 1,
    "attention_chunk_size": 256, "use_qk_norm": true)";

TEST_CASE("Llama 4: chunks, layers without rotation, experts in every second layer") {
  const Architecture model =
      from_text(frame("llama4_text", 8, kLlama4 + R"(, "interleave_moe_layer_step": 2)"));
  CHECK(model.order == Order{{2, {0, 1, 0, 2}}});
  GroupedQueryAttention chunked{4, 2, 16};
  chunked.query_key_norm = chunked.query_key_norm_weightless = true;
  chunked.chunk_tokens = 256;
  CHECK(attention<GroupedQueryAttention>(model, 0) == chunked);
  CHECK(attention<GroupedQueryAttention>(model, 1) == chunked);
  GroupedQueryAttention full{4, 2, 16};
  full.position_free = true;
  CHECK(attention<GroupedQueryAttention>(model, 2) == full);
  CHECK(std::get<DenseFfn>(model.layers.at(0).ffn).width == 96);
  CHECK(moe(model, 1) == MoeFfn{8, 1, 48, 1, 48});
  const auto order = [](const std::string& more) { return from_text(frame("llama4_text", 4, more)).order; };
  CHECK(order(kLlama4 + R"(, "no_rope_layers": [1, 0, 1, 0])") == Order{{2, {0, 1}}});
  CHECK(order(kLlama4 + R"(, "no_rope_layers": [])") == from_text(frame("llama4_text", 4, kLlama4)).order);
  CHECK(order(kLlama4 + R"(, "moe_layers": [1])") == Order{{1, {0, 1, 0, 2}}});
  // Without chunks these layers see all tokens; where nothing is said the class has chunks.
  const auto chunk = [](const std::string& value) {
    std::string text = frame("llama4_text", 4, kLlama4);
    const std::string stated = "\"attention_chunk_size\": 256,";
    text.replace(text.find(stated), stated.size(),
                 value.empty() ? "" : "\"attention_chunk_size\": " + value + ",");
    text.replace(text.find("4096"), 4, "10000");
    return load(text);
  };
  CHECK(attention<GroupedQueryAttention>(chunk("null").value, 0).chunk_tokens == 0);
  CHECK(warning_of(chunk("null"), "no_chunks") ==
        "there are no chunks: the layers with rotation attend to all tokens");
  CHECK(warning_of(chunk("256"), "no_chunks") == "no warning");
  CHECK(attention<GroupedQueryAttention>(chunk("").value, 0).chunk_tokens == 8192);
  CHECK(warning_of(chunk(""), "class_defaults").ends_with("of Llama4TextConfig: attention_chunk_size 8192"));
  CHECK(error_of(frame("llama4_text", 4, kLlama4 + R"(, "layer_types": ["full_attention",
      "chunked_attention", "chunked_attention", "full_attention"])"))
            .starts_with("contradiction /layer_types "));
}

const std::string kLatent = R"("q_lora_rank": 24, "kv_lora_rank": 32, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16, "v_head_dim": 16, "intermediate_size": 200, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_shared_experts": 1, "first_k_dense_replace": 1)";
const std::string kIndexer = R"(, "index_n_heads": 4, "index_head_dim": 16, "index_topk": 64)";

TEST_CASE("DeepSeek-V3.2 and GLM-5: an indexer in every layer, or shared by layers that follow") {
  const Architecture model = from_text(frame("deepseek_v32", 4, kLatent + kIndexer));
  CHECK(model.order.empty());
  CHECK(attention<LatentAttention>(model, 1).indexer == TokenIndexer{4, 16, 64, false});
  CHECK(moe(model, 1).router_score_bias);
  CHECK(error_of(frame("deepseek_v32", 4, kLatent)).starts_with("missing_key "));
  // Every second layer behind the first two chooses, as rule and as list; the prediction layer always does.
  const std::string rule = R"(, "index_topk_freq": 2, "index_skip_topk_offset": 2,
      "num_nextn_predict_layers": 1)";
  const std::string list = R"(, "indexer_types": ["full", "full", "shared", "full", "shared", "full"],
      "mlp_layer_types": ["dense", "sparse", "sparse", "sparse", "sparse", "sparse"],
      "num_nextn_predict_layers": 1)";
  const Architecture by_rule = from_text(frame("glm_moe_dsa", 6, kLatent + kIndexer + rule));
  const Architecture by_list = from_text(frame("glm_moe_dsa", 6, kLatent + kIndexer + list));
  CHECK(by_rule.layers == by_list.layers);
  CHECK(by_rule.order == by_list.order);
  CHECK(by_rule.order == Order{{1, {0, 1, 2, 1, 2, 1}}});
  CHECK(attention<LatentAttention>(by_rule, 2).indexer->shared);
  CHECK(std::get<LatentAttention>(by_rule.prediction->attention).indexer == TokenIndexer{4, 16, 64, false});
  CHECK(std::get<MoeFfn>(by_rule.prediction->ffn) == moe(by_rule, 1));
  CHECK(error_of(frame("glm_moe_dsa", 6, kLatent + kIndexer + R"(, "index_topk_freq": 2)"))
            .starts_with("missing_key "));
  CHECK(error_of(frame("glm_moe_dsa", 2, kLatent + kIndexer + R"(, "indexer_types": ["shared", "full"])"))
            .starts_with("contradiction /indexer_types "));
}

const std::string kV4 = R"("head_dim": 32, "qk_rope_head_dim": 8, "q_lora_rank": 24, "o_groups": 2,
    "o_lora_rank": 16, "sliding_window": 128, "num_hash_layers": 1, "hc_mult": 4, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_shared_experts": 1, "num_key_value_heads": 1,
    "num_nextn_predict_layers": 1, "index_n_heads": 4, "index_head_dim": 16, "index_topk": 64)";

TEST_CASE("DeepSeek-V4: ratios per layer, tables of experts, streams") {
  const Architecture model =
      from_text(frame("deepseek_v4", 5, kV4 + R"(, "compress_ratios": [128, 4, 128, 4, 128, 0])"));
  CHECK(model.residual_streams == 4);
  CHECK(model.order == Order{{1, {0, 1, 2, 1, 2}}});
  const auto heavy = attention<CompressedAttention>(model, 0);
  CHECK((heavy.ratio == 128 && !heavy.overlapping && !heavy.indexer));
  const auto sparse = attention<CompressedAttention>(model, 1);
  CHECK((sparse.ratio == 4 && sparse.overlapping && sparse.indexer == TokenIndexer{4, 16, 64, false}));
  CHECK((heavy.query_heads == 4 && heavy.output_groups == 2 && heavy.output_lora_rank == 16));
  CHECK((moe(model, 0).selection == ExpertSelection::weighted_hash && !moe(model, 0).router_score_bias));
  CHECK((moe(model, 2).selection == ExpertSelection::learned && moe(model, 2).router_score_bias));
  CHECK(std::get<CompressedAttention>(model.prediction->attention).ratio == 0);
  const auto error = [](const std::string& ratios) {
    return error_of(frame("deepseek_v4", 3, kV4 + ", \"compress_ratios\": " + ratios));
  };
  CHECK(error("[0, 4, 128]") == "no error");
  CHECK(error("[0, 4]").starts_with("contradiction /compress_ratios "));
  CHECK(error("[0, 4, 8]").starts_with("unsupported /compress_ratios "));
  // The streams are mixed as the code of the model does it, and their number is never guessed.
  CHECK(error("[0, 4, 128], \"hc_sinkhorn_iters\": 20") == "no error");
  CHECK(error("[0, 4, 128], \"hc_sinkhorn_iters\": 10").starts_with("unsupported /hc_sinkhorn_iters "));
  std::string one = kV4;
  one.replace(one.find("\"hc_mult\": 4,"), 13, "");
  CHECK(error_of(frame("deepseek_v4", 3, one + R"(, "compress_ratios": [0, 4, 128])"))
            .find("the configuration needs \"hc_mult\"") != std::string::npos);
}

const std::string kGatedDelta = R"("num_key_value_heads": 2, "head_dim": 32, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 24,
    "linear_conv_kernel_dim": 4)";
const std::string kQwenExperts = R"(, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 40)";

TEST_CASE("Qwen3-Next and Qwen3.5: three layers with a state, then one with full attention") {
  const Architecture model =
      from_text(frame("qwen3_next", 8, kGatedDelta + kQwenExperts + R"(, "full_attention_interval": 4,
      "num_nextn_predict_layers": 1)"));
  CHECK(model.order == Order{{2, {0, 0, 0, 1}}});
  CHECK(attention<RecurrentAttention>(model, 0) ==
        RecurrentAttention{RecurrentKind::gated_delta, 2, 4, 16, 24, 4, 0});
  GroupedQueryAttention full{4, 2, 32};
  full.query_key_norm = full.output_gate = true;
  full.rotated_dim = 8;  // a quarter, which no field says
  CHECK(attention<GroupedQueryAttention>(model, 1) == full);
  MoeFfn experts{8, 2, 24, 1, 40};
  experts.shared_gate = true;
  CHECK((moe(model, 0) == experts && moe(model, 1) == experts));
  CHECK(std::get<GroupedQueryAttention>(model.prediction->attention) == full);
  const std::string types = R"(, "layer_types": ["linear_attention", "full_attention"])";
  const Architecture dense = from_text(frame("qwen3_5_text", 2,
                                             kGatedDelta + R"(, "intermediate_size": 80,
      "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5})" +
                                                 types));
  CHECK(dense.order.empty());
  CHECK(attention<GroupedQueryAttention>(dense, 1).rotated_dim == 16);
  CHECK(std::get<DenseFfn>(dense.layers.at(0).ffn).width == 80);
  CHECK(from_text(frame("qwen3_5_moe_text", 2, kGatedDelta + kQwenExperts + types)).layers.size() == 2);
  CHECK(error_of(frame("qwen3_next", 8, kGatedDelta + kQwenExperts)).starts_with("missing_key "));
}

const std::string kKimi = R"("kv_lora_rank": 32, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
    "v_head_dim": 16, "intermediate_size": 200, "num_experts": 8, "num_experts_per_token": 2,
    "moe_intermediate_size": 24, "num_shared_experts": 2, "first_k_dense_replace": 1, "mla_use_nope": true)";
std::string kimi_layers(const std::string& more) {
  return R"(, "linear_attn_config": {"kda_layers": [1, 2, 3], "full_attn_layers": [4], "head_dim": 16,
      "num_heads": 4, "short_conv_kernel_size": 4)" +
         more + "}";
}

TEST_CASE("Kimi Linear and K3: layers counted from one, experts in a latent space") {
  const Architecture model = from_text(frame("kimi_linear", 4, kKimi + kimi_layers("")));
  CHECK(model.order.empty());
  REQUIRE(model.layers.size() == 3);
  CHECK(attention<RecurrentAttention>(model, 0) ==
        RecurrentAttention{RecurrentKind::kimi_delta, 4, 4, 16, 16, 4, 16});
  CHECK(std::get<DenseFfn>(model.layers.at(0).ffn).width == 200);
  CHECK((model.layers.at(1).count == 2 && model.layers.at(2).count == 1));
  const auto latent = attention<LatentAttention>(model, 2);
  CHECK((latent.position_free && !latent.output_gate && latent.q_lora_rank == 0));
  MoeFfn experts{8, 2, 24, 2, 24, true};
  CHECK(moe(model, 1) == experts);
  const auto k3 = load(frame("kimi_linear", 4,
                             kKimi + kimi_layers(R"(, "use_full_rank_gate": true)") +
                                 R"(, "mla_use_output_gate": true, "routed_expert_hidden_size": 32,
      "latent_moe_use_norm": true, "hidden_act": "situ", "attn_res_block_size": 12)"));
  CHECK(attention<RecurrentAttention>(k3.value, 0).gate_rank == 0);
  CHECK(attention<LatentAttention>(k3.value, 2).output_gate);
  CHECK((moe(k3.value, 1).latent_width == 32 && moe(k3.value, 1).latent_norm));
  CHECK(warning_of(k3, "left_out") ==
        "left out of the model: the residual attention over blocks of layers (attn_res_block_size)");
  CHECK(error_of(frame("kimi_linear", 5, kKimi + kimi_layers("")))
            .starts_with("contradiction /linear_attn_config/kda_layers "));
  CHECK(error_of(frame("kimi_linear", 3, kKimi + kimi_layers("")))
            .starts_with("contradiction /linear_attn_config/full_attn_layers "));
}

TEST_CASE("MiniMax: lightning layers, and blocks that are chosen") {
  const std::string experts = R"("num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 24,
      "num_local_experts": 8, "num_experts_per_tok": 2)";
  const Architecture text = from_text(
      frame("minimax_text_01", 4, experts + R"(, "attn_type_list": [0, 1, 0, 1], "rotary_dim": 8)"));
  CHECK(text.order == Order{{2, {0, 1}}});
  CHECK(attention<RecurrentAttention>(text, 0) ==
        RecurrentAttention{RecurrentKind::lightning, 4, 4, 16, 16, 0, 0, 256});
  CHECK(attention<GroupedQueryAttention>(text, 1).rotated_dim == 8);
  CHECK(from_text(frame("minimax", 4, experts + R"(, "rotary_dim": 8, "layer_types": ["linear_attention",
      "full_attention", "linear_attention", "full_attention"])"))
            .layers == text.layers);
  CHECK(moe(from_text(frame("minimax_m1", 1, experts + R"(, "attn_type_list": [1],
      "shared_intermediate_size": 32, "shared_moe_mode": "sigmoid")")),
            0)
            .shared_gate);
  CHECK(error_of(frame("minimax_text_01", 4, experts)).starts_with("missing_key "));
  const std::string m3 = experts + R"(, "hidden_act": "swigluoai", "moe_layer_freq": [0, 1, 1],
      "dense_intermediate_size": 96, "n_shared_experts": 1, "shared_intermediate_size": 40,
      "use_routing_bias": true, "use_qk_norm": true, "qk_norm_type": "per_head", "sparse_attention_config": {
      "use_sparse_attention": true, "sparse_num_index_heads": 2, "sparse_index_dim": 16, "sparse_block_size": 64,
      "sparse_topk_blocks": 8, "sparse_local_block": 1, "sparse_attention_freq": [0, 1, 1])";
  const Architecture model = from_text(frame("minimax_m3", 3, m3 + "}"));
  REQUIRE(model.layers.size() == 2);
  CHECK(std::get<DenseFfn>(model.layers.at(0).ffn).width == 96);
  CHECK_FALSE(attention<GroupedQueryAttention>(model, 0).block_indexer);
  CHECK(attention<GroupedQueryAttention>(model, 1).block_indexer == BlockIndexer{2, 16, 64, 8, 1});
  CHECK(attention<GroupedQueryAttention>(model, 1).query_key_norm);
  CHECK(moe(model, 1) == MoeFfn{8, 2, 24, 1, 40, true});
  CHECK(error_of(frame("minimax_m3", 3, m3 + R"(, "sparse_init_block": 1})"))
            .starts_with("unsupported /sparse_attention_config/sparse_init_block "));
}

const std::string kNemotron = R"("mlp_hidden_act": "relu2", "num_key_value_heads": 2, "head_dim": 16,
    "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 32, "n_groups": 2, "conv_kernel": 4,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_shared_experts": 1,
    "moe_shared_expert_intermediate_size": 48, "moe_latent_size": 32, "intermediate_size": 96)";

TEST_CASE("Nemotron-H: one mixer in each layer, by letters") {
  const Architecture model = from_text(frame(
      "nemotron_h", 7, kNemotron + R"(, "hybrid_override_pattern": "MEMEM*-", "num_nextn_predict_layers": 1,
      "mtp_hybrid_override_pattern": "*E")"));
  CHECK(model.order == Order{{1, {0, 1, 0, 1, 0, 2, 3}}});
  CHECK(attention<RecurrentAttention>(model, 0) ==
        RecurrentAttention{RecurrentKind::mamba2, 2, 8, 32, 16, 4, 0, 128});
  CHECK(std::holds_alternative<NoFfn>(model.layers.at(0).ffn));
  MoeFfn experts{8, 2, 24, 1, 48, true};
  experts.gated = false;
  experts.latent_width = 32;
  CHECK(moe(model, 1) == experts);
  CHECK(std::holds_alternative<NoAttention>(model.layers.at(1).attention));
  CHECK(attention<GroupedQueryAttention>(model, 2).position_free);
  CHECK(std::get<DenseFfn>(model.layers.at(3).ffn) == DenseFfn{96, false});
  CHECK(std::get<MoeFfn>(model.prediction->ffn) == experts);
  CHECK(error_of(frame("nemotron_h", 2, kNemotron + R"(, "hybrid_override_pattern": "MEM")"))
            .starts_with("contradiction /hybrid_override_pattern "));
  CHECK(error_of(frame("nemotron_h", 2, kNemotron + R"(, "hybrid_override_pattern": "MX")"))
            .starts_with("unsupported /hybrid_override_pattern "));
  CHECK(error_of(frame("nemotron_h", 4, kNemotron + R"(, "hybrid_override_pattern": "ME*-",
      "use_bias": true)"))
            .starts_with("unsupported /use_bias "));
}

TEST_CASE("the chunks in which layers with a state compute prompts") {
  const auto chunk = [](const std::string& text) {
    return attention<RecurrentAttention>(from_text(text), 0).chunk_tokens;
  };
  const std::string mamba = kNemotron + R"(, "hybrid_override_pattern": "ME")";
  CHECK(chunk(frame("nemotron_h", 2, mamba + R"(, "chunk_size": 256)")) == 256);
  CHECK(warning_of(load(frame("nemotron_h", 2, mamba)), "class_defaults")
            .ends_with("of NemotronHConfig: chunk_size 128"));
  CHECK(error_of(frame("nemotron_h", 2, mamba + R"(, "chunk_size": 0)"))
            .starts_with("out_of_range /chunk_size "));
  const std::string lightning = R"("num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 24,
      "num_local_experts": 8, "num_experts_per_tok": 2, "attn_type_list": [0, 1])";
  CHECK(chunk(frame("minimax", 2, lightning + R"(, "block_size": 512)")) == 512);
  CHECK(error_of(frame("minimax", 2, lightning + R"(, "block_size": 65537)"))
            .starts_with("out_of_range /block_size "));
  CHECK(chunk(frame("qwen3_next", 2, kGatedDelta + kQwenExperts + R"(, "full_attention_interval": 2)")) ==
        64);
  CHECK(std::get<RecurrentAttention>(test::zoo("nemotron-3-super").layers.at(0).attention).chunk_tokens ==
        128);
  CHECK(std::get<RecurrentAttention>(test::zoo("minimax-text-01").layers.at(0).attention).chunk_tokens ==
        256);
}

TEST_CASE("a state in another format than fp32 is refused") {
  const auto mamba = [](const std::string& format) {
    return error_of(frame("nemotron_h", 2, kNemotron + R"(, "hybrid_override_pattern": "ME",
      "mamba_ssm_cache_dtype": )" + format));
  };
  CHECK(mamba("\"float32\"") == "no error");
  CHECK(mamba("\"fp32\"") == "no error");
  CHECK(mamba("null") == "no error");
  CHECK(mamba("\"bfloat16\"").starts_with("unsupported /mamba_ssm_cache_dtype "));
  const auto delta = [](const std::string& format) {
    return error_of(frame("qwen3_next", 2, kGatedDelta + kQwenExperts + R"(, "full_attention_interval": 2,
      "mamba_ssm_dtype": )" + format));
  };
  CHECK(delta("\"float32\"") == "no error");
  CHECK(delta("\"float16\"").starts_with("unsupported /mamba_ssm_dtype "));
}

TEST_CASE("Gemma: windows, norms behind, a tied head") {
  const std::string common = R"("num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96,
      "sliding_window": 128, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh")";
  const Architecture two = from_text(frame("gemma2", 4, common + R"(, "attn_logit_softcapping": 50.0,
      "final_logit_softcapping": 30.0)"));
  CHECK((two.post_norms && two.tied_embeddings));
  CHECK(two.order == Order{{2, {0, 1}}});
  CHECK(attention<GroupedQueryAttention>(two, 0).window_tokens == 128);
  CHECK(attention<GroupedQueryAttention>(two, 1).window_tokens == 0);
  CHECK((attention<GroupedQueryAttention>(two, 1).score_cap &&
         !attention<GroupedQueryAttention>(two, 1).query_key_norm));
  const Architecture three =
      from_text(frame("gemma3_text", 7, common + R"(, "sliding_window_pattern": 3, "rope_parameters": {
      "full_attention": {"rope_type": "linear", "factor": 8.0}, "sliding_attention": {"rope_type": "default"}})"));
  CHECK(three.order == Order{{2, {0, 0, 1}}, {1, {0}}});
  CHECK((attention<GroupedQueryAttention>(three, 0).query_key_norm));
  // What max_position_embeddings says is stretched already.
  CHECK(three.rope_scaling == RopeScaling{RopeScalingKind::linear, 8, 512});
  CHECK(three.max_context_tokens == 4096);
}

TEST_CASE("Gemma 3 as published: sizes that are not stated are the defaults of its class, and named") {
  // The text part of gemma-3-27b-it.
  const std::string text = R"({"architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 255999,
      "mm_tokens_per_image": 256, "model_type": "gemma3", "text_config": {"head_dim": 128, "hidden_size": 5376,
      "intermediate_size": 21504, "model_type": "gemma3_text", "num_attention_heads": 32,
      "num_hidden_layers": 62, "num_key_value_heads": 16, "query_pre_attn_scalar": 168,
      "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
      "vision_config": {"model_type": "siglip_vision_model"}})";
  const auto large = load(text);
  CHECK(warning_of(large, "class_defaults") ==
        "sizes that the file does not state are taken from the defaults of Gemma3TextConfig: vocab_size "
        "262208, "
        "max_position_embeddings 131072, sliding_window_pattern 6");
  CHECK(large.warnings.size() == 2);  // and the vision part
  CHECK(large.value.vocab_size == 262208);
  CHECK(large.value.max_context_tokens == 131072);
  CHECK(large.value.rope_scaling == RopeScaling{RopeScalingKind::linear, 8, 16384});
  CHECK(large.value.order == Order{{10, {0, 0, 0, 0, 0, 1}}, {2, {0}}});
  CHECK(attention<GroupedQueryAttention>(large.value, 0).window_tokens == 1024);
  // 27.0 billion, of which 1.4 in the embedding.
  CHECK(count_parameters(large.value).total == 27009346304);
  std::string null = text;
  null.insert(null.find("\"head_dim\""), "\"vocab_size\": null, ");
  CHECK(error_of(null).starts_with("missing_key /text_config/vocab_size "));
  std::string small = text;
  for (const std::string field :
       {"\"head_dim\": 128, ", "\"num_attention_heads\": 32,", "\"num_key_value_heads\": 16, "}) {
    small.replace(small.find(field), field.size(), "");
  }
  GroupedQueryAttention expected{8, 4, 256};
  expected.query_key_norm = true;
  CHECK(attention<GroupedQueryAttention>(from_text(small), 1) == expected);
  CHECK(load(frame("gemma3_text", 7, R"("num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96,
      "sliding_window": 128, "sliding_window_pattern": 3, "use_sliding_window": false)"))
            .warnings.empty());
}

TEST_CASE("MiMo-V2-Flash: heads of their own where there is a window") {
  const Architecture model = from_text(frame("mimo_v2_flash", 4, R"("num_key_value_heads": 1,
      "head_dim": 24, "v_head_dim": 16, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2,
      "swa_head_dim": 24, "swa_v_head_dim": 16, "sliding_window": 128, "add_swa_attention_sink_bias": true,
      "hybrid_layer_pattern": [0, 1, 1, 0], "moe_layer_freq": [0, 1, 1, 1], "intermediate_size": 96,
      "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "topk_method": "noaux_tc")"));
  REQUIRE(model.layers.size() == 3);
  GroupedQueryAttention full{4, 1, 24, 16};
  CHECK(attention<GroupedQueryAttention>(model, 0) == full);
  CHECK(attention<GroupedQueryAttention>(model, 2) == full);
  GroupedQueryAttention sliding{4, 2, 24, 16};
  sliding.sinks = true;
  sliding.window_tokens = 128;
  CHECK(attention<GroupedQueryAttention>(model, 1) == sliding);
  CHECK(std::get<DenseFfn>(model.layers.at(0).ffn).width == 96);
  CHECK(moe(model, 1).router_score_bias);
}

const std::string kSwitch = R"({"model_type": "switch_transformers", "vocab_size": 100, "d_model": 64,
    "n_positions": 512, "num_layers": 4, "num_decoder_layers": 6, "num_sparse_encoder_layers": 2,
    "num_sparse_decoder_layers": 6, "num_heads": 4, "d_kv": 16, "d_ff": 96, "num_experts": 8,
    "is_encoder_decoder": true, "feed_forward_proj": )";

TEST_CASE("Switch Transformers: an encoder, attention to it, experts in some layers") {
  const auto loaded = load(kSwitch + R"("relu", "relative_attention_num_buckets": 32})");
  const Architecture& model = loaded.value;
  CHECK(warning_of(loaded, "left_out") ==
        "left out of the model: the table of relative positions (relative_attention_num_buckets)");
  REQUIRE(model.layers.size() == 1);
  CHECK(model.layers.at(0).count == 6);
  GroupedQueryAttention attends{4, 4, 16};
  attends.position_free = true;
  CHECK(attention<GroupedQueryAttention>(model, 0) == attends);
  CHECK(model.layers.at(0).cross_attention == attends);
  CHECK((moe(model, 0).experts == 8 && moe(model, 0).top_k == 1 && !moe(model, 0).gated));
  REQUIRE(model.encoder.size() == 2);
  CHECK((model.encoder.at(0).count == 2 && model.encoder.at(1).count == 2));
  CHECK_FALSE(model.encoder.at(0).cross_attention);
  CHECK(std::holds_alternative<DenseFfn>(model.encoder.at(0).ffn));
  CHECK(model.tied_embeddings);
  CHECK(moe(from_text(kSwitch + "\"gated-gelu\"}"), 0).gated);
}

TEST_CASE("hostile configurations of these families are models or errors") {
  test::check_hostile({
      frame("gpt_oss", 4, kGptOss),
      frame("llama4_text", 4, kLlama4 + R"(, "no_rope_layers": [1, 1, 1, 0], "moe_layers": [1, 3])"),
      frame("glm_moe_dsa", 2, kLatent + kIndexer + R"(, "indexer_types": ["full", "shared"],
            "mlp_layer_types": ["dense", "sparse"], "index_topk_freq": 1)"),
      frame("deepseek_v4", 3, kV4 + R"(, "compress_ratios": [0, 4, 128, 0])"),
      frame("qwen3_next", 2, kGatedDelta + kQwenExperts + R"(, "layer_types": ["linear_attention",
            "full_attention"], "full_attention_interval": 2, "rope_parameters": {"rope_type": "yarn",
            "factor": 2.0}, "mtp_num_hidden_layers": 1)"),
      frame("kimi_linear", 4, kKimi + kimi_layers("")),
      frame("nemotron_h", 4, kNemotron + R"(, "hybrid_override_pattern": "ME*-")"),
      kSwitch + "\"relu\"}",
  });
}

}  // namespace
}  // namespace moesim::llm
