#include "models/reference/fast_gemm.hpp"

#include <algorithm>

#include "sim/core/check.hpp"

namespace moesim::reference {

namespace {

// Depth (in units) and rows of a block of activations: 256 x 112 x 4 bytes stay in the L2 cache while a panel
// of weights passes by.
constexpr std::int64_t kFastDepthBlock = 256;
constexpr std::int64_t kFastRowBlock = 8 * kTileRows;
constexpr std::int64_t kPanelsPerPart = 4;

}  // namespace

template <class Value>
PackedWeights<Value>::PackedWeights(std::int64_t columns, std::int64_t depth)
    : columns_(columns), depth_(depth), storage_(static_cast<std::size_t>(panels() * depth_units() * 2)) {}

template <class Value>
PackedWeights<Value>::PackedWeights(MatrixView<Value> weights)
    : PackedWeights(weights.rows, weights.columns) {
  std::vector<Unit> row(static_cast<std::size_t>(depth_units()));
  for (std::int64_t c = 0; c < columns_; ++c) {
    copy_units(weights.row(c), depth_, row.data());
    const std::int64_t column = c % kTileColumns;
    Line* lines = panel_lines(c / kTileColumns) + column / kLineUnits;
    for (std::int64_t k = 0; k < depth_units(); ++k)
      lines[2 * k].units[column % kLineUnits] = row[static_cast<std::size_t>(k)];
  }
}

template <class Value>
PackedWeights<Value> PackedWeights<Value>::transposed(MatrixView<Value> weights) {
  PackedWeights packed(weights.columns, weights.rows);
  std::vector<Unit> row(static_cast<std::size_t>(packed.columns_));
  for (std::int64_t k = 0; k < packed.depth_units(); ++k) {
    const Value* values = weights.row(k * kValuesPerUnit<Value>);
    if constexpr (kValuesPerUnit<Value> == 1) {
      copy_units(values, packed.columns_, row.data());
    } else {
      const Value* next = 2 * k + 1 < packed.depth_ ? weights.row(2 * k + 1) : nullptr;
      for (std::int64_t c = 0; c < packed.columns_; ++c)
        row[static_cast<std::size_t>(c)] =
            values[c].bits | (next == nullptr ? 0U : static_cast<Unit>(next[c].bits) << 16U);
    }
    for (std::int64_t p = 0; p < packed.panels(); ++p) {
      const std::int64_t first = p * kTileColumns,
                         n = std::min<std::int64_t>(kTileColumns, packed.columns_ - first);
      std::memcpy(packed.panel_lines(p) + 2 * k, row.data() + first,
                  static_cast<std::size_t>(n) * sizeof(Unit));
    }
  }
  return packed;
}

template class PackedWeights<float>;
template class PackedWeights<Bf16>;

void panel_product(const FastKernels& kernels, const Unit* a, std::ptrdiff_t a_stride, std::int64_t rows,
                   const Unit* panel, std::int64_t depth_units, float* out, std::ptrdiff_t out_stride) {
  // Tiles of nearly equal heights: a last tile of one row would waste most of its instructions on loads.
  const std::int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (std::int64_t k = 0; k < depth_units; k += kFastDepthBlock) {
    const std::int64_t depth = std::min(kFastDepthBlock, depth_units - k);
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t first = rows * t / tiles, height = rows * (t + 1) / tiles - first;
      kernels.tile[height - 1]({.a = a + first * a_stride + k,
                                .a_stride = a_stride,
                                .b = panel + k * kTileColumns,
                                .depth = depth,
                                .c = out + first * out_stride,
                                .c_stride = out_stride,
                                .accumulate = k > 0});
    }
  }
  if (depth_units == 0) {
    for (std::int64_t r = 0; r < rows; ++r) std::fill_n(out + r * out_stride, kTileColumns, 0.0F);
  }
}

template <class Value>
void fast_gemm(const PackedWeights<Value>& weights, MatrixView<Value> activations, float* out,
               std::int64_t out_stride, const FastOptions& options) {
  core::check(activations.columns == weights.depth(), "a product needs operands of one depth");
  constexpr bool kBf16 = sizeof(Value) == 2;
  const FastKernels& kernels = fast_kernels(resolved(options.isa, kBf16), kBf16);
  const std::int64_t rows = activations.rows;
  UnitRows a(rows, weights.depth_units());
  for (std::int64_t r = 0; r < rows; ++r) copy_units(activations.row(r), activations.columns, a.row(r));
  const std::int64_t row_blocks = (rows + kFastRowBlock - 1) / kFastRowBlock;
  const std::int64_t panel_parts = (weights.panels() + kPanelsPerPart - 1) / kPanelsPerPart;
  run_parts(options, row_blocks * panel_parts, [&](int /*worker*/, std::int64_t part) {
    const std::int64_t first = part / panel_parts * kFastRowBlock,
                       height = std::min(kFastRowBlock, rows - first);
    float block[kFastRowBlock * kTileColumns];
    const std::int64_t panel = part % panel_parts * kPanelsPerPart;
    for (std::int64_t p = panel; p < std::min(panel + kPanelsPerPart, weights.panels()); ++p) {
      panel_product(kernels, a.row(first), a.stride(), height, weights.panel(p), weights.depth_units(), block,
                    kTileColumns);
      const std::int64_t columns = std::min<std::int64_t>(kTileColumns, weights.columns() - p * kTileColumns);
      for (std::int64_t r = 0; r < height; ++r)
        std::copy_n(block + r * kTileColumns, columns, out + (first + r) * out_stride + p * kTileColumns);
    }
  });
}

template void fast_gemm(const PackedWeights<float>&, MatrixView<float>, float*, std::int64_t,
                        const FastOptions&);
template void fast_gemm(const PackedWeights<Bf16>&, MatrixView<Bf16>, float*, std::int64_t,
                        const FastOptions&);

}  // namespace moesim::reference
