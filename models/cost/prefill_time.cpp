// Time of attention over the prompt: causal attention of new tokens, ordinary and latent (MLA).
//
// A library runs a pass that rotates queries and keys, fills the KV cache and quantises where it must, and
// then one kernel whose thread blocks each keep a tile of queries of one head and walk over tiles of keys:
//   time = t0 + rotation + overlapped(walk, (1 - io) attention traffic) + io attention traffic
//   walk = max(longest, total / SM + tail longest min(1, blocks / SM)) tile + c0 max(1, blocks / SM)
//   tile = matrix flops / (e peak / SM) + scores cx / clock; where latent kernels do both at once,
//   overlapped()
// `total` and `longest` count tiles of 128 queries by 128 keys, with the rows and keys that the hardware adds
// to fill its matrix instructions. Traffic goes through L2 and, where activations and cache outgrow it, DRAM.
// Libraries that launch the pieces of latent attention one by one cannot beat their host: time = max with
// that. Form: our own fit of the measured kernels (attention_prefill.csv, mla_prefill.csv) with the study's
// (cost_models.md, part 3) as the start.
#include <algorithm>
#include <bit>

#include "models/cost/kernel_family.hpp"
#include "models/cost/prefill_walk.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

constexpr double kPrefillMicrosecond = 1e-6;
// Share of the datasheet's DRAM bandwidth that streams reach; 0.77 to 0.82 in GEMMs on every measured GPU.
constexpr double kPrefillDramFraction = 0.8;
// Between two replays of the CUDA graph that a benchmark times, and not between the kernels of a step.
constexpr double kPrefillReplayGap = 1e-6;
// Numbers of one token in the cache of latent attention: 512 latent ones and 64 rotated key dimensions.
constexpr double kPrefillLatentWidth = 576;

double prefill_padded_width(std::int64_t dimensions, const PrefillTiling& tiling) {
  const auto width = static_cast<std::uint64_t>(dimensions);
  return static_cast<double>(tiling.pads_heads ? std::bit_ceil(width) : width);
}

bool prefill_byte_wide(llm::NumberFormat format) { return llm::element_bits(format) == 8; }

double prefill_bytes(llm::NumberFormat format) { return static_cast<double>(llm::element_bits(format)) / 8; }

// Bytes that the two passes move, at least once each.
struct PrefillBytes {
  double rotation = 0;   // reads of queries, keys and values, writes of queries and cache
  double attention = 0;  // reads of queries, keys and values, writes of the result
  double footprint = 0;  // of all buffers
  double prefix = 0;     // cache of the tokens before, read by `attention`
};

PrefillBytes prefill_bytes_of(const AttentionPrefillShape& shape) {
  const double tokens = static_cast<double>(shape.batch) * static_cast<double>(shape.queries);
  const auto query_heads = static_cast<double>(shape.query_heads);
  const auto qk = static_cast<double>(shape.qk_dim);
  const auto v = static_cast<double>(shape.v_dim);
  const double query_bytes = prefill_byte_wide(shape.compute) ? 1 : 2;
  const double kv_bytes = prefill_bytes(shape.kv);
  const double keys_values = static_cast<double>(shape.kv_heads) * (qk + v);
  const auto window = static_cast<double>(shape.window);
  auto prefix = static_cast<double>(shape.prefix);
  if (window > 0) {
    prefix = std::min(prefix, window);
  }
  PrefillBytes bytes;
  double input = 2 * tokens * (query_heads * qk + keys_values);
  double cache = tokens * keys_values * kv_bytes;
  double written = cache;
  if (shape.latent) {
    // The cache holds latent rows; keys and values were expanded for this kernel alone, and are narrowed by a
    // pass of their own where the kernel multiplies in fp8.
    input += 2 * tokens * kPrefillLatentWidth;
    written = tokens * kPrefillLatentWidth * kv_bytes + (prefill_byte_wide(shape.kv) ? cache : 0);
    cache = 0;
  }
  bytes.prefix = static_cast<double>(shape.batch) * prefix * keys_values * kv_bytes;
  bytes.rotation = input + tokens * query_heads * qk * query_bytes + written;
  bytes.attention =
      tokens * (query_heads * (qk * query_bytes + 2 * v) + keys_values * kv_bytes) + bytes.prefix;
  bytes.footprint = input + cache + 2 * tokens * query_heads * v + bytes.prefix;
  return bytes;
}

// What the fit decides.
struct PrefillParameters {
  double matrix_fraction = 0;
  double block_clocks = 0;
  double floor = 0;  // s
  double host = 0;   // s
  double score_clocks = 0;
  double edge_units = 0;
  double tail = 0;
  double rotation_passes = 0;
  double io = 0;
  double l2_bytes_per_clock = 0;
  double l2_share = 0;
};

// Multiplications and additions of the scores that the mask leaves.
double prefill_flops(const AttentionPrefillShape& shape) {
  const auto queries = static_cast<double>(shape.queries);
  const auto prefix = static_cast<double>(shape.prefix);
  const auto window = static_cast<double>(shape.window);
  double pairs = queries * prefix + queries * (queries + 1) / 2;
  if (window > 0 && window < prefix + queries) {
    // Queries whose reach is still below the window see all of it; the others see the window.
    const double before = std::clamp(window - prefix, 0.0, queries);
    pairs = before * prefix + before * (before + 1) / 2 + (queries - before) * window;
  }
  return 2 * static_cast<double>(shape.batch) * static_cast<double>(shape.query_heads) * pairs *
         static_cast<double>(shape.qk_dim + shape.v_dim);
}

// (a^3 + b^3)^(1/3): two demands that overlap well, but not where they are alike.
double prefill_overlapped(double a, double b) {
  const double larger = std::max(a, b);
  if (larger <= 0) {
    return 0;
  }
  const double ratio = std::min(a, b) / larger;
  return larger * core::math::pow(1 + ratio * ratio * ratio, 1.0 / 3);
}

// (time^8 + floor^8)^(1/8): the larger of both, but for where they meet.
double prefill_not_before(double time, double floor) {
  double ratio = floor / time;
  double scale = time;
  if (ratio > 1) {
    ratio = 1 / ratio;
    scale = floor;
  }
  const double fourth = ratio * ratio * ratio * ratio;
  return fourth > 0 ? scale * core::math::sqrt(core::math::sqrt(core::math::sqrt(1 + fourth * fourth)))
                    : scale;
}

KernelTime prefill_time(const AttentionPrefillShape& shape, const DeviceFigures& device,
                        const PrefillParameters& p, Conditions conditions) {
  const PrefillTiling tiling = prefill_tiling(device.architecture);
  const PrefillWalk walk = prefill_walk(shape, tiling);
  const PrefillBytes bytes = prefill_bytes_of(shape);
  const double peak = matmul_peak(device, shape.compute);
  const double width = prefill_padded_width(shape.qk_dim, tiling) + prefill_padded_width(shape.v_dim, tiling);
  const double heads = static_cast<double>(shape.batch) * static_cast<double>(shape.query_heads);
  const double load = heads * walk.tiles / device.multiprocessors;

  const double matrix = 2 * kPrefillUnit * kPrefillUnit * width * device.multiprocessors / peak;
  const double scores = kPrefillUnit * kPrefillUnit * p.score_clocks / device.clock;
  const double unit = shape.latent ? prefill_overlapped(matrix / p.matrix_fraction, scores)
                                   : matrix / p.matrix_fraction + scores;
  const double longest =
      walk.longest + p.edge_units * std::min(1.0, walk.edge) * tiling.queries / kPrefillUnit;
  const double total = heads * (walk.total + p.edge_units * walk.edge) / device.multiprocessors;
  const double span = std::max(longest, total + p.tail * longest * std::min(1.0, load));
  const double compute = span * unit + p.block_clocks / device.clock * std::max(1.0, load);

  // The share of the traffic that L2 cannot hold between its writing and its reading.
  const double fill = bytes.footprint / (p.l2_share * device.l2_bytes);
  const double fourth = fill * fill * fill * fill;
  const double missed = fourth / (1 + fourth);
  const double l2_second = 1 / (p.l2_bytes_per_clock * device.clock * device.multiprocessors);
  const double dram_second = 1 / (kPrefillDramFraction * device.dram_bandwidth);
  double cold = 0;
  double floor = p.floor;
  if (conditions == Conditions::serving) {
    // The other layers' data went through L2 since the prefix was last read.
    cold = shape.latent ? 0 : bytes.prefix * (1 - missed) * dram_second;
    floor = std::max(floor - kPrefillReplayGap, 0.5 * floor);
  }
  const double byte_second = l2_second + missed * dram_second;
  const double rotation = p.rotation_passes * bytes.rotation * byte_second;
  const double attention = bytes.attention * byte_second + cold;

  KernelTime time;
  time.latency = floor;
  time.compute = compute;
  time.memory = (p.rotation_passes * bytes.rotation + bytes.attention) * missed * dram_second + cold;
  time.total = floor + rotation + prefill_overlapped(compute, (1 - p.io) * attention) + p.io * attention;
  if (conditions == Conditions::benchmark) {
    time.total = prefill_not_before(time.total, p.host);
  }
  const double compulsory = bytes.attention / device.dram_bandwidth;
  time.speed_of_light = std::max(prefill_flops(shape) / peak, compulsory);
  return time;
}

enum PrefillColumn : std::size_t {
  kMatrixFraction,
  kBlockClocks,
  kFloor,
  kScoreClocks,
  kTail,
  kIo,
  kRotationPasses,
  kL2BytesPerClock,
  kL2Share,
  kCommonColumns,
  kHost = kCommonColumns,  // of latent attention
  kLatentColumns,
  kEdgeUnits = kCommonColumns,  // of ordinary attention
  kEdgeUnitsLow,
  kAttentionColumns,
};

constexpr Parameter kPrefillMatrixFraction = {
    "matrix_fraction",
    "1",
    "Share of the peak that the products with keys and values reach",
    0.6,
    0.02,
    1.5,
    true};
constexpr Parameter kPrefillBlockClocks = {
    "block_clocks", "clk", "Clocks that a thread block spends beside its walk over the keys", 4000, 40,
    40000,          true};
constexpr Parameter kPrefillFloor = {
    "t0", "us", "Time with nothing to do: both passes and the gap between two replays", 12, 2, 200, true};
constexpr Parameter kPrefillScoreClocks = {
    "score_clocks", "clk", "Clocks of one SM for the softmax of one score", 0.1, 0.01, 1, false};
constexpr Parameter kPrefillTail = {
    "tail", "1", "Share of the longest thread block that the last wave waits for", 0.7, 0.05, 1.5, false};
constexpr Parameter kPrefillIo = {
    "io", "1", "Share of the traffic of attention that nothing hides", 0.5, 0.05, 0.99, false};
constexpr Parameter kPrefillL2BytesPerClock = {
    "l2_bytes_per_clock", "B/clk/SM", "Rate of traffic that stays in L2", 30, 4, 100, false};
constexpr Parameter kPrefillL2Share = {
    "l2_share", "1",  "Share of L2 that holds what one pass writes until the next reads it", 0.5, 0.02,
    2,          false};

// Of the pass that rotates, fills the cache and narrows; where latent attention multiplies in bf16 most of it
// is left out.
constexpr Parameter prefill_rotation_passes(bool by_variant) {
  return {"rotation_passes", "1", "Passes over queries, keys, values and cache before attention", 1, 0.02, 5,
          by_variant};
}

constexpr std::array<Parameter, kAttentionColumns> kAttentionPrefillParameters = {
    kPrefillMatrixFraction,
    kPrefillBlockClocks,
    kPrefillFloor,
    kPrefillScoreClocks,
    kPrefillTail,
    kPrefillIo,
    prefill_rotation_passes(false),
    kPrefillL2BytesPerClock,
    kPrefillL2Share,
    Parameter{"edge_units", "1", "Work at the start of a window, in 128 keys, beyond that of its scores", 1,
              0.05, 10, false},
    Parameter{"edge_units_low", "1",
              "The same for kernels of 8-bit caches on Hopper, whose masked steps are slow", 4, 0.05, 20,
              false},
};

constexpr std::array<Parameter, kLatentColumns> kLatentPrefillParameters = {
    kPrefillMatrixFraction,
    kPrefillBlockClocks,
    kPrefillFloor,
    kPrefillScoreClocks,
    kPrefillTail,
    kPrefillIo,
    prefill_rotation_passes(true),
    kPrefillL2BytesPerClock,
    kPrefillL2Share,
    Parameter{"host", "us", "Time of the host where a benchmark launches kernels without a graph", 30, 0.5,
              600, false},
};

PrefillParameters common_prefill_parameters(std::span<const double> values) {
  PrefillParameters p;
  p.matrix_fraction = values[kMatrixFraction];
  p.block_clocks = values[kBlockClocks];
  p.floor = values[kFloor] * kPrefillMicrosecond;
  p.score_clocks = values[kScoreClocks];
  p.tail = values[kTail];
  p.io = values[kIo];
  p.rotation_passes = values[kRotationPasses];
  p.l2_bytes_per_clock = values[kL2BytesPerClock];
  p.l2_share = values[kL2Share];
  return p;
}

KernelTime attention_prefill_time(const KernelShape& shape, const DeviceFigures& device,
                                  std::span<const double> parameters, Conditions conditions,
                                  const PartTimes* /*parts*/) {
  const auto& attention = std::get<AttentionPrefillShape>(shape);
  PrefillParameters p = common_prefill_parameters(parameters);
  const bool low = prefill_byte_wide(attention.kv) && device.architecture == hardware::Architecture::hopper;
  p.edge_units = parameters[low ? kEdgeUnitsLow : kEdgeUnits];
  return prefill_time(attention, device, p, conditions);
}

KernelTime latent_prefill_time(const KernelShape& shape, const DeviceFigures& device,
                               std::span<const double> parameters, Conditions conditions,
                               const PartTimes* /*parts*/) {
  PrefillParameters p = common_prefill_parameters(parameters);
  p.host = parameters[kHost] * kPrefillMicrosecond;
  return prefill_time(std::get<AttentionPrefillShape>(shape), device, p, conditions);
}

std::string prefill_format(const AttentionPrefillShape& shape) {
  if (prefill_byte_wide(shape.compute)) {
    return "fp8";
  }
  return prefill_byte_wide(shape.kv) ? "bf16/kv_fp8" : "bf16";
}

// Libraries compile kernels for widths of heads. Those of up to 64 and of more than 192 dimensions take other
// paths than the usual ones: attention sinks, tiles that shared memory limits, no fp8 instance.
std::string attention_prefill_variant(const KernelShape& shape) {
  const auto& attention = std::get<AttentionPrefillShape>(shape);
  std::string name = prefill_format(attention);
  if (attention.qk_dim <= 64) {
    name += "/narrow";
  } else if (attention.qk_dim > 192) {
    name += "/wide";
  }
  return name;
}

std::string latent_prefill_variant(const KernelShape& shape) {
  return prefill_format(std::get<AttentionPrefillShape>(shape));
}

double prefill_log2(double x) { return core::math::log2(x); }

// Thread blocks for each SM, and how far the queries reach back: twice the mean length of a walk. Behind them
// what residuals follow less: the share of it that a window leaves, heads for each cache, sequences.
Coordinates prefill_surface_place(const KernelShape& shape, const DeviceFigures& device) {
  const auto& s = std::get<AttentionPrefillShape>(shape);
  const auto queries = static_cast<double>(s.queries);
  const double tiles = prefill_steps(queries, prefill_tiling(device.architecture).queries);
  const double blocks = static_cast<double>(s.batch) * static_cast<double>(s.query_heads) * tiles;
  const double reach = queries + static_cast<double>(s.prefix);
  const double seen = s.window > 0 ? std::min(static_cast<double>(s.window), reach) : reach;
  return {prefill_log2(blocks / device.multiprocessors),
          prefill_log2(queries + 2 * static_cast<double>(s.prefix)), prefill_log2(seen)};
}

Coordinates attention_prefill_place(const KernelShape& shape, const DeviceFigures& device) {
  const auto& s = std::get<AttentionPrefillShape>(shape);
  Coordinates place = prefill_surface_place(shape, device);
  const double reach = prefill_log2(static_cast<double>(s.queries) + static_cast<double>(s.prefix));
  place[2] -= reach;
  place[3] = 0.5 * prefill_log2(static_cast<double>(s.query_heads) / static_cast<double>(s.kv_heads));
  place[4] = 0.3 * prefill_log2(static_cast<double>(s.batch));
  place[5] = 2 * prefill_log2(static_cast<double>(s.qk_dim));
  return place;
}

Coordinates latent_prefill_place(const KernelShape& shape, const DeviceFigures& device) {
  const auto& s = std::get<AttentionPrefillShape>(shape);
  Coordinates place = prefill_surface_place(shape, device);
  place[2] = 0;
  place[3] = 0.6 * prefill_log2(static_cast<double>(s.batch));
  return place;
}

constexpr SurfaceAxis kPrefillLoadAxis = {-6, 8, 8};

}  // namespace

const KernelFamily& attention_prefill_family() {
  static const KernelFamily family = {
      .name = "attention_prefill",
      .sentence = "Causal attention of new tokens, with rotation and the writes to the KV cache",
      .parameters = kAttentionPrefillParameters,
      .time = attention_prefill_time,
      .variant = attention_prefill_variant,
      .surface_axes = {kPrefillLoadAxis, SurfaceAxis{0, 14, 4}, SurfaceAxis{5, 14, 2}},
      .surface_place = prefill_surface_place,
      .place = attention_prefill_place,
  };
  return family;
}

const KernelFamily& latent_prefill_family() {
  static const KernelFamily family = {
      .name = "latent_prefill",
      .sentence = "Causal latent attention of new tokens with expanded keys and values",
      .parameters = kLatentPrefillParameters,
      .time = latent_prefill_time,
      .variant = latent_prefill_variant,
      .surface_axes = {kPrefillLoadAxis, SurfaceAxis{0, 14, 8}, SurfaceAxis{}},
      .surface_place = prefill_surface_place,
      .place = latent_prefill_place,
  };
  return family;
}

}  // namespace moesim::cost
