// Routers that look at all tokens of a batch at once. They compute in f64.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/routing/gate/gate.hpp"

namespace moesim::gate {

// Tokens of each expert: [experts, capacity], best first.
struct ExpertChoice {
  std::vector<std::int32_t> tokens;
  std::vector<float> weights;
};

// Expert choice (arXiv 2202.09368; flaxformer routing.py ExpertsChooseMaskedRouter): p = softmax over the
// experts of each token; each expert takes the `capacity` tokens with its largest p, the earlier token on
// ties. Throws LogitError as choose(); core::InvariantError unless 0 <= capacity <= tokens.
[[nodiscard]] ExpertChoice choose_tokens(std::span<const float> logits, std::int64_t tokens,
                                         std::int64_t experts, std::int64_t capacity);

// A transport plan [tokens, experts] whose rows sum to about 1/tokens and whose columns sum to 1/experts.
struct SinkhornPlan {
  std::vector<double> plan;
  std::int64_t iterations = 0;
};

// Sinkhorn normalisation of exp(logits), without a shift (Megatron-LM moe_utils.py `sinkhorn`), in f64: until
// the mean change of the column factors is at most `tolerance`. Throws LogitError as choose() and where
// exp(logit) overflows; core::InvariantError if `limit` iterations are not enough or there is no token or
// expert.
[[nodiscard]] SinkhornPlan sinkhorn(std::span<const float> logits, std::int64_t tokens, std::int64_t experts,
                                    double tolerance = 1e-4, double epsilon = 1e-8,
                                    std::int64_t limit = 100'000);

// The top_k experts of each token's row of the plan; weights from the raw logits: sigmoid for top_k = 1, else
// softmax over all experts (Megatron-LM router.py `sinkhorn_load_balancing`). Throws as sinkhorn().
[[nodiscard]] Choice choose_by_sinkhorn(std::span<const float> logits, std::int64_t tokens,
                                        std::int64_t experts, std::int64_t top_k);

struct Assignment {
  std::vector<std::int32_t> expert_of_token;
  double total_affinity = 0.0;
};

// BASE layers (fairseq base_layer.py, training): exactly tokens / experts tokens per expert with the largest
// sum of affinities, by shortest augmenting paths (O(tokens^2 x experts)). Affinities [tokens, experts] that
// are not finite count as the smallest finite one. Among several best assignments one is found that depends
// only on the affinities. Throws core::InvariantError unless experts divide the tokens, LogitError if no
// affinity is finite.
[[nodiscard]] Assignment balanced_assignment(std::span<const float> affinities, std::int64_t tokens,
                                             std::int64_t experts);

}  // namespace moesim::gate
