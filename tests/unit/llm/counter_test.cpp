// The parameter counter against the counts of reference/routing_and_context.md (A3, C6, C11-C13 and 5.1),
// exact to the digits printed there, and against the figures that the makers publish, with the difference.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "models/llm/memory.hpp"
#include "models/llm/parameters.hpp"
#include "sim/io/numbers.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::zoo;

// Billions of parameters. `total` and `active` (with both embedding matrices) as the reference prints them,
// "" where it does not. Published figures are the makers' (model cards, reports), and after each the count
// less the published figure; active figures follow either convention: `without_input` leaves out the input
// embedding.
struct Row {
  std::string_view id;
  std::string_view total;
  std::string_view active;
  std::string_view published_total;
  std::string_view difference_total;
  std::string_view published_active;
  std::string_view difference_active;
  std::string_view difference_active_without_input;
  std::string_view bf16_gb;  // weights in bf16 as 5.1 prints them
};

constexpr Row kRows[] = {
    {"llama-3.1-8b", "", "", "8.03", "+0.00", "8.03", "+0.00", "-0.53", ""},
    {"llama-3.1-70b", "", "", "70.6", "-0.05", "70.6", "-0.05", "-1.10", ""},
    {"llama-3.1-405b", "405.85", "405.85", "405", "+0.85", "405", "+0.85", "-1.25", "812"},
    {"qwen3-32b", "", "", "32.8", "-0.04", "32.8", "-0.04", "-0.82", ""},
    {"mixtral-8x7b", "46.70", "12.88", "46.7", "+0.00", "12.9", "-0.02", "-0.15", "93"},
    {"mixtral-8x22b", "140.62", "39.15", "141", "-0.38", "39", "+0.15", "-0.04", "281"},
    {"dbrx", "131.6", "36.5", "132", "-0.40", "36", "+0.47", "-0.15", "263"},
    {"grok-1", "315.7", "", "314", "+1.68", "", "", "", "631"},
    {"qwen1.5-moe-a2.7b", "", "", "14.3", "+0.02", "2.7", "-0.01", "-0.32", ""},
    {"qwen2-57b-a14b", "", "", "57.4", "+0.01", "14", "+0.25", "-0.30", ""},
    {"qwen3-30b-a3b", "30.53", "3.35", "30.5", "+0.03", "3.3", "+0.05", "-0.26", "61"},
    {"qwen3-235b-a22b", "235.09", "22.19", "235", "+0.09", "22", "+0.19", "-0.43", "470"},
    {"qwen3-coder-480b-a35b", "480.2", "35.5", "480", "+0.15", "35", "+0.47", "-0.46", "960"},
    {"deepseek-v2", "", "", "236", "-0.26", "21", "+0.38", "-0.15", ""},
    {"deepseek-v2-lite", "", "", "15.7", "+0.01", "2.4", "+0.26", "+0.05", ""},
    {"deepseek-v3", "671.03", "37.6", "671", "+0.03", "36.7", "+0.85", "-0.07", "1342"},
    {"deepseek-r1", "671.03", "37.6", "671", "+0.03", "36.7", "+0.85", "-0.07", "1342"},
    {"kimi-k2", "1026", "32.9", "1040", "-13.59", "32.6", "+0.26", "-0.91", "2053"},
    {"kimi-k2.5", "1026", "32.9", "1040", "-13.59", "32.6", "+0.26", "-0.91", "2053"},
    {"glm-4.5", "", "", "355", "-2.20", "32", "+1.63", "+0.86", ""},
    {"glm-4.5-air", "", "", "106", "+0.85", "12", "+1.42", "+0.80", ""},
    {"minimax-m2.5", "228.7", "11.0", "230", "-1.31", "10", "+1.03", "+0.42", "457"},
    {"olmoe-1b-7b", "", "", "6.92", "-0.00", "1.28", "+0.00", "-0.10", ""},
    {"phi-3.5-moe", "", "", "41.9", "-0.03", "6.6", "+0.04", "-0.09", ""},
    {"deepseek-v3.2", "", "", "671", "+0.88", "37", "+1.40", "+0.48", ""},
    {"deepseek-v4-flash", "", "", "284", "+0.33", "13", "+0.80", "+0.27", ""},
    {"deepseek-v4-pro", "", "", "1600", "-27.00", "49", "+0.78", "-0.15", ""},
    {"glm-5", "743.9", "41.8", "744", "-0.09", "40", "+1.78", "+0.83", "1488"},
    {"glm-5.2", "", "", "", "", "", "", "", ""},
    {"gpt-oss-20b", "", "", "20.91", "+0.00", "3.61", "+0.58", "-0.00", "42"},
    {"gpt-oss-120b", "", "", "116.83", "-0.00", "5.13", "+0.58", "+0.00", "234"},
    {"kimi-k3", "", "", "2800", "-20.52", "", "", "", ""},
    {"kimi-linear-48b", "", "", "48", "+1.12", "3", "+0.48", "+0.11", ""},
    {"llama-4-maverick", "400.7", "17.2", "400", "+0.71", "17", "+0.18", "-0.85", "801"},
    {"llama-4-scout", "107.8", "17.2", "109", "-1.23", "17", "+0.17", "-0.86", "216"},
    {"mimo-v2-flash", "", "", "309", "-0.22", "15", "+0.45", "-0.18", ""},
    {"minimax-m3", "", "", "", "", "", "", "", ""},
    {"minimax-text-01", "", "", "456", "+0.09", "45.9", "+2.50", "+1.27", ""},
    {"mistral-large-3", "", "", "673", "+0.42", "39", "+0.95", "+0.01", ""},
    {"nemotron-3-super", "", "", "120", "+0.67", "12", "+0.77", "+0.23", ""},
    {"parametric-1.8t-a100b", "", "", "1800", "-11.33", "100", "+0.04", "-1.03", ""},
    {"qwen3-next-80b-a3b", "", "", "80", "-0.33", "3", "+0.87", "+0.56", ""},
    {"qwen3.5-397b-a17b", "", "", "397", "-0.65", "17", "+0.35", "-0.67", ""},
    {"switch-base-128", "", "", "7.4", "+0.02", "", "", "", ""},
    {"switch-xxl", "", "", "395", "-0.46", "", "", "", ""},
    {"switch-c", "", "", "1571", "+0.31", "", "", "", ""},
};

double billions(std::int64_t count) { return static_cast<double>(count) / 1e9; }

// `count` in billions with as many decimals as `like` has.
std::string printed_as(std::string_view like, double value) {
  const std::size_t dot = like.find('.');
  const std::size_t decimals = dot == std::string_view::npos ? 0 : like.size() - dot - 1;
  return fmt::format("{:.{}f}", value, decimals);
}

std::string difference(std::int64_t count, std::string_view published) {
  if (published.empty()) return "";
  return fmt::format("{:+.2f}", billions(count) - io::parse_double(published).value());
}

TEST_CASE("parameter counts are those of the reference, and beside the published figures") {
  for (const Row& row : kRows) {
    INFO(row.id);
    const Architecture model = zoo(row.id);
    const Parameters counted = count_parameters(model);
    if (!row.total.empty()) CHECK(printed_as(row.total, billions(counted.total)) == row.total);
    if (!row.active.empty()) CHECK(printed_as(row.active, billions(counted.active)) == row.active);
    CHECK(difference(counted.total, row.published_total) == row.difference_total);
    CHECK(difference(counted.active, row.published_active) == row.difference_active);
    CHECK(difference(counted.active_without_input_embedding, row.published_active) ==
          row.difference_active_without_input);
    if (!row.bf16_gb.empty())
      CHECK(fmt::format("{:.0f}", static_cast<double>(weight_bytes(model, {}).total()) / 1e9) == row.bf16_gb);
  }
}

// Exact totals as the hub counts the tensors of the checkpoints.
TEST_CASE("totals are those of the checkpoints") {
  CHECK(count_parameters(zoo("llama-3.1-70b")).total == 70'553'706'496);
  CHECK(count_parameters(zoo("llama-3.1-405b")).total == 405'853'388'800);
  CHECK(count_parameters(zoo("qwen3-32b")).total == 32'762'123'264);
  CHECK(count_parameters(zoo("olmoe-1b-7b")).total == 6'919'161'856);
  CHECK(count_parameters(zoo("phi-3.5-moe")).total == 41'873'153'344);
  CHECK(count_parameters(zoo("qwen1.5-moe-a2.7b")).total == 14'315'784'192);
  CHECK(count_parameters(zoo("gpt-oss-20b")).total == 20'914'757'184);
  CHECK(count_parameters(zoo("gpt-oss-120b")).total == 116'829'156'672);
}

TEST_CASE("biases make the difference between the two counts of gpt-oss") {
  const Parameters counted = count_parameters(zoo("gpt-oss-120b"));
  CHECK(printed_as("116.79", billions(counted.total - counted.biases)) == "116.79");
  CHECK(printed_as("5.7", billions(counted.active)) == "5.7");
  CHECK(printed_as("20.9", billions(count_parameters(zoo("gpt-oss-20b")).total)) == "20.9");
}

// A checkpoint's prediction layers are no part of the total. DeepSeek-V3 publishes 11.5 B without the shared
// embedding and head; the count is 0.11 B more, which is nearly the projection of the two joined rows (0.10
// B).
TEST_CASE("prediction layers are counted beside the model") {
  const Parameters counted = count_parameters(zoo("deepseek-v3"));
  CHECK(counted.prediction == 11'610'068'224);
  CHECK(difference(counted.prediction, "11.5") == "+0.11");
  CHECK(difference(counted.prediction - 2LL * 7168 * 7168, "11.5") == "+0.01");
  CHECK(count_parameters(zoo("deepseek-r1")).prediction == counted.prediction);
  // Qwen3-Next: 81.3 B on the hub, with its prediction layer.
  const Parameters next = count_parameters(zoo("qwen3-next-80b-a3b"));
  CHECK(printed_as("81.3", billions(next.total + next.prediction)) == "81.3");
  CHECK(count_parameters(zoo("mixtral-8x7b")).prediction == 0);
}

TEST_CASE("a parametric model has the two totals that were asked for") {
  const Parameters counted = count_parameters(zoo("parametric-1.8t-a100b"));
  CHECK(std::abs(billions(counted.total) / 1800 - 1) < 0.01);
  CHECK(std::abs(billions(counted.active) / 100 - 1) < 0.01);
}

TEST_CASE("contexts that were stretched, and notes on quality") {
  const auto scaling = [](std::string_view id, RopeScalingKind method, double factor, std::int64_t from) {
    INFO(id);
    CHECK(zoo(id).rope_scaling == RopeScaling{method, factor, from});
  };
  scaling("deepseek-v3", RopeScalingKind::yarn, 40, 4096);
  scaling("deepseek-v4-pro", RopeScalingKind::yarn, 16, 65536);
  scaling("kimi-k2", RopeScalingKind::yarn, 32, 4096);
  scaling("kimi-k2.5", RopeScalingKind::yarn, 64, 4096);
  scaling("llama-3.1-8b", RopeScalingKind::llama3, 8, 8192);
  scaling("llama-4-scout", RopeScalingKind::llama3, 16, 8192);
  scaling("gpt-oss-120b", RopeScalingKind::yarn, 32, 4096);
  for (const std::string& id : test::catalogue().names("models/zoo")) {
    INFO(id);
    const Architecture model = zoo(id);
    CHECK(model.quality.empty() == (model.max_context_tokens <= 32768));
  }
}

TEST_CASE("every model of the zoo is in the table, and says where its numbers come from") {
  for (const std::string& id : test::catalogue().names("models/zoo")) {
    INFO(id);
    CHECK(std::any_of(std::begin(kRows), std::end(kRows), [&](const Row& row) { return row.id == id; }));
    const Architecture model = zoo(id);
    CHECK((model.sources.contains("config") || model.sources.contains("assumed")));
    for (const auto& [key, source] : model.sources) CHECK(source.size() > 10);
    for (const char c : id) CHECK(((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'));
  }
}

namespace fs = std::filesystem;

fs::path published_configs() { return fs::path(MOESIM_TEST_DATA_DIR) / "model_configs"; }

struct Published {
  std::string_view file;
  std::string_view id;
};
// Published configurations of models of the zoo.
constexpr Published kPublished[] = {
    {"meta-llama--Meta-Llama-3.1-8B_config.json", "llama-3.1-8b"},
    {"meta-llama--Meta-Llama-3.1-70B_config.json", "llama-3.1-70b"},
    {"meta-llama--Meta-Llama-3.1-405B_config.json", "llama-3.1-405b"},
    {"Qwen--Qwen3-32B_config.json", "qwen3-32b"},
    {"Qwen--Qwen3-30B-A3B_config.json", "qwen3-30b-a3b"},
    {"Qwen--Qwen3-235B-A22B_config.json", "qwen3-235b-a22b"},
    {"Qwen--Qwen3-Coder-480B-A35B-Instruct_config.json", "qwen3-coder-480b-a35b"},
    {"mistralai--Mixtral-8x7B-v0.1_config.json", "mixtral-8x7b"},
    {"mistralai--Mixtral-8x22B-v0.1_config.json", "mixtral-8x22b"},
    {"deepseek-ai--DeepSeek-V3_config.json", "deepseek-v3"},
    {"deepseek-ai--DeepSeek-R1_config.json", "deepseek-r1"},
    {"moonshotai--Kimi-K2-Instruct_config.json", "kimi-k2"},
    {"moonshotai--Kimi-K2.5_config.json", "kimi-k2.5"},
    {"MiniMaxAI--MiniMax-M2.5_config.json", "minimax-m2.5"},
    {"deepseek-ai--DeepSeek-V3.2_config.json", "deepseek-v3.2"},
    {"deepseek-ai--DeepSeek-V4-Flash_config.json", "deepseek-v4-flash"},
    {"deepseek-ai--DeepSeek-V4-Pro_config.json", "deepseek-v4-pro"},
    {"moonshotai--Kimi-K3_config.json", "kimi-k3"},
    {"meta-llama--Llama-4-Scout-17B-16E-Instruct_config.json", "llama-4-scout"},
    {"meta-llama--Llama-4-Maverick-17B-128E-Instruct_config.json", "llama-4-maverick"},
    {"openai--gpt-oss-20b_config.json", "gpt-oss-20b"},
    {"openai--gpt-oss-120b_config.json", "gpt-oss-120b"},
    {"zai-org--GLM-5_config.json", "glm-5"},
    {"zai-org--GLM-5.2_config.json", "glm-5.2"},
    {"MiniMaxAI--MiniMax-M3_config.json", "minimax-m3"},
    {"Qwen--Qwen3.5-397B-A17B_config.json", "qwen3.5-397b-a17b"},
};

TEST_CASE("a published configuration imports as the model of the zoo") {
  if (!fs::exists(published_configs())) {
    WARN("skipped: no data");
    return;
  }
  for (const Published& published : kPublished) {
    INFO(published.file);
    const Architecture imported =
        config::load_entry<Architecture>((published_configs() / published.file).string(), test::catalogue())
            .value;
    const Architecture own = zoo(published.id);
    CHECK(count_parameters(imported).by_category == count_parameters(own).by_category);
    CHECK(count_parameters(imported).active == count_parameters(own).active);
    CHECK(imported.layers == own.layers);
    CHECK(imported.order == own.order);
    CHECK(imported.prediction == own.prediction);
    CHECK(imported.rope_scaling == own.rope_scaling);
    CHECK(imported.residual_streams == own.residual_streams);
    CHECK(imported.vocab_size == own.vocab_size);
    CHECK(imported.hidden_size == own.hidden_size);
    CHECK(imported.max_context_tokens == own.max_context_tokens);
    CHECK(imported.tied_embeddings == own.tied_embeddings);
    CHECK(imported.published_weights == own.published_weights);
  }
}

TEST_CASE("every published configuration imports, and every field of it is known") {
  if (!fs::exists(published_configs())) {
    WARN("skipped: no data");
    return;
  }
  int imported = 0;
  for (const auto& entry : fs::directory_iterator(published_configs())) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with("_config.json") || name.ends_with("hf_quant_config.json")) continue;
    INFO(name);
    const auto loaded = config::load_entry<Architecture>(entry.path().string(), test::catalogue());
    CHECK(count_parameters(loaded.value).total > 500'000'000);
    for (const config::Diagnostic& warning : loaded.warnings) CHECK(warning.code != "unknown_field");
    ++imported;
  }
  CHECK(imported == 58);
}

// Weights that the counter of silicon/models.csv leaves out beside norms and biases: gates of shared experts,
// and the decays of recurrent layers.
std::int64_t small_vectors(const Architecture& model) {
  std::int64_t count = 0;
  for (const LayerGroup& group : model.layers) {
    const auto* moe = std::get_if<MoeFfn>(&group.ffn);
    if (moe != nullptr && moe->shared_gate) count += group.count * model.hidden_size;
    const auto* recurrent = std::get_if<RecurrentAttention>(&group.attention);
    if (recurrent != nullptr) count += group.count * 2 * recurrent->value_heads;
  }
  return count;
}

TEST_CASE("totals are those of an independent counter of weight matrices") {
  const fs::path table = fs::path(MOESIM_TEST_DATA_DIR) / "silicon" / "models.csv";
  std::ifstream in(table);
  if (!in.good()) {
    WARN("skipped: no data");
    return;
  }
  const auto split = [](const std::string& line) {
    std::vector<std::string> cells(1);
    for (const char c : line) {
      if (c == ',') cells.emplace_back();
      if (c != ',' && c != '\r') cells.back() += c;
    }
    return cells;
  };
  std::string line;
  std::getline(in, line);
  const std::vector<std::string> keys = split(line);
  const auto column = [&](std::string_view key) {
    return static_cast<std::size_t>(std::find(keys.begin(), keys.end(), key) - keys.begin());
  };
  int rows = 0;
  while (std::getline(in, line)) {
    const std::vector<std::string> cells = split(line);
    const fs::path file = published_configs() / cells.at(column("config_file"));
    INFO(line);
    if (!fs::exists(file)) continue;
    const Architecture model = config::load_entry<Architecture>(file.string(), test::catalogue()).value;
    const Parameters counted = count_parameters(model);
    const std::int64_t matrices =
        counted.total - counted.biases - counted.by_category.norms - small_vectors(model);
    CHECK(matrices == io::parse_int64(cells.at(column("params_total_computed"))).value());
    ++rows;
  }
  CHECK(rows >= 10);
}

}  // namespace
}  // namespace moesim::llm
