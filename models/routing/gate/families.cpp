#include "models/routing/gate/families.hpp"

#include <algorithm>
#include <vector>

namespace moesim::gate {

namespace {

// Softmax over all experts, then the best; in a bf16 model the product with the router's weights is bf16, the
// softmax f32, and the weights are cast back.
GateSpec softmax_spec(std::int64_t top_k, Renormalise renormalise) {
  GateSpec spec;
  spec.top_k = top_k;
  spec.renormalise = renormalise;
  spec.logits = Precision::bf16;
  spec.weights = Precision::bf16;
  return spec;
}

// The best logits, scored afterwards.
GateSpec chosen_spec(Score score, std::int64_t top_k) {
  GateSpec spec = softmax_spec(top_k, Renormalise::none);
  spec.score = score;
  spec.order = Order::choose_then_score;
  return spec;
}

// Scores with a correction that chooses and does not weigh; all f32.
GateSpec corrected_spec(Score score, std::int64_t top_k, double epsilon, double scale) {
  GateSpec spec;
  spec.score = score;
  spec.top_k = top_k;
  spec.renormalise = Renormalise::sum;
  spec.epsilon = epsilon;
  spec.bias = Bias::choice;
  spec.scale = scale;
  spec.group_score = GroupScore::top_two_sum;
  return spec;
}

GateSpec deepseek_v2_spec(std::int64_t groups, std::int64_t kept, double scale) {
  GateSpec spec;
  spec.top_k = 6;
  spec.groups = groups;
  spec.kept_groups = kept;
  spec.group_fill = GroupFill::zero;
  spec.scale = scale;
  return spec;
}

GateSpec deepseek_v3_spec() {
  GateSpec spec = corrected_spec(Score::sigmoid, 8, 1e-20, 2.5);
  spec.groups = 8;
  spec.kept_groups = 4;
  return spec;
}

GateSpec gpt_oss_spec() {
  GateSpec spec = chosen_spec(Score::softmax, 4);
  spec.bias = Bias::logits;
  spec.scores = Precision::bf16;
  return spec;
}

GateSpec llama4_spec() {
  GateSpec spec = chosen_spec(Score::sigmoid, 1);
  spec.weight_on_input = true;
  return spec;
}

GateSpec grok_spec() {
  GateSpec spec = softmax_spec(2, Renormalise::none);
  spec.logits = Precision::f32;
  return spec;
}

GateSpec switch_spec() {
  GateSpec spec = softmax_spec(1, Renormalise::none);
  spec.logits = Precision::f32;
  return spec;
}

GateSpec minimax_spec() {
  GateSpec spec = corrected_spec(Score::sigmoid, 8, 0.0, 1.0);
  spec.logits = Precision::bf16;
  spec.weights = Precision::bf16;
  return spec;
}

GateSpec phi_spec() {
  GateSpec spec = softmax_spec(2, Renormalise::none);
  spec.score = Score::sparsemixer;
  return spec;
}

GateSpec hash_spec(GateSpec spec) {
  spec.bias = Bias::none;
  return spec;
}

std::vector<Family> all_families() {
  constexpr auto kSum = Renormalise::sum;
  constexpr auto kNone = Renormalise::none;
  constexpr auto kScores = Selection::scores;
  constexpr auto kTable = Selection::table;
  const GateSpec v4_flash = corrected_spec(Score::sqrt_softplus, 6, 1e-20, 1.5);
  const GateSpec v4_pro = corrected_spec(Score::sqrt_softplus, 6, 1e-20, 2.5);
  return {
      {"mixtral", 8, softmax_spec(2, kSum), kScores, 0.0, "transformers modeling_mixtral.py"},
      {"mixtral-mistral", 8, chosen_spec(Score::softmax, 2), kScores, 0.0,
       "mistral-inference src/mistral_inference/moe.py"},
      {"qwen2-moe", 60, softmax_spec(4, kNone), kScores, 0.0, "transformers modeling_qwen2_moe.py"},
      {"qwen3", 128, softmax_spec(8, kSum), kScores, 0.0, "transformers modeling_qwen3_moe.py"},
      {"qwen3-coder", 160, softmax_spec(8, kSum), kScores, 0.0, "transformers modeling_qwen3_moe.py"},
      {"qwen3-next", 512, softmax_spec(10, kSum), kScores, 0.0, "transformers modeling_qwen3_next.py"},
      {"qwen3.5", 512, softmax_spec(10, kSum), kScores, 0.0, "transformers modeling_qwen3_next.py"},
      {"olmoe", 64, softmax_spec(8, kNone), kScores, 0.0, "OLMoE config, norm_topk_prob = false"},
      {"dbrx", 16, softmax_spec(4, Renormalise::norm), kScores, 0.0, "databricks/dbrx modeling_dbrx.py"},
      {"grok-1", 8, grok_spec(), kScores, 0.0, "xai-org/grok-1 model.py Router"},
      {"switch", 128, switch_spec(), kScores, 1.25, "transformers modeling_switch_transformers.py"},
      {"gpt-oss-20b", 32, gpt_oss_spec(), kScores, 0.0, "openai/gpt-oss gpt_oss/torch/model.py MLPBlock"},
      {"gpt-oss", 128, gpt_oss_spec(), kScores, 0.0, "openai/gpt-oss gpt_oss/torch/model.py MLPBlock"},
      {"llama4-scout", 16, llama4_spec(), kScores, 0.0, "meta-llama/llama-models models/llama4/moe.py"},
      {"llama4", 128, llama4_spec(), kScores, 0.0, "meta-llama/llama-models models/llama4/moe.py"},
      {"deepseek-v2", 160, deepseek_v2_spec(8, 3, 16.0), kScores, 0.0, "modeling_deepseek.py MoEGate"},
      {"deepseek-v2-lite", 64, deepseek_v2_spec(1, 1, 1.0), kScores, 0.0, "modeling_deepseek.py MoEGate"},
      {"deepseek-v3", 256, deepseek_v3_spec(), kScores, 0.0, "DeepSeek-V3.2-Exp inference/model.py Gate"},
      {"kimi-k2", 384, corrected_spec(Score::sigmoid, 8, 1e-20, 2.827), kScores, 0.0,
       "as deepseek-v3, one group"},
      {"glm-4.5", 160, corrected_spec(Score::sigmoid, 8, 1e-20, 2.5), kScores, 0.0,
       "transformers modeling_glm4_moe.py"},
      {"glm-4.5-air", 128, corrected_spec(Score::sigmoid, 8, 1e-20, 1.0), kScores, 0.0,
       "transformers modeling_glm4_moe.py"},
      {"glm-5", 256, corrected_spec(Score::sigmoid, 8, 1e-20, 2.5), kScores, 0.0,
       "transformers modeling_glm4_moe.py"},
      {"minimax-m2", 256, minimax_spec(), kScores, 0.0, "transformers modular_minimax_m2.py"},
      {"deepseek-v4-flash", 256, v4_flash, kScores, 0.0, "transformers modular_deepseek_v4.py"},
      {"deepseek-v4-flash-hash", 256, hash_spec(v4_flash), kTable, 0.0,
       "transformers modular_deepseek_v4.py, first 3 layers"},
      {"deepseek-v4-pro", 384, v4_pro, kScores, 0.0, "transformers modular_deepseek_v4.py"},
      {"deepseek-v4-pro-hash", 384, hash_spec(v4_pro), kTable, 0.0,
       "transformers modular_deepseek_v4.py, first 3 layers"},
      {"phi-3.5-moe", 16, phi_spec(), kScores, 0.0, "transformers modeling_phimoe.py sparsemixer"},
      {"base", 128, chosen_spec(Score::sigmoid, 1), kScores, 0.0,
       "fairseq base_layer.py, inference: y = a E(x) + (1 - a) x"},
  };
}

}  // namespace

std::span<const Family> families() {
  static const std::vector<Family> all = all_families();
  return all;
}

const Family* find_family(std::string_view name) {
  const auto all = families();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Family& f) { return f.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace moesim::gate
