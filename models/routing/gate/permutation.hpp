// Rows in the order of their experts: the bijection between (token, choice) pairs and rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moesim::gate {

// Pairs are numbered token x top_k + choice.
struct Permutation {
  std::int64_t pairs = 0;
  std::vector<std::int64_t> pair_of_row;  // rows by expert, then by pair
  std::vector<std::int64_t> row_of_pair;  // -1: dropped
  std::vector<std::int64_t> offsets;  // [experts + 1]: rows of expert e are offsets[e] ... offsets[e + 1] - 1

  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(pair_of_row.size()); }
};

// A stable counting sort of the pairs by expert: O(pairs + experts). `keep` (one byte per pair; empty: all)
// leaves out dropped pairs. row_of_pair[pair_of_row[i]] = i. Throws core::InvariantError for an expert that
// does not exist or a `keep` of another size.
[[nodiscard]] Permutation permute(std::span<const std::int32_t> expert_of_pair, std::int64_t experts,
                                  std::span<const std::uint8_t> keep = {});

// Rows of each expert, as the operators of the simulator want them. Throws as permute().
[[nodiscard]] std::vector<std::int64_t> rows_by_expert(std::span<const std::int32_t> expert_of_pair,
                                                       std::int64_t experts,
                                                       std::span<const std::uint8_t> keep = {});

}  // namespace moesim::gate
