// A scenario from a handful of numbers, in the protocol of the usual closed-loop benchmark.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/config/document.hpp"

namespace moesim::studies {

struct EstimateRequest {
  std::string model;
  std::string gpu;  // or `node`
  std::string node;
  std::string engine;  // empty: vLLM, with the scheduler defaults that it has on this GPU
  std::int64_t tp = 1;
  std::int64_t ep = 1;
  std::int64_t dp_attention = 1;
  std::int64_t replicas = 1;
  std::int64_t input_tokens = 1024;
  std::int64_t output_tokens = 1024;
  std::int64_t concurrency = 1;          // clients, over all replicas
  std::optional<std::int64_t> requests;  // 10 per client if not given
  std::optional<double> length_ratio;    // lengths uniform from ratio x tokens to tokens; fixed if not given
  std::string weights;                   // empty: the format in which the model was published
  std::string kv = "bf16";
  std::string popularity = "lognormal";
  std::vector<std::string> slo;
};

// The text of the scenario: a closed loop of `concurrency` clients on the node type of the GPU (the
// smallest that holds a replica, else the largest) with as many nodes as the replicas need, and a fabric that
// fits the NICs where there are several domains. The text still has to pass the scenario's own checks. Throws
// config::InputError for a GPU, node or number that cannot be.
[[nodiscard]] std::string estimate_scenario(const EstimateRequest& request,
                                            const config::Catalogue& catalogue);

}  // namespace moesim::studies
