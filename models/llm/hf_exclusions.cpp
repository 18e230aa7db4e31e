#include "models/llm/hf_exclusions.hpp"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <set>

#include "sim/io/numbers.hpp"

namespace moesim::llm {

namespace {

bool has_part(std::string_view text, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return text.find(part) != std::string_view::npos; });
}

// Without the wildcards at its end.
std::string_view stem_of(std::string_view module) {
  while (!module.empty() && (module.back() == '*' || module.back() == '.' || module.back() == '$'))
    module.remove_suffix(1);
  return module;
}

std::string_view last_part(std::string_view stem) {
  const std::size_t dot = stem.rfind('.');
  return stem.substr(dot == std::string_view::npos ? 0 : dot + 1);
}

// The layer of a module; nullopt for a pattern of all.
std::optional<std::int64_t> layer_of(std::string_view stem) {
  constexpr std::string_view kLayers = "layers.";
  const std::size_t at = stem.find(kLayers);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = stem.substr(at + kLayers.size());
  return io::parse_int64(rest.substr(0, rest.find_first_of(".*")));
}

// True for a module that this program never quantises, whatever the format: embedding, head, norms, router,
// and what is no part of an Architecture (vision, multi-token prediction).
bool stays_wide(std::string_view stem, std::int64_t layers) {
  if (has_part(stem, {"lm_head", "embed", "norm", "vision", "visual", "projector", "mtp", "eh_proj",
                      "shared_head", "router"}))
    return true;
  const std::string_view last = last_part(stem);
  for (const std::string_view end : {"gate", "shared_expert_gate", "e_score_correction_bias", "head"}) {
    if (last == end) return true;
  }
  const auto layer = layer_of(stem);
  return layer && *layer >= layers;  // the layers behind the last are for multi-token prediction
}

enum class Part : std::uint8_t { attention, dense, layer, other };

Part part_of(std::string_view stem) {
  const std::string_view last = last_part(stem);
  if (has_part(stem, {"attn", "attention"})) {
    const bool whole = has_part(last, {"attn", "attention"}) || last == "o_proj" || last == "out_proj";
    return whole ? Part::attention : Part::other;
  }
  if (names_routed_experts(stem)) return Part::other;
  if (has_part(stem, {"shared_expert"})) return Part::dense;
  if (has_part(stem, {"mlp", "ffn", "feed_forward"})) return Part::dense;
  // "model.layers.0*": the number is the last part.
  return layer_of(stem) && io::parse_int64(last) ? Part::layer : Part::other;
}

// Layers of which something is excluded.
struct Covered {
  std::set<std::int64_t> layers;
  bool all = false;

  void add(std::optional<std::int64_t> layer) {
    if (layer) layers.insert(*layer);
    all = all || !layer;
  }
  [[nodiscard]] bool most_of(std::int64_t count) const {
    return all || 2 * static_cast<std::int64_t>(layers.size()) >= count;
  }
};

}  // namespace

bool names_routed_experts(std::string_view module) {
  return has_part(module, {"experts"}) && !has_part(module, {"shared_experts"});
}

HfExclusions judge_exclusions(const std::vector<std::string>& modules, std::int64_t layers) {
  Covered attention, dense;
  for (const std::string& module : modules) {
    const std::string_view stem = stem_of(module);
    if (stays_wide(stem, layers)) continue;
    const Part part = part_of(stem);
    if (part == Part::attention || part == Part::layer) attention.add(layer_of(stem));
    if (part == Part::dense || part == Part::layer) dense.add(layer_of(stem));
  }
  HfExclusions result;
  result.attention = attention.most_of(layers);
  result.dense = dense.most_of(layers);
  for (const std::string& module : modules) {
    const std::string_view stem = stem_of(module);
    if (stays_wide(stem, layers)) continue;
    const Part part = part_of(stem);
    const bool attends = has_part(stem, {"attn", "attention"});
    const bool covered = (attends && result.attention) || (part == Part::dense && result.dense) ||
                         (part == Part::layer && result.attention && result.dense);
    if (!covered) result.other.push_back(module);
  }
  return result;
}

}  // namespace moesim::llm
