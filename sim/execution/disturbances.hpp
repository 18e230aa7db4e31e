// Faults and background traffic of a run at `kernel` fidelity: what a scenario says of them, and the same as
// numbers of devices and links for the executor.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/hardware/topology.hpp"
#include "sim/config/record.hpp"
#include "sim/core/time.hpp"
#include "sim/core/units.hpp"

namespace moesim::execution {

enum class FaultKind : std::uint8_t { slow_hbm, degraded_link, lost_nic, paused_device };

// One entry of "faults".
struct Fault {
  FaultKind kind = FaultKind::slow_hbm;
  std::string target;  // a device, a link as Topology::name writes it, or a NIC "node0.nic1"
  std::optional<double>
      factor;           // share of the bandwidth that is left, in (0, 1); of slow HBM and degraded links
  core::Duration from;  // since the start of the run
  std::optional<core::Duration> until;  // absent: to the end
};

enum class TrafficKind : std::uint8_t { transfer, all_reduce };

// One entry of "background": traffic that is not the deployment's own (KV transfers, a checkpoint, a
// neighbour's job).
struct Traffic {
  TrafficKind kind = TrafficKind::transfer;
  // Of a transfer: devices. One of the two may be "host", the memory of the other's node.
  std::optional<std::string> from;
  std::optional<std::string> to;
  std::vector<std::string> devices;     // of an all-reduce
  core::Bytes bytes;                    // of one transfer; of the whole tensor of an all-reduce
  core::Duration start;                 // since the start of the run
  std::optional<core::Duration> every;  // from start to start; the next one is late if the last has not ended
  std::optional<std::int64_t> count;    // absent: 1 without `every`, with it to the end of the run
};

struct ResolvedFault {
  FaultKind kind = FaultKind::slow_hbm;
  hardware::DeviceIndex device;  // slow_hbm, paused_device
  hardware::LinkIndex link;      // degraded_link
  std::int32_t node = 0;         // lost_nic: the node and the NIC in it
  std::int32_t nic = 0;
  double factor = 1.0;  // share of the bandwidth that is left; 1 where the kind has none
  core::Time from;
  core::Time until = core::kEndOfTime;  // the first instant without the fault
};

struct ResolvedTraffic {
  TrafficKind kind = TrafficKind::transfer;
  std::optional<hardware::DeviceIndex> from;  // of a transfer; none: the host memory of the other's node
  std::optional<hardware::DeviceIndex> to;
  std::vector<hardware::DeviceIndex> devices;  // of an all-reduce, in the order of the scenario
  core::Bytes bytes;
  core::Time start;
  std::optional<core::Duration> every;
  std::optional<std::int64_t> count;  // absent: to the end of the run
};

// Throws core::InvariantError for names that the topology does not have and for missing fields: see
// check_disturbances.
[[nodiscard]] std::vector<ResolvedFault> resolve(std::span<const Fault> faults,
                                                 const hardware::Topology& topology);
[[nodiscard]] std::vector<ResolvedTraffic> resolve(std::span<const Traffic> background,
                                                   const hardware::Topology& topology);

// Reports what is wrong with "faults" and "background" of a scenario on this topology: names that do not
// exist, faults of a kind that overlap at one target, nodes that lose all their NICs at once. Warns of faults
// on devices that neither the deployment (devices 0 .. used - 1) nor the background uses.
void check_disturbances(std::span<const Fault> faults, std::span<const Traffic> background,
                        const hardware::Topology& topology, std::int64_t used, config::Problems& problems);

[[nodiscard]] const config::Record<Fault>& record_of(config::Type<Fault>);
[[nodiscard]] const config::Record<Traffic>& record_of(config::Type<Traffic>);

namespace detail {

// A NIC, "node0.nic1"; none when the cluster has no such.
struct NicPlace {
  std::int32_t node = 0;
  std::int32_t nic = 0;
};
[[nodiscard]] std::optional<NicPlace> find_nic(const hardware::Topology& topology, std::string_view name);

}  // namespace detail

}  // namespace moesim::execution

namespace moesim::config {

template <>
struct EnumNames<execution::FaultKind> {
  static constexpr EnumName<execution::FaultKind> table[] = {
      {execution::FaultKind::slow_hbm, "slow-hbm",
       "a device's memory has a share \"factor\" of its bandwidth"},
      {execution::FaultKind::degraded_link, "degraded-link",
       "a link has a share \"factor\" of its bandwidth"},
      {execution::FaultKind::lost_nic, "lost-nic",
       "a NIC carries nothing; the next one of its node takes its traffic"},
      {execution::FaultKind::paused_device, "paused-device",
       "a device computes nothing and moves nothing, then goes on"}};
};
template <>
struct EnumNames<execution::TrafficKind> {
  static constexpr EnumName<execution::TrafficKind> table[] = {
      {execution::TrafficKind::transfer, "transfer", "\"bytes\" from one device, or its host, to another"},
      {execution::TrafficKind::all_reduce, "all-reduce", "an all-reduce of \"bytes\" over \"devices\""}};
};

}  // namespace moesim::config
