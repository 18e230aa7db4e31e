#include "reports/slice_order.hpp"

#include <algorithm>

namespace moesim::reports {

SliceOrder::SliceOrder(const execution::Timeline& timeline)
    : indices_(timeline.slices().size()), first_(timeline.tracks().size() + 1) {
  const auto slices = timeline.slices();
  for (const auto& slice : slices) ++first_[slice.track + 1];
  for (std::size_t track = 1; track < first_.size(); ++track) first_[track] += first_[track - 1];
  std::vector<std::size_t> next(first_.begin(), first_.end() - 1);
  for (std::uint32_t i = 0; i < slices.size(); ++i) indices_[next[slices[i].track]++] = i;
  // Recorded in the order of ends: of two that are alike the later one is the parent. Two without length are
  // neighbours and stay as they are.
  const auto before = [&](std::uint32_t a, std::uint32_t b) {
    const auto& left = slices[a];
    const auto& right = slices[b];
    if (left.begin != right.begin) return left.begin < right.begin;
    if (left.end != right.end) return left.end > right.end;
    return left.begin == left.end ? a < b : a > b;
  };
  for (std::size_t track = 0; track + 1 < first_.size(); ++track) {
    const auto begin = indices_.begin() + static_cast<std::ptrdiff_t>(first_[track]);
    const auto end = indices_.begin() + static_cast<std::ptrdiff_t>(first_[track + 1]);
    if (!std::is_sorted(begin, end, before)) std::sort(begin, end, before);
  }
}

}  // namespace moesim::reports
