// The fast matrix product under the reference kernels: weights packed once, results that do not depend on the
// batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/fast_kernels.hpp"
#include "models/reference/matrix.hpp"
#include "models/reference/workers.hpp"

namespace moesim::reference {

// A weight matrix [columns of the product x depth] as panels of 32 columns, each [depth][32 units] and filled
// up with zeros. Value is float or Bf16.
template <class Value>
class PackedWeights {
 public:
  PackedWeights() = default;
  explicit PackedWeights(MatrixView<Value> weights);
  // The same from [depth x columns].
  [[nodiscard]] static PackedWeights transposed(MatrixView<Value> weights);

  [[nodiscard]] std::int64_t columns() const { return columns_; }
  [[nodiscard]] std::int64_t depth() const { return depth_; }
  [[nodiscard]] std::int64_t depth_units() const { return units_of<Value>(depth_); }
  [[nodiscard]] std::int64_t panels() const { return (columns_ + kTileColumns - 1) / kTileColumns; }
  [[nodiscard]] const Unit* panel(std::int64_t p) const {
    return (storage_.data() + p * depth_units() * 2)->units;
  }

 private:
  PackedWeights(std::int64_t columns, std::int64_t depth);
  [[nodiscard]] Line* panel_lines(std::int64_t p) { return storage_.data() + p * depth_units() * 2; }

  std::int64_t columns_ = 0;
  std::int64_t depth_ = 0;
  std::vector<Line> storage_;
};

// How a fast kernel runs. Neither changes which answers are within the bounds; for one path, the number of
// threads never changes a bit.
struct FastOptions {
  Isa isa = Isa::automatic;
  Workers* workers = nullptr;  // none: the caller's thread alone
};

// out[r][c] = sum over k of activations[r][k] x weights[c][k], f32. The sum of each element runs over
// ascending k in one f32 accumulator (for bf16: pairs of exact products, AVX-512 flushes subnormal numbers to
// zero), so |out - exact| <= gamma(depth) |activations| |weights|^T + depth x 2^-125 (numerics.md 2.2), and a
// row's bits do not depend on the other rows. `out` has `out_stride` >= columns elements from row to row.
// Throws core::InvariantError if the depths differ.
template <class Value>
void fast_gemm(const PackedWeights<Value>& weights, MatrixView<Value> activations, float* out,
               std::int64_t out_stride, const FastOptions& options = {});

// Parts of it, for kernels that are made of products.

// out[rows x 32] = rows of `a` times one panel; `out` has a stride of `out_stride` >= 32.
void panel_product(const FastKernels& kernels, const Unit* a, std::ptrdiff_t a_stride, std::int64_t rows,
                   const Unit* panel, std::int64_t depth_units, float* out, std::ptrdiff_t out_stride);

// Runs parts on the options' workers, or on this thread.
template <class Part>
void run_parts(const FastOptions& options, std::int64_t parts, const Part& part) {
  if (options.workers != nullptr) return options.workers->run(parts, part);
  for (std::int64_t i = 0; i < parts; ++i) part(0, i);
}

[[nodiscard]] inline int threads_of(const FastOptions& options) {
  return options.workers == nullptr ? 1 : options.workers->threads();
}

}  // namespace moesim::reference
