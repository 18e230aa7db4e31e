#include "sim/studies/router_weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "sim/config/diagnostics.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::studies {

using reference::WeightTensor;

namespace {

using RouterPart = const WeightTensor* LayerRouter::*;

struct RouterName {
  std::string_view tail;  // of the name, after the layer's number
  RouterPart part;
};

// From the code of the families (transformers, DeepSeek's own, openai/gpt-oss, databricks/dbrx) and
// ggml-org/llama.cpp gguf-py/gguf/constants.py.
constexpr std::array<RouterName, 27> kRouterNames = {{
    {"mlp.gate.weight", &LayerRouter::weight},               // Qwen, DeepSeek, GLM, OLMoE
    {"block_sparse_moe.gate.weight", &LayerRouter::weight},  // Mixtral, MiniMax, Phi-3.5
    {"mlp.router.weight", &LayerRouter::weight},             // gpt-oss
    {"mlp.router.classifier.weight", &LayerRouter::weight},  // Switch
    {"feed_forward.router.weight", &LayerRouter::weight},    // Llama 4
    {"feed_forward.gate.weight", &LayerRouter::weight},
    {"feed_forward.router_DE", &LayerRouter::weight},   // Llama 4, Meta's own; transposed
    {"ffn.gate.weight", &LayerRouter::weight},          // DeepSeek's own
    {"ffn.router.layer.weight", &LayerRouter::weight},  // DBRX
    {"mixer.gate.weight", &LayerRouter::weight},        // Nemotron
    {"moe.gate.weight", &LayerRouter::weight},
    {"mlp.gate.wg.weight", &LayerRouter::weight},                    // Hunyuan
    {"block_sparse_moe.router.layer.weight", &LayerRouter::weight},  // Granite
    {"ffn_gate_inp.weight", &LayerRouter::weight},                   // GGUF
    {"mlp.router.bias", &LayerRouter::bias},
    {"ffn_gate_inp.bias", &LayerRouter::bias},
    {"mlp.gate.e_score_correction_bias", &LayerRouter::correction},
    {"block_sparse_moe.e_score_correction_bias", &LayerRouter::correction},
    {"block_sparse_moe.gate.e_score_correction_bias", &LayerRouter::correction},
    {"mixer.gate.e_score_correction_bias", &LayerRouter::correction},
    {"mlp.e_score_correction_bias", &LayerRouter::correction},
    {"ffn.gate.bias", &LayerRouter::correction},
    {"exp_probs_b.bias", &LayerRouter::correction},
    {"exp_probs_b", &LayerRouter::correction},
    {"mlp.gate.tid2eid", &LayerRouter::table},
    {"ffn.gate.tid2eid", &LayerRouter::table},
    {"ffn_gate_tid2eid.weight", &LayerRouter::table},
}};

struct LayerName {
  std::int64_t layer = 0;
  std::string_view tail;
};

// "model.layers.3.mlp.gate.weight" -> {3, "mlp.gate.weight"}; nullopt for a name without a layer.
std::optional<LayerName> layer_name(std::string_view name) {
  for (const std::string_view word : {"layers.", "blk.", "blocks.", "h."}) {
    for (std::size_t at = name.find(word); at != std::string_view::npos; at = name.find(word, at + 1)) {
      if (at != 0 && name[at - 1] != '.') continue;
      const std::string_view rest = name.substr(at + word.size());
      const std::size_t dot = rest.find('.');
      if (dot == std::string_view::npos) continue;
      const auto layer = io::parse_int64(rest.substr(0, dot));
      if (layer && *layer >= 0) return LayerName{*layer, rest.substr(dot + 1)};
    }
  }
  return std::nullopt;
}

[[noreturn]] void fail_router(const WeightTensor& tensor, const std::string& what) {
  throw config::InputError("wrong_shape",
                           fmt::format("{}: the tensor \"{}\" has the shape {}; {}", tensor.file, tensor.name,
                                       reference::shape_text(tensor.shape), what));
}

void check_router(const LayerRouter& router) {
  if (router.weight != nullptr && (router.weight->shape.size() != 2 || router.weight->elements() == 0)) {
    fail_router(*router.weight, "a router has [experts, hidden]");
  }
  if (router.table != nullptr && (router.table->shape.size() != 2 || router.table->elements() == 0)) {
    fail_router(*router.table, "a table of experts has [vocabulary, top_k]");
  }
  for (const WeightTensor* bias : {router.bias, router.correction}) {
    if (bias == nullptr || router.weight == nullptr) continue;
    if (bias->elements() != router.weight->shape[0]) {
      fail_router(*bias, fmt::format("the router \"{}\" has {} experts", router.weight->name,
                                     router.weight->shape[0]));
    }
  }
}

}  // namespace

std::vector<LayerRouter> find_routers(const reference::WeightSet& weights) {
  std::map<std::int64_t, LayerRouter> found;
  for (const WeightTensor& tensor : weights.tensors()) {
    const auto name = layer_name(tensor.name);
    if (!name) continue;
    const auto known = std::find_if(kRouterNames.begin(), kRouterNames.end(),
                                    [&](const RouterName& one) { return one.tail == name->tail; });
    if (known == kRouterNames.end()) continue;
    if (name->tail == "feed_forward.router_DE") {
      throw config::InputError(
          "unsupported_type",
          fmt::format("{}: the router \"{}\" is stored transposed, as Meta's own Llama 4 files "
                      "do; give the files of the Hugging Face hub",
                      tensor.file, tensor.name));
    }
    LayerRouter& router = found[name->layer];
    router.layer = name->layer;
    const WeightTensor*& part = router.*(known->part);
    if (part != nullptr) {
      throw config::InputError("ambiguous", fmt::format("layer {} has two routers: \"{}\" and \"{}\"",
                                                        name->layer, part->name, tensor.name));
    }
    part = &tensor;
  }
  std::vector<LayerRouter> routers;
  for (const auto& [layer, router] : found) {
    if (router.weight == nullptr && router.table == nullptr) continue;  // a bias alone
    check_router(router);
    routers.push_back(router);
  }
  if (routers.empty()) {
    throw config::InputError(
        "no_router", fmt::format("none of the {} tensors is the router of a layer", weights.tensors().size()),
        "",
        "looked for names such as model.layers.N.mlp.gate.weight, "
        "model.layers.N.block_sparse_moe.gate.weight, blk.N.ffn_gate_inp.weight");
  }
  return routers;
}

std::vector<std::int32_t> read_expert_table(const WeightTensor& table, std::int64_t top_k) {
  if (table.shape[1] != top_k) fail_router(table, fmt::format("a token has {} experts", top_k));
  const auto fail = [&](std::string code, const std::string& what) {
    throw config::InputError(std::move(code),
                             fmt::format("{}: the table \"{}\" {}", table.file, table.name, what));
  };
  constexpr std::int64_t kMostExperts = 65536;
  std::vector<std::int32_t> experts;
  for (const std::int64_t expert : reference::to_integers(table)) {
    if (expert < 0 || expert >= kMostExperts)
      fail("out_of_range", fmt::format("names the expert {}", expert));
    experts.push_back(static_cast<std::int32_t>(expert));
  }
  for (std::int64_t token = 0; token < table.shape[0]; ++token) {
    const auto first = experts.begin() + token * top_k;
    const std::set<std::int32_t> distinct(first, first + top_k);
    if (std::cmp_equal(distinct.size(), top_k)) continue;
    fail("duplicate", fmt::format("gives token {} an expert twice", token));
  }
  return experts;
}

}  // namespace moesim::studies
