// The k largest of a row, with one rule for ties.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moesim::gate {

// True if value `a` at place `i` comes before value `b` at place `j`: larger values first, and the lower
// place first among equal ones (vLLM's and TensorRT-LLM's top-k kernels and jax.lax.top_k do the same;
// torch.topk promises nothing). +0 and -0 are equal. Values must not be NaN.
[[nodiscard]] inline bool comes_first(double a, std::int32_t i, double b, std::int32_t j) {
  return a > b || (a == b && i < j);
}

// The places of the k largest values in that order. O(n + k log k): one comparison a value decides whether it
// is kept. `places` is scratch and result. Throws core::InvariantError unless 0 <= k <= n.
void top_k(std::span<const double> values, std::int64_t k, std::vector<std::int32_t>& places);
[[nodiscard]] std::vector<std::int32_t> top_k(std::span<const double> values, std::int64_t k);

}  // namespace moesim::gate
