#include "models/cost/prefill_walk.hpp"

#include <algorithm>

namespace moesim::cost {

PrefillTiling prefill_tiling(hardware::Architecture architecture) {
  switch (architecture) {
    case hardware::Architecture::hopper:
    case hardware::Architecture::blackwell:
    case hardware::Architecture::blackwell_ultra:
      return {.queries = 128, .row_step = 64, .keys = 64, .pads_heads = false};
    default:
      return {};
  }
}

double prefill_steps(double x, double step) {
  const auto whole = static_cast<double>(static_cast<std::int64_t>(x / step));
  return whole * step < x ? whole + 1 : whole;
}

namespace {

// Steps over keys of a tile that ends `reach` keys into the sequence. A window begins anywhere in a step: one
// more is touched.
double prefill_key_steps(double reach, double rows, double window, double keys) {
  const double all = prefill_steps(reach, keys);
  return window > 0 ? std::min(all, (window + rows - 1) / keys + 1) : all;
}

// Adds the full tiles: their walks grow by the same number of steps until the window holds.
void add_full_tiles(const AttentionPrefillShape& shape, const PrefillTiling& tiling, double full,
                    PrefillWalk& walk) {
  const auto prefix = static_cast<double>(shape.prefix);
  const auto window = static_cast<double>(shape.window);
  const double weight = tiling.queries / kPrefillUnit * tiling.keys / kPrefillUnit;
  const double growth = tiling.queries / tiling.keys;
  const double before = prefill_steps(prefix, tiling.keys);
  double growing = full;
  double held = 0;
  if (window > 0) {
    held = (window + tiling.queries - 1) / tiling.keys + 1;
    const double until =
        static_cast<double>(static_cast<std::int64_t>(std::max(0.0, (held - before) / growth)));
    growing = std::min(full, until);
  }
  walk.total += weight * (growing * before + growth * growing * (growing + 1) / 2 + (full - growing) * held);
  const double last = prefill_key_steps(prefix + full * tiling.queries, tiling.queries, window, tiling.keys);
  walk.longest = std::max(walk.longest, weight * last);
  if (window <= 0) {
    return;
  }
  // Tiles that end before the window is full have no edge; soon after it, all have.
  double tile =
      1 + static_cast<double>(static_cast<std::int64_t>(std::max(0.0, window - prefix) / tiling.queries));
  for (; tile <= full; ++tile) {
    const double cut = (prefix + tile * tiling.queries - window) / kPrefillUnit;
    if (cut >= 1) {
      break;
    }
    walk.edge += std::max(0.0, cut) * tiling.queries / kPrefillUnit;
  }
  walk.edge += std::max(0.0, full - tile + 1) * tiling.queries / kPrefillUnit;
}

}  // namespace

PrefillWalk prefill_walk(const AttentionPrefillShape& shape, const PrefillTiling& tiling) {
  const auto queries = static_cast<double>(shape.queries);
  const auto window = static_cast<double>(shape.window);
  const auto full = static_cast<double>(static_cast<std::int64_t>(queries / tiling.queries));
  PrefillWalk walk;
  if (full > 0) {
    add_full_tiles(shape, tiling, full, walk);
  }
  walk.tiles = full;
  const double rows = queries - full * tiling.queries;
  if (rows > 0) {
    const double reach = static_cast<double>(shape.prefix) + queries;
    const double padded = prefill_steps(rows, tiling.row_step) * tiling.row_step / kPrefillUnit;
    const double steps = prefill_key_steps(reach, rows, window, tiling.keys);
    const double work = padded * steps * tiling.keys / kPrefillUnit;
    walk.tiles += 1;
    walk.total += work;
    walk.longest = std::max(walk.longest, work);
    if (window > 0) {
      walk.edge += std::clamp((reach - window) / kPrefillUnit, 0.0, 1.0) * padded;
    }
  }
  return walk;
}

}  // namespace moesim::cost
