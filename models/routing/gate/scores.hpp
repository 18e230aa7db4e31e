// Scores of one token. Shared by the routers of this room.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/routing/gate/gate.hpp"

namespace moesim::gate::detail {

// Throws LogitError if a logit is NaN or infinite.
void check_logits(std::span<const float> logits, std::int64_t token);

// Each operation is rounded as computed() does.
[[nodiscard]] double sigmoid(double logit, Precision precision);
[[nodiscard]] double sqrt_softplus(double logit, Precision precision);

// Replaces the values by exp(value - max) and returns their sum, which is rounded once: the order in which
// kernels add differs.
double exponentials(std::span<double> values, Precision precision);
// Replaces the values by their softmax.
void softmax(std::span<double> values, Precision precision);

// sparsemixer of one row of logits: appends top_k experts and their weights.
void sparsemix(const GateSpec& spec, std::span<const double> logits, std::vector<std::int32_t>& experts,
               std::vector<double>& weights, Operations& operations);

}  // namespace moesim::gate::detail
