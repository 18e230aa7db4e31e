// The layer of moe_layer() spread over ranks, which are simulated one after another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/collectives.hpp"
#include "models/reference/moe_layer.hpp"

namespace moesim::reference {

namespace detail {

// Columns first, ..., first + n - 1 of the inner dimension of the experts, with their gates.
template <class Value>
struct TensorShard {
  std::vector<Value> gate_up;
  std::vector<Value> gate_up_bias;
  ExpertWeights<Value> weights;  // without down
  ExpertMatrices<Value> down;
};

template <class Value>
TensorShard<Value> tensor_shard(const ExpertWeights<Value>& all, bool gated, std::int64_t first,
                                std::int64_t n) {
  TensorShard<Value> shard;
  const std::int64_t rows = (gated ? 2 : 1) * all.width;
  const bool interleaved = gated && all.layout == GateUpLayout::interleaved;
  const auto take = [&](std::int64_t expert, std::int64_t begin, std::int64_t count) {
    const std::int64_t at = expert * rows + begin;
    shard.gate_up.insert(shard.gate_up.end(), all.gate_up.begin() + at * all.hidden,
                         all.gate_up.begin() + (at + count) * all.hidden);
    if (all.gate_up_bias.empty()) return;
    shard.gate_up_bias.insert(shard.gate_up_bias.end(), all.gate_up_bias.begin() + at,
                              all.gate_up_bias.begin() + at + count);
  };
  for (std::int64_t e = 0; e < all.experts; ++e) {
    if (interleaved) {
      take(e, 2 * first, 2 * n);
    } else {
      take(e, first, n);
      if (gated) take(e, all.width + first, n);
    }
  }
  shard.weights = {all.experts, all.hidden, n, all.layout, shard.gate_up, shard.gate_up_bias, {}, {}};
  shard.down = {all.down.subspan(static_cast<std::size_t>(first)),
                all.experts,
                all.hidden,
                n,
                all.width,
                all.hidden * all.width};
  return shard;
}

}  // namespace detail

// Expert parallelism over `ranks`: rank r holds an equal, contiguous share of the experts, gets the rows of
// all tokens that chose them, and returns them to the tokens' owners, who add them up in the declared order.
// Bit for bit moe_layer(). Throws core::InvariantError unless ranks divide the experts.
template <class Value>
[[nodiscard]] std::vector<Value> moe_layer_expert_parallel(const MatrixView<Value>& x, const Routing& routing,
                                                           const ExpertWeights<Value>& weights,
                                                           const SharedWeights<Value>& shared,
                                                           const MoeSpec& spec, std::int64_t ranks) {
  detail::check_layer(x, routing, weights);
  core::check(ranks >= 1 && weights.experts % ranks == 0, "ranks must divide the experts");
  MoeProbes<NoProbe> probes;
  const gate::Permutation all = gate::permute(routing.experts, weights.experts, routing.keep);
  const std::int64_t own = weights.experts / ranks;
  const std::int64_t columns = (spec.activation.gated() ? 2 : 1) * weights.width;
  const auto part = [&](std::span<const Value> values, std::int64_t rank, std::int64_t per_expert) {
    return values.empty() ? values
                          : values.subspan(static_cast<std::size_t>(rank * own * per_expert),
                                           static_cast<std::size_t>(own * per_expert));
  };
  std::vector<Value> returned(static_cast<std::size_t>(all.rows() * x.columns));
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    // What the rank sees: the pairs that were sent to it, with its own numbers of the experts.
    std::vector<std::int32_t> local(routing.experts.size(), 0);
    std::vector<std::uint8_t> here(routing.experts.size(), 0);
    for (std::size_t pair = 0; pair < local.size(); ++pair) {
      const std::int64_t expert = routing.experts[pair];
      if (expert / own != rank || (!routing.keep.empty() && routing.keep[pair] == 0)) continue;
      local[pair] = static_cast<std::int32_t>(expert % own);
      here[pair] = 1;
    }
    const gate::Permutation mine = gate::permute(local, own, here);
    const ExpertWeights<Value> held{own,
                                    weights.hidden,
                                    weights.width,
                                    weights.layout,
                                    part(weights.gate_up, rank, columns * weights.hidden),
                                    part(weights.gate_up_bias, rank, columns),
                                    part(weights.down, rank, weights.hidden * weights.width),
                                    part(weights.down_bias, rank, weights.hidden)};
    const std::vector<Value> rows = detail::layer_rows(x, routing, mine, spec, probes.permute);
    const std::vector<Value> y =
        detail::expert_rows(std::span<const Value>(rows), mine.offsets, held, spec, probes);
    for (std::int64_t r = 0; r < mine.rows(); ++r) {
      const std::int64_t pair = mine.pair_of_row[static_cast<std::size_t>(r)];
      const std::int64_t row = all.row_of_pair[static_cast<std::size_t>(pair)];
      std::copy(y.begin() + r * x.columns, y.begin() + (r + 1) * x.columns,
                returned.begin() + row * x.columns);
    }
  }
  return detail::finish_layer(x, std::span<const Value>(returned), routing, all, shared, spec, probes);
}

// Tensor parallelism over `ranks`: each holds an equal share of every expert's inner dimension. Gate and up
// are column-parallel (exact); the down products of the ranks are f32 partial sums, added in the declared
// order, after which the down bias is added once. Within the bound of bounded_moe_layer(..., ranks). Shared
// experts are not split. Throws core::InvariantError unless ranks divide the width.
template <class Value>
[[nodiscard]] std::vector<Value> moe_layer_tensor_parallel(const MatrixView<Value>& x, const Routing& routing,
                                                           const ExpertWeights<Value>& weights,
                                                           const SharedWeights<Value>& shared,
                                                           const MoeSpec& spec, std::int64_t ranks,
                                                           ReduceOrder order) {
  detail::check_layer(x, routing, weights);
  core::check(ranks >= 1 && weights.width % ranks == 0, "ranks must divide the experts' width");
  MoeProbes<NoProbe> probes;
  const gate::Permutation permutation = gate::permute(routing.experts, weights.experts, routing.keep);
  const std::vector<Value> rows = detail::layer_rows(x, routing, permutation, spec, probes.permute);
  const std::int64_t own = weights.width / ranks;
  const std::int64_t n = permutation.rows() * x.columns;
  std::vector<float> partial(static_cast<std::size_t>(ranks * n));
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const auto shard = detail::tensor_shard(weights, spec.activation.gated(), rank * own, own);
    const std::vector<Value> a =
        detail::hidden_rows(std::span<const Value>(rows), permutation.offsets, shard.weights, spec, probes);
    grouped_gemm(
        matrix(std::span<const Value>(a), permutation.rows(), own), permutation.offsets, shard.down,
        std::span<const Value>{},
        std::span<float>(partial).subspan(static_cast<std::size_t>(rank * n), static_cast<std::size_t>(n)),
        probes.down);
  }
  std::vector<float> sums(partial.size());
  all_reduce(order, ReduceRounding::once, std::span<const float>(partial), ranks, std::span<float>(sums),
             probes.down);
  sums.resize(static_cast<std::size_t>(n));  // every rank has the same
  std::vector<Value> y(sums.size());
  for (std::int64_t e = 0; e < weights.experts; ++e) {
    const std::int64_t first = permutation.offsets[static_cast<std::size_t>(e)] * x.columns;
    const std::int64_t end = permutation.offsets[static_cast<std::size_t>(e) + 1] * x.columns;
    for (std::int64_t i = first; i < end; ++i) {
      float value = sums[static_cast<std::size_t>(i)];
      if (!weights.down_bias.empty()) {
        value += to_float(weights.down_bias[static_cast<std::size_t>(e * x.columns + i % x.columns)]);
      }
      y[static_cast<std::size_t>(i)] = stored_as<Value>(value);
    }
  }
  return detail::finish_layer(x, std::span<const Value>(y), routing, permutation, shared, spec, probes);
}

}  // namespace moesim::reference
