// Kernel fidelity: runs the steps of replicas kernel by kernel on the devices of a cluster.
//
// Each rank has a compute stream and a communication stream on its device, and each device a copy engine for
// what it sends and one for what it fetches; each does one thing at a time, in the order in which things
// became ready. A kernel starts when the operator before it in its lane has ended and the stream is free;
// after its latency it is an activity on the device's multiprocessors and HBM. A collective starts when all
// its ranks have come and their communication streams are free, and ends for all of them together; its
// activities use the links of the topology, the HBM at both ends and the multiprocessors of its kernels. So
// overlap and contention are results, and nothing else.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "models/hardware/topology.hpp"
#include "sim/core/process.hpp"
#include "sim/core/server.hpp"
#include "sim/core/simulation.hpp"
#include "sim/execution/disturbances.hpp"
#include "sim/execution/kernel_program.hpp"
#include "sim/execution/kernel_trace.hpp"
#include "sim/execution/link_pattern.hpp"
#include "sim/execution/machine.hpp"

namespace moesim::execution {

// The kinds of events of an executor, in the simulation's own numbering.
struct KernelEvents {
  MachineEvents machine;
  std::uint8_t kernel_work = 0;      // the latency of a kernel is over
  std::uint8_t collective_work = 0;  // that of a collective
  std::uint8_t run_begin = 0;        // the host has launched a step
  // Kinds first, first + 1, ...
  [[nodiscard]] static KernelEvents from(std::uint8_t first);
};

// Bytes that a device sends to another, or to or from the memory of its host. Inside a domain and to a host
// the copy engine of the sender does it (of the receiver, if a host sends); over the network the NICs do.
struct CopySpec {
  std::optional<hardware::DeviceIndex> from, to;  // none: the host of the other end
  std::int64_t bytes = 0;
  double scale_up_efficiency = 1;  // what a copy reaches of a link's bandwidth
  double network_efficiency = 1;
  std::int64_t hbm_rate = 1;  // bytes per second, of both devices
  std::uint32_t job = 0;      // for the timeline, as in KernelProgram
};

// What was begun and what has ended: equal when nothing runs.
struct KernelCounts {
  std::int64_t kernels_begun = 0, kernels_ended = 0;
  std::int64_t collectives_begun = 0, collectives_ended = 0;
  core::Int128 bytes_begun = 0, bytes_ended = 0;  // over links
};

class KernelExecutor {
 public:
  // `timeline` may be null.
  KernelExecutor(const hardware::Topology& topology, core::Simulation<>& simulation,
                 core::ProcessContext& processes, KernelEvents events, Timeline* timeline);

  // Starts a step after `delay` and returns the event of its end. `run` gets its number. Throws
  // InvariantError for a program whose ranks call a communicator unequally often.
  [[nodiscard]] core::Event start(KernelProgram program, core::Duration delay, std::uint32_t& run);
  // Where the time of an ended run went, from the end of its delay: call it once for each run.
  [[nodiscard]] StepTime take_time(std::uint32_t run);

  // Starts a copy and returns the event of its end. Throws InvariantError for one without bytes or between
  // one place.
  [[nodiscard]] core::Event copy(const CopySpec& spec);

  // A fault begins or ends now. Throws InvariantError for the end of one that did not begin.
  void begin_fault(const ResolvedFault& fault);
  void end_fault(const ResolvedFault& fault);

  [[nodiscard]] bool owns(core::EventKey key) const;
  core::Handled handle(core::EventKey key);

  // Of the replicas' steps, and of background traffic.
  // Writes what is still to be seen of the use of resources: at the end of the simulation.
  void finish_trace() { trace_.finish(machine_); }

  [[nodiscard]] const KernelCounts& counts() const { return counts_[0]; }
  [[nodiscard]] const KernelCounts& background_counts() const { return counts_[1]; }
  [[nodiscard]] Machine& machine() { return machine_; }
  [[nodiscard]] const ResourceMap& resources() const { return resources_; }

 private:
  // The owner of an activity: a chain, or a mover with this bit.
  static constexpr std::uint32_t kMoverBit = std::uint32_t{1} << 31;
  // Longer activities do not end within any run: they use what they use, and their end is not told.
  static constexpr core::Duration kLongestWork{core::FlowNetwork::kMaximumWork};
  [[nodiscard]] static core::Duration bounded(core::Duration work) { return std::min(work, kLongestWork); }

  using ChainId = std::uint32_t;

  // The end of a latency. A paused device holds it.
  struct Latency {
    core::LiveEvent event;
    core::Time end;
    std::optional<core::Duration> held;  // what is left of it when the pause is over
  };
  // A lane of a rank while it runs.
  struct Chain {
    std::uint32_t run = 0;
    std::uint32_t rank = 0;  // of the program
    std::uint32_t lane = 0;
    std::size_t segment = 0, position = 0;
    std::int64_t repetition = 0;
    core::Time ready;          // the operator before has ended
    core::Time began;          // the kernel that runs
    core::Time segment_began;  // for the timeline
    Latency latency;           // of the kernel that runs
    StepTime path;             // to here, along the slowest of those that it waited for
  };
  // The collective that the ranks of a communicator gather for, or that runs.
  struct Collective {
    std::uint32_t run = 0;
    std::uint32_t arrived = 0;
    std::uint32_t pending = 0;  // activities that run
    core::Time ready;           // the last rank came
    core::Time began;
    Latency latency;
    ChainId last = 0;              // the rank that came last; of equals the first
    const KernelOp* op = nullptr;  // what all do
    std::vector<ChainId> chains;   // by rank of the communicator
    std::vector<hardware::DeviceIndex> devices;
  };
  // Kernels and collectives of one rank, one at a time each.
  struct RankStreams {
    bool computes = false;
    bool communicates = false;
    std::uint64_t claimed_in = 0;   // the pass in which a collective that waits claimed it
    std::deque<ChainId> waiting;    // for the compute stream
    std::uint32_t first_chain = 0;  // into Run::chains
  };
  struct Run {
    KernelProgram program;
    core::Time began;
    std::uint32_t chains_left = 0;
    StepTime time;
    core::Time last_end;
    ChainId last = 0;  // the chain that ended last; of equals the first
    std::optional<core::Event> ended;
    std::vector<ChainId> chains;  // rank after rank
    std::vector<RankStreams> ranks;
    std::vector<std::uint32_t> collectives;  // slots, communicator after communicator
    std::uint32_t lanes = 1;                 // most lanes of any rank
    // How long exchanges of pairs take when nothing else moves.
    std::vector<std::pair<const PairBytes*, core::Duration>> pairs_alone;
    bool active = false;
  };
  // Of a device, one for what it sends and one for what it fetches. They serve slots of copies.
  struct CopyEngines {
    core::Server out{1}, in{1};
  };
  struct Device {
    CopyEngines copy_engines;
    std::int32_t pauses = 0;  // faults that hold it
  };
  struct Copy {
    CopySpec spec;
    std::optional<core::Event> ended;
    core::Time began;
    core::Duration alone;
  };
  // What an activity on links belongs to.
  enum class Moves : std::uint8_t { nothing, ring, member, pair, copy };
  struct Mover {
    Moves kind = Moves::nothing;
    std::uint32_t slot = 0;          // of the collective or copy
    std::uint32_t from = 0, to = 0;  // ranks of the communicator
    Machine::ActivityId activity = 0;
    bool endless = false;  // longer than a machine can work
  };
  // What an activity asks for: alone it takes so long, at so many bytes per second. Its shares are in uses_.
  struct Asked {
    core::Duration alone;
    double bytes_per_s = 0;
    double flows = 1;  // between two devices that it stands for
  };

  // First thing whenever the clock may have moved: what held until now is seen by the timeline.
  void look() { trace_.look(simulation_->now(), machine_); }
  [[nodiscard]] core::Duration pairs_alone(const Collective& one);
  void begin_run(std::uint32_t run);
  void open_collectives(std::uint32_t run);
  void work_through();
  void tell_ends();
  void advance(ChainId id);
  void end_chain(ChainId id);
  [[nodiscard]] const KernelOp* current(ChainId id);
  void next_operator(ChainId id);
  [[nodiscard]] hardware::DeviceIndex device_of(const Chain& chain) const;
  [[nodiscard]] RankStreams& streams_of(const Chain& chain);

  void request_compute(ChainId id);
  void begin_kernel(ChainId id);
  void kernel_work(ChainId id);
  void end_kernel(ChainId id);

  void arrive(ChainId id, const KernelOp& op);
  void begin_ready_collectives();
  [[nodiscard]] bool can_begin(const Collective& one);
  void begin_collective(std::uint32_t slot);
  void collective_work(std::uint32_t slot);
  void end_collective(std::uint32_t slot);

  void begin_latency(Latency& latency, core::Duration length, std::uint8_t kind, std::uint32_t target);
  void hold(Latency& latency) const;
  void hold_latencies(hardware::DeviceIndex device);
  void release_latencies(hardware::DeviceIndex device);
  [[nodiscard]] bool paused(hardware::DeviceIndex device) const {
    return devices_[static_cast<std::size_t>(device.value)].pauses > 0;
  }

  void begin_mover(const Mover& mover);
  void mover_ended(std::uint32_t index);
  [[nodiscard]] Asked ask(const Mover& mover);
  void ask_member(const Collective& one, std::size_t member);
  [[nodiscard]] double weight_of(const Asked& asked) const;
  [[nodiscard]] double flows_of(const Collective& one, std::size_t member) const;
  [[nodiscard]] Asked ask_pair(const Collective& one, std::uint32_t from, std::uint32_t to,
                               const hardware::NicChoice& nics);
  [[nodiscard]] Asked ask_copy(const CopySpec& spec);
  // Where a route's bytes come from and go to; none: the memory of a host.
  struct RouteEnds {
    std::optional<hardware::DeviceIndex> from, to;
    std::int64_t hbm_rate = 1;  // bytes per second
    double multiprocessor_share = 0;
  };
  [[nodiscard]] Asked ask_route(const hardware::Route& route, double efficiency, std::int64_t bytes,
                                const RouteEnds& ends);

  void begin_copy(std::uint32_t slot);
  void end_copy(std::uint32_t slot);
  // The engine that does a copy; null if the network does.
  [[nodiscard]] core::Server* engine_of(const CopySpec& spec);

  void update_device(hardware::DeviceIndex device);
  void update_link(hardware::LinkIndex link);
  void update_nics();
  void resume(hardware::DeviceIndex device);
  void fault_changed(const ResolvedFault& fault);

  const hardware::Topology* topology_;
  core::Simulation<>* simulation_;
  core::ProcessContext* processes_;
  KernelEvents events_;
  ResourceMap resources_;
  Machine machine_;
  LinkPatterns patterns_;
  KernelTrace trace_;
  core::Simulation<> quiet_simulation_;  // where only the pairs of one exchange move
  std::optional<Machine> quiet_machine_;
  double fastest_link_ = 1;  // bytes per second

  std::vector<Device> devices_;
  std::vector<Run> runs_;
  std::vector<std::uint32_t> free_runs_;
  std::vector<Chain> chains_;
  std::vector<ChainId> free_chains_;
  std::vector<Collective> collectives_;
  std::vector<std::uint32_t> free_collectives_;
  std::uint64_t pass_ = 0;                        // over the collectives that are ready
  std::vector<std::uint32_t> ready_collectives_;  // in the order in which they became ready
  std::vector<Mover> movers_;
  std::vector<std::uint32_t> free_movers_;
  std::vector<Copy> copies_;
  std::vector<std::uint32_t> free_copies_;
  std::vector<ResolvedFault> faults_;  // that hold now

  std::deque<ChainId> work_;  // chains that go on at this instant
  std::deque<core::Event> happened_;
  bool telling_ = false;
  std::vector<std::uint32_t> ended_;
  std::vector<ResourceShare> uses_;
  [[nodiscard]] KernelCounts& counts_of(std::uint32_t run) {
    return counts_[runs_[run].program.job > 0 ? 1 : 0];
  }
  std::array<KernelCounts, 2> counts_;  // steps, background
};

}  // namespace moesim::execution
