// How many parameters a model has.
#pragma once

#include <cstdint>

#include "models/llm/architecture.hpp"

namespace moesim::llm {

// One number per kind of weight: parameters, or bytes.
struct ByCategory {
  std::int64_t embedding = 0;
  std::int64_t attention = 0;  // projections with biases, sinks, convolutions
  std::int64_t dense_ffn = 0;
  std::int64_t routed_experts = 0;  // with the projections to their own space and out of it
  std::int64_t shared_experts = 0;  // with their gate
  std::int64_t router = 0;          // with its biases
  std::int64_t norms = 0;           // layer norms, norms inside attention, final norm
  std::int64_t head = 0;            // only its bias when tied to the embedding
  std::int64_t hyper_connections = 0;

  [[nodiscard]] std::int64_t total() const {
    return embedding + attention + dense_ffn + routed_experts + shared_experts + router + hyper_connections +
           norms + head;
  }
  bool operator==(const ByCategory&) const = default;
};

struct Parameters {
  ByCategory by_category;
  std::int64_t total = 0;
  std::int64_t active = 0;  // used for one token: top_k of the routed experts, and both embedding matrices
  // Without the input embedding, of which a token reads one row. DeepSeek-V3: 36.63 B; its makers
  // publish 36.7 B.
  std::int64_t active_without_input_embedding = 0;
  std::int64_t active_without_embeddings = 0;  // without input embedding and output head
  std::int64_t biases = 0;  // biases and sinks, which are part of `total`: many counters leave them out
  // Layers for multi-token prediction, which are no part of `total`: without the embedding and the head that
  // they share.
  std::int64_t prediction = 0;
};

// Exact counts of all weights.
[[nodiscard]] Parameters count_parameters(const Architecture& architecture);

// The dense model that has every parameter of this one in use for every token: each mixture of experts
// becomes one FFN as wide as all its routed and shared experts together, without a router. Latent experts
// become a width of equal weight over the residual stream, rounded down.
[[nodiscard]] Architecture dense_twin(const Architecture& architecture);

}  // namespace moesim::llm
