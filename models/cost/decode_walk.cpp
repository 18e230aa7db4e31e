// The walk that kernels of attention with one query token per sequence share. Formula: decode_time.cpp.
#include "models/cost/decode_walk.hpp"

#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

// Between two replays of the CUDA graph that a benchmark times, and not between the kernels of a step.
constexpr double kDecodeReplayGap = 1e-6;
// Floors above this are the host's: kernels that a benchmark launched one by one. A serving engine replays
// graphs.
constexpr double kDecodeHostFree = 20e-6;
// Dense bf16 FLOP of Hopper's SMs in a clock.
constexpr double kDecodeHopperFlops = 4096;

// Speed of an SM in Hopper's.
double decode_pace(const DeviceFigures& device) {
  return matmul_peak(device, llm::NumberFormat::bf16) /
         (device.multiprocessors * device.clock * kDecodeHopperFlops);
}

// A whole wave lasts as long as its slowest block: between the mean load and the load rounded up.
double decode_waves(double load, double rounding) {
  const auto whole = static_cast<double>(static_cast<std::int64_t>(load));
  const double rounded = whole < load ? whole + 1 : whole;
  return std::max(1.0, load + rounding * (rounded - load));
}

// Share of traffic that L2 does not hold from one replay to the next: a sharp step.
double decode_missed(double bytes, double capacity) {
  const double fill = bytes / capacity;
  const double square = fill * fill;
  const double fourth = square * square;
  return fourth * fourth / (1 + fourth * fourth);
}

// (a^4 + b^4 + c^4 + d^4)^(1/4): demands that run side by side, of which the longest decides.
double decode_stream(const std::array<double, 4>& demands) {
  const double longest = std::max(std::max(demands[0], demands[1]), std::max(demands[2], demands[3]));
  if (longest <= 0) {
    return 0;
  }
  double sum = 0;
  for (const double demand : demands) {
    const double square = demand / longest * (demand / longest);
    sum += square * square;
  }
  return longest * core::math::sqrt(core::math::sqrt(sum));
}

// (a^power + b^power)^(1/power).
double decode_overlapped(double a, double b, double power) {
  const double longer = std::max(a, b);
  return longer * core::math::pow(1 + core::math::pow(std::min(a, b) / longer, power), 1 / power);
}

}  // namespace

bool is_datacentre_blackwell(const DeviceFigures& device) {
  return device.architecture == hardware::Architecture::blackwell ||
         device.architecture == hardware::Architecture::blackwell_ultra;
}

double decode_bytes_of(llm::NumberFormat format) {
  return static_cast<double>(llm::element_bits(format)) / 8;
}
bool is_narrow_cache(const AttentionDecodeShape& shape) { return llm::element_bits(shape.kv) <= 8; }

KernelTime decode_path_time(const DecodeLoad& load, const DecodePath& path, const DecodeCommon& common,
                            const DeviceFigures& device, Conditions conditions) {
  const double most =
      std::min(path.most_splits, std::max(1.0, path.split_waves * device.multiprocessors / load.units));
  const double splits = std::min(most, std::max(1.0, load.seen / path.split_tokens));
  // Libraries count splits by the whole context; blocks before the window end at once, but have begun.
  const double begun = std::min(most, std::max(1.0, load.context / path.split_tokens));
  const double blocks = load.units * splits;
  const double all_blocks = blocks + path.window_share * load.units * (begun - splits);

  const double clock = device.clock * decode_pace(device);
  const double steps = std::max(0.0, load.seen / (splits * load.tile_tokens) - 1);
  const double row_work =
      path.row_power == 1 ? load.row_work : core::math::pow(load.row_work, path.row_power);
  const double waves =
      decode_waves(all_blocks / (common.resident_blocks * device.multiprocessors), common.wave_rounding);
  const double begin = waves * (path.block_clocks + path.row_clocks * row_work) / clock;
  const double walk = waves * path.tile_clocks * load.tile_work * steps / clock;

  const double active = std::min(blocks, device.multiprocessors);
  const double bytes = load.cache_bytes + load.result_bytes;
  const double missed = decode_missed(bytes, common.l2_share * device.l2_bytes);
  const double cache_missed = conditions == Conditions::serving ? 1 : missed;
  const double dram = (load.cache_bytes * cache_missed + load.result_bytes * missed) /
                      (common.dram_fraction * device.dram_bandwidth);
  const double l2 =
      load.readers * load.seen * load.token_bytes / (active * common.l2_bytes_per_clock * clock);
  const double compute = load.units * load.rows * load.seen * load.token_flops * device.multiprocessors /
                         (common.matrix_fraction * load.peak * active);

  double floor = path.floor;
  if (conditions == Conditions::serving) {
    floor = std::min(std::max(floor - kDecodeReplayGap, 0.5 * floor), kDecodeHostFree);
  }
  KernelTime time;
  time.latency = floor + common.reduction * std::clamp(load.seen / path.split_tokens - 1, 0.0, 1.0);
  time.compute = compute;
  time.memory = dram;
  time.total =
      time.latency + decode_overlapped(begin, decode_stream({walk, dram, l2, compute}), common.overlap);
  return time;
}

double decode_speed_of_light(const AttentionDecodeShape& shape, double seen, double bytes, double peak,
                             const DeviceFigures& device) {
  const double flops = 2 * static_cast<double>(shape.batch) * static_cast<double>(shape.query_heads) * seen *
                       static_cast<double>(shape.qk_dim + shape.v_dim);
  return std::max(flops / peak, bytes / device.dram_bandwidth);
}

DecodeCommon decode_common(std::span<const double> values) {
  DecodeCommon common;
  common.l2_share = values[kDecodeL2Share];
  common.wave_rounding = values[kDecodeWaveRounding];
  common.overlap = values[kDecodeOverlap];
  common.dram_fraction = values[kDecodeDramFraction];
  common.matrix_fraction = values[kDecodeMatrixFraction];
  common.l2_bytes_per_clock = values[kDecodeL2BytesPerClock];
  common.reduction = values[kDecodeReduction] * kDecodeMicrosecond;
  common.resident_blocks = values[kDecodeResidentBlocks];
  return common;
}

std::string decode_variant(const KernelShape& shape) {
  return is_narrow_cache(std::get<AttentionDecodeShape>(shape)) ? "fp8" : "bf16";
}

double decode_log2(std::int64_t count) {
  return core::math::log2(static_cast<double>(std::max<std::int64_t>(count, 1)));
}

std::int64_t seen_tokens(const AttentionDecodeShape& shape) {
  return shape.window > 0 ? std::min(shape.context, shape.window) : shape.context;
}

}  // namespace moesim::cost
