// Slots of a vector that are used again.
#pragma once

#include <cstdint>
#include <vector>

namespace moesim::execution {

// The number of a free slot, the last freed first; a new one if none is free. The slot keeps what it held.
template <class Slot>
[[nodiscard]] std::uint32_t take_slot(std::vector<Slot>& slots, std::vector<std::uint32_t>& free) {
  if (free.empty()) {
    slots.emplace_back();
    return static_cast<std::uint32_t>(slots.size() - 1);
  }
  const std::uint32_t slot = free.back();
  free.pop_back();
  return slot;
}

}  // namespace moesim::execution
