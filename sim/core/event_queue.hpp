// The key of an event and the reference pending set. A key is all there is to an event: 16 bytes, ordered as
// one 128-bit integer (time:64, phase:2, sequence:36, kind:6, target:20). State sits in arrays indexed by the
// target.
#pragma once

#include <algorithm>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <vector>

#include "sim/core/time.hpp"

namespace moesim::core {

// The order of events at one instant: what ended, what came, what is decided on it, what is measured.
enum class Phase : std::uint8_t { completion, arrival, decision, statistics };

// An enum class with the kinds of events of a model; its values must be below kEventKinds.
template <class Kind>
concept EventKind = std::is_enum_v<Kind>;

inline constexpr std::uint32_t kEventKinds = 1U << 6;
inline constexpr std::uint32_t kEventTargets = 1U << 20;
inline constexpr std::uint64_t kEventSequences = std::uint64_t{1} << 36;

class EventKey {
 public:
  constexpr EventKey() = default;
  // Fields must be in range (at >= 0, sequence < 2^36, kind < 64, target < 2^20): Simulation::schedule
  // checks.
  constexpr EventKey(Time at, Phase phase, std::uint64_t sequence, std::uint32_t kind, std::uint32_t target)
      : bits_((static_cast<UInt128>(at.ps) << 64) | (static_cast<UInt128>(phase) << 62) |
              (static_cast<UInt128>(sequence) << 26) | (static_cast<UInt128>(kind) << 20) | target) {}

  [[nodiscard]] constexpr Time time() const { return {static_cast<std::int64_t>(bits_ >> 64)}; }
  [[nodiscard]] constexpr Phase phase() const { return static_cast<Phase>((low() >> 62) & 3U); }
  [[nodiscard]] constexpr std::uint64_t sequence() const { return (low() >> 26) & (kEventSequences - 1); }
  [[nodiscard]] constexpr std::uint32_t target() const {
    return static_cast<std::uint32_t>(low()) & (kEventTargets - 1);
  }
  // The kind, as the enum class that the event was scheduled with.
  template <EventKind Kind>
  [[nodiscard]] constexpr Kind kind() const {
    return static_cast<Kind>((low() >> 20) & (kEventKinds - 1));
  }
  [[nodiscard]] constexpr UInt128 bits() const { return bits_; }

  friend constexpr bool operator==(EventKey a, EventKey b) { return a.bits_ == b.bits_; }
  friend constexpr std::strong_ordering operator<=>(EventKey a, EventKey b) {
    return a.bits_ < b.bits_   ? std::strong_ordering::less
           : a.bits_ > b.bits_ ? std::strong_ordering::greater
                               : std::strong_ordering::equal;
  }

 private:
  [[nodiscard]] constexpr std::uint64_t low() const { return static_cast<std::uint64_t>(bits_); }

  UInt128 bits_ = 0;
};
static_assert(sizeof(EventKey) == 16);

// A set of pending events that gives back the smallest key first. Callers guarantee that no key is pushed
// twice or below the last popped one; top and pop need a non-empty set.
template <class Set>
concept PendingEvents = std::default_initializable<Set> && std::movable<Set> &&
    requires(Set set, EventKey key) {
  set.push(key);
  { set.top() } -> std::convertible_to<EventKey>;
  { set.pop() } -> std::convertible_to<EventKey>;
  { set.size() } -> std::convertible_to<std::size_t>;
};

// The reference pending set: the standard library's binary heap.
class BinaryHeap {
 public:
  void push(EventKey key) {
    keys_.push_back(key);
    std::push_heap(keys_.begin(), keys_.end(), std::greater<>());
  }
  [[nodiscard]] EventKey top() const { return keys_.front(); }
  EventKey pop() {
    std::pop_heap(keys_.begin(), keys_.end(), std::greater<>());
    const EventKey key = keys_.back();
    keys_.pop_back();
    return key;
  }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }

 private:
  std::vector<EventKey> keys_;
};

}  // namespace moesim::core
