// Time of latent attention (MLA, absorbed) with one query token per sequence: the walk of decode_time.cpp, on
// rows that all heads share. Splits are reduced inside a cluster of thread blocks or, where there are more,
// through memory. Fitted on mla_decode.csv.
#include "models/cost/decode_walk.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

// Query heads that one thread block of a latent kernel takes. Two blocks of a datacentre Blackwell work as a
// pair on twice as many and read the cache once for both.
constexpr double kDecodeLatentHeads = 64;
// Up to here, heads are columns of its matrix instructions and need no padding; above, they are rows, which
// one block pads to 128. Warp groups of Hopper pad to 64, warps elsewhere to 16.
constexpr double kDecodeLatentColumns = 32;
constexpr double kDecodeLatentRows = 128;
// Blocks of a cluster reach each other's shared memory and reduce their splits there. Hardware takes 16.
constexpr double kDecodeClusterBlocks = 16;

enum LatentDecodeColumn : std::size_t {
  kLatentInflation = kDecodeOwnColumns,
  kLatentGlobalReduction,
  kLatentMostSplits,
  kLatentSplitTokens,
  kLatentSplitWaves,
  kLatentTileClocks,
  kLatentBlockClocks,
  kLatentRowClocks,
  kLatentFloor,
  kLatentDecodeColumns,
};

constexpr std::array<Parameter, kLatentDecodeColumns> kLatentDecodeParameters = {
    kDecodeOwnParameters[0],
    kDecodeOwnParameters[1],
    kDecodeOwnParameters[2],
    kDecodeOwnParameters[3],
    starting_at(kDecodeOwnParameters[4], 0.9),
    starting_at(kDecodeOwnParameters[5], 100),
    kDecodeOwnParameters[6],
    starting_at(kDecodeOwnParameters[7], 0.6),
    Parameter{"inflation", "1", "Bytes that are read for one byte of the cache's format", 1, 0.99, 2.5, true},
    Parameter{"global_reduction", "us", "Time of the reduction over more splits than a cluster has blocks", 6,
              0.1, 40, true},
    kDecodeMostSplits,
    starting_at(kDecodeSplitTokens, 256),
    starting_at(kDecodeSplitWaves, 2),
    kDecodeTileClocks,
    kDecodeBlockClocks,
    Parameter{"row_clocks", "kclk", "Hopper's clocks of a thread block for 64 query heads", 3, 0.05, 60,
              true},
    starting_at(kDecodeFloor, 8),
};

// Rows of the matrix instructions of one block.
double latent_rows(double heads, double groups, const DeviceFigures& device) {
  if (!is_datacentre_blackwell(device)) {
    return device.architecture == hardware::Architecture::hopper ? kDecodeLatentHeads
                                                                 : std::max(16.0, heads / groups);
  }
  return heads <= kDecodeLatentColumns ? std::max(16.0, heads)
                                       : std::max(heads / groups, kDecodeLatentRows / groups);
}

DecodeLoad latent_load(const AttentionDecodeShape& latent, const DeviceFigures& device, double inflation) {
  const auto batch = static_cast<double>(latent.batch);
  const auto heads = static_cast<double>(latent.query_heads);
  const auto width = static_cast<double>(latent.qk_dim + latent.v_dim);
  const auto context = static_cast<double>(latent.context);
  const double groups = std::max(1.0, heads / kDecodeLatentHeads);
  DecodeLoad load;
  load.units = batch * groups;
  load.readers = is_datacentre_blackwell(device) ? batch * std::max(1.0, groups / 2) : load.units;
  load.rows = latent_rows(heads, groups, device);
  load.row_work = heads / groups / kDecodeLatentHeads;
  load.context = context;
  load.seen = latent.window > 0 ? std::min(context, static_cast<double>(latent.window)) : context;
  load.tile_tokens = 64;
  load.token_bytes = static_cast<double>(latent.qk_dim) * decode_bytes_of(latent.kv) * inflation;
  load.token_flops = 2 * width;
  load.cache_bytes = batch * load.seen * load.token_bytes;
  load.result_bytes = 2 * batch * heads * width;
  load.peak = matmul_peak(device, is_narrow_cache(latent) ? llm::NumberFormat::fp8 : llm::NumberFormat::bf16);

  return load;
}

DecodePath latent_path(std::span<const double> parameters) {
  DecodePath path;
  path.split_tokens = parameters[kLatentSplitTokens];
  path.split_waves = parameters[kLatentSplitWaves];
  path.most_splits = parameters[kLatentMostSplits];
  path.tile_clocks = parameters[kLatentTileClocks] * 1000;
  path.block_clocks = parameters[kLatentBlockClocks] * 1000;
  path.row_clocks = parameters[kLatentRowClocks] * 1000;
  path.floor = parameters[kLatentFloor] * kDecodeMicrosecond;
  return path;
}

// The quicker of two ways to reduce: over few splits inside a cluster, or over many through memory.
KernelTime latent_decode_time(const KernelShape& shape, const DeviceFigures& device,
                              std::span<const double> parameters, Conditions conditions,
                              const PartTimes* /*parts*/) {
  const auto& latent = std::get<AttentionDecodeShape>(shape);
  const DecodeLoad load = latent_load(latent, device, parameters[kLatentInflation]);
  DecodePath path = latent_path(parameters);
  DecodeCommon common = decode_common(parameters);
  const double in_cluster = common.reduction;
  common.reduction = parameters[kLatentGlobalReduction] * kDecodeMicrosecond;
  KernelTime time = decode_path_time(load, path, common, device, conditions);
  path.most_splits = std::min(path.most_splits, kDecodeClusterBlocks);
  common.reduction = in_cluster;
  const KernelTime clustered = decode_path_time(load, path, common, device, conditions);
  time = clustered.total < time.total ? clustered : time;
  time.speed_of_light = decode_speed_of_light(
      latent, load.seen, load.cache_bytes / parameters[kLatentInflation] + load.result_bytes, load.peak,
      device);
  return time;
}

Coordinates latent_decode_surface(const KernelShape& shape, const DeviceFigures& /*device*/) {
  const auto& s = std::get<AttentionDecodeShape>(shape);
  return {decode_log2(s.batch), decode_log2(seen_tokens(s)), decode_log2(s.query_heads)};
}

// Heads of one thread block make little difference; groups of them are units like sequences.
Coordinates latent_decode_place(const KernelShape& shape, const DeviceFigures& /*device*/) {
  const auto& s = std::get<AttentionDecodeShape>(shape);
  const double heads = decode_log2(s.query_heads);
  const double groups = std::max(0.0, heads - core::math::log2(kDecodeLatentHeads));
  return {decode_log2(s.batch) + groups, decode_log2(seen_tokens(s)), 0.2 * heads};
}

}  // namespace

const KernelFamily& latent_decode_family() {
  static const KernelFamily family = {
      .name = "latent_decode",
      .sentence = "Absorbed latent attention of one new token per sequence over its cached latent rows",
      .parameters = kLatentDecodeParameters,
      .time = latent_decode_time,
      .variant = decode_variant,
      .surface_axes = {SurfaceAxis{0, 10, 5}, SurfaceAxis{1, 17, 6}, SurfaceAxis{0, 7, 2}},
      .surface_place = latent_decode_surface,
      .place = latent_decode_place,
  };
  return family;
}

}  // namespace moesim::cost
