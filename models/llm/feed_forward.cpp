#include "models/llm/feed_forward.hpp"

#include <string>

namespace moesim::llm {

namespace {

void check_moe(const MoeFfn& moe, config::Problems& problems) {
  if (moe.top_k > moe.experts + moe.zero_experts) {
    problems.error("/top_k", "top_k (" + std::to_string(moe.top_k) + ") is larger than experts (" +
                                 std::to_string(moe.experts + moe.zero_experts) + ")");
  }
  if ((moe.shared_experts == 0) != (moe.shared_width == 0)) {
    problems.error("/shared_width", "shared_experts (" + std::to_string(moe.shared_experts) +
                                        ") and shared_width (" + std::to_string(moe.shared_width) +
                                        ") must both be given or both be 0");
  }
  if (moe.shared_gate && moe.shared_experts == 0) {
    problems.error("/shared_gate", "there are no shared experts for the gate");
  }
  if (moe.latent_norm && moe.latent_width == 0) {
    problems.error("/latent_norm", "there is no latent space for the norm: latent_width is 0");
  }
  if (moe.selection == ExpertSelection::hash && (moe.router_score_bias || moe.router_bias)) {
    problems.error("/selection", "a layer whose experts come from a table has no router and no router bias");
  }
}

}  // namespace

const config::Record<DenseFfn>& record_of(config::Type<DenseFfn>) {
  static const auto record =
      config::Record<DenseFfn>("dense_ffn", "Feed-forward layer")
          .required("width", &DenseFfn::width, "Width between the projections", config::between(1, 1e9))
          .optional("gated", &DenseFfn::gated, "Gate and up projections (SwiGLU) in place of one");
  return record;
}

const config::Record<MoeFfn>& record_of(config::Type<MoeFfn>) {
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<MoeFfn>("moe_ffn", "Mixture of experts")
          .required("experts", &MoeFfn::experts, "Routed experts", positive)
          .required("top_k", &MoeFfn::top_k, "Routed experts per token", positive)
          .required("expert_width", &MoeFfn::expert_width, "Width of one routed expert", positive)
          .optional("shared_experts", &MoeFfn::shared_experts, "Experts that every token passes",
                    config::between(0, 1e9))
          .optional("shared_width", &MoeFfn::shared_width, "Width of one shared expert",
                    config::between(0, 1e9))
          .optional("router_score_bias", &MoeFfn::router_score_bias,
                    "A correction per expert that chooses experts but does not weigh them")
          .optional("shared_gate", &MoeFfn::shared_gate,
                    "A learned gate per token weighs the result of the shared experts")
          .optional("router_bias", &MoeFfn::router_bias, "The router is a linear layer with a bias")
          .optional("gated", &MoeFfn::gated, "Experts have gate and up projections (SwiGLU) in place of one")
          .optional("expert_bias", &MoeFfn::expert_bias, "Both matrices of a routed expert have biases")
          .optional("latent_width", &MoeFfn::latent_width,
                    "Width of the space in which routed experts work; 0 for the residual stream",
                    config::between(0, 1e9))
          .optional("latent_norm", &MoeFfn::latent_norm, "RMSNorm over the experts' sum in the latent space")
          .optional("zero_experts", &MoeFfn::zero_experts, "Further experts that cost nothing",
                    config::between(0, 1e9))
          .optional("selection", &MoeFfn::selection, "How the experts of a token are found")
          .check(check_moe);
  return record;
}

const config::Record<NoFfn>& record_of(config::Type<NoFfn>) {
  static const auto record = config::Record<NoFfn>("no_ffn", "A layer without a feed-forward network");
  return record;
}

}  // namespace moesim::llm
