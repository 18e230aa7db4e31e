// The walk of thread blocks over cached tokens that ordinary and latent attention of one query token per
// sequence share: its formula stands in decode_time.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "models/cost/kernel_family.hpp"

namespace moesim::cost {

inline constexpr double kDecodeMicrosecond = 1e-6;
// What a kernel has to do, as its thread blocks see it.
struct DecodeLoad {
  double units = 0;         // pairs of a sequence and a group of heads
  double readers = 0;       // of them, that read the cache apart from others
  double rows = 0;          // of the query tile of one block, as the hardware pads them
  double row_work = 0;      // of one block, in its unit
  double context = 0;       // tokens of a sequence
  double seen = 0;          // of them inside the window
  double tile_tokens = 0;   // of one step of the walk
  double tile_work = 1;     // of one step, in its unit
  double token_bytes = 0;   // of one unit
  double token_flops = 0;   // of one row
  double cache_bytes = 0;   // of all, read once
  double result_bytes = 0;  // queries and results
  double peak = 0;          // FLOP/s
};

// What the fit decides, in SI units.
struct DecodePath {
  double split_tokens = 0;
  double split_waves = 0;
  double most_splits = 0;
  double window_share = 0;
  double tile_clocks = 0;
  double block_clocks = 0;
  double row_clocks = 0;
  double row_power = 1;
  double floor = 0;
};
struct DecodeCommon {
  double l2_share = 0;
  double wave_rounding = 0;
  double overlap = 0;
  double dram_fraction = 0;
  double matrix_fraction = 0;
  double l2_bytes_per_clock = 0;
  double reduction = 0;
  double resident_blocks = 0;
};

[[nodiscard]] bool is_datacentre_blackwell(const DeviceFigures& device);
[[nodiscard]] double decode_bytes_of(llm::NumberFormat format);
[[nodiscard]] bool is_narrow_cache(const AttentionDecodeShape& shape);

// The time of `load` on one path through a library. `peak` and DRAM figures of `device` in SI units.
[[nodiscard]] KernelTime decode_path_time(const DecodeLoad& load, const DecodePath& path,
                                          const DecodeCommon& common, const DeviceFigures& device,
                                          Conditions conditions);

// Datasheet roofline of the compulsory work, s.
[[nodiscard]] double decode_speed_of_light(const AttentionDecodeShape& shape, double seen, double bytes,
                                           double peak, const DeviceFigures& device);

// Parameters that both families begin with.
enum DecodeColumn : std::size_t {
  kDecodeL2Share,
  kDecodeWaveRounding,
  kDecodeOverlap,
  kDecodeDramFraction,
  kDecodeMatrixFraction,
  kDecodeL2BytesPerClock,
  kDecodeReduction,
  kDecodeResidentBlocks,
  kDecodeOwnColumns,
};

inline constexpr Parameter kDecodeSplitTokens = {
    "split_tokens", "1", "Tokens that a split of a context has at least", 128, 32, 1e6, true};
inline constexpr Parameter kDecodeSplitWaves = {
    "split_waves", "1", "Waves of thread blocks up to which contexts are split", 3, 0.1, 64.0, true};
inline constexpr Parameter kDecodeMostSplits = {"most_splits", "1", "Splits of a context at most", 64, 8,
                                                4096,          true};
inline constexpr Parameter kDecodeTileClocks = {
    "tile_clocks", "kclk", "Hopper's clocks of a further step over tokens", 1.5, 0.1, 20, true};
inline constexpr Parameter kDecodeBlockClocks = {
    "block_clocks", "kclk", "Hopper's clocks of a thread block with one step", 5, 0.3, 60, true};
inline constexpr Parameter kDecodeRowClocks = {
    "row_clocks",
    "kclk",
    "Hopper's clocks of a thread block for a tile of queries of 16 x 128 numbers",
    2,
    0.05,
    60,
    true};
inline constexpr Parameter kDecodeFloor = {
    "t0", "us", "Time with nothing to do, with the gap between two replays", 6, 1, 400, true};

inline constexpr std::array<Parameter, kDecodeOwnColumns> kDecodeOwnParameters = {
    Parameter{"l2_share", "1", "Share of L2 that still holds the cache at the next replay", 0.7, 0.2, 2,
              false},
    Parameter{"wave_rounding", "1", "Share of the last wave that must be waited for", 0.5, 0.02, 1, false},
    Parameter{"overlap", "1", "Power p of the sum of begin and stream; 1 is one after the other", 1.2, 1, 6,
              false},
    Parameter{"dram_fraction", "1", "Share of the datasheet's DRAM bandwidth that reads of the cache reach",
              0.9, 0.3, 1, true},
    Parameter{"matrix_fraction", "1", "Share of the peak that the products with keys and values reach", 0.3,
              0.02, 1.3, true},
    Parameter{"l2_bytes_per_clock", "B/clk/SM",
              "Rate at which one SM of Hopper's speed takes in keys and values", 40, 5, 400, true},
    Parameter{"reduction", "us", "Time of the reduction over splits", 2.5, 0.1, 10, true},
    Parameter{"resident_blocks", "1", "Thread blocks of an SM that run as fast as one", 2, 0.5, 8, true},
};

[[nodiscard]] constexpr Parameter named_parameter(Parameter parameter, std::string_view name) {
  parameter.name = name;
  return parameter;
}
[[nodiscard]] constexpr Parameter starting_at(Parameter parameter, double initial) {
  parameter.initial = initial;
  return parameter;
}

// The parameters that both families begin with, in SI units.
[[nodiscard]] DecodeCommon decode_common(std::span<const double> values);

// Names and coordinates of both.
[[nodiscard]] std::string decode_variant(const KernelShape& shape);
[[nodiscard]] double decode_log2(std::int64_t count);
[[nodiscard]] std::int64_t seen_tokens(const AttentionDecodeShape& shape);

}  // namespace moesim::cost
