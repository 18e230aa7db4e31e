#include "models/routing/gate/capacity.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::gate {

namespace {

// Flat places t x top_k + j in the order in which they are served.
std::vector<std::size_t> service_order(std::span<const double> weights, std::size_t pairs, std::size_t k,
                                       DropOrder order) {
  std::vector<std::size_t> places(pairs);
  std::iota(places.begin(), places.end(), std::size_t{0});
  // Stable sorts: equals stay in token order.
  switch (order) {
    case DropOrder::token_major:
    case DropOrder::position:
      break;
    case DropOrder::choice_major:
      std::stable_sort(places.begin(), places.end(),
                       [&](std::size_t a, std::size_t b) { return a % k < b % k; });
      break;
    case DropOrder::batch_priority:
      std::stable_sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) {
        return a % k != b % k ? a % k < b % k : weights[a - a % k] > weights[b - b % k];
      });
      break;
    case DropOrder::weights:
      std::stable_sort(places.begin(), places.end(),
                       [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
      break;
  }
  return places;
}

}  // namespace

std::int64_t capacity_of(std::int64_t tokens, std::int64_t top_k, std::int64_t experts, double factor,
                         std::int64_t minimum) {
  core::check(tokens >= 0 && top_k >= 0 && experts > 0 && std::isfinite(factor) && factor >= 0.0,
              "a capacity needs tokens, experts and a factor");
  std::int64_t pairs = 0;
  core::check(!__builtin_mul_overflow(tokens, top_k, &pairs), "a capacity of too many tokens");
  const double room = std::ceil(static_cast<double>(pairs) / static_cast<double>(experts) * factor);
  core::check(room < 0x1p63, "a capacity does not fit into 63 bits");
  return std::max(static_cast<std::int64_t>(room), minimum);
}

Kept apply_capacity(std::span<const std::int32_t> experts_of_token, std::span<const double> weights,
                    std::int64_t top_k, std::int64_t experts, std::int64_t capacity, DropOrder order) {
  const std::size_t pairs = experts_of_token.size();
  core::check(top_k >= 1 && pairs % static_cast<std::size_t>(top_k) == 0 && capacity >= 0,
              "capacity needs tokens x top_k experts and room");
  const bool weighted = order == DropOrder::batch_priority || order == DropOrder::weights;
  core::check(!weighted || weights.size() == pairs, "this order of drops needs tokens x top_k weights");
  core::check(
      !weighted || std::none_of(weights.begin(), weights.end(), [](double w) { return std::isnan(w); }),
      "a weight is NaN");
  std::vector<std::int64_t> taken(static_cast<std::size_t>(experts), 0);
  Kept kept{std::vector<std::uint8_t>(pairs, 0), std::vector<std::int32_t>(pairs, -1)};
  for (const std::size_t place : service_order(weights, pairs, static_cast<std::size_t>(top_k), order)) {
    const std::int32_t e = experts_of_token[place];
    core::check(e >= 0 && e < experts, "a token's expert does not exist");
    std::int64_t& rows = taken[static_cast<std::size_t>(e)];
    if (rows == capacity) continue;
    kept.keep[place] = 1;
    kept.slot[place] = static_cast<std::int32_t>(rows++);
  }
  return kept;
}

}  // namespace moesim::gate
