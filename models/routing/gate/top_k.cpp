#include "models/routing/gate/top_k.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::gate {

void top_k(std::span<const double> values, std::int64_t k, std::vector<std::int32_t>& places) {
  core::check(k >= 0 && std::cmp_less_equal(k, values.size()), "top-k of fewer than k values");
  const auto first = [&](std::int32_t i, std::int32_t j) {
    return comes_first(values[static_cast<std::size_t>(i)], i, values[static_cast<std::size_t>(j)], j);
  };
  places.resize(values.size());
  std::iota(places.begin(), places.end(), 0);
  // The order is total (places differ), so that any algorithm finds the same.
  if (std::cmp_less(k, values.size())) {
    std::nth_element(places.begin(), places.begin() + k, places.end(), first);
  }
  places.resize(static_cast<std::size_t>(k));
  std::sort(places.begin(), places.end(), first);
}

std::vector<std::int32_t> top_k(std::span<const double> values, std::int64_t k) {
  std::vector<std::int32_t> places;
  top_k(values, k, places);
  return places;
}

}  // namespace moesim::gate
