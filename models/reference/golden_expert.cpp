// Golden cases of expert layers.
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "models/reference/golden.hpp"
#include "models/reference/moe_layer.hpp"
#include "models/routing/gate/permutation.hpp"

namespace moesim::reference {

namespace {

ExpertFunction case_function(const std::string& name) {
  if (name == "swiglu") return ExpertFunction::swiglu;
  if (name == "swiglu_oai") return ExpertFunction::swiglu_oai;
  if (name == "swiglu_clamp") return ExpertFunction::swiglu_clamp;
  if (name == "geglu_tanh") return ExpertFunction::geglu_tanh;
  if (name == "relu") return ExpertFunction::relu;
  throw GoldenError("an expert's activation \"" + name + "\" is not known");
}

// A size from a file, or else from a tensor; small enough that products of three do not overflow.
std::int64_t layer_size(const GoldenCase& golden, const char* name, const char* tensor, std::size_t index) {
  const std::int64_t value = golden.integer_or(name, golden.dimension(tensor, index));
  if (value < 1 || value > std::int64_t{1} << 20) {
    throw GoldenError(std::string(name) + " of a layer is " + std::to_string(value) + ", not from 1 to 2^20");
  }
  return value;
}

std::span<const float> optional_tensor(const GoldenCase& golden, const char* name) {
  return golden.has_tensor(name) ? golden.f32(name) : std::span<const float>{};
}

// Weights of a case with gate and up fused.
struct CaseExperts {
  std::vector<float> gate_up;
  std::vector<float> bias;
  std::vector<float> shared_gate_up;
  ExpertWeights<float> routed;
  SharedWeights<float> shared;
};

CaseExperts case_experts(const GoldenCase& golden, bool gated) {
  CaseExperts all;
  const std::int64_t experts = layer_size(golden, "experts", "w_gate", 0);
  const std::int64_t hidden = layer_size(golden, "hidden", "w_gate", 2);
  const std::int64_t width = layer_size(golden, "ffn", "w_gate", 1);
  const auto up = [&](const char* name) { return gated ? golden.f32(name) : std::span<const float>{}; };
  all.gate_up = fuse_gate_up(golden.f32("w_gate"), up("w_up"), experts, width * hidden);
  if (golden.has_tensor("b_gate")) {
    all.bias = fuse_gate_up(golden.f32("b_gate"), up("b_up"), experts, width);
  }
  all.routed = {experts,
                hidden,
                width,
                GateUpLayout::halves,
                all.gate_up,
                all.bias,
                golden.f32("w_down"),
                optional_tensor(golden, "b_down")};
  const std::string shared = golden.text_or("shared", golden.has_tensor("shared_expert_gate") ? "gated"
                                                      : golden.has_tensor("shared_gate")      ? "plain"
                                                                                              : "");
  if (shared.empty()) return all;
  if (shared != "plain" && shared != "gated") {
    throw GoldenError("shared experts \"" + shared + "\" are not known");
  }
  const auto gate = golden.f32("shared_gate");
  all.shared_gate_up = fuse_gate_up(gate, up("shared_up"), 1, static_cast<std::int64_t>(gate.size()));
  all.shared = {static_cast<std::int64_t>(gate.size()) / hidden, all.shared_gate_up,
                golden.f32("shared_down"),
                shared == "gated" ? golden.f32("shared_expert_gate") : std::span<const float>{}};
  return all;
}

void run_moe_layer(GoldenCase& golden) {
  MoeSpec spec;
  spec.activation.function = case_function(golden.text("act"));
  spec.activation.alpha = golden.number_or("alpha", 1.702);
  spec.activation.limit = golden.number_or("limit", std::numeric_limits<double>::infinity());
  spec.weight_on_input = golden.flag_or("scale_input", false);
  const CaseExperts experts = case_experts(golden, spec.activation.gated());
  const std::int64_t tokens = layer_size(golden, "tokens", "x", 0);
  Routing routing{golden.i32("indices"), golden.f32("weights"), layer_size(golden, "topk", "indices", 1), {}};
  if (golden.has_tensor("keep")) routing.keep = golden.u8("keep");
  MoeProbes<CountingProbe> probes;
  const std::vector<float> y = moe_layer(matrix(golden.f32("x"), tokens, experts.routed.hidden), routing,
                                         experts.routed, experts.shared, spec, probes);
  golden.give("y", std::span<const float>(y));
  golden.give("tokens_per_expert", std::span<const std::int64_t>(gate::rows_by_expert(
                                       routing.experts, experts.routed.experts, routing.keep)));
  const auto flops = [](const CountingProbe& a, const CountingProbe& b) {
    return 2 * (a.result().useful_macs + b.result().useful_macs);
  };
  golden.give_count("gemm_flops", flops(probes.gate_up, probes.down));
  golden.give_count("shared_gemm_flops", flops(probes.shared_gate_up, probes.shared_down));
}

constexpr GoldenKind kExpertKinds[] = {{"moe_layer", run_moe_layer}};

}  // namespace

std::span<const GoldenKind> golden_expert_kinds() { return kExpertKinds; }

}  // namespace moesim::reference
