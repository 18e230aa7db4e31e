// Passes over memory without a matrix product: t = launch + bytes at the rate of DRAM, or of L2 where the
// data fit there.
#include <array>

#include "models/cost/kernel_family.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {
namespace {

enum StreamParameter : std::size_t {
  kStreamL2Share,
  kStreamLaunch,
  kStreamDramFraction,
  kStreamL2Rate,
  kStreamRow,
  kStreamParameters,
};

constexpr std::array<Parameter, kStreamParameters> kStreamTable = {{
    {"l2_share", "1", "share of L2 in which data stay from one kernel to the next", 0.7, 0.2, 1.5, false},
    {"launch", "us", "start and end of the kernels of one pass", 2, 0.2, 50, true},
    {"dram_fraction", "1", "share of the DRAM bandwidth that a long pass reaches", 0.8, 0.1, 1, true},
    {"l2_rate", "B/clk/SM", "bytes to and from L2 for each multiprocessor", 24, 1, 200, true},
    {"row", "clk SM", "work of one multiprocessor for one row, however short", 50, 1, 20000, true},
}};

// The share of `bytes` that stays in a cache of `cache` bytes.
double stream_hit(double bytes, double cache) {
  const double ratio = bytes / cache;
  if (ratio > 16) {
    return 0;
  }
  double power = ratio * ratio;
  power *= power;
  power *= power;
  return 1 / (1 + power);
}

KernelTime stream_time(const KernelShape& kernel, const DeviceFigures& device,
                       std::span<const double> parameters, Conditions /*conditions*/,
                       const PartTimes* /*parts*/) {
  const StreamShape& shape = std::get<StreamShape>(kernel);
  const double bytes = static_cast<double>(shape.read_bytes + shape.write_bytes);
  const double rows = static_cast<double>(shape.rows);
  // The kernel before leaves its result in L2, in an engine as in the benchmark.
  const double missing = 1 - stream_hit(bytes, parameters[kStreamL2Share] * device.l2_bytes);
  const double dram = missing * bytes / (parameters[kStreamDramFraction] * device.dram_bandwidth);
  const double clock = device.clock * device.multiprocessors;
  const double l2 = bytes / (parameters[kStreamL2Rate] * clock);
  KernelTime time;
  time.latency = parameters[kStreamLaunch] * 1e-6;
  time.compute = parameters[kStreamRow] * rows / clock;
  time.memory = dram;
  const double moved = core::math::sqrt(dram * dram + l2 * l2);
  time.total = time.latency + (moved > time.compute ? moved : time.compute);
  time.speed_of_light = bytes / device.dram_bandwidth;
  return time;
}

// A pass that only reads (the largest value of a tensor) is another kernel than one that also writes.
std::string stream_variant(const KernelShape& kernel) {
  return std::get<StreamShape>(kernel).write_bytes == 0 ? "reduce" : "map";
}

Coordinates stream_place(const KernelShape& kernel, const DeviceFigures& /*device*/) {
  const StreamShape& shape = std::get<StreamShape>(kernel);
  const auto log2 = [](std::int64_t value) { return core::math::log2(static_cast<double>(value)); };
  return {log2(shape.rows), log2(shape.columns)};
}

constexpr KernelFamily kStreamFamily = {
    .name = "stream",
    .sentence = "passes over memory: norms, activations, quantisation",
    .parameters = kStreamTable,
    .time = &stream_time,
    .variant = &stream_variant,
    .surface_axes = {{{0, 15, 6}, {5, 16, 6}, {}}},
    .surface_place = &stream_place,
    .place = &stream_place,
};

}  // namespace

const KernelFamily& stream_family() { return kStreamFamily; }

}  // namespace moesim::cost
