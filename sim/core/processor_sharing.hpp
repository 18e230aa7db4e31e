// Weighted processor sharing of one resource (an HBM, a link direction, a network port), solved in virtual
// time: the work served per unit of weight grows at capacity / (sum of weights), and an activity ends when it
// has grown by work / weight. A change of the set touches one activity, so each costs O(log n), never a pass
// over all (P. Goyal et al., "Start-time fair queueing", SIGCOMM 1996, describes virtual time for the packet
// case).
//
// Exactness. Virtual time is fixed point with 64 fractional bits. The virtual finish is rounded down, the
// clock of virtual time up, each by less than 2^-64 units per change of the set, and a completion is rounded
// up to the picosecond once. The total weight stays within 2^24 < 2^64 / 10^12, so that the first rounding is
// smaller than the distance of the true end from the tick below: an activity that is alone from start to end
// ends at exactly start + duration_for(work, capacity).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/core/finish_tree.hpp"
#include "sim/core/time.hpp"

namespace moesim::core {

class ProcessorSharing {
 public:
  static constexpr std::int64_t kMaximumWork = std::int64_t{1} << 62;    // units, for one activity
  static constexpr std::int64_t kMaximumWeight = std::int64_t{1} << 24;  // sum over the active set
  static constexpr std::uint32_t kMaximumActivities = std::uint32_t{1} << 20;

  // A resource that serves `capacity` units of work a second. Throws InvariantError unless capacity > 0.
  explicit ProcessorSharing(std::int64_t capacity);

  // Starts activity `id` (a free number below 2^20, small numbers cost less memory) with `work` units at
  // `weight`. Throws InvariantError if the id is in use, a value is out of range (work 0 is allowed: it ends
  // at once), the weights would pass kMaximumWeight, or `now` is before the last change or after
  // next_completion().
  void add(Time now, std::uint32_t id, std::int64_t weight, std::int64_t work);

  // Takes out activity `id` before its end and returns the units of work it had left, rounded up.
  // Throws InvariantError if it is not active, or `now` is out of order as for add.
  std::int64_t remove(Time now, std::uint32_t id);

  // The instant at which the next activity ends if the set stays as it is; kEndOfTime if none is active.
  // Throws InvariantError if that instant passes 2^63 ps.
  [[nodiscard]] Time next_completion() const;

  // Takes out the activities that have ended by `now` and returns their ids in the order of their virtual
  // ends, ties by id; none before next_completion(). Throws InvariantError if `now` is out of order as for
  // add. The returned reference is valid until the next call.
  const std::vector<std::uint32_t>& complete(Time now);

  // The units that activity `id` has left at `now`, rounded up. Throws InvariantError as remove does.
  [[nodiscard]] std::int64_t remaining(Time now, std::uint32_t id) const;

  [[nodiscard]] bool active(std::uint32_t id) const;
  [[nodiscard]] std::size_t size() const { return tree_.size(); }
  [[nodiscard]] std::int64_t total_weight() const { return total_weight_; }
  [[nodiscard]] std::int64_t capacity() const { return capacity_; }

  // Whole units served to activities that are gone: all of a completed one, work less remainder of a removed
  // one. So the work that was added = served() + what remove returned + the work of the active ones.
  [[nodiscard]] Int128 served() const { return served_; }
  // Time during which at least one activity was active, up to the last change.
  [[nodiscard]] Duration busy() const { return busy_; }

 private:
  struct Activity {
    std::int64_t work = 0;
    std::int64_t weight = 0;
  };

  [[nodiscard]] Time predict() const;
  void move_clock(Time now);
  void check_clock(Time now) const;
  [[nodiscard]] Int128 virtual_at(Time now) const;
  [[nodiscard]] std::int64_t work_left(std::uint32_t id, Int128 virtual_now) const;
  void take_out(std::uint32_t id);
  void start_virtual_time_anew();

  std::int64_t capacity_;
  std::int64_t total_weight_ = 0;
  Time clock_;                        // the last change of the set
  Int128 virtual_clock_ = 0;          // virtual time then: units per weight, 64 fractional bits
  std::vector<Activity> activities_;  // by id
  FinishTable ends_;                  // by id
  FinishTree tree_;
  std::vector<std::uint32_t> ended_;
  mutable Time next_;  // of next_completion(), until the set changes
  mutable bool next_known_ = false;
  Int128 served_ = 0;
  Duration busy_;
};

}  // namespace moesim::core
