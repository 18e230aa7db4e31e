// Physics of a fused mixture-of-experts layer on one rank.
//
//   time = start-up + routing + passes over rows + grouped product up + grouped product down
//
// A grouped product cuts the rows of each expert into tiles of `rows x 128` results; the library's tuner
// takes the tile height that is fastest. Tiles run in waves over the multiprocessors. One tile takes the
// longer of its multiplications and its loads through the multiprocessor's own port, plus clocks in which
// neither runs (descriptors of the next expert, filling and draining of the pipeline). Beside that, the
// weights of every active expert come from DRAM once. The two overlap only in part:
//
//   product = (waves^1.5 + dram^1.5)^(1/1.5)
//
// Nothing here depends on a skew factor: tiles, active experts and rows are those of the actual counts.
#include "models/cost/moe_time.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

namespace math = core::math;

constexpr double kMicro = 1e-6;
// Between two replays of the CUDA graph that a benchmark times, and not between the kernels of a step.
constexpr double kMoeReplayGap = 1e-6;
constexpr double kTileColumns = 128;
// Bytes of one element of the residual stream and of results (bf16).
constexpr double kStream = 2;

const std::array<Parameter, 13> kMoeParameters = {{
    {"start_up", "us",
     "Launches, prologues and epilogues of the layer's kernels, with the gap between two replays", 20, 1, 200,
     true},
    {"routing", "us", "Choice of experts and sorting of rows, for each 256 experts of the layer", 4, 0.1, 60},
    {"split_activation", "us", "More start-up where the activation is a kernel of its own (not gated)", 14,
     0.1, 100},
    {"pass_rate", "B/clk/SM", "Bytes that permutation, activation and weighted sum move per clock", 7, 0.3,
     60, true},
    {"dram_fraction", "1", "Share of the DRAM bandwidth at which weights are streamed", 0.9, 0.4, 1},
    {"load_rate", "B/clk/SM", "Bytes that one multiprocessor loads for its tile per clock", 60, 4, 250},
    {"tensor_fraction", "1", "Share of the tensor peak within a tile's main loop", 0.7, 0.02, 1.1, true},
    {"tile_clocks", "clk", "Clocks of a tile outside its main loop", 1500, 10, 30000, true},
    {"wave_rounding", "1", "How far an unfinished wave of tiles counts as a whole one", 0.7, 0.02, 1},
    {"foreign_rows", "1", "Share of the rows of the whole EP group that the kernels compute at least", 0.01,
     0.001, 1, true},
    {"cache_share", "1", "Share of L2 up to which repeated runs find their weights there", 0.8, 0.2, 2},
    {"token_clocks", "clk", "Clocks of one multiprocessor to choose the experts of one token of the group",
     1000, 10, 200000, true},
    {"expert_setup", "us", "Tables and descriptors of the rank's experts, for each 256 of them", 5, 0.1, 300,
     true},
}};

double weight_bytes(llm::NumberFormat format) {
  const llm::Ratio bits = llm::bits_per_element(format);
  return static_cast<double>(bits.numerator) / static_cast<double>(bits.denominator) / 8;
}

// Bytes of one element of an activation row, with its share of the scales.
double activation_bytes(llm::NumberFormat format) {
  constexpr std::int64_t kWidth = 1024;
  return static_cast<double>(llm::row_bytes(kWidth, format)) / static_cast<double>(kWidth);
}

// (a^1.5 + b^1.5)^(1/1.5).
double partly_overlapped(double a, double b) {
  const double sum = a * math::sqrt(a) + b * math::sqrt(b);
  return math::pow(sum, 2.0 / 3.0);
}

double matrices(const MoeShape& shape) { return shape.gated ? 2 : 1; }

// Bytes of the weights of `active` experts.
double expert_bytes(const MoeShape& shape, double active) {
  return active * weight_bytes(shape.formats.weights) * static_cast<double>(shape.hidden) *
         static_cast<double>(shape.width) * (matrices(shape) + 1);
}

// A benchmark repeats one layer: what fits into L2 together stays there. A steep but smooth step.
double cached_share(double bytes, const DeviceFigures& device, const MoeParameters& parameters) {
  const double x = bytes / (parameters.cache_share * device.l2_bytes);
  const double x2 = x * x, x4 = x2 * x2;
  return 1 / (1 + x4 * x4);
}

double group_rows(const MoeShape& shape) {
  return static_cast<double>(shape.tokens) * static_cast<double>(shape.top_k);
}

// Time of the tiles of `height` rows, seconds.
double tiles_time(const GroupedShape& shape, double row_tiles, double tile_rows, double height,
                  const DeviceFigures& device, const MoeParameters& p) {
  const double columns = static_cast<double>(shape.columns);
  const double depth = static_cast<double>(shape.depth);
  const double waves_exact = row_tiles * std::ceil(columns / kTileColumns) / device.multiprocessors;
  const double waves = std::max(1.0, waves_exact + p.wave_rounding * (std::ceil(waves_exact) - waves_exact));
  const double peak =
      matmul_peak(device, llm::compute_format(shape.formats.weights, shape.formats.activations));
  const double multiply =
      2 * height * kTileColumns * depth / (p.tensor_fraction * peak / device.multiprocessors);
  const double load = depth *
                      (tile_rows * activation_bytes(shape.formats.activations) +
                       kTileColumns * weight_bytes(shape.formats.weights)) /
                      (p.load_rate * device.clock);
  return waves * (std::max(multiply, load) + p.tile_clocks / device.clock);
}

}  // namespace

ExpertLoad load_of(std::span<const std::int64_t> rows_by_expert) {
  ExpertLoad load;
  for (const std::int64_t rows : rows_by_expert) {
    if (rows <= 0) continue;
    load.rows += static_cast<double>(rows);
    load.active += 1;
    load.longest = std::max(load.longest, static_cast<double>(rows));
    for (std::size_t t = 0; t < kExpertTileRows.size(); ++t) {
      load.tiles[t] += static_cast<double>((rows + kExpertTileRows[t] - 1) / kExpertTileRows[t]);
    }
  }
  return load;
}

ExpertLoad mean_load(std::span<const ExpertLoad> loads) {
  core::check(!loads.empty(), "a mean needs a load");
  ExpertLoad mean;
  for (const ExpertLoad& load : loads) {
    mean.rows += load.rows;
    mean.active += load.active;
    mean.longest += load.longest;
    for (std::size_t t = 0; t < mean.tiles.size(); ++t) mean.tiles[t] += load.tiles[t];
  }
  const double count = static_cast<double>(loads.size());
  mean.rows /= count;
  mean.active /= count;
  mean.longest /= count;
  for (double& tiles : mean.tiles) tiles /= count;
  return mean;
}

MoeParameters moe_parameters(std::span<const double> values) {
  core::check(values.size() == kMoeParameters.size(), "one value for each parameter of the family moe");
  return {values[0], values[1], values[2], values[3],  values[4],  values[5], values[6],
          values[7], values[8], values[9], values[10], values[11], values[12]};
}

KernelTime grouped_product_time(const GroupedShape& shape, const ExpertLoad& load,
                                const DeviceFigures& device, const MoeParameters& p) {
  KernelTime time;
  const double foreign = p.foreign_rows * shape.group_rows;
  const double rows = std::max(load.rows, foreign);
  if (rows <= 0) return time;
  for (std::size_t t = 0; t < kExpertTileRows.size(); ++t) {
    const double height = static_cast<double>(kExpertTileRows[t]);
    const double tiles = std::max(load.tiles[t], foreign / height);
    const double tile_rows = std::min(height, load.longest);
    const double tried = tiles_time(shape, tiles, tile_rows, height, device, p);
    time.compute = t == 0 ? tried : std::min(time.compute, tried);
  }
  const double columns = static_cast<double>(shape.columns);
  const double depth = static_cast<double>(shape.depth);
  const double weights = load.active * columns * depth * weight_bytes(shape.formats.weights);
  const double moved = rows * (depth * activation_bytes(shape.formats.activations) + kStream * columns);
  time.memory = (weights * (1 - shape.cached) + moved) / (p.dram_fraction * device.dram_bandwidth);
  time.total = partly_overlapped(time.compute, time.memory);
  return time;
}

double moe_pass_time(double bytes, const DeviceFigures& device, const MoeParameters& parameters) {
  return bytes / (parameters.pass_rate * device.multiprocessors * device.clock);
}

MoeParts moe_parts(const MoeShape& shape, const ExpertLoad& load, const DeviceFigures& device,
                   const MoeParameters& p, Conditions conditions) {
  MoeParts parts;
  parts.start_up = (p.start_up + (shape.gated ? 0.0 : p.split_activation)) * kMicro;
  if (conditions == Conditions::serving) {
    parts.start_up = std::max(parts.start_up - kMoeReplayGap, 0.5 * parts.start_up);
  }
  const double tokens = static_cast<double>(shape.tokens);
  parts.routing = (p.routing * static_cast<double>(shape.experts) +
                   p.expert_setup * static_cast<double>(shape.local_experts)) /
                  256 * kMicro;
  parts.choice = tokens * p.token_clocks / (device.multiprocessors * device.clock);
  const double hidden = static_cast<double>(shape.hidden);
  const double width = static_cast<double>(shape.width);
  const double inner = matrices(shape) * width;
  const double element = activation_bytes(shape.formats.activations);
  const double rows = std::max(load.rows, p.foreign_rows * group_rows(shape));
  parts.permute = moe_pass_time(rows * hidden * (kStream + element), device, p);
  parts.activation = moe_pass_time(rows * (kStream * inner + width * element), device, p);
  parts.unpermute = moe_pass_time(rows * hidden * kStream + tokens * hidden * kStream, device, p);
  GroupedShape product;
  product.formats = shape.formats;
  product.group_rows = group_rows(shape);
  if (conditions == Conditions::benchmark) {
    product.cached = cached_share(expert_bytes(shape, load.active), device, p);
  }
  product.columns = static_cast<std::int64_t>(matrices(shape)) * shape.width;
  product.depth = shape.hidden;
  parts.up = grouped_product_time(product, load, device, p);
  product.columns = shape.hidden;
  product.depth = shape.width;
  parts.down = grouped_product_time(product, load, device, p);
  return parts;
}

namespace {

// Compulsory work on the datasheet's roofline: each active expert's weights once, each row in and out once.
double moe_speed_of_light(const MoeShape& shape, const ExpertLoad& load, const DeviceFigures& device) {
  const double hidden = static_cast<double>(shape.hidden);
  const double products = hidden * static_cast<double>(shape.width) * (matrices(shape) + 1);
  const double compute =
      2 * load.rows * products /
      matmul_peak(device, llm::compute_format(shape.formats.weights, shape.formats.activations));
  const double touched = std::min(load.rows, static_cast<double>(shape.tokens));
  const double memory =
      (expert_bytes(shape, load.active) + 2 * kStream * touched * hidden) / device.dram_bandwidth;
  return std::max(compute, memory);
}

KernelTime moe_time(const KernelShape& any, const DeviceFigures& device, std::span<const double> values,
                    Conditions conditions, const PartTimes* /*parts*/) {
  const MoeShape& shape = std::get<MoeShape>(any);
  core::check(!shape.draws.empty(), "the time of experts needs their rows");
  const MoeParameters parameters = moe_parameters(values);
  KernelTime mean;
  for (const ExpertLoad& load : shape.draws) {
    const MoeParts parts = moe_parts(shape, load, device, parameters, conditions);
    mean.total += parts.total();
    mean.latency += parts.start_up + parts.routing;
    mean.compute += parts.up.compute + parts.down.compute + parts.passes() + parts.choice;
    mean.memory += parts.up.memory + parts.down.memory;
    mean.speed_of_light += moe_speed_of_light(shape, load, device);
  }
  const double count = static_cast<double>(shape.draws.size());
  mean.total /= count;
  mean.latency /= count;
  mean.compute /= count;
  mean.memory /= count;
  mean.speed_of_light /= count;
  return mean;
}

std::string moe_variant(const KernelShape& shape) { return format_name(std::get<MoeShape>(shape).formats); }

double log2_of(double x) { return math::log2(std::max(x, 1.0)); }

double mean_of(const MoeShape& shape, double ExpertLoad::*what) {
  double sum = 0;
  for (const ExpertLoad& load : shape.draws) sum += load.*what;
  return shape.draws.empty() ? 0 : sum / static_cast<double>(shape.draws.size());
}

// Megabytes of active weights, rows of each active expert, active experts.
Coordinates moe_surface_place(const KernelShape& any, const DeviceFigures& /*device*/) {
  const MoeShape& shape = std::get<MoeShape>(any);
  const double rows = mean_of(shape, &ExpertLoad::rows);
  const double active = mean_of(shape, &ExpertLoad::active);
  Coordinates place{};
  place[0] = log2_of(expert_bytes(shape, active) / 0x1p20);
  place[1] = log2_of(rows);
  place[2] = log2_of(active);
  return place;
}

Coordinates moe_place(const KernelShape& any, const DeviceFigures& /*device*/) {
  const MoeShape& shape = std::get<MoeShape>(any);
  const double rows = mean_of(shape, &ExpertLoad::rows);
  const double active = mean_of(shape, &ExpertLoad::active);
  Coordinates place{};
  place[0] = log2_of(rows);
  place[1] = log2_of(static_cast<double>(shape.hidden));
  place[2] = log2_of(static_cast<double>(shape.width));
  place[3] = log2_of(active);
  place[4] = log2_of(static_cast<double>(shape.tokens));
  place[5] = log2_of(mean_of(shape, &ExpertLoad::longest));
  return place;
}

}  // namespace

const KernelFamily& moe_family() {
  static const KernelFamily family = [] {
    KernelFamily one;
    one.name = "moe";
    one.sentence =
        "One rank's experts: routing, permutation, both grouped products, activation, weighted sum";
    one.parameters = kMoeParameters;
    one.time = moe_time;
    one.variant = moe_variant;
    one.surface_axes = {{{0, 14, 4}, {0, 18, 5}, {0, 8, 3}}};
    one.surface_place = moe_surface_place;
    one.place = moe_place;
    return one;
  }();
  return family;
}

}  // namespace moesim::cost
