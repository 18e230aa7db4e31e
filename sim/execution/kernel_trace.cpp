#include "sim/execution/kernel_trace.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace moesim::execution {

using hardware::DeviceIndex;
using hardware::LinkIndex;

KernelTrace::KernelTrace(const hardware::Topology& topology, const ResourceMap& resources, Timeline* timeline)
    : topology_(&topology), resources_(&resources), timeline_(timeline) {
  if (!on()) return;
  devices_.resize(static_cast<std::size_t>(topology.devices()));
  counters_.resize(resources.size());
  due_.resize(resources.size());
  next_.resize(resources.size());
}

Timeline::Process KernelTrace::process_of(DeviceIndex device) {
  auto& process = devices_[static_cast<std::size_t>(device.value)];
  if (!process) process = timeline_->add_process(topology_->name(device));
  return *process;
}

Timeline::Track KernelTrace::track(DeviceIndex device, std::uint32_t job, Stream stream) {
  static constexpr std::array<std::string_view, 4> kNames = {"layers", "compute", "communication", "copies"};
  const std::tuple key{device.value, job, stream};
  if (const auto found = tracks_.find(key); found != tracks_.end()) return found->second;
  std::string name(kNames[static_cast<std::size_t>(stream)]);
  if (job > 0) name += " of background " + std::to_string(job);
  return tracks_.emplace(key, timeline_->add_track(process_of(device), name)).first->second;
}

void KernelTrace::slice(DeviceIndex device, std::uint32_t job, Stream stream, std::string_view name,
                        std::string_view category, core::Time begin, core::Time end,
                        std::optional<core::Duration> alone) {
  if (!on()) return;
  if (alone && *alone == end - begin) alone.reset();
  timeline_->slice(track(device, job, stream), timeline_->name(name), timeline_->name(category), begin, end,
                   alone);
}

void KernelTrace::stretch(DeviceIndex device, std::string_view name, std::int64_t number, core::Time begin,
                          core::Time end) {
  if (!on()) return;
  const auto index = static_cast<std::size_t>(number);
  if (index >= numbers_.size()) numbers_.resize(index + 1);
  if (!numbers_[index]) {
    numbers_[index] = timeline_->name(std::string(name) + " " + std::to_string(number));
  }
  timeline_->slice(track(device, 0, Stream::layers), *numbers_[index], timeline_->name(name), begin, end);
}

// "node0.gpu3.port-out" belongs to its device, a leaf switch to the network.
Timeline::Counter KernelTrace::new_link_counter(LinkIndex link) {
  const std::string name = topology_->name(link);
  const std::size_t dot = name.rfind('.');
  const auto device = dot == std::string::npos ? std::nullopt : topology_->find_device(name.substr(0, dot));
  if (device) return timeline_->add_counter(process_of(*device), name.substr(dot + 1) + " use", "%");
  if (!network_) network_ = timeline_->add_process("network");
  return timeline_->add_counter(*network_, name + " use", "%");
}

Timeline::Counter KernelTrace::counter(std::uint32_t resource) {
  auto& counter = counters_[resource];
  if (counter) return *counter;
  if (resources_->is_link(resource)) {
    counter = new_link_counter(resources_->link_of(resource));
  } else {
    const char* const name = resources_->is_hbm(resource) ? "HBM use" : "multiprocessor use";
    counter = timeline_->add_counter(process_of(resources_->device_of(resource)), name, "%");
  }
  return *counter;
}

void KernelTrace::sample(core::Time until, Machine& machine) {
  for (const std::uint32_t resource : machine.take_changes()) {
    if (due_[resource]) continue;
    due_[resource] = 1;
    waiting_.push_back(resource);
  }
  std::size_t kept = 0;
  for (const std::uint32_t resource : waiting_) {
    const core::Time at = std::max(looked_at_, next_[resource]);
    if (at >= until) {
      waiting_[kept++] = resource;
      continue;
    }
    due_[resource] = 0;
    next_[resource] = at + kSamplePeriod;
    // Ten-thousandths of a percent: the last digits of a sum of rates say nothing.
    timeline_->count(counter(resource), at, std::round(machine.use(resource) * 1e6) / 1e4);
  }
  waiting_.resize(kept);
}

}  // namespace moesim::execution
