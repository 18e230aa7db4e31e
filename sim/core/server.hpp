// An indivisible resource: a number of whole units that are held, not shared (the copy engines of a device,
// its streams, the slots of a batch). Who asks for units holds them from the grant to the release, whatever
// comes in between (non-pre-emptive).
//
// Requests wait in one order: by priority, then as they came; under first_come all have one priority. Only
// the first in that order may be granted, as soon as the units it asks for are free. A smaller request never
// overtakes one that waits before it: units may idle, but no large request starves behind small ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/core/statistics.hpp"
#include "sim/core/time.hpp"

namespace moesim::core {

class Server {
 public:
  enum class Discipline : std::uint8_t { first_come, priority };
  static constexpr std::uint32_t kMaximumIds = std::uint32_t{1} << 20;
  static constexpr std::uint32_t kPriorities = 64;

  // A server of `units` whole units, all free, from time 0 on. Throws InvariantError unless units > 0.
  explicit Server(std::int64_t units, Discipline discipline = Discipline::first_come);

  // Asks for units on behalf of `id` (a free number below 2^20, small numbers cost less memory). Returns true
  // if they are granted at once; else the id waits until release() or cancel() names it. Of the priorities 0
  // to 63 the lowest number goes first. Throws InvariantError if the id holds units or waits already, the
  // units are not between 1 and all of them, the priority is out of range, or `now` is before the last
  // change.
  bool request(Time now, std::uint32_t id, std::int64_t units = 1, std::uint32_t priority = 0);

  // Gives back the units of `id` and returns the ids that are granted theirs by that, in the order of the
  // queue. Throws InvariantError if the id holds none, or `now` is out of order. The returned reference is
  // valid until the next call of release() or cancel().
  const std::vector<std::uint32_t>& release(Time now, std::uint32_t id);

  // Takes a waiting id out of the queue and returns the ids that it held up and that are granted now. Throws
  // InvariantError if the id does not wait, or `now` is out of order. Valid as above.
  const std::vector<std::uint32_t>& cancel(Time now, std::uint32_t id);

  [[nodiscard]] bool holds(std::uint32_t id) const { return state_of(id) == State::holding; }
  [[nodiscard]] bool waits(std::uint32_t id) const { return state_of(id) == State::waiting; }
  [[nodiscard]] std::int64_t units() const { return units_; }
  [[nodiscard]] std::int64_t busy() const { return busy_.value(); }
  [[nodiscard]] std::int64_t waiting() const { return waiting_.value(); }

  // Counters: requested = granted + cancelled + waiting.
  [[nodiscard]] std::uint64_t requested() const { return requested_; }
  [[nodiscard]] std::uint64_t granted() const { return granted_; }
  [[nodiscard]] std::uint64_t cancelled() const { return cancelled_; }

  // Units held and requests waiting over time, from time 0: the integral of the first is the sum over the
  // grants of units x time held, that of the second the sum of the waits, both without remainder.
  [[nodiscard]] const TimeWeighted& busy_over_time() const { return busy_; }
  [[nodiscard]] const TimeWeighted& waiting_over_time() const { return waiting_; }

 private:
  static constexpr std::uint32_t kNobody = UINT32_MAX;
  enum class State : std::uint8_t { idle, waiting, holding };
  struct Holder {
    std::int64_t units = 0;
    std::uint32_t before = kNobody;  // in the queue of its priority
    std::uint32_t behind = kNobody;
    std::uint8_t priority = 0;
    State state = State::idle;
  };
  struct Queue {
    std::uint32_t first = kNobody;
    std::uint32_t last = kNobody;
  };

  [[nodiscard]] State state_of(std::uint32_t id) const {
    return id < holders_.size() ? holders_[id].state : State::idle;
  }
  void enqueue(std::uint32_t id);
  void take_out(std::uint32_t id);
  [[nodiscard]] std::uint32_t next() const;
  void grant(Time now, std::uint32_t id);
  const std::vector<std::uint32_t>& grant_waiting(Time now);

  std::int64_t units_;
  Discipline discipline_;
  std::vector<Holder> holders_;  // by id
  std::array<Queue, kPriorities> queues_{};
  std::uint64_t occupied_ = 0;  // bit p: someone waits at priority p
  TimeWeighted busy_;
  TimeWeighted waiting_;
  std::uint64_t requested_ = 0;
  std::uint64_t granted_ = 0;
  std::uint64_t cancelled_ = 0;
  std::vector<std::uint32_t> granted_now_;
};

}  // namespace moesim::core
