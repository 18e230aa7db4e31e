#include <atomic>
#include <set>
#include <stdexcept>
#include <vector>

#include "sim/studies/describe.hpp"
#include "sim/studies/estimate.hpp"
#include "sim/studies/explain.hpp"
#include "sim/studies/kinds.hpp"
#include "sim/studies/run.hpp"
#include "sim/studies/templates.hpp"
#include "sim/studies/validate.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"
#include "tests/unit/io/temporary_folder.hpp"

namespace moesim::studies {

namespace {

const config::Catalogue& catalogue() {
  static const config::Catalogue all({MOESIM_SOURCE_DIR});
  return all;
}

std::string code_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const config::InputError& error) {
    return error.diagnostics().errors().front().code;
  }
  return "";
}

EstimateRequest small_request() {
  EstimateRequest request;
  request.model = "llama-3.1-8b";
  request.gpu = "h100-sxm";
  request.input_tokens = 64;
  request.output_tokens = 4;
  request.concurrency = 2;
  return request;
}

}  // namespace

TEST_CASE("every index is visited once, and the first failure is told") {
  std::vector<std::atomic<int>> visits(100);
  for_each_index(visits.size(), 4, [&](std::size_t i) { ++visits[i]; });
  for (const auto& count : visits) CHECK(count == 1);
  for_each_index(0, 4, [](std::size_t) { FAIL("nothing to visit"); });
  const auto failing = [](std::size_t i) {
    if (i >= 3) throw std::runtime_error(std::to_string(i));
  };
  CHECK_THROWS_WITH(for_each_index(10, 3, failing), "3");
  CHECK_THROWS_WITH(for_each_index(10, 1, failing), "3");
}

TEST_CASE("kinds are told by name, by folder and by keys") {
  CHECK(kind_by_name("gpu") == DocumentKind::gpu);
  CHECK(code_of([] { static_cast<void>(kind_by_name("gpus")); }) == "unknown_kind");
  const config::Node empty = config::Node::object();
  CHECK(guess_kind("x/gpus/a.json", empty) == DocumentKind::gpu);
  CHECK(guess_kind("models/zoo/a.json", empty) == DocumentKind::model);
  CHECK(guess_kind("a.json", empty) == DocumentKind::scenario);
  CHECK(guess_kind("a.json", config::parse_text(R"({"hbm": {}})", "a").root) == DocumentKind::gpu);
  CHECK(guess_kind("a.json", config::parse_text(R"({"vocab_size": 1})", "a").root) == DocumentKind::model);
  for (const KindInfo& info : document_kinds()) {
    CHECK(kind_info(info.kind).name == info.name);
    CHECK(config::resolve_pointer(schema_of(info.kind), "/anyOf/0/properties") != nullptr);
  }
}

TEST_CASE("every file that ships is sound") {
  for (const KindInfo& info : document_kinds()) {
    for (const std::string& name : catalogue().names(info.folder)) {
      const Validation validation =
          validate_file(catalogue().find(info.folder, name), std::nullopt, catalogue(), "");
      INFO(info.name << " " << name << ": "
                     << (validation.errors.empty() ? "" : validation.errors.front().message));
      CHECK(validation.kind == info.kind);
      CHECK(validation.errors.empty());
    }
  }
}

TEST_CASE("a model that does not fit is a warning, a broken file is errors") {
  const io::testing::TemporaryFolder folder;
  EstimateRequest request = small_request();
  request.model = "deepseek-v3";
  const auto big = folder.put("big.json", estimate_scenario(request, catalogue()));
  const Validation validation = validate_file(big, std::nullopt, catalogue(), "");
  CHECK(validation.errors.empty());
  bool warned = false;
  for (const auto& warning : validation.warnings) warned = warned || warning.code == "does_not_fit";
  CHECK(warned);

  const auto broken = folder.put("broken.json", R"({"version": 1, "modle": "x"})");
  const Validation bad = validate_file(broken, std::nullopt, catalogue(), "");
  CHECK(bad.error_count > 1);
  const config::Node node = to_node(bad);
  CHECK(node.find("errors")->items.size() == bad.errors.size());
  CHECK(node.find("errors")->items.front().find("line")->integer == 1);
  CHECK(validate_file(folder / "missing.json", std::nullopt, catalogue(), "").errors.front().code ==
        "cannot_read");
}

TEST_CASE("validate reads the trace of a scenario as run does") {
  const io::testing::TemporaryFolder folder;
  const auto scenario = [](const std::string& workload) {
    return R"({"version": 1, "cluster": {"node": "hgx-h100-8", "nodes": 1}, "model": "llama-3.1-8b",
  "deployment": {"engine": "vllm", "pools": {"main": {"tp": 1}}},
  "workload": )" +
           workload + "}";
  };
  const auto errors = [&](const std::string& workload, const std::filesystem::path& data_dir) {
    const auto file = folder.put("scenario.json", scenario(workload));
    Validation validation = validate_file(file, std::nullopt, catalogue(), data_dir);
    RunSettings settings;
    settings.data_dir = data_dir;
    std::size_t in_run = 0;
    try {
      static_cast<void>(execute(prepare_file(file, catalogue(), {}), catalogue(), settings));
    } catch (const config::InputError& error) {
      in_run = error.diagnostics().error_count();
    }
    return std::pair(std::move(validation), in_run);
  };
  folder.put("bad.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n1,x,3\n1,5,5\n2,5,0\n");
  const auto [bad, bad_in_run] = errors(R"({"trace": "bad.csv"})", "");
  CHECK(bad_in_run == 2);
  REQUIRE(bad.error_count == 2);
  CHECK(bad.sources.line_column(bad.errors[0].where).line == 2);
  CHECK(bad.sources.at(bad.errors[0].where.source).name.ends_with("bad.csv"));
  CHECK(bad.sources.line_column(bad.errors[1].where).column == 5);

  const auto [missing, missing_in_run] = errors(R"({"trace": "bed.csv"})", "");
  CHECK(missing_in_run == 1);
  REQUIRE(missing.error_count == 1);
  CHECK(missing.errors[0].suggestion == "bad.csv");
  CHECK(missing.sources.line_column(missing.errors[0].where).line == 3);

  // Where there is no reference data, its scenarios are not wrong.
  const auto [elsewhere, elsewhere_in_run] = errors(R"({"trace": "data:x/y.csv"})", folder / "no-data");
  CHECK(elsewhere_in_run == 1);
  CHECK(elsewhere.error_count == 0);
  REQUIRE(elsewhere.warnings.size() >= 1);
  CHECK(elsewhere.warnings.back().pointer == "/workload/trace");
  CHECK(errors(R"({"trace": "data:x/y.csv"})", folder.path()).first.error_count == 1);
}

TEST_CASE("an error of a run has the place in the scenario of what asks for it") {
  EstimateRequest request = small_request();
  const PreparedRun prepared = prepare_text(estimate_scenario(request, catalogue()), "x", catalogue(),
                                            {{config::Override::Kind::set, "workload.arrival.think_time=7 d",
                                              config::OriginKind::command_line, "--set"},
                                             {config::Override::Kind::set, "workload.stop.requests=1000",
                                              config::OriginKind::command_line, "--set"}});
  try {
    static_cast<void>(execute(prepared, catalogue(), {}));
    FAIL("it ran");
  } catch (const config::InputError& error) {
    const config::Diagnostic& problem = error.diagnostics().errors().front();
    CHECK(problem.pointer == "/workload/arrival/think_time");
    REQUIRE(problem.where.source >= 0);
    CHECK(error.sources().at(problem.where.source).kind == config::OriginKind::command_line);
  }
}

TEST_CASE("templates are sound, have comments and run") {
  CHECK(code_of([] { static_cast<void>(template_by_name("chats")); }) == "unknown_template");
  for (const Template& entry : templates()) {
    INFO(entry.name);
    CHECK(entry.text.find("//") != std::string_view::npos);
    const PreparedRun prepared =
        prepare_text(std::string(entry.text), std::string(entry.name), catalogue(), {});
    CHECK(prepared.loaded.warnings.empty());
    RunSettings settings;
    settings.until = core::Duration{3 * core::kPicosecondsPerSecond};
    const reports::RunReport report = execute(prepared, catalogue(), settings);
    CHECK(report.results.events > 0);
    for (const auto& check : report.results.checks) CHECK(check.held);
  }
}

TEST_CASE("an estimate takes the smallest node that holds a replica, and the engine's defaults for its GPU") {
  const auto text_at = [](const EstimateRequest& request, std::string_view pointer) {
    const config::Document document = config::parse_text(estimate_scenario(request, catalogue()), "estimate");
    return config::resolve_pointer(document.root, pointer)->text;
  };
  EstimateRequest request;
  request.model = "llama-3.1-8b";
  request.gpu = "rtx-4090";
  CHECK(text_at(request, "/cluster/node") == "rtx-4090-pcie-2");
  request.tp = 4;
  CHECK(text_at(request, "/cluster/node") == "rtx-4090-pcie-8");
  CHECK(text_at(request, "/deployment/engine") == "vllm-small-gpu");
  request.gpu = "a100-sxm-80g";
  CHECK(text_at(request, "/deployment/engine") == "vllm-small-gpu");
  request.gpu = "h100-sxm";
  CHECK(text_at(request, "/deployment/engine") == "vllm");
  request.engine = "vllm-small-gpu";
  CHECK(text_at(request, "/deployment/engine") == "vllm-small-gpu");
}

TEST_CASE("formats that are not given follow the model and the GPU") {
  const auto formats_with = [](const std::vector<std::string>& changes) {
    auto prepared = prepare_text(std::string(test::kMoeScenario), "x", catalogue(), test::sets(changes));
    return prepared.loaded.value.formats();
  };
  std::string text(test::kMoeScenario);
  const std::string given = R"(,
                 "formats": {"weights": "fp8_block"})";
  text.erase(text.find(given), given.size());
  const auto published = prepare_text(text, "x", catalogue(), {}).loaded.value.formats();
  CHECK(published.weights == llm::NumberFormat::fp8_block);
  CHECK(published.linear_activations() == llm::NumberFormat::fp8_block);
  CHECK(formats_with({"deployment.formats.weights=bf16"}).linear_activations() == llm::NumberFormat::bf16);
  // The A100 multiplies no fp8: its kernels widen the weights.
  const auto widened = formats_with({"cluster.node=hgx-a100-8"});
  CHECK(widened.weights == llm::NumberFormat::fp8_block);
  CHECK(widened.linear_activations() == llm::NumberFormat::bf16);
}

TEST_CASE("an estimate becomes a scenario with as many nodes as it needs") {
  EstimateRequest request = small_request();
  config::Document document = config::parse_text(estimate_scenario(request, catalogue()), "estimate");
  const auto text_at = [&](std::string_view pointer) {
    return config::to_json(*config::resolve_pointer(document.root, pointer), -1);
  };
  CHECK(text_at("/cluster/node") == "\"hgx-h100-8\"");
  CHECK(text_at("/cluster/nodes") == "1");
  CHECK(document.root.find("cluster")->find("fabric") == nullptr);
  CHECK(text_at("/workload/stop/requests") == "20");
  CHECK(text_at("/workload/lengths/input/distribution") == "\"fixed\"");

  request.gpu = "h200-sxm";
  request.replicas = 3;
  request.tp = 8;
  request.length_ratio = 0.8;
  request.requests = 7;
  document = config::parse_text(estimate_scenario(request, catalogue()), "estimate");
  CHECK(text_at("/cluster/nodes") == "3");
  CHECK(text_at("/cluster/fabric") == "\"ib-ndr400-rail\"");
  CHECK(text_at("/workload/stop/requests") == "7");
  CHECK(text_at("/workload/lengths/output/ratio") == "0.8");

  request.gpu = "h200";
  CHECK(code_of([&] { static_cast<void>(estimate_scenario(request, catalogue())); }) == "unknown_entry");
  request.gpu = "";
  CHECK(code_of([&] { static_cast<void>(estimate_scenario(request, catalogue())); }) == "missing_flag");
  request.gpu = "h100-sxm";
  request.node = "hgx-h200-8";
  CHECK(code_of([&] { static_cast<void>(estimate_scenario(request, catalogue())); }) == "contradiction");
  request = small_request();
  request.tp = INT64_MAX;
  CHECK(code_of([&] { static_cast<void>(estimate_scenario(request, catalogue())); }) == "out_of_range");
}

TEST_CASE("the manifest names inputs as every machine would") {
  const PreparedRun prepared =
      prepare_text(estimate_scenario(small_request(), catalogue()), "x", catalogue(), {});
  const reports::RunReport report = execute(prepared, catalogue(), {});
  CHECK(report.manifest.scenario == "estimate");
  CHECK(report.manifest.scenario_sha256.size() == 64);
  std::set<std::string> names;
  for (const auto& input : report.manifest.inputs) {
    CHECK(input.sha256.size() == 64);
    names.insert(input.name);
  }
  CHECK(names == std::set<std::string>{
                     "hw_configs/nodes/hgx-h100-8.json", "hw_configs/gpus/h100-sxm.json",
                     "models/zoo/llama-3.1-8b.json", "hw_configs/engines/vllm.json",
                     "hw_configs/kernels/vllm-h100-sxm.json", "hw_configs/kernels/trtllm-h100-sxm.json",
                     "hw_configs/kernels/sglang-h100-sxm.json", "hw_configs/kernels/nccl-h100-sxm.json"});
}

TEST_CASE("a run that is told to stop is partial") {
  EstimateRequest request = small_request();  // long enough that the simulation asks whether to go on
  request.output_tokens = 256;
  request.concurrency = 64;
  const PreparedRun prepared = prepare_text(estimate_scenario(request, catalogue()), "x", catalogue(), {});
  RunSettings settings;
  settings.keep_going = [](const serving::Progress&) { return false; };
  CHECK(execute(prepared, catalogue(), settings).results.end == serving::RunEnd::interrupted);
  settings.keep_going = nullptr;
  settings.max_wall = core::Duration{1};
  CHECK(execute(prepared, catalogue(), settings).results.end == serving::RunEnd::wall_limit);
  settings.max_wall = std::nullopt;
  settings.max_events = 5;
  CHECK(execute(prepared, catalogue(), settings).results.end == serving::RunEnd::event_limit);
}

TEST_CASE("explain tells the origin of every layer") {
  const io::testing::TemporaryFolder folder;
  const auto merge = folder.put("merge.json", R"({"deployment": {"scheduler": {"max_num_seqs": 5}}})");
  using config::OriginKind;
  using config::Override;
  const std::vector<Override> overrides = {
      {Override::Kind::merge_file, merge.string(), OriginKind::merge, "--merge"},
      {Override::Kind::set, "seed=5", OriginKind::environment, "MOESIM_SET_seed"},
      {Override::Kind::set, "cluster.node.gpu.tdp.value=650 W", OriginKind::command_line, "--set"}};
  const PreparedRun prepared =
      prepare_text(estimate_scenario(small_request(), catalogue()), "x", catalogue(), overrides);
  const auto one = [&](std::string_view path) {
    const auto values = explain(prepared.loaded.resolved, prepared.loaded.document.sources, path, true);
    REQUIRE(values.size() == 1);
    return values.front();
  };
  CHECK(origin_words(one("seed")) == "environment MOESIM_SET_seed");
  CHECK(origin_words(one("fidelity")) == "default");
  CHECK(origin_words(one("version")) == "x:2");
  CHECK(one("deployment.scheduler.max_num_seqs").origin == OriginKind::merge);
  CHECK(one("cluster.node.gpu.tdp").value.text == "650 W");
  CHECK(origin_words(one("/cluster/node/gpu/tdp")) == "--set cluster.node.gpu.tdp.value=650 W");
  CHECK(one("cluster.node.gpu.hbm.bandwidth").label == "datasheet");
  CHECK(one("cluster.node.gpu.hbm.bandwidth").origin == OriginKind::catalogue);
  CHECK(code_of([&] { one("deployment.pool"); }) == "unknown_path");
  CHECK(code_of([&] { one("seed.x"); }) == "unknown_path");
  const auto all = explain(prepared.loaded.resolved, prepared.loaded.document.sources, "", false);
  CHECK(all.size() > 150);
}

TEST_CASE("every topic can be described, and every entry of the catalogue") {
  for (const TopicInfo& topic : describe_topics()) {
    INFO(topic.name);
    const Description description = describe(topic.name, "", catalogue());
    reports::Style style;
    style.width = 80;
    CHECK(to_text(description, style).size() > 100);
    CHECK(to_csv(description).find(',') != std::string::npos);
    CHECK_FALSE(description.document.members.empty());
  }
  for (const std::string& name : catalogue().names("hw_configs/gpus")) {
    const Description description = describe("gpu", name, catalogue());
    CHECK(description.document.find("ridge_points")->items.size() >= 1);
  }
  CHECK(describe("hardware", "ib-ndr400-rail", catalogue()).document.find("kind")->text == "fabric");
  CHECK(describe("metric", "ttft", catalogue()).document.find("metrics")->items.size() == 6);
  CHECK(describe("workload", "poisson", catalogue()).document.find("fields")->items.size() == 1);
  CHECK(describe("policy", "balancer", catalogue()).document.find("policies")->items.size() == 2);
  CHECK(describe("policy", "fidelity", catalogue()).document.find("policies")->items.size() == 2);
  CHECK(describe("policy", "fault", catalogue()).document.find("policies")->items.size() == 4);
  CHECK(describe("policy", "all-reduce", catalogue()).document.find("policies")->items.size() == 1);
  CHECK(describe("scenario", "faults", catalogue()).document.find("fields")->items.size() == 5);
  CHECK(describe("scenario", "background", catalogue()).document.find("fields")->items.size() == 8);
  for (const char* topic : {"gpu", "node", "fabric", "engine", "model"}) {
    CHECK(code_of([&] { static_cast<void>(describe(topic, "no-such", catalogue())); }) == "unknown_entry");
  }
  for (const char* topic : {"metric", "policy", "workload", "scenario", "hardware", "no-such"}) {
    CHECK(code_of([&] { static_cast<void>(describe(topic, "no-such", catalogue())); }) == "unknown_name");
  }
}

TEST_CASE("a model's page has the numbers that scripts ask for") {
  const config::Node node = describe("model", "deepseek-v3", catalogue()).document;
  CHECK(config::resolve_pointer(node, "/parameters/total")->integer == 671'026'419'200);
  CHECK(config::resolve_pointer(node, "/parameters/active")->integer == 37'552'297'472);
  CHECK(config::resolve_pointer(node, "/parameters/active_without_embeddings")->integer == 35'698'939'392);
  CHECK(node.find("kv_bytes_per_token")->integer == 70'272);
}

const config::Node& at(const config::Node& node, std::string_view pointer) {
  const config::Node* found = config::resolve_pointer(node, pointer);
  INFO(pointer);
  REQUIRE(found != nullptr);
  return *found;
}

TEST_CASE("a model's page says what a context costs") {
  const config::Node node = describe("model", "deepseek-v3", catalogue()).document;
  // 4,096 tokens of 61 layers x 128 heads x (192 + 128) x 2; linear: 2 x active.
  CHECK(at(node, "/flops_by_context/0/context_tokens").integer == 4096);
  CHECK(at(node, "/flops_by_context/0/token/attention").integer == 4096LL * 61 * 128 * 320 * 2);
  CHECK(at(node, "/flops_by_context/0/token/linear").integer == 2 * 37'552'297'472);
  CHECK(at(node, "/flops_by_context/0/prefill/attention").integer == 4096LL * 4097 / 2 * 61 * 128 * 320 * 2);
  CHECK(at(node, "/kv_bytes_by_context/1/bf16/total").integer == 32768LL * 70'272);
  CHECK(at(node, "/kv_bytes_by_context/1/bf16/rows/0/bytes").integer == 32768LL * 70'272);
  // The model's own context, 163,840, stands among them.
  CHECK(at(node, "/kv_bytes_by_context").items.size() == 5);
  CHECK(at(node, "/kv_bytes_by_context/3/context_tokens").integer == 163'840);
  // Stretched from 4,096.
  CHECK(at(node, "/rope_scaling/original_context_tokens").integer == 4096);
  CHECK_FALSE(at(node, "/kv_bytes_by_context/0/stretched").boolean);
  CHECK(at(node, "/kv_bytes_by_context/1/stretched").boolean);
  CHECK_FALSE(at(node, "/kv_bytes_by_context/3/past_max_context").boolean);
  CHECK(at(node, "/kv_bytes_by_context/4/past_max_context").boolean);
  CHECK(at(node, "/parameters/biases").integer == 58 * 256);
  CHECK(at(node, "/parameters/prediction").integer == 11'610'068'224);
  CHECK(at(node, "/published/experts").text == "fp8_block");
  CHECK(at(node, "/published/weight_bytes").integer == at(node, "/weight_bytes_by_format/fp8_block").integer);
  const config::Node hybrid = describe("model", "qwen3-next-80b-a3b", catalogue()).document;
  const std::int64_t state = at(hybrid, "/kv_bytes_by_context/0/fp8/state").integer;
  CHECK(state > 0);
  CHECK(at(hybrid, "/kv_bytes_by_context/0/fp8/total").integer ==
        state + at(hybrid, "/kv_bytes_by_context/0/fp8/rows/0/bytes").integer);
}

TEST_CASE("a model's layers are one line") {
  const auto lines = [](const char* name) {
    const config::Node node = describe("model", name, catalogue()).document;
    return at(node, "/layer_pattern/attention").text + "; " + at(node, "/layer_pattern/feed_forward").text;
  };
  CHECK(lines("deepseek-v3") == "61 latent attention; 3 dense 18432 + 58 MoE 8 of 256 + 1 shared");
  CHECK(lines("gpt-oss-120b") == "18 x (1 window of 128 + 1 full attention); 36 MoE 4 of 128");
  CHECK(lines("qwen3-next-80b-a3b") ==
        "12 x (3 recurrent (gated_delta) + 1 full attention); 48 MoE 10 of 512 + 1 shared");
}

TEST_CASE("a file anywhere may extend a model by its name") {
  const io::testing::TemporaryFolder folder;
  const auto file = folder.put("longer.json", R"({"extends": "mixtral-8x7b", "max_context_tokens": 65536})");
  const config::Node node = describe("model", file.string(), catalogue()).document;
  CHECK(at(node, "/max_context_tokens").integer == 65'536);
  CHECK(at(node, "/parameters/total").integer == 46'702'792'704);
}

TEST_CASE("the page of a dense twin") {
  const config::Node moe = describe("model", "qwen3-235b-a22b", catalogue()).document;
  const config::Node twin = describe("model", "qwen3-235b-a22b", catalogue(), true).document;
  CHECK(at(twin, "/model").text == "Qwen3 235B A22B (dense twin)");
  CHECK(at(twin, "/parameters/active").integer == at(twin, "/parameters/total").integer);
  CHECK(at(twin, "/parameters/total").integer ==
        at(moe, "/parameters/total").integer - at(moe, "/parameters/by_category/router").integer);
  CHECK(at(twin, "/entry/name").text == "Qwen3 235B A22B (dense twin)");
  CHECK(at(twin, "/entry/layers/0/ffn/kind").text == "dense");
  CHECK(at(twin, "/entry/layers/0/ffn/width").integer == 128 * 1536);
  // What it costs at a million tokens, in FLOPs: not ten times as much.
  const auto cost = [](const config::Node& node) {
    const config::Node& total = at(node, "/flops_by_context/3/prefill/total");
    return total.kind == config::Node::Kind::integer ? static_cast<double>(total.integer) : total.real;
  };
  CHECK(cost(twin) / cost(moe) > 1.25);
  CHECK(cost(twin) / cost(moe) < 1.27);
  CHECK(code_of([] { static_cast<void>(describe("model", "llama-3.1-8b", catalogue(), true)); }) ==
        "no_dense_twin");
  CHECK(code_of([] { static_cast<void>(describe("gpu", "h200-sxm", catalogue(), true)); }) ==
        "no_dense_twin");
  CHECK(code_of([] { static_cast<void>(describe("model", "", catalogue(), true)); }) == "no_dense_twin");
}

}  // namespace moesim::studies
