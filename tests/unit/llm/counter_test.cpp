// The parameter counter against the counts of reference/routing_and_context.md (A3, C6, C11, C12 and 5.1),
// exact to the digits printed there, and against the figures that the makers publish, with the difference.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>

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
    CHECK(imported.vocab_size == own.vocab_size);
    CHECK(imported.hidden_size == own.hidden_size);
    CHECK(imported.max_context_tokens == own.max_context_tokens);
    CHECK(imported.tied_embeddings == own.tied_embeddings);
    CHECK(imported.published_weights == own.published_weights);
  }
}

// Published configurations that are refused, by a part of their name, and the family that the error names.
constexpr std::pair<std::string_view, std::string_view> kRefused[] = {
    {"MiniMax-M3", "minimax_m3"},
    {"Qwen3.5-27B", "qwen3_5_text"},
    {"Qwen3.5-", "qwen3_5_moe_text"},
    {"DeepSeek-V3.2", "deepseek_v32"},
    {"sgl-project--DeepSeek-V4", "deepseek_ref"},
    {"DeepSeek-V4", "deepseek_v4"},
    {"Llama-4-", "llama4_text"},
    {"Kimi-K3", "kimi_linear"},
    {"GLM-5", "glm_moe_dsa"},
    {"gpt-oss", "gpt_oss"},
};

TEST_CASE("every published configuration imports, or is refused by name") {
  if (!fs::exists(published_configs())) {
    WARN("skipped: no data");
    return;
  }
  int imported = 0, refused = 0;
  for (const auto& entry : fs::directory_iterator(published_configs())) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with("_config.json") || name.ends_with("hf_quant_config.json")) continue;
    INFO(name);
    const auto* expected = std::find_if(std::begin(kRefused), std::end(kRefused), [&](const auto& one) {
      return name.find(one.first) != std::string::npos;
    });
    try {
      const auto loaded = config::load_entry<Architecture>(entry.path().string(), test::catalogue());
      CHECK(expected == std::end(kRefused));
      CHECK(count_parameters(loaded.value).total > 500'000'000);
      for (const config::Diagnostic& warning : loaded.warnings) CHECK(warning.code != "unknown_field");
      ++imported;
    } catch (const config::InputError& error) {
      REQUIRE(expected != std::end(kRefused));
      REQUIRE(error.diagnostics().error_count() == 1);
      const config::Diagnostic& problem = error.diagnostics().errors().at(0);
      CHECK(problem.message.find("(" + std::string(expected->second) + ") cannot be imported: it has ") !=
            std::string::npos);
      CHECK(error.sources().line_text(problem.where).find(expected->second) != std::string_view::npos);
      ++refused;
    }
  }
  CHECK(imported == 32);
  CHECK(refused == 26);
}

}  // namespace
}  // namespace moesim::llm
