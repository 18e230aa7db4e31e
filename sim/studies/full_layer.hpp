// A mixture-of-experts layer at the full size of a model, its weights made on the fly.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/llm/feed_forward.hpp"
#include "reports/text.hpp"
#include "sim/config/document.hpp"
#include "sim/config/node.hpp"
#include "sim/serving/numerics.hpp"

namespace moesim::studies {

struct FullLayerRequest {
  std::string model;  // its name; the router is that of the family of this name, where there is one
  llm::MoeFfn moe;    // learned choice, experts as wide as the stream, gated
  std::int64_t hidden = 0;
  std::int64_t tokens = 64;
  std::uint64_t seed = 1;
  std::size_t jobs = 1;  // threads; each holds one expert
  // Called after each expert, from any thread, one at a time.
  std::function<void(std::int64_t done, std::int64_t all)> progress;
};

struct FullLayer {
  FullLayerRequest request;
  std::vector<std::int64_t> kernel_rows;     // rows that were computed, by expert
  std::vector<std::int64_t> simulator_rows;  // from a replay of the router's choices
  std::int64_t distinct_experts = 0;
  std::int64_t weight_bytes = 0;  // of the experts that had rows: FP8 codes and scales
  std::int64_t checked_rows = 0;  // held against the f64 oracle
  serving::LayerCheck check;
  std::string output_sha256;  // of the result's bf16 bits
};

// The last kind of expert layer of a model of the catalogue. Throws config::InputError for a model that is
// not there, or has no layer of gated experts that a router chooses.
[[nodiscard]] FullLayerRequest full_layer_request(const config::Catalogue& catalogue,
                                                  const std::string& name);

// The layer with FP8 weights in blocks of 128 x 128. Weights of an expert are drawn from a counter-based
// stream of its own, quantised, used and dropped, so only `jobs` experts are in memory. One row of every 16th
// expert is held against the f64 oracle, all rows of experts against the replay of their choices, and the
// counts against the operators of one device. Same bytes for any `jobs`.
[[nodiscard]] FullLayer run_full_layer(const FullLayerRequest& request);

[[nodiscard]] std::string full_layer_text(const FullLayer& layer, const reports::Style& style);
[[nodiscard]] config::Node full_layer_json(const FullLayer& layer);

}  // namespace moesim::studies
