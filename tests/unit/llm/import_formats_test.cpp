// The number formats of imported checkpoints.
#include <filesystem>
#include <string>

#include "models/llm/hf_quantization.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/hub.hpp"

namespace moesim::llm {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::Folder;
using test::from_text;
using test::load;
using test::load_file;
using test::small_moe;
using test::warning_of;

TEST_CASE("published formats are read from the configuration") {
  const auto format = [](const std::string& quantization) {
    return from_text(small_moe("\"quantization_config\": " + quantization)).published_weights;
  };
  const auto groups = [](const std::string& weights) {
    return R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"input_activations":
             {"num_bits": 8}, "weights": {)" +
           weights + "}}}}";
  };
  CHECK(format(R"({"quant_method": "fp8", "weight_block_size": [128, 128]})") == NumberFormat::fp8_block);
  CHECK(format(R"({"quant_method": "fp8"})") == NumberFormat::fp8);
  CHECK(format(R"({"quant_method": "mxfp4"})") == NumberFormat::mxfp4);
  CHECK(format(R"({"quant_method": "modelopt", "quant_algo": "NVFP4"})") == NumberFormat::nvfp4);
  CHECK(format(R"({"quant_method": "awq", "bits": 4, "group_size": 128})") == NumberFormat::int4);
  CHECK(format(groups(R"("num_bits": 8, "type": "float")")) == NumberFormat::fp8);
  CHECK(format(groups(R"("num_bits": 8, "type": "int")")) == NumberFormat::int8);
  CHECK(format(groups(
            R"("num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128])")) ==
        NumberFormat::fp8_block);
  CHECK(format(groups(R"("num_bits": 4, "type": "float", "group_size": 16)")) == NumberFormat::nvfp4);
  CHECK(format(groups(R"("num_bits": 4, "type": "float", "group_size": 32)")) == NumberFormat::mxfp4);
  CHECK(format(groups(R"("num_bits": 4, "type": "int", "group_size": 128)")) == NumberFormat::int4);
  CHECK(format("null") == NumberFormat::bf16);
  const auto error = [&](const std::string& quantization) {
    return error_of(small_moe("\"quantization_config\": " + quantization));
  };
  CHECK(error(R"({"quant_method": "hqq"})")
            .starts_with("unsupported /quantization_config/quant_method 15:43 "));
  CHECK(error(R"({"quant_method": "fp8", "weight_block_size": [64, 64]})")
            .starts_with("unsupported /quantization_config/weight_block_size "));
  CHECK(error(groups(R"("num_bits": 3, "type": "int")")).starts_with("unsupported "));
  CHECK(
      error(R"({"quant_method": "gptq", "bits": 3})").starts_with("unsupported /quantization_config/bits "));
  CHECK(error(R"({"quant_method": "gptq"})").starts_with("missing_key /quantization_config "));
}

TEST_CASE("a format of the experts alone leaves the other layers theirs") {
  // DeepSeek-V4: fp8 but for the experts.
  const std::string fp8 =
      R"("quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]})";
  const auto v4 = load(small_moe(fp8 + R"(, "expert_dtype": "fp4")"));
  CHECK(v4.value.published_weights == NumberFormat::mxfp4);
  CHECK(v4.value.published_attention_weights == NumberFormat::fp8_block);
  CHECK(v4.value.published_dense_weights == NumberFormat::fp8_block);
  CHECK(warning_of(v4, "mixed_formats") == "no warning");
  const Architecture plain = from_text(small_moe(fp8 + R"(, "expert_dtype": "bf16")"));
  CHECK(plain.published_weights == NumberFormat::fp8_block);
  CHECK_FALSE(plain.published_attention_weights.has_value());
  // ModelOpt with a format for each layer.
  const auto mixed = [](const std::string& first, const std::string& second) {
    return small_moe(R"("quantization_config": {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION",
        "quantized_layers": {")" +
                     first + R"(": {"quant_algo": "NVFP4"},
                             "layers.1.ffn.experts": {"quant_algo": ")" +
                     second + R"("}}})");
  };
  const auto experts = load(mixed("layers.0.ffn.experts", "NVFP4"));
  CHECK(experts.value.published_weights == NumberFormat::nvfp4);
  CHECK(experts.value.published_attention_weights == NumberFormat::bf16);
  CHECK(warning_of(experts, "mixed_formats") == "no warning");
  CHECK(warning_of(load(mixed("layers.0.self_attn.o_proj", "NVFP4")), "mixed_formats") ==
        "published_weights is nvfp4 for all linear layers, but only the 2 entries of quantized_layers have "
        "it in "
        "the checkpoint: the other linear layers are wider");
  CHECK(error_of(mixed("layers.0.ffn.experts", "FP8"))
            .starts_with("unsupported /quantization_config/quantized_layers/layers.1.ffn.experts "));
}

TEST_CASE("where one format is not the whole truth it says so") {
  const auto warning = [](const std::string& quantization) {
    return warning_of(load(small_moe("\"quantization_config\": " + quantization)), "mixed_formats");
  };
  CHECK(warning(
            R"({"quant_method": "fp8", "modules_to_not_convert": ["lm_head", "model.layers.0.input_layernorm",
                    "model.layers.3.mlp.gate", "model.layers.6.mlp.experts"]})") == "no warning");
  CHECK(warning(R"({"quant_method": "fp8", "modules_to_not_convert": ["lm_head", "model.layers.0.self_attn*",
                    "model.layers.1.self_attn*"]})") ==
        "published_weights is fp8 for all linear layers, but 2 entries of linear layers stay unquantised in "
        "the "
        "checkpoint (the first: model.layers.0.self_attn*) and are counted as fp8");
  CHECK(warning(R"({"quant_method": "awq", "bits": 4, "group_size": 64})") ==
        "published_weights is int4 for all linear layers, but int4 scales per 64 weights are counted as one "
        "per 128");
  CHECK(warning(R"({"quant_method": "gptq", "bits": 8})") ==
        "published_weights is int8 for all linear layers, but only weights are quantised: set "
        "formats.activations to bf16");
}

TEST_CASE("hf_quant_config.json beside the configuration counts") {
  CHECK(hf_quant_file("a/config.json") == "a/hf_quant_config.json");
  CHECK(hf_quant_file("a/o--m_config.json") == "a/o--m_hf_quant_config.json");
  CHECK(hf_quant_file("a/model.json").empty());
  CHECK(hf_quant_file("a/hf_quant_config.json").empty());
  const Folder folder;
  const fs::path file = folder.write("m/config.json", small_moe());
  const fs::path quant = folder.write("m/hf_quant_config.json", R"({"producer": {"name": "modelopt"},
    "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}})");
  const auto loaded = load_file(file);
  CHECK(loaded.value.published_weights == NumberFormat::nvfp4);
  CHECK(loaded.value.sources.at("published_weights") == "hf_quant_config.json");
  CHECK(loaded.document.files.size() == 2);
  CHECK(loaded.warnings.empty());
  const auto failure = [&] {
    try {
      static_cast<void>(load_file(file));
    } catch (const config::InputError& error) {
      const config::Diagnostic& first = error.diagnostics().errors().at(0);
      return first.code + " " + fs::path(error.sources().at(first.where.source).name).filename().string();
    }
    return std::string("no error");
  };
  folder.write("m/config.json", small_moe("\"quantization_config\": {\"quant_method\": \"fp8\"}"));
  CHECK(failure() == "contradiction hf_quant_config.json");
  folder.write("m/hf_quant_config.json", "{\"quantization\": ");
  CHECK(failure() == "syntax hf_quant_config.json");
  folder.write("m/hf_quant_config.json", "[]");
  CHECK(failure() == "wrong_type hf_quant_config.json");
  folder.write("m/hf_quant_config.json", R"({"quantization": {"quant_algo": null}})");
  CHECK(load_file(file).value.published_weights == NumberFormat::fp8);
}

}  // namespace
}  // namespace moesim::llm
