// Which linear layers a published checkpoint leaves out of its quantisation.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moesim::llm {

struct HfExclusions {
  bool attention = false;          // the attention of at least half of the layers
  bool dense = false;              // the same of dense feed-forward networks and shared experts
  std::vector<std::string> other;  // entries of linear layers that neither covers
};

// Judges names and patterns of modules (modules_to_not_convert, ignore, exclude_modules) of a model of
// `layers` layers:
//  - attention: the module as a whole ("self_attn", "attn", "linear_attn") or its output projection, the
//    largest of latent attention; single other projections cover nothing;
//  - dense: shared experts, and gate, up and down projections outside experts;
//  - a whole layer: both;
//  - a pattern without a layer's number: all layers.
// Modules that this program never quantises (embedding, head, norms, routers, and what is no part of an
// Architecture) are passed over.
[[nodiscard]] HfExclusions judge_exclusions(const std::vector<std::string>& modules, std::int64_t layers);

// True for the name of routed experts, and of nothing else.
[[nodiscard]] bool names_routed_experts(std::string_view module);

}  // namespace moesim::llm
