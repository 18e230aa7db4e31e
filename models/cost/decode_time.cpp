// Time of attention with one query token per sequence: ordinary and latent (MLA, absorbed).
//
// Thread blocks each walk over the cached tokens of one sequence and one group of heads that share keys;
// where there are few such units, the tokens of a unit are split over several blocks and a reduction follows:
//   splits = clamp(split_waves SM / units, 1, min(tokens / split_tokens, most_splits))
//   block  = (block_clocks + row_clocks rows^row_power + tile_clocks (tiles of its tokens - 1)) / pace
//   time   = t0 + reduction + overlapped(waves block / clock, DRAM traffic, L2 traffic, matrix flops)
// overlapped(a, b, ...) = (a^p + b^p + ...)^(1/p). Splits are not rounded: so more tokens or sequences never
// make a kernel faster. Clocks and the rate of L2 are those of an SM as fast as Hopper's: designs feed tensor
// cores in step with their speed, so `pace`, the bf16 FLOP per clock and SM over Hopper's, carries them over
// to other GPUs. A benchmark reads a cache that fits into L2 from there; a serving engine reads DRAM. Form:
// the study's (cost_models.md, part 3), with own terms for rows, windows and the path of single heads, fitted
// on attention_decode.csv and mla_decode.csv.
#include "models/cost/decode_walk.hpp"

namespace moesim::cost {

namespace {

// Query heads per KV head that kernels for groups take; above, libraries fall back to kernels for few heads.
constexpr std::int64_t kDecodeGroupHeads = 32;
constexpr double kDecodeAnySplits = 1e9;

enum AttentionDecodeColumn : std::size_t {
  kAttentionSinks = kDecodeOwnColumns,
  kAttentionRowPower,
  kAttentionHeads,
  kAttentionMostSplits,
  kAttentionGroupPath,
  kAttentionHeadPath = kAttentionGroupPath + 7,
  kAttentionDecodeColumns = kAttentionHeadPath + 7,
};

constexpr std::array<Parameter, kAttentionDecodeColumns> kAttentionDecodeParameters = {
    kDecodeOwnParameters[0],
    kDecodeOwnParameters[1],
    kDecodeOwnParameters[2],
    kDecodeOwnParameters[3],
    kDecodeOwnParameters[4],
    kDecodeOwnParameters[5],
    kDecodeOwnParameters[6],
    kDecodeOwnParameters[7],
    Parameter{"sinks", "us", "Time that attention sinks add", 0.5, 0.01, 5, true},
    Parameter{"row_power", "1", "Power of rows x width of the query tile in the clocks of a block", 1, 0.5, 3,
              true},
    Parameter{"head_rows", "1",
              "Query heads of a block of the kernel for few heads, where more than 32 share a KV head", 1.5,
              1, 128, true},
    named_parameter(kDecodeMostSplits, "group_most_splits"),
    named_parameter(kDecodeSplitTokens, "group_split_tokens"),
    named_parameter(kDecodeSplitWaves, "group_split_waves"),
    Parameter{"group_window_share", "1", "Cost of a block of tokens before the window, in blocks", 0.3, 0.002,
              1, true},
    named_parameter(kDecodeTileClocks, "group_tile_clocks"),
    named_parameter(kDecodeBlockClocks, "group_block_clocks"),
    named_parameter(kDecodeRowClocks, "group_row_clocks"),
    named_parameter(kDecodeFloor, "group_t0"),
    named_parameter(kDecodeSplitTokens, "head_split_tokens"),
    named_parameter(kDecodeSplitWaves, "head_split_waves"),
    Parameter{"head_window_share", "1", "The same for the kernel of few heads", 0.3, 0.002, 1, true},
    named_parameter(kDecodeTileClocks, "head_tile_clocks"),
    named_parameter(kDecodeBlockClocks, "head_block_clocks"),
    named_parameter(kDecodeRowClocks, "head_row_clocks"),
    named_parameter(kDecodeFloor, "head_t0"),
};

// Seven values from `first` on.
DecodePath decode_path(std::span<const double> values, std::size_t first) {
  constexpr double kKiloclocks = 1000;
  DecodePath path;
  path.split_tokens = values[first];
  path.split_waves = values[first + 1];
  path.most_splits = kDecodeAnySplits;
  path.window_share = values[first + 2];
  path.tile_clocks = values[first + 3] * kKiloclocks;
  path.block_clocks = values[first + 4] * kKiloclocks;
  path.row_clocks = values[first + 5] * kKiloclocks;
  path.floor = values[first + 6] * kDecodeMicrosecond;
  return path;
}

// With blocks that take `rows` of the `heads` query heads that share a KV head; each reads the cache.
DecodeLoad attention_load(const AttentionDecodeShape& shape, const DeviceFigures& device, double heads,
                          double rows, double padded) {
  const auto batch = static_cast<double>(shape.batch);
  const auto width = static_cast<double>(shape.qk_dim + shape.v_dim);
  const auto context = static_cast<double>(shape.context);
  const double kv_units = batch * static_cast<double>(shape.kv_heads);
  DecodeLoad load;
  load.units = kv_units * heads / rows;
  load.readers = load.units;
  load.rows = padded;
  load.row_work = padded * width / (16 * 256);
  load.context = context;
  load.seen = shape.window > 0 ? std::min(context, static_cast<double>(shape.window)) : context;
  load.tile_tokens = 128;
  load.tile_work = width / 256;
  load.token_bytes = width * decode_bytes_of(shape.kv);
  load.token_flops = 2 * width;
  load.cache_bytes = kv_units * load.seen * load.token_bytes;
  load.result_bytes = 2 * batch * static_cast<double>(shape.query_heads) * width;
  load.peak = matmul_peak(device, is_narrow_cache(shape) ? llm::NumberFormat::fp8 : llm::NumberFormat::bf16);
  return load;
}

KernelTime attention_group_time(const AttentionDecodeShape& shape, const DeviceFigures& device,
                                std::span<const double> values, Conditions conditions, double heads) {
  // Instructions on 8-bit operands take queries in steps of 8 rows, those on 16-bit ones in steps of 16.
  const double step = is_narrow_cache(shape) ? 8 : 16;
  const auto whole = static_cast<double>(static_cast<std::int64_t>(heads / step));
  const double padded = step * (whole * step < heads ? whole + 1 : whole);
  DecodePath path = decode_path(values, kAttentionGroupPath);
  path.row_power = values[kAttentionRowPower];
  path.most_splits = values[kAttentionMostSplits];
  if (shape.sinks) {
    path.floor += values[kAttentionSinks] * kDecodeMicrosecond;
  }
  return decode_path_time(attention_load(shape, device, heads, heads, padded), path, decode_common(values),
                          device, conditions);
}

KernelTime attention_head_time(const AttentionDecodeShape& shape, const DeviceFigures& device,
                               std::span<const double> values, Conditions conditions, double heads) {
  const double rows =
      heads > static_cast<double>(kDecodeGroupHeads) ? std::min(values[kAttentionHeads], heads) : 1;
  return decode_path_time(attention_load(shape, device, heads, rows, rows),
                          decode_path(values, kAttentionHeadPath), decode_common(values), device, conditions);
}

// Libraries have a kernel for groups of query heads that share a KV head, and one for single heads. The
// second is taken where there is no group or too large a one, and by 16-bit caches where it is quicker.
KernelTime attention_decode_time(const KernelShape& shape, const DeviceFigures& device,
                                 std::span<const double> parameters, Conditions conditions,
                                 const PartTimes* /*parts*/) {
  const auto& attention = std::get<AttentionDecodeShape>(shape);
  const double heads = static_cast<double>(attention.query_heads) / static_cast<double>(attention.kv_heads);
  const bool single = heads <= 1 && !is_datacentre_blackwell(device);
  KernelTime time;
  if (single || heads > static_cast<double>(kDecodeGroupHeads)) {
    time = attention_head_time(attention, device, parameters, conditions, heads);
  } else {
    time = attention_group_time(attention, device, parameters, conditions, heads);
    if (!is_narrow_cache(attention) && !is_datacentre_blackwell(device)) {
      const KernelTime other = attention_head_time(attention, device, parameters, conditions, heads);
      time = other.total < time.total ? other : time;
    }
  }
  const DecodeLoad load = attention_load(attention, device, heads, heads, heads);
  time.speed_of_light =
      decode_speed_of_light(attention, load.seen, load.cache_bytes + load.result_bytes, load.peak, device);
  return time;
}

Coordinates attention_decode_surface(const KernelShape& shape, const DeviceFigures& /*device*/) {
  const auto& s = std::get<AttentionDecodeShape>(shape);
  return {decode_log2(s.batch) + decode_log2(s.kv_heads), decode_log2(seen_tokens(s)),
          decode_log2(s.query_heads)};
}

Coordinates attention_decode_place(const KernelShape& shape, const DeviceFigures& /*device*/) {
  const auto& s = std::get<AttentionDecodeShape>(shape);
  return {decode_log2(s.batch) + decode_log2(s.kv_heads), decode_log2(seen_tokens(s)),
          decode_log2(s.query_heads) - decode_log2(s.kv_heads), 2 * decode_log2(s.qk_dim),
          decode_log2(s.context) - decode_log2(seen_tokens(s))};
}

}  // namespace

const KernelFamily& attention_decode_family() {
  static const KernelFamily family = {
      .name = "attention_decode",
      .sentence = "Attention of one new token per sequence over its cached keys and values",
      .parameters = kAttentionDecodeParameters,
      .time = attention_decode_time,
      .variant = decode_variant,
      .surface_axes = {SurfaceAxis{0, 15, 5}, SurfaceAxis{1, 16, 6}, SurfaceAxis{2, 7, 2}},
      .surface_place = attention_decode_surface,
      .place = attention_decode_place,
  };
  return family;
}

}  // namespace moesim::cost
