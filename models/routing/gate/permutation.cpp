#include "models/routing/gate/permutation.hpp"

#include <cstddef>

#include "sim/core/check.hpp"

namespace moesim::gate {

std::vector<std::int64_t> rows_by_expert(std::span<const std::int32_t> expert_of_pair, std::int64_t experts,
                                         std::span<const std::uint8_t> keep) {
  core::check(experts >= 0, "there cannot be less than no expert");
  core::check(keep.empty() || keep.size() == expert_of_pair.size(), "one flag per pair says what is kept");
  std::vector<std::int64_t> rows(static_cast<std::size_t>(experts), 0);
  for (std::size_t pair = 0; pair < expert_of_pair.size(); ++pair) {
    const std::int32_t e = expert_of_pair[pair];
    core::check(e >= 0 && e < experts, "a token's expert does not exist");
    if (keep.empty() || keep[pair] != 0) ++rows[static_cast<std::size_t>(e)];
  }
  return rows;
}

Permutation permute(std::span<const std::int32_t> expert_of_pair, std::int64_t experts,
                    std::span<const std::uint8_t> keep) {
  const std::vector<std::int64_t> rows = rows_by_expert(expert_of_pair, experts, keep);
  Permutation result;
  result.pairs = static_cast<std::int64_t>(expert_of_pair.size());
  result.offsets.assign(1, 0);
  for (const std::int64_t n : rows) result.offsets.push_back(result.offsets.back() + n);
  std::vector<std::int64_t> next(result.offsets.begin(), result.offsets.end() - 1);
  result.pair_of_row.resize(static_cast<std::size_t>(result.offsets.back()));
  result.row_of_pair.assign(expert_of_pair.size(), -1);
  for (std::size_t pair = 0; pair < expert_of_pair.size(); ++pair) {
    if (!keep.empty() && keep[pair] == 0) continue;
    const std::int64_t row = next[static_cast<std::size_t>(expert_of_pair[pair])]++;
    result.pair_of_row[static_cast<std::size_t>(row)] = static_cast<std::int64_t>(pair);
    result.row_of_pair[pair] = row;
  }
  return result;
}

}  // namespace moesim::gate
