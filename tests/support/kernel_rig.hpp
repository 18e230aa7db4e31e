// A KernelExecutor on a cluster of the shipped hardware, programs made by hand, and what a test does to it at
// given instants.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/execution/kernel_executor.hpp"
#include "tests/support/scenarios.hpp"

namespace moesim::test {

inline hardware::Cluster kernel_cluster(std::int64_t nodes) {
  const auto catalogue = source_catalogue();
  hardware::Cluster cluster;
  cluster.node = hardware::load_node("hgx-h100-8", catalogue).value;
  cluster.nodes = nodes;
  cluster.fabric = hardware::load_fabric("ib-ndr400-rail", catalogue).value;
  return cluster;
}

inline core::Duration ps(std::int64_t count) { return {count}; }

// A kernel that takes `alone` after `latency`, and keeps multiprocessors and HBM so long busy.
inline execution::KernelOp kernel(std::int64_t latency, std::int64_t alone, std::int64_t multiprocessors,
                                  std::int64_t hbm) {
  execution::KernelOp op;
  op.name = "kernel";
  op.binding = hbm >= multiprocessors ? cost::Resource::hbm : cost::Resource::tensor;
  op.latency = ps(latency);
  op.alone = ps(alone);
  op.multiprocessors_busy = ps(multiprocessors);
  op.hbm_busy = ps(hbm);
  return op;
}

// A collective that is bound by its links: inside a domain, or with `network` across domains.
inline execution::KernelOp collective(std::int64_t latency, std::int64_t alone, std::int64_t bytes,
                                      bool network = false) {
  execution::KernelOp op;
  op.name = "collective";
  op.part = execution::Part::all_reduce;
  op.binding = network ? cost::Resource::network : cost::Resource::scale_up;
  op.shape = execution::CollectiveShape::ring;
  op.latency = ps(latency);
  op.alone = ps(alone);
  (network ? op.network_busy : op.scale_up_busy) = ps(alone);
  op.bytes = bytes;
  return op;
}

using Operators = std::vector<execution::KernelOp>;

inline execution::KernelSegment segment(Operators operators, std::int64_t repeat = 1) {
  return {std::make_shared<const Operators>(std::move(operators)), repeat, "", 0};
}

// One rank per device, the lanes of each, and one communicator of all.
inline execution::KernelProgram program(const std::vector<std::int32_t>& devices,
                                        const std::vector<std::vector<execution::KernelLane>>& lanes) {
  execution::KernelProgram made;
  execution::Communicator all;
  for (std::size_t rank = 0; rank < devices.size(); ++rank) {
    all.ranks.push_back(static_cast<std::uint32_t>(rank));
    made.ranks.push_back({{devices[rank]}, lanes[rank]});
  }
  made.communicators.push_back(all);
  return made;
}

// The same operators on every rank, in one lane.
inline execution::KernelProgram same_on_all(const std::vector<std::int32_t>& devices,
                                            const Operators& operators, std::int64_t repeat = 1) {
  const execution::KernelLane lane{segment(operators, repeat)};
  return program(devices, std::vector<std::vector<execution::KernelLane>>(devices.size(), {lane}));
}

class KernelRig {
 public:
  explicit KernelRig(std::int64_t nodes = 1) : KernelRig(kernel_cluster(nodes)) {}
  explicit KernelRig(const hardware::Cluster& cluster, execution::Timeline* timeline = nullptr)
      : topology(cluster),
        processes(simulation, Kind::wake_up),
        executor(topology, simulation, processes, execution::KernelEvents::from(2), timeline) {
    executor.machine().verify_every(1);
    for (const hardware::Link& link : topology.links()) {
      fastest_link = std::max(fastest_link, link.capacity.value);
    }
  }

  void at(std::int64_t when, std::function<void()> action, core::Phase phase = core::Phase::decision) {
    simulation.schedule(core::Time{when}, phase, Kind::action, static_cast<std::uint32_t>(actions_.size()));
    actions_.push_back(std::move(action));
  }
  void fault(execution::ResolvedFault one, std::int64_t from, std::int64_t until = -1) {
    one.from = core::Time{from};
    if (until >= 0) one.until = core::Time{until};
    at(from, [this, one] { executor.begin_fault(one); });
    if (until >= 0) at(until, [this, one] { executor.end_fault(one); });
  }

  // What was started ends at ends[number]; -1 while it has not. Numbers are in the order of the calls.
  std::size_t start(execution::KernelProgram made, std::int64_t delay = 0) {
    const std::size_t number = ends.size();
    ends.push_back(-1);
    times.emplace_back();
    processes.start(wait_for_run(processes, std::move(made), delay, number));
    return number;
  }
  std::size_t copy(execution::CopySpec spec) {
    const std::size_t number = ends.size();
    ends.push_back(-1);
    times.emplace_back();
    processes.start(wait_for_copy(processes, spec, number));
    return number;
  }
  core::RunEnd run() {
    return simulation.run([this](core::EventKey key) {
      if (executor.owns(key)) return executor.handle(key);
      if (key.kind<Kind>() == Kind::action) {
        actions_[key.target()]();
      } else {
        processes.resume(key);
      }
      return core::Handled::executed;
    });
  }
  // How long a program takes on an idle cluster.
  execution::StepTime time_of(execution::KernelProgram made) {
    const std::size_t number = start(std::move(made));
    run();
    core::check(ends[number] >= 0, "the program did not end");
    return times[number];
  }

  enum class Kind : std::uint8_t { action, wake_up };
  hardware::Topology topology;
  core::Simulation<> simulation;
  core::Processes<Kind> processes;
  execution::KernelExecutor executor;
  std::int64_t fastest_link = 1;  // bytes per second
  std::vector<std::int64_t> ends;
  std::vector<execution::StepTime> times;

 private:
  core::Process wait_for_run(core::ProcessContext&, execution::KernelProgram made, std::int64_t delay,
                             std::size_t number) {
    std::uint32_t run = 0;
    core::Event ended = executor.start(std::move(made), core::Duration{delay}, run);
    co_await ended;
    ends[number] = simulation.now().ps;
    times[number] = executor.take_time(run);
  }
  core::Process wait_for_copy(core::ProcessContext&, execution::CopySpec spec, std::size_t number) {
    core::Event ended = executor.copy(spec);
    co_await ended;
    ends[number] = simulation.now().ps;
  }

  std::vector<std::function<void()>> actions_;
};

}  // namespace moesim::test
