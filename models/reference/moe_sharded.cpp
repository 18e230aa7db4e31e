#include "models/reference/moe_sharded.hpp"

#include <algorithm>

namespace moesim::reference {

std::vector<float> add_ranks(std::vector<std::vector<float>> partial, RankOrder order) {
  core::check(!partial.empty(), "a sum over ranks needs a rank");
  const std::size_t n = partial.front().size();
  core::check(std::all_of(partial.begin(), partial.end(), [&](const auto& part) { return part.size() == n; }),
              "partial results of ranks differ in size");
  const std::size_t ranks = partial.size();
  if (order == RankOrder::tree) {
    for (std::size_t step = 1; step < ranks; step *= 2) {
      for (std::size_t r = 0; r + step < ranks; r += 2 * step) {
        for (std::size_t i = 0; i < n; ++i) partial[r][i] += partial[r + step][i];
      }
    }
    return partial.front();
  }
  std::vector<float> sum(n);
  for (std::size_t chunk = 0; chunk < ranks; ++chunk) {
    for (std::size_t i = chunk * n / ranks; i < (chunk + 1) * n / ranks; ++i) {
      float value = partial[(chunk + 1) % ranks][i];
      for (std::size_t step = 2; step <= ranks; ++step) value += partial[(chunk + step) % ranks][i];
      sum[i] = value;
    }
  }
  return sum;
}

}  // namespace moesim::reference
