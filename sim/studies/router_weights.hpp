// The routers in a checkpoint: their tensors by the names that models give them, and how they choose.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/reference/weights/weight_set.hpp"
#include "models/routing/gate/gate.hpp"
#include "sim/config/node.hpp"

namespace moesim::studies {

// The router of one layer.
struct LayerRouter {
  std::int64_t layer = 0;                           // as the checkpoint numbers it, from 0
  const reference::WeightTensor* weight = nullptr;  // [experts, hidden]; nullptr: only a table
  const reference::WeightTensor* bias = nullptr;    // of the logits (gpt-oss)
  const reference::WeightTensor* correction =
      nullptr;                                     // of the choice (DeepSeek-V3's e_score_correction_bias)
  const reference::WeightTensor* table = nullptr;  // [vocabulary, top_k]: experts of a token (tid2eid)
};

// All routers of a checkpoint, by layer. Throws config::InputError if there is none, if two tensors want to
// be the same part of a layer, and for shapes that no router has.
[[nodiscard]] std::vector<LayerRouter> find_routers(const reference::WeightSet& weights);

// A table of experts by token, [vocabulary, top_k]. Throws config::InputError for another width, experts
// outside 0 to 65535, and a token with an expert twice.
[[nodiscard]] std::vector<std::int32_t> read_expert_table(const reference::WeightTensor& table,
                                                          std::int64_t top_k);

// What is asked for on the command line.
struct GateRequest {
  std::optional<std::string> family;  // gate::families()
  std::optional<std::int64_t> top_k;
  std::optional<gate::Precision> precision;  // of the logits
};

// How a checkpoint's routers choose, and where that was read.
struct RouterGate {
  gate::GateSpec spec;
  std::string family;                    // the family that it started from; "" if none
  std::vector<std::string> facts;        // "top_k = 8: num_experts_per_tok of config.json"
  std::vector<std::string> assumptions;  // the same for what no file says
};

// Starts from the family that is asked for or that the model names ("model_type" of config.json,
// "general.architecture" of GGUF), or from plain softmax, and then reads what the file says: top_k,
// scoring_func, norm_topk_prob, n_group, topk_group, topk_method, routed_scaling_factor and their names in
// GGUF. Tensors decide whether there is a bias. `config`: the tree of config.json, or nullptr. Throws
// config::InputError for an unknown family, values that no router can have, and a top_k that nothing tells.
[[nodiscard]] RouterGate router_gate(const reference::WeightSet& weights, const LayerRouter& router,
                                     const config::Node* config, const GateRequest& request);

// "sigmoid scores + bias, 4 of 8 groups, best 8, weights divided by their sum, x 2.5".
[[nodiscard]] std::string gate_words(const gate::GateSpec& spec);
// In which types the gate rounds: "logits bf16, scores f32, weights bf16".
[[nodiscard]] std::string gate_precision_words(const gate::GateSpec& spec);

}  // namespace moesim::studies
