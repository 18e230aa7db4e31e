#include "models/reference/fast_moe.hpp"

#include <algorithm>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::reference {

// Not an anonymous namespace: in a unity build gcc minds lambdas that capture types of one.
namespace fast_moe_detail {

constexpr std::int64_t kRowsOfPart = 16 * kTileRows;
constexpr std::int64_t kPanelsOfPart = 2;

// Work of one thread at a time: some rows of one expert and some panels of its weights.
struct ExpertPart {
  std::int64_t expert = 0;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::int64_t first_panel = 0;
  std::int64_t panels = 0;
};

// The (token, choice) pairs sorted by expert, stably: row r of the sorted order holds pair `pairs[r]`.
struct RowsByExpert {
  std::vector<std::int64_t> begin;  // [experts + 1]
  std::vector<std::int64_t> pairs;
  std::vector<std::int64_t> row_of_pair;
};

RowsByExpert sorted_by_expert(const FastRouting& routing, std::size_t experts) {
  RowsByExpert sorted;
  sorted.begin.assign(experts + 1, 0);
  for (const std::int32_t expert : routing.experts) {
    core::check(expert >= 0 && std::cmp_less(expert, experts),
                "a token is routed to an expert that does not exist");
    ++sorted.begin[static_cast<std::size_t>(expert) + 1];
  }
  for (std::size_t e = 0; e < experts; ++e) sorted.begin[e + 1] += sorted.begin[e];
  std::vector<std::int64_t> next(sorted.begin.begin(), sorted.begin.end() - 1);
  sorted.pairs.resize(routing.experts.size());
  sorted.row_of_pair.resize(routing.experts.size());
  for (std::size_t pair = 0; pair < routing.experts.size(); ++pair) {
    const std::int64_t row = next[static_cast<std::size_t>(routing.experts[pair])]++;
    sorted.pairs[static_cast<std::size_t>(row)] = static_cast<std::int64_t>(pair);
    sorted.row_of_pair[pair] = row;
  }
  return sorted;
}

std::vector<ExpertPart> parts_of(const RowsByExpert& sorted, std::int64_t panels) {
  std::vector<ExpertPart> parts;
  for (std::size_t e = 0; e + 1 < sorted.begin.size(); ++e) {
    for (std::int64_t row = sorted.begin[e]; row < sorted.begin[e + 1]; row += kRowsOfPart) {
      const std::int64_t rows = std::min(kRowsOfPart, sorted.begin[e + 1] - row);
      for (std::int64_t p = 0; p < panels; p += kPanelsOfPart)
        parts.push_back({static_cast<std::int64_t>(e), row, rows, p, std::min(kPanelsOfPart, panels - p)});
    }
  }
  return parts;
}

template <class Value>
void check_fast_layer(std::span<const PackedExpert<Value>> experts, MatrixView<Value> x,
                      const FastRouting& routing, std::span<float> out) {
  const auto pairs = static_cast<std::size_t>(x.rows * routing.top_k);
  core::check(routing.experts.size() == pairs && routing.weights.size() == pairs,
              "a layer of experts needs top_k experts and weights for each token");
  core::check(std::cmp_equal(out.size(), x.rows * x.columns), "a layer's output has the shape of its input");
  for (const PackedExpert<Value>& expert : experts) {
    core::check(expert.gate.depth() == x.columns && expert.up.depth() == x.columns &&
                    expert.down.columns() == x.columns && expert.gate.columns() == expert.down.depth() &&
                    expert.up.columns() == expert.down.depth() &&
                    expert.down.depth() == experts.front().down.depth(),
                "the matrices of an expert do not fit together");
  }
}

// silu(x gate^T) x (x up^T) of one part, into its columns of `hidden`.
template <class Value>
void gate_and_up(const FastKernels& kernels, const PackedExpert<Value>& expert, const ExpertPart& part,
                 const UnitRows& x, UnitRows& hidden) {
  alignas(64) float gate[kRowsOfPart * kTileColumns];
  alignas(64) float up[kRowsOfPart * kTileColumns];
  const std::int64_t depth = expert.gate.depth_units();
  for (std::int64_t p = part.first_panel; p < part.first_panel + part.panels; ++p) {
    const Unit* a = x.row(part.first_row);
    panel_product(kernels, a, x.stride(), part.rows, expert.gate.panel(p), depth, gate, kTileColumns);
    panel_product(kernels, a, x.stride(), part.rows, expert.up.panel(p), depth, up, kTileColumns);
    for (std::int64_t r = 0; r < part.rows; ++r)
      kernels.swiglu(gate + r * kTileColumns, up + r * kTileColumns, kTileColumns,
                     hidden.row(part.first_row + r) + p * units_of<Value>(kTileColumns));
  }
}

}  // namespace fast_moe_detail

template <class Value>
void fast_moe_layer(std::span<const PackedExpert<Value>> experts, MatrixView<Value> x,
                    const FastRouting& routing, std::span<float> out, const FastOptions& options) {
  using namespace fast_moe_detail;
  check_fast_layer(experts, x, routing, out);
  std::fill(out.begin(), out.end(), 0.0F);
  if (routing.experts.empty() || x.columns == 0) return;
  constexpr bool kBf16 = sizeof(Value) == 2;
  const FastKernels& kernels = fast_kernels(resolved(options.isa, kBf16), kBf16);
  const RowsByExpert sorted = sorted_by_expert(routing, experts.size());
  const auto pairs = static_cast<std::int64_t>(sorted.pairs.size());
  const std::int64_t width = experts.front().gate.columns(), hidden = x.columns;

  UnitRows gathered(pairs, units_of<Value>(hidden));
  run_parts(options, pairs, [&](int /*worker*/, std::int64_t row) {
    copy_units(x.row(sorted.pairs[static_cast<std::size_t>(row)] / routing.top_k), hidden, gathered.row(row));
  });

  // Whole panels: the columns past the width hold zeros, as do the packed weights below them.
  const std::int64_t width_panels = experts.front().gate.panels();
  UnitRows between(pairs, units_of<Value>(width_panels * kTileColumns));
  const std::vector<ExpertPart> first = parts_of(sorted, width_panels);
  run_parts(options, static_cast<std::int64_t>(first.size()), [&](int /*worker*/, std::int64_t i) {
    const ExpertPart& part = first[static_cast<std::size_t>(i)];
    gate_and_up(kernels, experts[static_cast<std::size_t>(part.expert)], part, gathered, between);
  });

  const std::int64_t hidden_panels = experts.front().down.panels();
  const std::int64_t stride = hidden_panels * kTileColumns + kLineUnits;  // an odd number of lines
  std::vector<float> results(static_cast<std::size_t>(pairs * stride));
  const std::vector<ExpertPart> second = parts_of(sorted, hidden_panels);
  run_parts(options, static_cast<std::int64_t>(second.size()), [&](int /*worker*/, std::int64_t i) {
    const ExpertPart& part = second[static_cast<std::size_t>(i)];
    const PackedWeights<Value>& down = experts[static_cast<std::size_t>(part.expert)].down;
    for (std::int64_t p = part.first_panel; p < part.first_panel + part.panels; ++p)
      panel_product(kernels, between.row(part.first_row), between.stride(), part.rows, down.panel(p),
                    units_of<Value>(width), results.data() + part.first_row * stride + p * kTileColumns,
                    stride);
  });

  run_parts(options, x.rows, [&](int /*worker*/, std::int64_t token) {
    for (std::int64_t pair = token * routing.top_k; pair < (token + 1) * routing.top_k; ++pair) {
      const auto index = static_cast<std::size_t>(pair);
      kernels.add_scaled(results.data() + sorted.row_of_pair[index] * stride, routing.weights[index], hidden,
                         out.data() + token * hidden);
    }
  });
}

template void fast_moe_layer(std::span<const PackedExpert<float>>, MatrixView<float>, const FastRouting&,
                             std::span<float>, const FastOptions&);
template void fast_moe_layer(std::span<const PackedExpert<Bf16>>, MatrixView<Bf16>, const FastRouting&,
                             std::span<float>, const FastOptions&);

}  // namespace moesim::reference
