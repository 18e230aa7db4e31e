// Which rank sends how many rows to which: the traffic of an MoE layer between ranks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace moesim::routing {

// Rows from each rank to each, [from * ranks + to], when rank r sends sent[r] rows and gets received[r]:
// drawn from all assignments of the rows with these sums, each equally likely (a multivariate hypergeometric
// per receiver). That a token sends an expert at most one row is not looked at. Draws are those of entity
// `draw`. Throws core::InvariantError unless both have one number per rank and the same sum.
[[nodiscard]] std::vector<std::int64_t> draw_pair_rows(std::uint64_t seed, std::uint64_t draw,
                                                       std::span<const std::int64_t> sent,
                                                       std::span<const std::int64_t> received);

}  // namespace moesim::routing
