// Flows with work that share several resources max-min fairly, in simulated time: an NVSwitch domain, a fat
// tree, kernels that use SMs and HBM at once. Flows of one class have the same uses, bound and weight, and so
// the same rate at any time; a class grows in virtual time and a change touches one flow, not all.
//
// Exactness. The work that one flow of a class has received is kept in units x picoseconds per second, in
// fixed point with 20 fractional bits, and so is the end of a flow: with a rate of whole units per second
// nothing is rounded but the completion, once, up to the picosecond. A flow that is never re-rated thus ends
// at exactly its start + duration_for(work, rate). Other rates are rounded down to 2^-20 units per second. A
// completed flow has received all of its work: units are conserved to the unit.
//
// All changes at one instant are solved together, when the next completion is asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "sim/core/finish_tree.hpp"
#include "sim/core/max_min_network.hpp"
#include "sim/core/time.hpp"

namespace moesim::core {

class FlowNetwork {
 public:
  static constexpr std::int64_t kMaximumWork = std::int64_t{1} << 62;  // units, for one flow
  static constexpr double kMaximumRate = 1e18;                         // units per second
  static constexpr std::uint32_t kMaximumFlows = std::uint32_t{1} << 20;

  // See MaxMinNetwork.
  std::uint32_t add_resource(double capacity);
  std::uint32_t add_class(std::span<const ResourceUse> uses,
                          double bound = std::numeric_limits<double>::infinity(), double weight = 1.0);

  // See MaxMinNetwork. The class must have no flows.
  void redefine_class(std::uint32_t flow_class, std::span<const ResourceUse> uses,
                      double bound = std::numeric_limits<double>::infinity(), double weight = 1.0);

  // Changes what a resource can do from `now` on. Throws InvariantError if `now` is before the last change or
  // after next_completion().
  void set_capacity(Time now, std::uint32_t resource, double capacity);

  // Starts flow `id` (a free number below 2^20) of a class with `work` units. Throws InvariantError if the id
  // is in use, the work is out of range (0 is allowed: it ends at once), or `now` is out of order as above.
  void add(Time now, std::uint32_t flow_class, std::uint32_t id, std::int64_t work);
  // Takes out flow `id` before its end and returns the units of work that it had left, rounded up.
  std::int64_t remove(Time now, std::uint32_t id);

  // The instant at which the next flow ends if nothing changes; kEndOfTime if none does within 2^63 ps.
  [[nodiscard]] Time next_completion();
  // Takes out the flows that have ended by `now` and returns their ids, by class, then in the order of their
  // ends, ties by id; none before next_completion(). The returned reference is valid until the next call.
  const std::vector<std::uint32_t>& complete(Time now);

  [[nodiscard]] std::int64_t remaining(Time now, std::uint32_t id);
  [[nodiscard]] bool active(std::uint32_t id) const;
  [[nodiscard]] std::size_t size() const { return size_; }
  // Whole units served to flows that are gone: all of a completed one, work less remainder of a removed one.
  [[nodiscard]] Int128 served() const { return served_; }
  // The rates, for reading: up to date after next_completion().
  [[nodiscard]] const MaxMinNetwork& rates() const { return network_; }
  // The classes whose rate changed when rates were solved last, each once, in no order that means anything:
  // those of an instant's changes, after next_completion(). Valid until the next change.
  [[nodiscard]] std::span<const std::uint32_t> rerated() const { return network_.changed(); }

  // Checks the certificate of the part that was solved (MaxMinNetwork::verify) at the next solution and every
  // n-th after it, never if n is 0, as at first. A failure throws InvariantError from the call that solved.
  void verify_every(std::uint32_t n);
  // How many solutions were checked.
  [[nodiscard]] std::uint64_t verified() const { return verified_; }

 private:
  friend struct FlowNetworkTestAccess;  // breaks a network, to see that verification tells

  struct Class {
    Int128 progress = 0;  // virtual time at `since`
    Int128 rate = 0;      // fixed point units per second
    Time since;
    bool touched = false;
    FinishTree tree;
  };
  struct Flow {
    std::int64_t work = 0;
    std::uint32_t flow_class = 0;
  };
  static constexpr std::size_t kBlock = 64;  // classes that share one entry of block_first_

  void move_clock(Time now);
  void settle();
  void verify();
  void touch(std::uint32_t flow_class);
  void rerate(std::uint32_t flow_class);
  void predict(std::uint32_t flow_class);
  void start_virtual_time_anew(Class& one, Time now);
  [[nodiscard]] Int128 progress_at(const Class& one, Time now) const;
  [[nodiscard]] std::int64_t work_left(std::uint32_t id, Time now) const;
  void take_out(std::uint32_t id);
  [[nodiscard]] Time first_completion();

  MaxMinNetwork network_;
  std::vector<Class> classes_;
  std::vector<Flow> flows_;  // by id
  FinishTable ends_;         // by id, in the virtual time of its class
  std::size_t size_ = 0;
  Time clock_;                          // the last change
  bool unsettled_ = false;              // something changed at clock_ since rates were solved
  std::vector<std::uint32_t> touched_;  // classes whose flows changed at clock_

  std::vector<Time> completion_;   // by class
  std::vector<Time> block_first_;  // the earliest of each block of classes
  std::vector<char> block_stale_;
  std::vector<std::uint32_t> ended_;
  Int128 served_ = 0;
  std::uint32_t verify_every_ = 0;
  std::uint32_t unverified_ = 0;  // solutions since the last that was checked
  std::uint64_t verified_ = 0;
};

}  // namespace moesim::core
