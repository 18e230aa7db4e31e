// Faults of the kernel executor: resources that lose a part of what they can do, and devices that hold still.
#include <algorithm>
#include <cmath>

#include "sim/core/check.hpp"
#include "sim/execution/kernel_executor.hpp"

namespace moesim::execution {

using hardware::DeviceIndex;
using hardware::LinkIndex;

namespace {

bool same_fault(const ResolvedFault& a, const ResolvedFault& b) {
  return a.kind == b.kind && a.device == b.device && a.link == b.link && a.node == b.node && a.nic == b.nic &&
         a.factor == b.factor && a.from == b.from && a.until == b.until;
}

std::int64_t share_left(double factor) {
  return static_cast<std::int64_t>(std::floor(factor * static_cast<double>(kWholeResource)));
}

}  // namespace

void KernelExecutor::begin_fault(const ResolvedFault& fault) {
  look();
  faults_.push_back(fault);
  if (fault.kind == FaultKind::paused_device) {
    if (!paused(fault.device)) hold_latencies(fault.device);
    ++devices_[static_cast<std::size_t>(fault.device.value)].pauses;
  }
  fault_changed(fault);
}

void KernelExecutor::end_fault(const ResolvedFault& fault) {
  look();
  const auto found = std::find_if(faults_.begin(), faults_.end(),
                                  [&](const ResolvedFault& one) { return same_fault(one, fault); });
  core::check(found != faults_.end(), "a fault ends that did not begin");
  faults_.erase(found);
  if (fault.kind == FaultKind::paused_device) --devices_[static_cast<std::size_t>(fault.device.value)].pauses;
  fault_changed(fault);
}

void KernelExecutor::fault_changed(const ResolvedFault& fault) {
  switch (fault.kind) {
    case FaultKind::slow_hbm:
      return update_device(fault.device);
    case FaultKind::paused_device:
      update_device(fault.device);
      return resume(fault.device);
    case FaultKind::degraded_link:
      return update_link(fault.link);
    case FaultKind::lost_nic:
      update_link(topology_->nic_out(fault.node, fault.nic));
      update_link(topology_->nic_in(fault.node, fault.nic));
      return update_nics();
  }
}

// A paused device serves no work.
void KernelExecutor::update_device(DeviceIndex device) {
  double hbm = 1.0;
  for (const ResolvedFault& fault : faults_) {
    if (fault.kind == FaultKind::slow_hbm && fault.device == device) hbm *= fault.factor;
  }
  const bool paused = devices_[static_cast<std::size_t>(device.value)].pauses > 0;
  machine_.set_capacity(resources_.hbm(device), paused ? 0 : share_left(hbm));
  machine_.set_capacity(resources_.multiprocessors(device), paused ? 0 : kWholeResource);
}

void KernelExecutor::update_link(LinkIndex link) {
  double left = 1.0;
  for (const ResolvedFault& fault : faults_) {
    if (fault.kind == FaultKind::degraded_link && fault.link == link) left *= fault.factor;
    if (fault.kind != FaultKind::lost_nic) continue;
    if (link == topology_->nic_out(fault.node, fault.nic) ||
        link == topology_->nic_in(fault.node, fault.nic)) {
      left = 0.0;
    }
  }
  machine_.set_capacity(resources_.link(link), share_left(left));
}

// What crosses the network takes the NICs that are left, also for the rest of what is on its way. A node that
// has none left waits for one to come back.
void KernelExecutor::update_nics() {
  const std::int32_t per_node = topology_->nics_per_node();
  std::vector<std::int32_t> lost;
  for (const ResolvedFault& fault : faults_) {
    if (fault.kind == FaultKind::lost_nic) lost.push_back(fault.node * per_node + fault.nic);
  }
  std::sort(lost.begin(), lost.end());
  lost.erase(std::unique(lost.begin(), lost.end()), lost.end());
  for (std::int32_t node = 0; node < topology_->nodes(); ++node) {
    const auto begin = std::lower_bound(lost.begin(), lost.end(), node * per_node);
    const auto end = std::lower_bound(begin, lost.end(), (node + 1) * per_node);
    if (end - begin == per_node) lost.erase(begin, end);
  }
  patterns_.use_nics(topology_->without_nics(lost));
  for (std::size_t i = 0; i < movers_.size(); ++i) {
    if (movers_[i].kind == Moves::nothing || movers_[i].endless) continue;
    const Asked asked = ask(movers_[i]);
    machine_.move(movers_[i].activity, bounded(asked.alone), uses_, weight_of(asked));
  }
}

void KernelExecutor::hold(Latency& latency) const {
  if (!latency.event.armed() || latency.end == simulation_->now()) return;
  latency.event.cancel();
  latency.held = latency.end - simulation_->now();
}

void KernelExecutor::hold_latencies(DeviceIndex device) {
  for (Run& run : runs_) {
    if (!run.active) continue;
    for (const ChainId id : run.chains) {
      if (device_of(chains_[id]) == device) hold(chains_[id].latency);
    }
    for (const std::uint32_t slot : run.collectives) {
      const auto& members = collectives_[slot].devices;
      if (std::find(members.begin(), members.end(), device) != members.end())
        hold(collectives_[slot].latency);
    }
  }
}

// A collective goes on when none of its devices is paused any more.
void KernelExecutor::release_latencies(DeviceIndex device) {
  for (Run& run : runs_) {
    if (!run.active) continue;
    for (const ChainId id : run.chains) {
      Latency& latency = chains_[id].latency;
      if (!latency.held || device_of(chains_[id]) != device) continue;
      begin_latency(latency, *latency.held, events_.kernel_work, id);
    }
    for (const std::uint32_t slot : run.collectives) {
      Latency& latency = collectives_[slot].latency;
      const auto& members = collectives_[slot].devices;
      const bool still =
          std::any_of(members.begin(), members.end(), [this](DeviceIndex member) { return paused(member); });
      if (latency.held && !still) begin_latency(latency, *latency.held, events_.collective_work, slot);
    }
  }
}

// What waited for a paused device goes on.
void KernelExecutor::resume(DeviceIndex device) {
  if (paused(device)) return;
  release_latencies(device);
  for (Run& run : runs_) {
    if (!run.active) continue;
    for (std::uint32_t rank = 0; rank < run.ranks.size(); ++rank) {
      RankStreams& streams = run.ranks[rank];
      if (run.program.ranks[rank].device != device || streams.computes || streams.waiting.empty()) continue;
      const ChainId next = streams.waiting.front();
      streams.waiting.pop_front();
      begin_kernel(next);
    }
  }
  work_through();
  tell_ends();
}

}  // namespace moesim::execution
