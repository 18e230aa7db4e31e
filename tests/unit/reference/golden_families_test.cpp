// The routers of families.hpp on the golden vectors of their models, and what a wrong parameter does there.
#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>

#include "models/reference/gemm.hpp"
#include "models/reference/golden.hpp"
#include "models/routing/gate/families.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden_data.hpp"

namespace moesim::reference {
namespace {

namespace fs = std::filesystem;

GoldenFamily routers() {
  const fs::path file = fs::path(MOESIM_TEST_DATA_DIR) / "golden" / "routers.json";
  return read_golden_family(file);
}

GoldenCase& case_named(GoldenFamily& family, const std::string& name) {
  const auto found = std::find_if(family.cases.begin(), family.cases.end(),
                                  [&](const GoldenCase& c) { return c.name() == name; });
  REQUIRE(found != family.cases.end());
  return *found;
}

// The family's router with all values f32. The vectors are those of exact arithmetic, with room for f32.
gate::GateSpec spec_of(const char* name) {
  gate::GateSpec spec = gate::find_family(name)->spec;
  spec.logits = spec.scores = spec.weights = gate::Precision::f32;
  return spec;
}

// True if this router gives the outputs of the case.
bool agrees(const GoldenCase& original, const gate::GateSpec& spec) {
  GoldenCase golden = original;
  const auto& x = golden.tensor("x").shape;
  const auto& w = golden.tensor("w").shape;
  std::vector<float> logits(static_cast<std::size_t>(x[0] * w[0]));
  NoProbe probe;
  router_logits(matrix(golden.f32("x"), x[0], x[1]), matrix(golden.f32("w"), w[0], w[1]),
                std::span<float>(logits), probe);
  gate::Choice choice;
  if (golden.has_tensor("tid2eid")) {
    const auto experts = gate::look_up(golden.i32("tid2eid"), spec.top_k, golden.i32("token_ids"));
    choice = gate::weigh(spec, experts, logits, x[0], w[0]);
  } else {
    std::span<const float> bias;
    if (golden.has_tensor("bias")) bias = golden.f32("bias");
    if (golden.has_tensor("e_score_correction_bias")) bias = golden.f32("e_score_correction_bias");
    choice = gate::choose(spec, logits, x[0], w[0], bias);
  }
  golden.give("weights", std::span<const float>(choice.weights));
  golden.give_integers("indices", std::span<const std::int32_t>(choice.experts));
  golden.finish();
  return std::all_of(golden.results().begin(), golden.results().end(),
                     [](const GoldenCase::Result& result) { return result.failure.empty(); });
}

}  // namespace

TEST_CASE("families by name give the golden results of their models") {
  if (!test::has_golden_data()) return;
  GoldenFamily family = routers();
  struct Pair {
    const char* vector;
    const char* family;
  };
  for (const Pair& pair :
       {Pair{"router_mixtral", "mixtral"}, Pair{"router_mixtral", "mixtral-mistral"},
        Pair{"router_qwen3_moe", "qwen3"}, Pair{"router_olmoe", "olmoe"},
        Pair{"router_qwen2_moe", "qwen2-moe"}, Pair{"router_qwen3_next", "qwen3-next"},
        Pair{"router_gpt_oss", "gpt-oss"}, Pair{"router_dbrx", "dbrx"}, Pair{"router_grok1", "grok-1"},
        Pair{"router_llama4", "llama4"}, Pair{"router_deepseek_v2", "deepseek-v2"},
        Pair{"router_deepseek_v3", "deepseek-v3"}, Pair{"router_kimi_k2", "kimi-k2"},
        Pair{"router_glm45", "glm-4.5-air"}, Pair{"router_minimax_m2", "minimax-m2"},
        Pair{"router_deepseek_v4", "deepseek-v4-flash"}, Pair{"router_hash", "deepseek-v4-flash-hash"},
        Pair{"router_phi35_sparsemixer", "phi-3.5-moe"}}) {
    INFO(pair.vector << " by " << pair.family);
    CHECK(agrees(case_named(family, pair.vector), spec_of(pair.family)));
  }
}

TEST_CASE("golden vectors notice each wrong parameter of a router") {
  if (!test::has_golden_data()) return;
  GoldenFamily family = routers();
  struct Mutation {
    const char* vector;
    const char* family;
    std::function<void(gate::GateSpec&)> change;
  };
  using gate::GateSpec;
  const std::vector<Mutation> mutations = {
      {"router_mixtral", "mixtral", [](GateSpec& s) { s.renormalise = gate::Renormalise::none; }},
      {"router_mixtral", "mixtral", [](GateSpec& s) { s.logits = gate::Precision::bf16; }},
      {"router_mixtral", "mixtral", [](GateSpec& s) { s.weights = gate::Precision::bf16; }},
      {"router_olmoe", "olmoe", [](GateSpec& s) { s.renormalise = gate::Renormalise::sum; }},
      {"router_olmoe", "olmoe", [](GateSpec& s) { s.order = gate::Order::choose_then_score; }},
      {"router_gpt_oss", "gpt-oss", [](GateSpec& s) { s.bias = gate::Bias::none; }},
      {"router_gpt_oss", "gpt-oss", [](GateSpec& s) { s.bias = gate::Bias::choice; }},
      {"router_dbrx", "dbrx", [](GateSpec& s) { s.power = 2.0; }},
      {"router_llama4", "llama4", [](GateSpec& s) { s.score = gate::Score::softmax; }},
      {"router_deepseek_v2", "deepseek-v2", [](GateSpec& s) { s.groups = s.kept_groups = 1; }},
      {"router_deepseek_v2", "deepseek-v2", [](GateSpec& s) { s.scale = 1.0; }},
      {"router_deepseek_v2", "deepseek-v2",
       [](GateSpec& s) { s.group_score = gate::GroupScore::top_two_sum; }},
      {"router_deepseek_v3", "deepseek-v3", [](GateSpec& s) { s.group_score = gate::GroupScore::maximum; }},
      {"router_deepseek_v3", "deepseek-v3", [](GateSpec& s) { s.bias = gate::Bias::none; }},
      {"router_deepseek_v3", "deepseek-v3", [](GateSpec& s) { s.bias = gate::Bias::logits; }},
      {"router_deepseek_v3", "deepseek-v3", [](GateSpec& s) { s.kept_groups = 3; }},
      {"router_kimi_k2", "kimi-k2", [](GateSpec& s) { s.scale = 2.5; }},
      {"router_minimax_m2", "minimax-m2", [](GateSpec& s) { s.epsilon = 1e-3; }},
      {"router_deepseek_v4", "deepseek-v4-flash", [](GateSpec& s) { s.score = gate::Score::sigmoid; }},
      {"router_hash", "deepseek-v4-flash-hash", [](GateSpec& s) { s.renormalise = gate::Renormalise::none; }},
      {"router_phi35_sparsemixer", "phi-3.5-moe", [](GateSpec& s) { s.score = gate::Score::softmax; }},
      {"router_phi35_sparsemixer", "phi-3.5-moe", [](GateSpec& s) { s.jitter = 0.1; }},
  };
  for (std::size_t i = 0; i < mutations.size(); ++i) {
    const Mutation& mutation = mutations[i];
    INFO(mutation.vector << ", mutation " << i);
    gate::GateSpec spec = spec_of(mutation.family);
    mutation.change(spec);
    CHECK_FALSE(agrees(case_named(family, mutation.vector), spec));
  }
}

}  // namespace moesim::reference
