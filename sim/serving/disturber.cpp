#include "sim/serving/disturber.hpp"

#include "models/cost/price.hpp"
#include "sim/serving/fleet.hpp"

namespace moesim::serving {

using core::Duration;
using core::Time;

Disturber::Disturber(const Scenario& scenario, const hardware::Topology& topology,
                     core::Processes<Event>& processes, execution::KernelExecutor& executor)
    : topology_(&topology),
      processes_(&processes),
      executor_(&executor),
      faults_(execution::resolve(scenario.faults, topology)),
      background_(execution::resolve(scenario.background, topology)) {
  const cost::CommunicationCosts& comm = scenario.deployment.engine.comm;
  copy_.scale_up_efficiency = comm.link_fraction.value;
  copy_.network_efficiency = comm.network_fraction.value;
  copy_.hbm_rate = cost::DevicePricer(scenario.cluster.node.gpu).hbm_rate();
  if (background_.empty()) return;
  planner_ =
      std::make_unique<execution::KernelPlanner>(replica_setup(scenario, llm::Layout{}, topology, 0), true);
}

void Disturber::start() {
  for (const execution::ResolvedFault& one : faults_) processes_->start(fault(*processes_, one));
  for (std::size_t i = 0; i < background_.size(); ++i) processes_->start(traffic(*processes_, i));
}

core::Process Disturber::fault(core::ProcessContext&, execution::ResolvedFault fault) {
  if (fault.from > Time{}) {
    core::Event begin = processes_->delay(fault.from - Time{});
    co_await begin;
  }
  executor_->begin_fault(fault);
  if (fault.until == core::kEndOfTime) co_return;
  core::Event end = processes_->delay(fault.until - fault.from);
  co_await end;
  executor_->end_fault(fault);
}

// Each transfer is due a period after the one before was; where that has not ended, when it ends.
core::Process Disturber::traffic(core::ProcessContext&, std::size_t index) {
  const execution::ResolvedTraffic& one = background_[index];
  Time due = one.start;
  for (std::int64_t done = 0; !one.count || done < *one.count; ++done) {
    if (due > processes_->now()) {
      core::Event start = processes_->delay(due - processes_->now());
      co_await start;
    }
    std::uint32_t run = 0;
    core::Event ended = send(index, run);
    co_await ended;
    if (one.kind == execution::TrafficKind::all_reduce) static_cast<void>(executor_->take_time(run));
    if (!one.every || *one.every > core::kEndOfTime - due) co_return;
    due += *one.every;
  }
}

core::Event Disturber::send(std::size_t index, std::uint32_t& run) {
  const execution::ResolvedTraffic& one = background_[index];
  if (one.kind == execution::TrafficKind::all_reduce) {
    execution::KernelProgram program =
        planner_->all_reduce(one.bytes.value, one.devices, topology_->group_profile(one.devices));
    program.job = static_cast<std::uint32_t>(index + 1);
    return executor_->start(std::move(program), Duration{}, run);
  }
  execution::CopySpec copy = copy_;
  copy.from = one.from;
  copy.to = one.to;
  copy.bytes = one.bytes.value;
  copy.job = static_cast<std::uint32_t>(index + 1);
  // What copies reach of a host's link is not known: they get what the node states (docs/accuracy.md).
  if (!copy.from || !copy.to) copy.scale_up_efficiency = 1.0;
  return executor_->copy(copy);
}

}  // namespace moesim::serving
