// The kinds of feed-forward networks that a layer may have.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "sim/config/record.hpp"

namespace moesim::llm {

// A feed-forward network. Gated: down(act(gate(x)) * up(x)), three matrices; else down(act(up(x))), two.
struct DenseFfn {
  std::int64_t width = 0;
  bool gated = true;
  bool operator==(const DenseFfn&) const = default;
};

// How the experts of a token are found.
enum class ExpertSelection : std::uint8_t {
  learned,        // the best scores of the router
  hash,           // a table by token id, with weight 1: there is no router (arXiv 2106.04426)
  weighted_hash,  // a table by token id, weighed by the router's scores (first layers of DeepSeek-V4)
};

// A mixture of experts; each token goes to `top_k` of `experts` + `zero_experts`, and to every shared expert.
struct MoeFfn {
  std::int64_t experts = 0;
  std::int64_t top_k = 0;
  std::int64_t expert_width = 0;
  std::int64_t shared_experts = 0;
  std::int64_t shared_width = 0;   // of each shared expert
  bool router_score_bias = false;  // a correction per expert that chooses but does not weigh (DeepSeek-V3)
  bool router_bias = false;        // the router is a linear layer with a bias (gpt-oss)
  // The shared experts' result is multiplied by sigmoid(x . v), v of hidden_size weights (Qwen2-MoE).
  bool shared_gate = false;
  bool gated = true;         // routed and shared experts have a gate, as DenseFfn::gated
  bool expert_bias = false;  // both matrices of a routed expert have biases (gpt-oss)
  // Routed experts work in a narrower space: one projection before dispatch, one after combine (LatentMoE);
  // 0: none.
  std::int64_t latent_width = 0;
  bool latent_norm = false;       // RMSNorm over the latent result before it is projected back (Kimi K3)
  std::int64_t zero_experts = 0;  // experts that return their input or nothing and cost nothing (LongCat)
  ExpertSelection selection = ExpertSelection::learned;

  // Width of all shared experts side by side, as engines fuse them; 0 without shared experts.
  [[nodiscard]] std::int64_t total_shared_width() const { return shared_experts * shared_width; }
  // Width of a row that goes to the experts.
  [[nodiscard]] std::int64_t row_width(std::int64_t hidden) const {
    return latent_width > 0 ? latent_width : hidden;
  }
  // Experts among which a token's are chosen.
  [[nodiscard]] std::int64_t choices() const { return experts + zero_experts; }
  [[nodiscard]] bool has_router() const { return selection != ExpertSelection::hash; }
  bool operator==(const MoeFfn&) const = default;
};

// A layer without a feed-forward network (Nemotron-H has such).
struct NoFfn {
  bool operator==(const NoFfn&) const = default;
};

using FfnShape = std::variant<DenseFfn, MoeFfn, NoFfn>;

[[nodiscard]] const config::Record<DenseFfn>& record_of(config::Type<DenseFfn>);
[[nodiscard]] const config::Record<MoeFfn>& record_of(config::Type<MoeFfn>);
[[nodiscard]] const config::Record<NoFfn>& record_of(config::Type<NoFfn>);

}  // namespace moesim::llm

template <>
struct moesim::config::EnumNames<moesim::llm::ExpertSelection> {
  using S = moesim::llm::ExpertSelection;
  static constexpr EnumName<S> table[] = {
      {S::learned, "learned", "the best scores of the router"},
      {S::hash, "hash", "a table by token id, with weight 1; no router"},
      {S::weighted_hash, "weighted_hash", "a table by token id, weighed by the router's scores"},
  };
};

template <>
struct moesim::config::VariantTag<moesim::llm::FfnShape> {
  static constexpr std::string_view key = "kind";
  static constexpr std::string_view names[] = {"dense", "moe", "none"};
};
