// Time of one rank's mixture-of-experts layer: what the family "moe" is made of, for whoever prices the parts
// on their own. The parts of a shape add up to the time of the fused layer.
#pragma once

#include <cstdint>
#include <span>

#include "models/cost/kernel_family.hpp"

namespace moesim::cost {

// What grouped kernels depend on, of the rows of a rank's experts (one entry for each expert, not negative).
[[nodiscard]] ExpertLoad load_of(std::span<const std::int64_t> rows_by_expert);

// The mean of some loads, entry by entry. Throws core::InvariantError for none.
[[nodiscard]] ExpertLoad mean_load(std::span<const ExpertLoad> loads);

// The parameters of the family, in the order of its table and in the units of that table.
struct MoeParameters {
  double start_up = 0;          // us
  double routing = 0;           // us
  double split_activation = 0;  // us
  double pass_rate = 0;         // B/clk/SM
  double dram_fraction = 0;
  double load_rate = 0;  // B/clk/SM
  double tensor_fraction = 0;
  double tile_clocks = 0;  // clk
  double wave_rounding = 0;
  double foreign_rows = 0;
  double cache_share = 0;
  double token_clocks = 0;  // clk
  double expert_setup = 0;  // us
};
// Throws core::InvariantError unless there is one value for each parameter.
[[nodiscard]] MoeParameters moe_parameters(std::span<const double> values);

// Seconds by part. `up` and `down` are the grouped products, `passes` everything that moves rows beside them.
struct MoeParts {
  double start_up = 0;  // launches, prologues and epilogues of the layer's kernels; in a benchmark also
                        // the gap between two replays of its graph
  double routing = 0;   // tables of experts and rows, whatever the tokens
  double choice = 0;    // of the experts of every token of the group
  double permute = 0;   // rows in the order of the experts, quantised where the format asks for it
  double activation = 0;
  double unpermute = 0;  // weighted sum of the rows of each token
  KernelTime up;         // gate and up projections
  KernelTime down;

  [[nodiscard]] double passes() const { return permute + activation + unpermute; }
  [[nodiscard]] double total() const {
    return start_up + routing + choice + passes() + up.total + down.total;
  }
};

// The parts for one load of the rank. Everything but the load comes from the shape (its draws are not read).
[[nodiscard]] MoeParts moe_parts(const MoeShape& shape, const ExpertLoad& load, const DeviceFigures& device,
                                 const MoeParameters& parameters, Conditions conditions);

// One product per expert: rows of `load`, each [depth] -> [columns].
struct GroupedShape {
  std::int64_t columns = 0;
  std::int64_t depth = 0;
  llm::LinearFormats formats;
  // Rows that all ranks of the EP group have together (tokens x top_k); 0: there is no other rank.
  double group_rows = 0;
  // The share of the weights that the caches hold from the last run.
  double cached = 0;
};
// Its latency is 0: the start-up of kernels is a part of its own.
[[nodiscard]] KernelTime grouped_product_time(const GroupedShape& shape, const ExpertLoad& load,
                                              const DeviceFigures& device, const MoeParameters& parameters);

// A pass that moves this many bytes between kernels of the layer. Seconds.
[[nodiscard]] double moe_pass_time(double bytes, const DeviceFigures& device,
                                   const MoeParameters& parameters);

}  // namespace moesim::cost
