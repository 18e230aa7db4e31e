// A user's own routers over a user's own tokens: which experts they choose, as a routing trace.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reports/text.hpp"
#include "sim/config/node.hpp"
#include "sim/studies/router_weights.hpp"

namespace moesim::studies {

struct RouteOptions {
  std::filesystem::path weights;     // a file or a folder: reference::WeightSet
  std::filesystem::path tokens;      // RouterInputs
  std::vector<std::int64_t> layers;  // only these; empty: all that have a router
  GateRequest gate;
  std::int64_t step_tokens = 65536;  // tokens of one record of the trace
};

// What a layer's router was run over.
enum class RouterInputKind : std::uint8_t {
  hidden_states,   // what the user gave as the router's input
  token_ids,       // a table of experts by token: the hidden states do not matter
  embedding_only,  // the token's embedding, normalised for this layer: NOT what the model's router sees
};
[[nodiscard]] std::string_view to_string(RouterInputKind kind);

struct RoutedLayer {
  std::int64_t layer = 0;
  std::string router;  // its tensor
  std::string input;   // the tensor or file of its inputs
  RouterInputKind kind = RouterInputKind::hidden_states;
  std::int64_t tokens = 0;
  std::int64_t top_k = 0;
  std::vector<std::int64_t> counts;  // tokens by expert

  // Tokens of the most used expert over the mean.
  [[nodiscard]] double imbalance() const;
  [[nodiscard]] std::int64_t unused() const;
};

struct RouteReport {
  std::vector<std::filesystem::path> files;  // that were read
  std::string gate;                          // in words
  std::string precision;
  std::vector<std::string> facts;
  std::vector<std::string> assumptions;
  std::vector<std::string> warnings;
  std::vector<RoutedLayer> layers;
};

// Runs the routers and gives the trace line by line to `line` (with its end), in the JSON-lines form of
// Megatron-LM's router_trace.py: {"step", "stage", "block", "layer", "rank", "num_tokens", "topk",
// "top_indices": [[...]]} and one key of ours, "input". Layers one after another, numbered as in the
// checkpoint; the steps of a layer in order.
//
// Logits are sums in f64 of products of the stored values, rounded once to f32. Where the model multiplies in
// bf16 (GateSpec::logits), inputs are rounded to bf16 first and logits after. Throws config::InputError for
// everything that is wrong with the files, io::IoError.
[[nodiscard]] RouteReport route_tokens(const RouteOptions& options,
                                       const std::function<void(std::string_view)>& line);

[[nodiscard]] std::string route_text(const RouteReport& report, const reports::Style& style);
// {"gate", "precision", "facts", "assumptions", "warnings", "layers": [{layer, router, input, input_kind,
// tokens, experts, top_k, imbalance, unused_experts, tokens_by_expert}]}.
[[nodiscard]] config::Node route_json(const RouteReport& report);
// layer, expert, tokens.
[[nodiscard]] std::string route_csv(const RouteReport& report);

}  // namespace moesim::studies
