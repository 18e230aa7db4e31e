// Time of a whole latent-attention layer (MLA), with or without an indexer that chooses tokens (DSA),
// composed from the parts of the same kernel library:
//   time = t0 + sum over parts of (latency_share part latency + rest of the part x its factor)
//          + passes over activations + indexer
// Full attention over a prompt expands keys and values and runs the prefill kernel; decode, and every step
// that chooses tokens, runs absorbed: two batched products per head around the decode kernel on latent rows.
// The indexer scores all tokens of the context in fp8 and passes over the scores to choose the best. Form:
// our own, fitted on mla_module_*.csv and dsa_module_*.csv; the parts are those of the other families.
#include <algorithm>

#include "models/cost/kernel_family.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

enum ModuleColumn : std::size_t {
  kModuleFloor,
  kModuleLatencyShare,
  kModuleProjectionFactor,
  kModuleAttentionFactor,
  kModulePasses,
  kModuleScoreFraction,
  kModuleChoicePasses,
  kModuleFill,
  kModuleColumns,
};

constexpr std::array<Parameter, kModuleColumns> kModuleParameters = {{
    {"t0", "us", "Time of the layer's small kernels with nothing to do", 15, 1, 400, true},
    {"latency_share", "1", "Share of a part's own latency that remains in a row of kernels", 0.5, 0.05, 1.5,
     true},
    {"projection_factor", "1", "Time of the projections' products over those of single kernels", 1, 0.4, 2.5,
     true},
    {"attention_factor", "1", "Time of attention's products over those of single kernels", 1, 0.2, 8, true},
    {"passes", "1", "Passes over queries, latent rows and results between the parts", 2, 0.05, 40, true},
    {"score_fraction", "1", "Share of the fp8 peak that the indexer's scores reach", 0.3, 0.01, 1, true},
    {"choice_passes", "1", "Passes over the scores to choose the best", 4, 0.2, 100, true},
    {"fill", "1", "Share of the places for chosen tokens that are computed although the context is shorter",
     0.5, 0.01, 1, true},
}};

// Share of the datasheet's DRAM bandwidth that streams reach; 0.77 to 0.82 in GEMMs on every measured GPU.
constexpr double kModuleDramFraction = 0.8;
constexpr double kScoreBytes = 4;

// Adds up parts.
struct ModuleSum {
  const PartTimes* parts = nullptr;
  double latency_share = 1;
  KernelTime time;

  // `share` of a part whose time beyond its latency is stretched by `factor`.
  void add(const KernelShape& shape, double factor, double share = 1) {
    const KernelTime part = parts->time(shape);
    const double latency = share * latency_share * part.latency;
    time.latency += latency;
    time.compute += share * factor * part.compute;
    time.memory += share * part.memory;
    time.speed_of_light += share * part.speed_of_light;
    time.total += latency + share * factor * std::max(0.0, part.total - part.latency);
  }
};

GemmShape module_product(std::int64_t batch, std::int64_t m, std::int64_t n, std::int64_t k,
                         const llm::LinearFormats& formats) {
  GemmShape shape;
  shape.batch = batch;
  shape.m = m;
  shape.n = n;
  shape.k = k;
  shape.formats = formats;
  shape.quantises = formats.activations != llm::NumberFormat::bf16;
  shape.benchmark_copies = 1;
  return shape;
}

bool is_absorbed(const LatentModuleShape& shape) { return shape.decode || shape.index_top_k > 0; }

// Mean over the new tokens of the tokens that each attends to, at most `most`.
double mean_context(const LatentModuleShape& shape, double most) {
  const auto queries = static_cast<double>(shape.queries);
  const auto prefix = static_cast<double>(shape.prefix);
  const double growing = std::clamp(most - prefix, 0.0, queries);
  return (growing * prefix + growing * (growing + 1) / 2 + (queries - growing) * most) / queries;
}

void add_projections(const LatentModuleShape& shape, std::int64_t tokens, double factor, ModuleSum& sum) {
  const std::int64_t key_width = shape.nope_dim + shape.rope_dim;
  const std::int64_t latent_width = shape.kv_rank + shape.rope_dim;
  sum.add(module_product(1, tokens, shape.query_rank + latent_width, shape.hidden, shape.projections),
          factor);
  sum.add(module_product(1, tokens, shape.heads * key_width, shape.query_rank, shape.projections), factor);
  sum.add(module_product(1, tokens, shape.hidden, shape.heads * shape.v_dim, shape.projections), factor);
}

void add_absorbed(const LatentModuleShape& shape, std::int64_t tokens, std::span<const double> values,
                  ModuleSum& sum) {
  const double projection = values[kModuleProjectionFactor];
  const llm::LinearFormats wide;
  sum.add(module_product(shape.heads, tokens, shape.kv_rank, shape.nope_dim, wide), projection);
  sum.add(module_product(shape.heads, tokens, shape.v_dim, shape.kv_rank, wide), projection);
  AttentionDecodeShape core;
  core.latent = true;
  core.query_heads = shape.heads;
  core.kv_heads = 1;
  core.qk_dim = shape.kv_rank + shape.rope_dim;
  core.v_dim = shape.kv_rank;
  core.compute = shape.compute;
  core.kv = shape.kv;
  core.batch = tokens;
  const auto whole = static_cast<double>(shape.prefix + shape.queries);
  const double chosen = shape.index_top_k > 0 ? static_cast<double>(shape.index_top_k) : whole;
  const double seen = mean_context(shape, std::min(chosen, whole));
  core.context = std::max<std::int64_t>(1, static_cast<std::int64_t>(seen));
  // Kernels on chosen tokens walk over all places of the choice, filled or not, or stop at the last filled
  // one.
  const double fill = shape.index_top_k > 0 && seen < chosen ? values[kModuleFill] : 0;
  sum.add(core, values[kModuleAttentionFactor], 1 - fill);
  if (fill > 0) {
    core.context = shape.index_top_k;
    sum.add(core, values[kModuleAttentionFactor], fill);
  }
}

void add_expanded(const LatentModuleShape& shape, double projection, double attention, ModuleSum& sum) {
  const std::int64_t rows = shape.batch * (shape.prefix + shape.queries);
  sum.add(
      module_product(1, rows, shape.heads * (shape.nope_dim + shape.v_dim), shape.kv_rank, shape.projections),
      projection);
  AttentionPrefillShape core;
  core.latent = true;
  core.batch = shape.batch;
  core.queries = shape.queries;
  core.prefix = shape.prefix;
  core.query_heads = shape.heads;
  core.kv_heads = shape.heads;
  core.qk_dim = shape.nope_dim + shape.rope_dim;
  core.v_dim = shape.v_dim;
  core.compute = shape.compute;
  core.kv = shape.kv;
  sum.add(core, attention);
}

void add_indexer(const LatentModuleShape& shape, const DeviceFigures& device, std::int64_t tokens,
                 std::span<const double> values, ModuleSum& sum) {
  const double factor = values[kModuleProjectionFactor];
  const std::int64_t width = shape.index_heads * shape.index_dim;
  sum.add(module_product(1, tokens, width, shape.query_rank, shape.projections), factor);
  sum.add(module_product(1, tokens, shape.index_dim + shape.index_heads, shape.hidden, {}), factor);
  const auto whole = static_cast<double>(shape.prefix + shape.queries);
  const double pairs = static_cast<double>(tokens) * mean_context(shape, whole);
  const double flops = 2 * pairs * static_cast<double>(width);
  const double compute = flops / (values[kModuleScoreFraction] * matmul_peak(device, llm::NumberFormat::fp8));
  // Keys in fp8 with one scale each.
  const double key_bytes =
      static_cast<double>(shape.batch) * whole * (static_cast<double>(shape.index_dim) + 4);
  const double choice = kScoreBytes * pairs * values[kModuleChoicePasses];
  const double dram = device.dram_bandwidth * kModuleDramFraction;
  sum.time.compute += compute;
  sum.time.memory += (key_bytes + choice) / dram;
  sum.time.total += std::max(compute, key_bytes / dram) + choice / dram;
  sum.time.speed_of_light +=
      std::max(flops / matmul_peak(device, llm::NumberFormat::fp8), key_bytes / device.dram_bandwidth);
}

KernelTime latent_module_time(const KernelShape& shape, const DeviceFigures& device,
                              std::span<const double> values, Conditions /*conditions*/,
                              const PartTimes* parts) {
  const auto& module = std::get<LatentModuleShape>(shape);
  const std::int64_t tokens = module.batch * module.queries;
  ModuleSum sum;
  sum.parts = parts;
  sum.latency_share = values[kModuleLatencyShare];
  sum.time.latency = values[kModuleFloor] * 1e-6;
  sum.time.total = sum.time.latency;
  add_projections(module, tokens, values[kModuleProjectionFactor], sum);
  double width = 0;
  if (is_absorbed(module)) {
    add_absorbed(module, tokens, values, sum);
    width = static_cast<double>(module.heads * (2 * module.kv_rank + module.rope_dim));
  } else {
    add_expanded(module, values[kModuleProjectionFactor], values[kModuleAttentionFactor], sum);
    width = static_cast<double>(module.heads * (module.nope_dim + module.rope_dim + module.v_dim));
  }
  width += static_cast<double>(module.hidden + module.query_rank + module.kv_rank);
  if (module.indexes && module.index_heads > 0) {
    add_indexer(module, device, tokens, values, sum);
  }
  const double passes = values[kModulePasses] * 2 * static_cast<double>(tokens) * width /
                        (kModuleDramFraction * device.dram_bandwidth);
  sum.time.memory += passes;
  sum.time.total += passes;
  return sum.time;
}

// Formats of projections and cache, and which way attention goes.
std::string latent_module_variant(const KernelShape& shape) {
  const auto& module = std::get<LatentModuleShape>(shape);
  std::string name = format_name(module.projections);
  name += llm::element_bits(module.kv) == 8 ? "/kv_fp8" : "";
  if (module.index_heads > 0) {
    name += is_absorbed(module) ? (module.indexes ? "/sparse" : "/chosen") : "/dense";
  }
  name += module.decode ? "" : "/prefill";
  return name;
}

double module_log2(std::int64_t count) {
  return core::math::log2(static_cast<double>(std::max<std::int64_t>(count, 1)));
}

Coordinates latent_module_surface(const KernelShape& shape, const DeviceFigures& /*device*/) {
  const auto& s = std::get<LatentModuleShape>(shape);
  return {module_log2(s.batch) + module_log2(s.queries), module_log2(s.prefix + s.queries),
          module_log2(s.heads)};
}

Coordinates latent_module_place(const KernelShape& shape, const DeviceFigures& /*device*/) {
  const auto& s = std::get<LatentModuleShape>(shape);
  return {module_log2(s.batch) + module_log2(s.queries),
          module_log2(s.queries),
          module_log2(s.prefix + s.queries),
          0.5 * module_log2(s.heads),
          4 * module_log2(s.hidden),
          s.decode ? 0 : 0.25 * module_log2(s.prefix)};
}

}  // namespace

const KernelFamily& latent_module_family() {
  static const KernelFamily family = {
      .name = "latent_module",
      .sentence = "A whole layer of latent attention: projections, attention, indexer where there is one",
      .parameters = kModuleParameters,
      .time = latent_module_time,
      .variant = latent_module_variant,
      .composed = true,
      .surface_axes = {SurfaceAxis{0, 15, 5}, SurfaceAxis{1, 17, 4}, SurfaceAxis{0, 7, 3}},
      .surface_place = latent_module_surface,
      .place = latent_module_place,
  };
  return family;
}

}  // namespace moesim::cost
