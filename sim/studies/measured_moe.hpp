// Rows of experts as the benchmark of the shared tables routes them.
#pragma once

#include <cstdint>
#include <vector>

#include "models/cost/kernel_shape.hpp"

namespace moesim::studies {

// How a benchmark of experts spreads its tokens.
struct ExpertBenchmark {
  std::int64_t tokens = 0;  // of the whole EP group
  std::int64_t top_k = 0;
  std::int64_t experts = 0;
  std::int64_t ranks = 1;  // of the EP group; experts are split evenly in order
  double alpha = 0;        // 0: round-robin; else the exponent of a power law
};

// Rows of each expert of the timed rank, the most loaded one.
//  - alpha 0: choice i of token t is expert (t + i s) mod experts with s = ceil(experts / top_k); with fewer
//    than s tokens these are spread over the stride. Exact: `draw` is not read.
//  - else a weight x for each expert with p(x) ~ x^-alpha on [1, 0.8 tokens] (on [0.01, 2] where there are no
//    more rows than experts), normalised to tokens x top_k, rounded, capped at `tokens`; what rounding left
//    over goes round the experts one by one.
[[nodiscard]] std::vector<std::int64_t> benchmark_rows(const ExpertBenchmark& benchmark, std::uint32_t draw);

// The mean over kRoutingDraws draws; one is enough for alpha 0. Remembered, since tables repeat few of them.
inline constexpr std::uint32_t kRoutingDraws = 8;
[[nodiscard]] cost::ExpertLoad benchmark_load(const ExpertBenchmark& benchmark);

}  // namespace moesim::studies
