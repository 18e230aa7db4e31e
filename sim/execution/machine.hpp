// The shared resources of a cluster and the activities that use them: each device's multiprocessors and HBM,
// and every link of the topology.
//
// An activity has work for `alone` picoseconds at full speed and says which share of each resource it uses
// then. While no resource is asked for more than it has, everyone runs at full speed and ends at exactly its
// begin + alone. Where more is asked for, the activities that use such a resource are slowed to weighted
// max-min fair speeds (core::FlowNetwork); those that use none of them are not touched. This is the max-min
// solution of the whole: a resource that suffices at full speed is nobody's bottleneck.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/core/flow_network.hpp"
#include "sim/core/simulation.hpp"
#include "sim/core/time.hpp"

namespace moesim::execution {

// Shares are whole multiples of 2^-40 of what a resource can do, rounded down, so that sums are exact.
inline constexpr std::int64_t kWholeResource = std::int64_t{1} << 40;

struct ResourceShare {
  static constexpr std::uint32_t kNone = UINT32_MAX;

  std::uint32_t resource = 0;
  std::int64_t share = 0;  // of the resource, at full speed; may pass kWholeResource
  // A resource through which all of this use comes too (the port of what is read from HBM to be sent), and
  // the activity's share of that one. The activities that come through it cannot all run at full speed, so
  // that together they ask the resource for no more than what gets through. Without it each counts in full.
  std::uint32_t through = kNone;
  std::int64_t through_share = 0;
};

// `busy` / `length` as a share of a resource.
[[nodiscard]] std::int64_t share_of_time(core::Duration busy, core::Duration length, double factor = 1.0);

// The numbers of the kinds of events that a machine schedules; the owner of the simulation hands them back.
struct MachineEvents {
  std::uint8_t activity_end = 0;  // target: an activity that runs at full speed
  std::uint8_t shared_end = 0;    // the next end among the slowed ones
  std::uint8_t settle = 0;        // after all changes of an instant
};

class Machine {
 public:
  // Resources are numbered from 0; each starts whole.
  Machine(std::uint32_t resources, core::Simulation<>& simulation, MachineEvents events);

  using ActivityId = std::uint32_t;

  // Begins an activity now. `owner` comes back when it ends. Uses of one resource add up. `alone` must be
  // positive and at most FlowNetwork::kMaximumWork. Throws InvariantError where the activities or a sum of
  // shares pass their bounds (2^20 activities, 2^62).
  ActivityId begin(core::Duration alone, std::span<const ResourceShare> uses, double weight,
                   std::uint32_t owner);
  // From now on a running activity uses other resources (its bytes take another way) at another weight, and
  // the whole of its work would take `alone` at full speed: what is left of it shrinks or grows in
  // proportion, rounded up. Nothing happens if none of these has changed.
  void move(ActivityId id, core::Duration alone, std::span<const ResourceShare> uses, double weight);
  // From now on a resource has so much of its whole: a fault, or its end. 0 stops everyone who uses it.
  void set_capacity(std::uint32_t resource, std::int64_t share);

  // True if the event is one of the machine's kinds. `ended` then has the owners of the activities that have
  // ended, in order; `handled` says whether the event was stale.
  [[nodiscard]] bool owns(core::EventKey key) const;
  core::Handled handle(core::EventKey key, std::vector<std::uint32_t>& ended);

  // Part of a resource in use, as a share of its whole: of the instant before, once the first event of
  // another has come.
  [[nodiscard]] double use(std::uint32_t resource) const;
  // Resources whose use may have changed since the last call, each once, by number; kept only after
  // watch_changes().
  void watch_changes() { watching_ = true; }
  [[nodiscard]] std::vector<std::uint32_t> take_changes();

  [[nodiscard]] std::size_t running() const { return running_; }
  [[nodiscard]] std::uint64_t begun() const { return begun_; }
  // How often an activity began to share a resource that was too small for all; a change of what it shares
  // counts anew.
  [[nodiscard]] std::uint64_t slowed() const { return slowed_; }
  // Checks the max-min certificate of every n-th solution; 0: never.
  void verify_every(std::uint32_t n) { network_.verify_every(n); }
  [[nodiscard]] std::uint64_t verified() const { return network_.verified(); }

 private:
  enum class Mode : std::uint8_t { none, full_speed, shared };
  struct Use {
    std::uint32_t resource = 0;
    std::uint32_t position = 0;  // among the users of the resource
    std::uint32_t through = ResourceShare::kNone;
    std::int64_t share = 0;
  };
  struct Activity {
    std::vector<Use> uses;
    core::LiveEvent end_event;
    core::Time end;        // at full speed
    core::Duration alone;  // of the whole work
    double weight = 1.0;
    std::uint32_t owner = 0;
    Mode mode = Mode::none;
  };
  struct User {
    ActivityId activity = 0;
    std::uint32_t use = 0;  // index among the uses of the activity
  };
  // The users of a resource that come through another one.
  struct Stream {
    std::uint32_t through = 0;
    std::uint32_t users = 0;
    std::int64_t most = 0;  // that they ask for together
  };
  struct Resource {
    std::int64_t capacity = kWholeResource;
    std::int64_t load = 0;  // the most that its users can ask for together
    std::vector<Stream> streams;
    bool shared = false;  // is, or was since it was last unused, asked for more than it has
    bool changed = false;
    std::vector<User> users;
  };

  [[nodiscard]] ActivityId new_activity();
  void add_uses(ActivityId id, std::span<const ResourceShare> uses);
  void drop_uses(ActivityId id);
  static void add_load(Resource& resource, const ResourceShare& wanted);
  static void drop_load(Resource& resource, const Use& use);
  void share_if_full(std::uint32_t resource);
  [[nodiscard]] bool has_uses(ActivityId id, std::span<const ResourceShare> uses) const;
  void run(ActivityId id, core::Duration work);
  void run_at_full_speed(ActivityId id, core::Duration work);
  void run_shared(ActivityId id, core::Duration work);
  // Takes an activity out of its mode and returns the work that it has left.
  core::Duration stop(ActivityId id);
  void rerun(ActivityId id);
  [[nodiscard]] bool uses_shared(ActivityId id) const;
  void finish(ActivityId id, std::vector<std::uint32_t>& ended);
  void mark(std::uint32_t resource);
  void mark_rerated();
  void stop_sharing_what_fits();
  void settle_later();
  void schedule_shared_end();

  core::Simulation<>* simulation_;
  MachineEvents events_;
  std::vector<Resource> resources_;
  std::vector<Activity> activities_;
  std::vector<ActivityId> free_;
  core::FlowNetwork network_;  // resources and classes have the numbers of ours and of activities
  std::vector<core::ResourceUse> network_uses_;
  core::LiveEvent shared_end_;
  core::Time shared_end_at_ = core::kEndOfTime;
  core::LiveEvent settle_;
  std::vector<std::uint32_t> may_fit_;  // shared resources that nobody may need to share any more
  std::vector<ActivityId> completed_;
  bool watching_ = false;
  std::vector<std::uint32_t> changed_;
  std::size_t running_ = 0;
  std::uint64_t begun_ = 0, slowed_ = 0;
};

}  // namespace moesim::execution
