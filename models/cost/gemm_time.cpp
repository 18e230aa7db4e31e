// Dense matrix products, one or a batch with weights of their own.
//
//   t = launch + quantisation + min over tile shapes and splits of (smax4(matrix loop, DRAM) + tile + split)
//
// The library picks the tile (rows x columns of the output) and the number of pieces of the depth that are
// added up afterwards; this file takes the pick that its own formula finds fastest. A tile's loop is bound by
// the tensor cores, by what its multiprocessor can pull from L2, or by the latency of its steps; tiles run in
// waves over the multiprocessors. Every term grows with rows, columns and depth, and larger products have no
// tile to choose that smaller ones lack (save larger ones, which cannot win there), so the minimum grows too.
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "models/cost/kernel_family.hpp"
#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {
namespace {

enum GemmParameter : std::size_t {
  kGemmDramFraction,
  kGemmL2Rate,
  kGemmSplitTime,
  kGemmWeightShare,
  kGemmActivationShare,
  kGemmLaunch,
  kGemmThrottle,
  kGemmThrottleTime,
  kGemmTensorFraction,
  kGemmExtraLaunch,
  kGemmQuantisePasses,
  kGemmQuantiseRow,
  kGemmTileTime,
  kGemmStep,
  kGemmWaveRounding,
  kGemmHostFloor,
  kGemmParameters,
};

constexpr std::array<Parameter, kGemmParameters> kGemmTable = {{
    {"dram_fraction", "1", "share of the DRAM bandwidth that streamed operands reach", 0.8, 0.5, 1.0, false},
    {"l2_rate", "B/kFLOP", "what L2 gives to all multiprocessors, for the FLOPs of the bf16 peak", 10, 1, 50,
     false},
    {"split_time", "us",
     "adding up the pieces of a split depth, however small; large where kernels never split", 2.5, 0.02, 100,
     true},
    {"weight_share", "1", "share of L2 that weights can fill before a rotating benchmark evicts them", 0.9,
     0.2, 1.5, false},
    {"activation_share", "1", "share of L2 in which activations and results stay", 0.7, 0.1, 2, false},
    {"launch", "us", "start and end of one kernel", 1.5, 0.05, 20, false},
    {"throttle", "1", "slowdown of very long kernels at the power limit", 0.1, 0.001, 1, false},
    {"throttle_time", "ms", "length of a kernel with half of that slowdown", 50, 2, 500, false},
    {"tensor_fraction", "1", "share of the tensor peak that the matrix loop reaches", 0.75, 0.05, 1.1, true},
    {"extra_launch", "us", "kernels that quantise activations, or what widening weights adds", 4, 0.05, 50,
     true},
    {"quantise_passes", "1", "passes over activations and their quantised copy", 1.5, 0.02, 10, true},
    {"quantise_row", "clk SM", "work of one multiprocessor for one row to quantise", 20, 1, 30000, true},
    {"tile_time", "us", "filling the pipeline of a tile and writing its result", 1.5, 0.01, 20, true},
    {"step", "clk", "latency of one step of 64 along the depth", 100, 5, 3000, true},
    {"wave_rounding", "1", "how much of the empty places in the last wave of tiles counts", 0.5, 0.01, 1,
     true},
    {"host_floor", "us", "what the host needs for one call without a CUDA graph; of eager benchmarks only",
     100, 10, 500, true},
}};

constexpr std::array<std::int64_t, 5> kGemmTileRows = {16, 32, 64, 128, 256};
constexpr std::array<std::int64_t, 4> kGemmTileColumns = {32, 64, 128, 256};
constexpr std::array<std::int64_t, 10> kGemmSplits = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};
constexpr std::int64_t kGemmLargestTile = 128 * 256;  // accumulators of a multiprocessor
constexpr std::int64_t kGemmStepDepth = 64;
constexpr double kGemmSplitTraffic = 8;  // bytes of a partial result in fp32, written and read

// The tiles and splits a kernel library has for a format.
struct GemmMenu {
  std::size_t first_rows = 0;
  std::size_t end_rows = kGemmTileRows.size();
  std::size_t first_columns = 0;
  std::int64_t most_splits = 1;
};

GemmMenu gemm_menu(const GemmShape& shape) {
  const llm::NumberFormat weights = shape.formats.weights;
  if (llm::element_bits(shape.formats.activations) == 4) {
    return {.first_rows = 3, .first_columns = 2};
  }
  if (weights == llm::NumberFormat::fp8_block) {
    return {.end_rows = 4};
  }
  if (weights != shape.formats.activations && llm::element_bits(weights) < 16) {
    return {};
  }
  if (weights == llm::NumberFormat::int8) {
    return {.most_splits = shape.m <= 4 ? kGemmSplits.back() : 1};
  }
  return {.most_splits = kGemmSplits.back()};
}

double gemm_ceil_divide(std::int64_t a, std::int64_t b) { return static_cast<double>((a + b - 1) / b); }

// 1 where `bytes` fit into `cache` bytes, 0 where they do not; steep where one kernel evicts what the next
// would read, soft where kernels share.
double gemm_hit(double bytes, double cache, bool steep) {
  const double ratio = bytes / cache;
  if (ratio > 16) {
    return 0;
  }
  double power = ratio * ratio;
  power *= power;
  power *= power;
  if (steep) {
    power *= power;
    power *= power;
  }
  return 1 / (1 + power);
}

double gemm_smax4(double a, double b) {
  a *= a;
  b *= b;
  return core::math::sqrt(core::math::sqrt(a * a + b * b));
}

// What the search over tiles needs, per second.
struct GemmRates {
  double multiprocessors = 0;
  double tensor = 0;  // FLOP/s of one multiprocessor
  double l2 = 0;      // bytes/s
  double step = 0;    // s
  double tile = 0;    // s
  double wave_rounding = 0;
  double split_time = 0;  // s
  double throttle = 0;
  double throttle_time = 0;  // s
};

struct GemmSearch {
  double total = std::numeric_limits<double>::infinity();
  double loop = 0;  // of the best, without DRAM
};

struct GemmOperands {
  double activation_bytes = 0;  // of one element
  double weight_bytes = 0;      // of one element
  double dram = 0;              // s
};

// Tries one tile shape and split.
void gemm_try(const GemmShape& shape, const GemmRates& rates, const GemmOperands& operands, std::int64_t rows,
              std::int64_t columns, double output_tiles, std::int64_t splits, GemmSearch& best) {
  const double tiles = output_tiles * static_cast<double>(splits);
  const double filling = tiles / rates.multiprocessors;
  const double waves = filling < 1 ? 1 : filling + rates.wave_rounding * (std::ceil(filling) - filling);
  const double steps = gemm_ceil_divide(shape.k, splits * kGemmStepDepth);
  const double depth = steps * static_cast<double>(kGemmStepDepth);
  const double read_rows = static_cast<double>(rows < shape.m ? rows : shape.m);
  const double read_columns = static_cast<double>(columns < shape.n ? columns : shape.n);
  const double matrix = 2 * static_cast<double>(rows * columns) * depth / rates.tensor;
  const double shared = rates.l2 / (tiles < rates.multiprocessors ? tiles : rates.multiprocessors);
  const double pulled =
      (depth * (read_rows * operands.activation_bytes + read_columns * operands.weight_bytes) +
       2 * read_rows * read_columns) /
      shared;
  const double busy = matrix > pulled ? matrix : pulled;
  const double latency = steps * rates.step;
  double rest = rates.tile;
  if (splits > 1) {
    rest += rates.split_time + kGemmSplitTraffic * static_cast<double>(splits) *
                                   static_cast<double>(shape.m) * static_cast<double>(shape.n) *
                                   static_cast<double>(shape.batch) / rates.l2;
  }
  const double more_tiles = (waves - 1) * rates.tile;
  const double at_least = waves * (busy > latency ? busy : latency) + more_tiles;
  if ((at_least > operands.dram ? at_least : operands.dram) + rest >= best.total) {
    return;
  }
  double loop = waves * core::math::sqrt(busy * busy + latency * latency) + more_tiles;
  loop += rates.throttle * loop * loop / (loop + rates.throttle_time);
  const double total = gemm_smax4(loop, operands.dram) + rest;
  if (total < best.total) {
    best = {total, loop};
  }
}

GemmSearch gemm_search(const GemmShape& shape, const GemmRates& rates, const GemmOperands& operands) {
  const GemmMenu menu = gemm_menu(shape);
  GemmSearch best;
  for (std::size_t i = menu.first_rows; i < menu.end_rows; ++i) {
    const std::int64_t rows = kGemmTileRows[i];
    if (rows < 128 && shape.m > 4 * rows && i + 1 < menu.end_rows) {
      continue;  // never the best there; skipping them is what keeps large products quick
    }
    const double row_tiles = gemm_ceil_divide(shape.m, rows) * static_cast<double>(shape.batch);
    for (std::size_t j = menu.first_columns; j < kGemmTileColumns.size(); ++j) {
      const std::int64_t columns = kGemmTileColumns[j];
      if (rows * columns > kGemmLargestTile) {
        break;
      }
      const double tiles = row_tiles * gemm_ceil_divide(shape.n, columns);
      for (const std::int64_t splits : kGemmSplits) {
        if (splits > 1 &&
            (splits > menu.most_splits || tiles * static_cast<double>(splits) > rates.multiprocessors)) {
          break;
        }
        gemm_try(shape, rates, operands, rows, columns, tiles, splits, best);
      }
    }
    if (rows >= shape.m) {
      break;  // taller tiles only waste
    }
  }
  return best;
}

struct GemmBytes {
  double weights = 0;
  double activations = 0;
  double result = 0;
  double weight_element = 0;
  double activation_element = 0;
};

GemmBytes gemm_bytes(const GemmShape& shape) {
  const auto element = [](llm::NumberFormat format) {
    const llm::Ratio bits = llm::bits_per_element(format);
    return static_cast<double>(bits.numerator) / static_cast<double>(bits.denominator) / 8;
  };
  const double m = static_cast<double>(shape.m) * static_cast<double>(shape.batch);
  const double n = static_cast<double>(shape.n);
  const double k = static_cast<double>(shape.k);
  GemmBytes bytes;
  bytes.weight_element = element(shape.formats.weights);
  bytes.activation_element = shape.formats.activations == llm::NumberFormat::fp8_block
                                 ? 1 + 4.0 / 128
                                 : element(shape.formats.activations);
  bytes.weights = static_cast<double>(shape.batch) * n * k * bytes.weight_element;
  bytes.activations = m * k * bytes.activation_element;
  bytes.result = m * n * 2;
  return bytes;
}

// Seconds that DRAM needs for what does not come from L2.
double gemm_dram_time(const GemmShape& shape, const GemmBytes& bytes, const DeviceFigures& device,
                      std::span<const double> parameters, Conditions conditions, double bandwidth) {
  double weights = bytes.weights;
  if (conditions == Conditions::benchmark) {
    const double needed = std::ceil(device.l2_bytes / bytes.weights);
    const double most = static_cast<double>(shape.benchmark_copies);
    const double copies = needed < most ? needed : most;
    weights *= 1 - gemm_hit(copies * bytes.weights, parameters[kGemmWeightShare] * device.l2_bytes, true);
  }
  // Activations come from the kernel before, and results go to the next one.
  const double passing = bytes.activations + bytes.result;
  const double hit =
      gemm_hit(bytes.weights + passing, parameters[kGemmActivationShare] * device.l2_bytes, false);
  return (weights + passing * (1 - hit)) / bandwidth;
}

KernelTime gemm_time(const KernelShape& kernel, const DeviceFigures& device,
                     std::span<const double> parameters, Conditions conditions, const PartTimes* /*parts*/) {
  const GemmShape& shape = std::get<GemmShape>(kernel);
  const auto& p = parameters;
  if (shape.m <= 0 || shape.n <= 0 || shape.k <= 0 || shape.batch <= 0) {
    return {};
  }
  const double peak =
      matmul_peak(device, llm::compute_format(shape.formats.weights, shape.formats.activations));
  const double bandwidth = p[kGemmDramFraction] * device.dram_bandwidth;
  const double processors = device.multiprocessors;
  GemmRates rates;
  rates.multiprocessors = processors;
  rates.tensor = p[kGemmTensorFraction] * peak / processors;
  rates.l2 = p[kGemmL2Rate] * 1e-3 * device.peak_of(hardware::NumberFormat::bf16);
  rates.step = p[kGemmStep] / device.clock;
  rates.tile = p[kGemmTileTime] * 1e-6;
  rates.wave_rounding = p[kGemmWaveRounding];
  rates.split_time = p[kGemmSplitTime] * 1e-6;
  rates.throttle = p[kGemmThrottle];
  rates.throttle_time = p[kGemmThrottleTime] * 1e-3;
  const GemmBytes bytes = gemm_bytes(shape);
  const double dram = gemm_dram_time(shape, bytes, device, p, conditions, bandwidth);
  const GemmSearch best = gemm_search(shape, rates, {bytes.activation_element, bytes.weight_element, dram});
  KernelTime time;
  time.latency = (p[kGemmLaunch] + p[kGemmTileTime]) * 1e-6;
  double before = p[kGemmLaunch] * 1e-6;
  double quantise_bytes = 0;
  if (shape.quantises) {
    const double rows = static_cast<double>(shape.m) * static_cast<double>(shape.batch);
    quantise_bytes = rows * static_cast<double>(shape.k) * (2 + bytes.activation_element);
    const double hit = gemm_hit(quantise_bytes, p[kGemmActivationShare] * device.l2_bytes, false);
    const double from_dram = (1 - hit) / bandwidth;
    const double from_l2 = 1 / rates.l2;
    before += p[kGemmQuantisePasses] * quantise_bytes * (from_dram > from_l2 ? from_dram : from_l2) +
              p[kGemmQuantiseRow] * rows / (processors * device.clock);
  }
  if (shape.quantises || shape.formats.weights != shape.formats.activations) {
    before += p[kGemmExtraLaunch] * 1e-6;
    time.latency += p[kGemmExtraLaunch] * 1e-6;
  }
  time.total = before + best.total;
  time.compute = best.loop;
  time.memory = dram + quantise_bytes / device.dram_bandwidth;
  const double flops = 2 * static_cast<double>(shape.batch) * static_cast<double>(shape.m) *
                       static_cast<double>(shape.n) * static_cast<double>(shape.k);
  const double fastest = (bytes.weights + bytes.activations + bytes.result) / device.dram_bandwidth;
  time.speed_of_light = flops / peak > fastest ? flops / peak : fastest;
  if (conditions == Conditions::benchmark && shape.eager) {
    const double floor = p[kGemmHostFloor] * 1e-6;
    time.total = core::math::sqrt(gemm_smax4(time.total * time.total, floor * floor));
  }
  return time;
}

std::string gemm_variant(const KernelShape& kernel) {
  const GemmShape& shape = std::get<GemmShape>(kernel);
  return (shape.batch > 1 ? "bmm/" : "") + format_name(shape.formats);
}

double gemm_log2(std::int64_t value) { return core::math::log2(static_cast<double>(value)); }

Coordinates gemm_surface_place(const KernelShape& kernel, const DeviceFigures& /*device*/) {
  const GemmShape& shape = std::get<GemmShape>(kernel);
  return {gemm_log2(shape.m), gemm_log2(shape.n) + gemm_log2(shape.batch), gemm_log2(shape.k)};
}

// Shapes with the same rows are alike first; then those that fill their last wave of tiles alike.
Coordinates gemm_place(const KernelShape& kernel, const DeviceFigures& device) {
  const GemmShape& shape = std::get<GemmShape>(kernel);
  const auto emptiness = [&](std::int64_t rows, std::int64_t columns) {
    const double waves = gemm_ceil_divide(shape.m, rows) * gemm_ceil_divide(shape.n, columns) *
                         static_cast<double>(shape.batch) / device.multiprocessors;
    return waves > 1 ? 6 * core::math::log2(std::ceil(waves) / waves) : 0;
  };
  return {3 * gemm_log2(shape.m), gemm_log2(shape.n) + gemm_log2(shape.batch),
          gemm_log2(shape.k),     emptiness(128, 128),
          emptiness(128, 256),    emptiness(64, 64)};
}

constexpr KernelFamily kGemmFamily = {
    .name = "gemm",
    .sentence = "dense matrix products, with the quantisation of their activations",
    .parameters = kGemmTable,
    .time = &gemm_time,
    .variant = &gemm_variant,
    .surface_axes = {{{2, 13, 4}, {7, 15, 4}, {7, 15, 3}}},
    .surface_place = &gemm_surface_place,
    .place = &gemm_place,
};

}  // namespace

const KernelFamily& gemm_family() { return kGemmFamily; }

}  // namespace moesim::cost
