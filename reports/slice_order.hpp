// The slices of a timeline as trace formats want them (shared by the trace writers).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/execution/timeline.hpp"

namespace moesim::reports {

// Indices of timeline.slices(), track after track. On a track in the order of their begins, a parent before
// its children.
class SliceOrder {
 public:
  explicit SliceOrder(const execution::Timeline& timeline);
  [[nodiscard]] std::span<const std::uint32_t> of_track(std::size_t track) const {
    return std::span<const std::uint32_t>(indices_).subspan(first_[track], first_[track + 1] - first_[track]);
  }

 private:
  std::vector<std::uint32_t> indices_;
  std::vector<std::size_t> first_;  // by track, and the end
};

// Calls begin(index) and end(index) for every slice of a track, in the order of time and properly nested. At
// one instant ends come before begins, so that neighbours do not nest; a slice without length stands beside
// its neighbours and inside what goes on around it. Throws core::InvariantError if slices overlap without
// nesting.
template <class Begin, class End>
void walk_track(const execution::Timeline& timeline, std::span<const std::uint32_t> order, Begin begin,
                End end) {
  const auto slices = timeline.slices();
  std::vector<std::uint32_t> open;
  for (const std::uint32_t index : order) {
    while (!open.empty() && slices[open.back()].end <= slices[index].begin) {
      end(open.back());
      open.pop_back();
    }
    core::check(open.empty() || slices[index].end <= slices[open.back()].end,
                "slices of a track overlap without nesting");
    begin(index);
    open.push_back(index);
  }
  for (; !open.empty(); open.pop_back()) end(open.back());
}

}  // namespace moesim::reports
