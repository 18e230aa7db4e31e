// Faults and background traffic of a run at kernel fidelity, as processes beside the replicas.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/core/process.hpp"
#include "sim/execution/disturbances.hpp"
#include "sim/execution/kernel_executor.hpp"
#include "sim/execution/kernel_planner.hpp"
#include "sim/serving/events.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::serving {

class Disturber {
 public:
  Disturber(const Scenario& scenario, const hardware::Topology& topology, core::Processes<Event>& processes,
            execution::KernelExecutor& executor);

  // Starts a process for each fault and each traffic. Call it once, at the start of the run.
  void start();

  [[nodiscard]] bool idle() const { return faults_.empty() && background_.empty(); }

 private:
  core::Process fault(core::ProcessContext& context, execution::ResolvedFault fault);
  core::Process traffic(core::ProcessContext& context, std::size_t index);
  [[nodiscard]] core::Event send(std::size_t index, std::uint32_t& run);

  const hardware::Topology* topology_;
  core::Processes<Event>* processes_;
  execution::KernelExecutor* executor_;
  std::vector<execution::ResolvedFault> faults_;
  std::vector<execution::ResolvedTraffic> background_;
  execution::CopySpec copy_;  // how fast copies are
  std::unique_ptr<execution::KernelPlanner> planner_;
};

}  // namespace moesim::serving
