// Experts with room for a limited number of rows: who is dropped, and where the others stand.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moesim::gate {

// Who comes first when an expert has more rows than room.
enum class DropOrder : std::uint8_t {
  token_major,     // tokens in order, each with all its choices (Switch)
  choice_major,    // all first choices in token order, then all second ones (GShard, flaxformer)
  batch_priority,  // tokens by their first weight, largest first, then choice-major (V-MoE)
  weights,         // each expert keeps its largest weights; ties: the earlier token (Megatron `probs`)
  position,        // each expert keeps its first rows in token order (Megatron `position`)
};

// ceil(tokens x top_k / experts x factor), computed in doubles from the left as the sources do, and at least
// `minimum` (Megatron-LM get_capacity). Throws core::InvariantError for negative numbers, factors that are
// not finite, zero experts, and results beyond 63 bits.
[[nodiscard]] std::int64_t capacity_of(std::int64_t tokens, std::int64_t top_k, std::int64_t experts,
                                       double factor, std::int64_t minimum = 0);

// Of each (token, choice), [tokens, top_k].
struct Kept {
  std::vector<std::uint8_t> keep;  // 1: the expert takes the row
  std::vector<std::int32_t> slot;  // place among the rows of its expert; -1 if dropped
};

// Lets each expert take at most `capacity` rows. Slots are given out in the order of the rule; weights: by
// falling weight. `weights` [tokens, top_k] may be empty where the rule does not look at them. An expert that
// a token names twice takes two rows. Throws core::InvariantError for sizes that do not fit, experts that do
// not exist and NaN weights.
[[nodiscard]] Kept apply_capacity(std::span<const std::int32_t> experts_of_token,
                                  std::span<const double> weights, std::int64_t top_k, std::int64_t experts,
                                  std::int64_t capacity, DropOrder order);

}  // namespace moesim::gate
