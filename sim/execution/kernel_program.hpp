// What the ranks of a replica do in one step at `kernel` fidelity: kernels and collectives in order, with
// what each needs of the resources that it uses.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "models/hardware/topology.hpp"
#include "sim/execution/step_time.hpp"

namespace moesim::execution {

// How a collective moves its bytes.
enum class CollectiveShape : std::uint8_t {
  none,      // no collective: a kernel on one device
  ring,      // one activity over the links of all ranks: it moves at the pace of the slowest
  exchange,  // every rank sends to every other on its own
};

// Bytes that each rank of a communicator sends to each other in one exchange.
struct PairBytes {
  std::int64_t ranks = 0;
  std::vector<std::int64_t> bytes;  // [from * ranks + to]; what stays on a rank is not counted

  [[nodiscard]] std::int64_t from_to(std::int64_t from, std::int64_t to) const {
    return bytes[static_cast<std::size_t>(from * ranks + to)];
  }
};

// One operator of one rank. `busy` times are work / achievable rate: how long the operator keeps a resource
// of its device busy if nothing else binds. Alone it takes latency + alone.
struct KernelOp {
  std::string_view name;  // of static storage
  Part part = Part::attention;
  cost::Resource binding = cost::Resource::latency;
  config::Label label = config::Label::derived;
  core::Duration speed_of_light;
  core::Duration latency;
  core::Duration alone;  // the longest of the busy times that the price counts
  core::Duration multiprocessors_busy;
  core::Duration hbm_busy;

  CollectiveShape shape = CollectiveShape::none;
  // Of collectives only:
  std::uint32_t communicator = 0;  // index into KernelProgram::communicators
  core::Duration scale_up_busy;    // of the rank's way into its domain
  core::Duration network_busy;     // of the rank's share of its NIC
  std::int64_t bytes = 0;          // that one rank sends over links
  // An exchange with drawn routing: the bytes of every pair. Empty: every rank sends the same, as priced.
  std::shared_ptr<const PairBytes> pairs;
  double scale_up_efficiency = 1;  // what pairs reach of a link's bandwidth
  double network_efficiency = 1;
  std::int64_t hbm_rate = 1;        // bytes per second
  double multiprocessor_share = 0;  // of a device, while it sends at full speed
};

// Operators that are run `repeat` times.
struct KernelSegment {
  std::shared_ptr<const std::vector<KernelOp>> operators;
  std::int64_t repeat = 1;
  std::string_view name;          // for the timeline: "layer"
  std::int64_t first_number = 0;  // of the first repetition
};

// What runs in order. The micro-batches of a rank are lanes side by side: they take turns on the device's
// compute stream and on its communication stream.
using KernelLane = std::vector<KernelSegment>;

struct RankProgram {
  hardware::DeviceIndex device;
  std::vector<KernelLane> lanes;
};

// Collectives of one communicator and lane match by their order. Every member must call them equally often.
struct Communicator {
  std::vector<std::uint32_t> ranks;  // indices into KernelProgram::ranks
};

struct KernelProgram {
  std::vector<RankProgram> ranks;
  std::vector<Communicator> communicators;
  std::uint32_t job = 0;  // for the timeline: 0 is a replica, n the n-th background traffic
  // Carried into the result.
  std::int64_t slowest_shard_rows = 0;
  std::int64_t all_shard_rows = 0;
};

}  // namespace moesim::execution
