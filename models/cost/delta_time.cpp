// Time of the two kernels of a gated delta layer: the short convolution over its inputs, and the recurrence.
//
// Both move their rows and the state of each sequence through memory. Over a prompt the recurrence works in
// chunks of 64 tokens, whose products depend on one another along a sequence:
//   time = t0 + overlapped(bytes, sequences sequence_clocks) + overlapped(chunks chunk_clocks / SM,
//          chunks of one sequence step_clocks)
// Form: the study's (cost_models.md, part 3) with bytes that may stay in L2, and with the order of chunks.
#include <algorithm>

#include "models/cost/kernel_family.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

constexpr double kDeltaMicrosecond = 1e-6;
// Tokens that one product of the recurrence takes together (flash-linear-attention and its descendants).
constexpr std::int64_t kDeltaChunk = 64;
// Share of the datasheet's DRAM bandwidth that streams reach; 0.77 to 0.82 in GEMMs on every measured GPU.
constexpr double kDeltaDramFraction = 0.8;
// Between two replays of the CUDA graph that a benchmark times.
constexpr double kDeltaReplayGap = 1e-6;
constexpr double kDeltaRowBytes = 2;    // bf16
constexpr double kDeltaStateBytes = 4;  // the recurrence keeps fp32

enum DeltaColumn : std::size_t {
  kDeltaFloor,
  kDeltaRowPasses,
  kDeltaStatePasses,
  kDeltaChunkClocks,
  kDeltaStepClocks,
  kDeltaSequenceClocks,
  kDeltaValueShare,
  kDeltaL2BytesPerClock,
  kDeltaL2Share,
  kDeltaColumns,
};

constexpr std::array<Parameter, kDeltaColumns> kDeltaParameters = {{
    {"t0", "us", "Time with nothing to do, and the gap between two replays", 5, 0.3, 100, true},
    {"row_passes", "1", "Passes over the rows of inputs and outputs", 1, 0.05, 30, true},
    {"state_passes", "1", "Passes over the states, each a read and a write", 1, 0.05, 3, true},
    {"chunk_clocks", "clk", "Clocks of one SM for a chunk of one head", 10000, 50, 100000, false},
    {"step_clocks", "clk", "Clocks until the next chunk of the same sequence can start", 2000, 20, 40000,
     false},
    {"sequence_clocks", "clk", "Clocks for each sequence of a convolution, one after another", 100, 1, 20000,
     false},
    {"value_share", "1", "Share of the value channels that the benchmark of the convolution holds", 0.9, 0.01,
     1, false},
    {"l2_bytes_per_clock", "B/clk/SM", "Rate of traffic that stays in L2", 30, 2, 100, false},
    {"l2_share", "1", "Share of L2 that holds the buffers from one run to the next", 0.5, 0.1, 2, false},
}};

// (a^3 + b^3)^(1/3)
double delta_overlapped(double a, double b) {
  const double larger = std::max(a, b);
  if (larger <= 0) {
    return 0;
  }
  const double ratio = std::min(a, b) / larger;
  return larger * core::math::pow(1 + ratio * ratio * ratio, 1.0 / 3);
}

struct DeltaWork {
  double row_bytes = 0;    // one read and one write of what the kernel is given and gives
  double state_bytes = 0;  // one read and one write of the states
  double flops = 0;
  double chunks = 0;    // of all heads and sequences
  double steps = 0;     // chunks of one sequence
  double in_order = 0;  // sequences that a convolution takes one after another
};

DeltaWork convolution_work(const DeltaShape& shape, double value_share) {
  const auto batch = static_cast<double>(shape.batch);
  const auto width = static_cast<double>(shape.convolution_width);
  const double tokens = batch * (shape.decode ? 1 : static_cast<double>(shape.queries));
  const double channels = 2 * static_cast<double>(shape.key_heads * shape.key_dim) +
                          value_share * static_cast<double>(shape.value_heads * shape.value_dim);
  DeltaWork work;
  work.row_bytes = 2 * tokens * channels * kDeltaRowBytes;
  work.state_bytes = 2 * batch * (width - 1) * channels * kDeltaRowBytes;
  work.flops = 2 * tokens * channels * width;
  work.in_order = shape.decode ? 0 : batch;
  return work;
}

DeltaWork recurrence_work(const DeltaShape& shape) {
  const auto batch = static_cast<double>(shape.batch);
  const auto value_heads = static_cast<double>(shape.value_heads);
  const auto key_dim = static_cast<double>(shape.key_dim);
  const auto value_dim = static_cast<double>(shape.value_dim);
  const double tokens = batch * (shape.decode ? 1 : static_cast<double>(shape.queries));
  DeltaWork work;
  work.row_bytes = tokens * kDeltaRowBytes *
                   (2 * static_cast<double>(shape.key_heads) * key_dim + 2 * value_heads * value_dim);
  work.state_bytes = 2 * batch * value_heads * key_dim * value_dim * kDeltaStateBytes;
  // The state is read, corrected and read again: three products of key_dim x value_dim for each token.
  work.flops = 2 * 3 * tokens * value_heads * key_dim * value_dim;
  if (!shape.decode) {
    work.steps = static_cast<double>((shape.queries + kDeltaChunk - 1) / kDeltaChunk);
    work.chunks = work.steps * batch * value_heads;
  }
  return work;
}

KernelTime delta_time(const KernelShape& any, const DeviceFigures& device, std::span<const double> p,
                      Conditions conditions, const PartTimes* /*parts*/) {
  const auto& shape = std::get<DeltaShape>(any);
  const bool serving = conditions == Conditions::serving;
  const bool convolution = shape.part == DeltaShape::Part::convolution;
  const DeltaWork full = convolution ? convolution_work(shape, 1) : recurrence_work(shape);
  // What a benchmark leaves out, a model does not.
  const DeltaWork work = convolution && !serving ? convolution_work(shape, p[kDeltaValueShare]) : full;

  const double fill = (work.row_bytes + work.state_bytes) / (p[kDeltaL2Share] * device.l2_bytes);
  const double fourth = fill * fill * fill * fill;
  const double missed = fourth / (1 + fourth);
  const double l2_second = 1 / (p[kDeltaL2BytesPerClock] * device.clock * device.multiprocessors);
  const double dram_second = 1 / (kDeltaDramFraction * device.dram_bandwidth);
  const double rows = p[kDeltaRowPasses] * work.row_bytes;
  const double states = p[kDeltaStatePasses] * work.state_bytes;
  // Between two steps of a server, other layers' data goes through L2: states come from DRAM.
  const double from_dram = rows * missed + states * (serving ? 1 : missed);
  const double bytes_time = (rows + states) * l2_second + from_dram * dram_second;
  const double in_order = work.in_order * p[kDeltaSequenceClocks] / device.clock;
  const double chunks = work.chunks * p[kDeltaChunkClocks] / (device.clock * device.multiprocessors);
  const double steps = work.steps * p[kDeltaStepClocks] / device.clock;

  KernelTime time;
  const double floor = p[kDeltaFloor] * kDeltaMicrosecond;
  time.latency = serving ? std::max(floor - kDeltaReplayGap, 0.5 * floor) : floor;
  time.compute = delta_overlapped(chunks, steps);
  time.memory = from_dram * dram_second;
  time.total = time.latency + delta_overlapped(bytes_time, in_order) + time.compute;
  time.speed_of_light = std::max((full.row_bytes + full.state_bytes) / device.dram_bandwidth,
                                 full.flops / matmul_peak(device, llm::NumberFormat::bf16));
  return time;
}

std::string delta_variant(const KernelShape& any) {
  const auto& shape = std::get<DeltaShape>(any);
  std::string name = shape.part == DeltaShape::Part::convolution ? "bf16/convolution" : "bf16/recurrence";
  return shape.decode ? name + "/decode" : name;
}

// Tokens of a sequence, sequences, channels of values and of keys.
Coordinates delta_place(const KernelShape& any, const DeviceFigures& /*device*/) {
  const auto& shape = std::get<DeltaShape>(any);
  const auto log2 = [](std::int64_t count) { return core::math::log2(static_cast<double>(count)); };
  return {log2(shape.decode ? 1 : shape.queries), log2(shape.batch),
          log2(shape.value_heads * shape.value_dim), 0.5 * log2(shape.key_heads * shape.key_dim)};
}

}  // namespace

const KernelFamily& delta_family() {
  static const KernelFamily family = {
      .name = "delta",
      .sentence = "Gated delta layers: the short convolution, and the recurrence in chunks or by token",
      .parameters = kDeltaParameters,
      .time = delta_time,
      .variant = delta_variant,
      .surface_axes = {SurfaceAxis{0, 15, 6}, SurfaceAxis{0, 10, 5}, SurfaceAxis{8, 13, 2}},
      .surface_place = delta_place,
      .place = delta_place,
  };
  return family;
}

}  // namespace moesim::cost
