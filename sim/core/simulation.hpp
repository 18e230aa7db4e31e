// The discrete-event loop. A Simulation is an ordinary value that owns the clock, the pending events and the
// sequence counter; thousands may live in one process. The model's state lives outside, in the handler.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "sim/core/check.hpp"
#include "sim/core/event_queue.hpp"
#include "sim/core/ladder_queue.hpp"
#include "sim/core/time.hpp"

namespace moesim::core {

// What a handler says about the event it was given: done, or stale (cancelled since it was scheduled).
enum class Handled : std::uint8_t { executed, stale };

// Why a run came back.
enum class RunEnd : std::uint8_t { no_more_events, time_reached, event_limit };

// Upper bounds of one simulation: events executed (a run stops in good order), events scheduled (one more
// throws).
struct SimulationLimits {
  std::uint64_t executed = UINT64_MAX;
  std::uint64_t scheduled = kEventSequences;
};

// A handler takes the key of the event. It returns nothing where no event is ever cancelled, else Handled.
template <class Handler>
concept EventHandler = std::invocable<Handler&, EventKey> &&
    (std::is_void_v<std::invoke_result_t<Handler&, EventKey>> ||
     std::same_as<std::invoke_result_t<Handler&, EventKey>, Handled>);

// The one live event of an owner: cancellation by generation, where the generation is the event's sequence
// number. Arming again or cancelling makes the earlier event stale. It stays in the pending set until its
// time; the handler then asks claim() and returns Handled::stale. Eight bytes, no search, no allocation.
class LiveEvent {
 public:
  void arm(EventKey key) { generation_ = key.sequence() + 1; }
  void cancel() { generation_ = 0; }
  [[nodiscard]] bool armed() const { return generation_ != 0; }
  // True, once, for the event armed last; false for a stale one.
  [[nodiscard]] bool claim(EventKey key) {
    if (generation_ != key.sequence() + 1) {
      return false;
    }
    generation_ = 0;
    return true;
  }

 private:
  std::uint64_t generation_ = 0;  // sequence + 1; 0: none
};

template <PendingEvents PendingSet = LadderQueue>
class Simulation {
 public:
  Simulation() = default;
  explicit Simulation(SimulationLimits limits) : limits_(limits) {
    check(limits.scheduled <= kEventSequences, "a simulation schedules at most 2^36 events");
  }

  [[nodiscard]] Time now() const { return now_; }

  // Adds an event and returns its key. Events at one instant run by phase, then in the order of scheduling.
  // Throws InvariantError for an instant before now(), a phase of this instant that is already over (an event
  // cannot precede the one that caused it), kind >= 64, target >= 2^20, or when the sequence is used up.
  template <EventKind Kind>
  EventKey schedule(Time at, Phase phase, Kind kind, std::uint32_t target) {
    const auto kind_number = static_cast<std::underlying_type_t<Kind>>(kind);
    check(at >= now_, "an event is scheduled in the past");
    check(std::cmp_greater_equal(kind_number, 0) && std::cmp_less(kind_number, kEventKinds),
          "the kind of an event passes 6 bits");
    check(target < kEventTargets, "the target of an event passes 20 bits");
    check(scheduled_ < limits_.scheduled, "a simulation has used up its event sequence");
    const EventKey key(at, phase, scheduled_, static_cast<std::uint32_t>(kind_number), target);
    check(key.bits() >= first_allowed_, "an event is scheduled in a phase that is already over");
    pending_.push(key);
    ++scheduled_;
    return key;
  }

  // Hands the next event to the handler and returns true; false if none is pending or the limit is reached.
  template <EventHandler Handler>
  bool step(Handler&& handler) {
    if (pending_.size() == 0 || executed_ >= limits_.executed) {
      return false;
    }
    dispatch(handler);
    return true;
  }

  // Handles events until none is left or the limit on executed events is reached.
  template <EventHandler Handler>
  RunEnd run(Handler&& handler) {
    while (step(handler)) {
    }
    return pending_.size() == 0 ? RunEnd::no_more_events : RunEnd::event_limit;
  }

  // Handles the events up to and including `end`, then sets the clock to `end`; not so at the limit on
  // events, where the clock stays. Throws InvariantError if end is before now().
  template <EventHandler Handler>
  RunEnd run_until(Time end, Handler&& handler) {
    check(end >= now_, "a run ends in the past");
    while (pending_.size() != 0 && pending_.top().time() <= end) {
      if (!step(handler)) {
        return RunEnd::event_limit;
      }
    }
    now_ = end;
    return pending_.size() == 0 ? RunEnd::no_more_events : RunEnd::time_reached;
  }

  // True if an event is pending at or before `end`.
  [[nodiscard]] bool pending_by(Time end) const {
    return pending_.size() != 0 && pending_.top().time() <= end;
  }

  // Counters: pending + executed + cancelled = scheduled between events. An event counts as cancelled when
  // the handler finds it stale; until then it is pending.
  [[nodiscard]] std::uint64_t scheduled() const { return scheduled_; }
  [[nodiscard]] std::uint64_t executed() const { return executed_; }
  [[nodiscard]] std::uint64_t cancelled() const { return cancelled_; }
  [[nodiscard]] std::uint64_t pending() const { return pending_.size(); }

  // The time of the last executed event: unlike now(), not moved by stale events at the end. 0 if none.
  [[nodiscard]] Time last_executed_at() const { return last_executed_at_; }

  // A fingerprint of the executed keys in their order, equal for any correct pending set. For each key, a
  // word of its high and low 64 bits is xored into the state, which is then multiplied and rotated; the state
  // passes the finaliser of splitmix64 at the end. One multiplication an event is in the chain, so that it
  // costs little.
  [[nodiscard]] std::uint64_t order_hash() const { return mix(order_hash_); }

 private:
  // splitmix64's finaliser (Steele, Lea and Flood, OOPSLA 2014; Stafford's variant 13).
  static constexpr std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return x ^ (x >> 31);
  }

  template <EventHandler Handler>
  void dispatch(Handler& handler) {
    const EventKey key = pending_.pop();
    check(key.bits() >= first_allowed_, "the pending set gave back events out of order");
    first_allowed_ = key.bits() + 1;
    now_ = key.time();
    Handled handled = Handled::executed;
    if constexpr (std::is_void_v<std::invoke_result_t<Handler&, EventKey>>) {
      handler(key);
    } else {
      handled = handler(key);
    }
    if (handled == Handled::stale) {
      ++cancelled_;
      return;
    }
    ++executed_;
    last_executed_at_ = now_;
    const std::uint64_t word = static_cast<std::uint64_t>(key.bits() >> 64) * 0xBF58476D1CE4E5B9U +
                               static_cast<std::uint64_t>(key.bits()) * 0x94D049BB133111EBU;
    order_hash_ = std::rotl((order_hash_ ^ word) * 0x9E3779B97F4A7C15U, 29);
  }

  PendingSet pending_;
  SimulationLimits limits_;
  Time now_;
  Time last_executed_at_;
  UInt128 first_allowed_ = 0;  // one above the last popped key
  std::uint64_t scheduled_ = 0;
  std::uint64_t executed_ = 0;
  std::uint64_t cancelled_ = 0;
  std::uint64_t order_hash_ = 0x9E3779B97F4A7C15U;  // not 0, so that a leading zero key leaves a mark
};

}  // namespace moesim::core
