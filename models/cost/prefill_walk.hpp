// How kernels of attention over prompts cut their work: tiles of queries that walk over tiles of keys.
#pragma once

#include "models/cost/kernel_shape.hpp"
#include "models/hardware/gpu.hpp"

namespace moesim::cost {

// The unit in which work is counted: 128 queries by 128 keys.
inline constexpr double kPrefillUnit = 128;

// How kernels cut the work. The matrix instructions of Hopper and Blackwell take 64 rows of queries from a
// group of four warps; elsewhere each warp multiplies 16 rows, and warps without rows do nothing.
struct PrefillTiling {
  double queries = 64;     // of a thread block
  double row_step = 16;    // rows are padded to a multiple of this
  double keys = 64;        // of one step of the walk; divides `queries`
  bool pads_heads = true;  // to the next power of two
};

[[nodiscard]] PrefillTiling prefill_tiling(hardware::Architecture architecture);

// ceil(x / step) for whole numbers below 2^53.
[[nodiscard]] double prefill_steps(double x, double step);

// Work of one head of one sequence, in units of 128 x 128 scores.
struct PrefillWalk {
  double tiles = 0;    // of queries: thread blocks
  double total = 0;    // of all tiles
  double longest = 0;  // of the busiest tile
  double edge = 0;     // queries (in 128) whose window cuts the walk at its start
};

// In closed form: a prompt of a million tokens costs no more than one of ten.
[[nodiscard]] PrefillWalk prefill_walk(const AttentionPrefillShape& shape, const PrefillTiling& tiling);

}  // namespace moesim::cost
