// A model of a known family needs no C++: files that are written while the program runs are described,
// counted and estimated by the loader that users have.
#include <filesystem>
#include <string>

#include "models/llm/parameters.hpp"
#include "sim/studies/describe.hpp"
#include "sim/studies/estimate.hpp"
#include "sim/studies/run.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"

namespace moesim::studies {

namespace {

const config::Catalogue& files_that_ship() {
  static const config::Catalogue all({MOESIM_SOURCE_DIR});
  return all;
}

// Sizes that no model has.
constexpr std::string_view kHubFile = R"({
  "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "vocab_size": 30011, "hidden_size": 704,
  "num_hidden_layers": 10, "num_attention_heads": 22, "num_key_value_heads": 11, "head_dim": 32,
  "intermediate_size": 416, "num_local_experts": 24, "num_experts_per_tok": 3, "sliding_window": 96,
  "attention_bias": true, "max_position_embeddings": 8192, "num_nextn_predict_layers": 1,
  "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}})";

// The same model in the compact form.
constexpr std::string_view kCompactFile = R"({
  "name": "as written", "vocab_size": 30011, "hidden_size": 704, "max_context_tokens": 8192,
  "rope_scaling": {"method": "yarn", "factor": 4, "original_context_tokens": 2048},
  "layers": [
    {"count": 5,
     "attention": {"kind": "grouped_query", "query_heads": 22, "kv_heads": 11, "head_dim": 32,
                   "qkv_bias": true, "output_bias": true, "sinks": true, "window_tokens": 96},
     "ffn": {"kind": "moe", "experts": 24, "top_k": 3, "expert_width": 416, "router_bias": true,
             "expert_bias": true}},
    {"count": 5,
     "attention": {"kind": "grouped_query", "query_heads": 22, "kv_heads": 11, "head_dim": 32,
                   "qkv_bias": true, "output_bias": true, "sinks": true},
     "ffn": {"kind": "moe", "experts": 24, "top_k": 3, "expert_width": 416, "router_bias": true,
             "expert_bias": true}}],
  "order": [{"repeat": 5, "groups": [0, 1]}],
  "sources": {"assumed": "everything: a test"}})";

}  // namespace

TEST_CASE("a new model is one file, of the hub or compact, from description to estimate") {
  const io::testing::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "new");
  const auto hub = folder.put("new/config.json", kHubFile);
  const auto compact = folder.put("new/compact.json", kCompactFile);
  const auto load = [](const std::filesystem::path& file) {
    return config::load_entry<llm::Architecture>(file.string(), files_that_ship()).value;
  };
  const llm::Architecture imported = load(hub);
  const llm::Architecture written = load(compact);
  CHECK(imported.name == "new");
  CHECK(imported.layers == written.layers);
  CHECK(imported.order == written.order);
  CHECK(imported.rope_scaling == written.rope_scaling);
  CHECK(imported.prediction.has_value());
  // By hand: embedding and head 42,255,488; each layer: projections 1,488,256, their biases 2,134 with the
  // sinks, norms 1,408, router 16,920, experts 21,123,072 and their biases 36,864; the last norm 704.
  const std::int64_t layer = (22 + 2 * 11) * 32 * 704 + 22 * 32 * 704 + ((22 + 22) * 32 + 704 + 22) +
                             2 * 704 + (24 * 704 + 24) + 24 * (3 * 704 * 416 + 2 * 416 + 704);
  const std::int64_t total = 2LL * 30011 * 704 + 10 * layer + 704;
  CHECK(llm::count_parameters(imported).total == total);
  CHECK(llm::count_parameters(written).total == total);
  for (const auto& file : {hub, compact}) {
    INFO(file);
    const Description described = describe("model", file.string(), files_that_ship());
    const config::Node* parameters = config::resolve_pointer(described.document, "/parameters/total");
    REQUIRE(parameters != nullptr);
    CHECK(parameters->integer == total);
    // What `describe` prints as the entry is a file of the compact form.
    const config::Node* entry = described.document.find("entry");
    REQUIRE(entry != nullptr);
    const auto again = folder.put("again.json", config::to_json(*entry));
    CHECK(load(again).layers == imported.layers);
    CHECK(load(again).order == imported.order);
  }
}

TEST_CASE("a new model runs from either form, to the same end") {
  const io::testing::TemporaryFolder folder;
  std::filesystem::create_directory(folder / "new");
  const auto last_event = [&](const std::filesystem::path& file) {
    EstimateRequest request;
    request.model = file.string();
    request.gpu = "h100-sxm";
    request.input_tokens = 200;
    request.output_tokens = 4;
    request.concurrency = 2;
    request.requests = 4;
    const PreparedRun prepared =
        prepare_text(estimate_scenario(request, files_that_ship()), "estimate", files_that_ship(), {});
    const reports::RunReport report = execute(prepared, files_that_ship(), {});
    CHECK(report.results.requests.size() == 4);
    return report.results.clock_end;
  };
  const core::Time imported = last_event(folder.put("new/config.json", kHubFile));
  CHECK(imported > core::Time{});
  CHECK(imported == last_event(folder.put("new/compact.json", kCompactFile)));
}

}  // namespace moesim::studies
