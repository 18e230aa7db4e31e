// Requests and the context that a model was made for; formats of the matrices of a deployment.
#include <algorithm>
#include <string>
#include <vector>

#include "sim/serving/scenario.hpp"
#include "sim/serving/simulate.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

namespace moesim::serving {
namespace {

using llm::LinearFormats;
using llm::WeightKind;
using enum llm::NumberFormat;

config::Loaded<Scenario> load(std::string_view text, const std::vector<std::string>& changes) {
  const auto catalogue = test::source_catalogue();
  return config::read_document<Scenario>(
      config::load_text(std::string(text), "test.json", catalogue, test::sets(changes)), catalogue);
}

std::string warning_at(const config::Loaded<Scenario>& loaded, std::string_view pointer) {
  const auto warning = std::find_if(loaded.warnings.begin(), loaded.warnings.end(),
                                    [&](const auto& one) { return one.pointer == pointer; });
  return warning == loaded.warnings.end() ? "" : warning->message;
}

TEST_CASE("lengths past the model's context are a warning") {
  const auto warning = [](const std::vector<std::string>& changes) {
    return warning_at(load(test::kSmallScenario, changes), "/workload/lengths");
  };
  const std::string output = R"(workload.lengths.output={"distribution": "fixed", "tokens": 1000})";
  const auto input = [](const std::string& lengths) { return "workload.lengths.input=" + lengths; };
  CHECK(warning({output, input(R"({"distribution": "fixed", "tokens": 131072})")}) ==
        "requests of up to 132072 tokens pass the model's context of 131072: those are refused");
  CHECK(warning({output, input(R"({"distribution": "fixed", "tokens": 130072})")}).empty());
  CHECK_FALSE(
      warning({output, input(R"({"distribution": "uniform", "tokens": 130073, "ratio": 0.5})")}).empty());
  CHECK_FALSE(warning({output, input(R"({"distribution": "empirical", "values": [5, 130073, 7]})")}).empty());
  CHECK_FALSE(
      warning({output, input(R"({"distribution": "lognormal", "median": 10, "sigma": 1, "max": 130073})")})
          .empty());
  // Without a limit nothing is known before the draws.
  CHECK(warning({output, input(R"({"distribution": "lognormal", "median": 10, "sigma": 1})")}).empty());
}

TEST_CASE("requests past the context of pre-training are counted") {
  const auto stretched = [](std::int64_t original) {
    const auto loaded =
        load(test::kSmallScenario,
             {R"(model.rope_scaling={"method": "yarn", "factor": 4, "original_context_tokens": )" +
              std::to_string(original) + "}"});
    const Results results = simulate(loaded.value, {});
    std::string found;
    for (const std::string& warning : results.warnings) {
      if (warning.find("RoPE") != std::string::npos) found = warning;
    }
    return found;
  };
  CHECK(stretched(100'000).empty());
  CHECK(stretched(1) ==
        "24 requests pass the 1 tokens of the model's pre-training (RoPE scaling yarn, by 4): what this does "
        "to quality is not simulated");
}

TEST_CASE("formats of each kind of matrix follow the checkpoint, the scenario and the GPU") {
  std::string text(test::kMoeScenario);
  const std::string given = R"(,
                 "formats": {"weights": "fp8_block"})";
  text.erase(text.find(given), given.size());
  const auto formats = [&](std::vector<std::string> changes) {
    changes.insert(changes.begin(),
                   {"model.published_weights=nvfp4", "model.published_attention_weights=fp8_block",
                    "model.published_dense_weights=bf16"});
    return load(text, changes).value.formats();
  };
  const llm::Formats published = formats({});  // the H200 multiplies fp8, and no 4-bit floats
  CHECK(published.of(WeightKind::attention) == LinearFormats{fp8_block, fp8_block});
  CHECK(published.of(WeightKind::dense) == LinearFormats{bf16, bf16});
  CHECK(published.of(WeightKind::experts) == LinearFormats{nvfp4, bf16});
  const llm::Formats blackwell = formats({"cluster.node=hgx-b200-8"});
  CHECK(blackwell.of(WeightKind::attention) == LinearFormats{fp8_block, fp8_block});
  CHECK(blackwell.of(WeightKind::experts) == LinearFormats{nvfp4, nvfp4});
  // Naming the published format keeps the rest of the checkpoint; another format holds for all.
  CHECK(formats({"deployment.formats.weights=nvfp4"}) == published);
  const llm::Formats other = formats({"deployment.formats.weights=fp8"});
  CHECK(other.of(WeightKind::attention) == LinearFormats{fp8, fp8});
  CHECK(other.of(WeightKind::dense) == LinearFormats{fp8, fp8});
  const llm::Formats asked =
      formats({"deployment.formats.attention_weights=bf16", "deployment.formats.dense_weights=fp8"});
  CHECK(asked.of(WeightKind::attention) == LinearFormats{bf16, bf16});
  CHECK(asked.of(WeightKind::dense) == LinearFormats{fp8, fp8});
  CHECK(asked.of(WeightKind::experts).weights == nvfp4);
}

}  // namespace
}  // namespace moesim::serving
