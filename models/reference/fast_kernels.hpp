// The one small matrix product that all fast kernels are made of, in two versions.
//
// C[rows x 32] += A[rows x depth] B[depth x 32], in f32. Operands are seen as 32-bit units along the depth: a
// unit is one f32, or two neighbouring bf16 values. An element of C is the sum over ascending depth of
// products that enter one accumulator, so its bits do not depend on the number of rows nor on other columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "models/reference/cpu_features.hpp"
#include "models/reference/float16.hpp"

namespace moesim::reference {

inline constexpr int kTileRows = 14;     // most rows of C in registers: 28 accumulators of 32 registers
inline constexpr int kTileColumns = 32;  // two registers

using Unit = std::uint32_t;

// 16 units, aligned as the widest register wants them.
struct alignas(64) Line {
  Unit units[16];
};
inline constexpr std::int64_t kLineUnits = 16;

struct Tile {
  const Unit* a = nullptr;
  std::ptrdiff_t a_stride = 0;  // units from one row to the next
  const Unit* b = nullptr;      // 32 units for each depth, without gaps
  std::int64_t depth = 0;       // units
  float* c = nullptr;
  std::ptrdiff_t c_stride = 0;
  bool accumulate = false;  // false: C starts from zero
};

using TileKernel = void (*)(const Tile& tile);

// What softmax does to one row of scores of a tile.
struct SoftmaxRow {
  const float* scores = nullptr;
  Unit* weights = nullptr;   // one f32 or one bf16 per score
  std::int64_t columns = 0;  // a multiple of 32
  float scale = 1.0F;
  float* maximum = nullptr;  // of scale x score so far
  float* sum = nullptr;      // of the weights so far, before they are rounded
};

// The parts of the fast kernels that come in two versions. Tables of functions, one for each path.
struct FastKernels {
  // [rows - 1]: the products of 1, ..., kTileRows rows.
  TileKernel tile[kTileRows];
  // weight = exp(scale x score - new maximum); the sum becomes sum x factor + sum of weights. Returns the
  // factor by which what was accumulated under the old maximum must be multiplied. A row without any finite
  // score leaves maximum = -inf and weights 0.
  float (*softmax)(const SoftmaxRow& row);
  // values *= factor; n is a multiple of 16.
  void (*scale)(float* values, std::int64_t n, float factor);
  // out = silu(gate) x up, as f32 or rounded to bf16; n is a multiple of 32.
  void (*swiglu)(const float* gate, const float* up, std::int64_t n, Unit* out);
  // out += weight x in
  void (*add_scaled)(const float* in, float weight, std::int64_t n, float* out);
  // exp to the error of kFastExpUlps.
  void (*exp)(const float* in, std::int64_t n, float* out);
};

// Largest error of the polynomial exp of both paths, in units in the last place of the f32 result, over all
// f32 arguments (subnormal results: in units of 2^-149). A sweep over all 2^32 arguments found 1.0104 with
// AVX-512 and 0.9904 without (test_unit_reference "[sweep]").
inline constexpr double kFastExpUlps = 1.1;

// `isa` is not automatic.
[[nodiscard]] const FastKernels& fast_kernels(Isa isa, bool bf16);

// The two tables behind fast_kernels. The AVX-512 one is null where it cannot be compiled.
[[nodiscard]] const FastKernels& portable_kernels(bool bf16);
[[nodiscard]] const FastKernels* avx512_kernels(bool bf16);

template <class Value>
inline constexpr std::int64_t kValuesPerUnit = sizeof(Unit) / sizeof(Value);

// Units that hold `values` values.
template <class Value>
[[nodiscard]] constexpr std::int64_t units_of(std::int64_t values) {
  return (values + kValuesPerUnit<Value> - 1) / kValuesPerUnit<Value>;
}

// Rows of units; each begins at a line and their distance is an odd number of lines, so that neighbouring
// rows do not compete for the same set of a cache.
class UnitRows {
 public:
  UnitRows() = default;
  UnitRows(std::int64_t rows, std::int64_t units)
      : lines_(((units + kLineUnits - 1) / kLineUnits) | 1),
        storage_(static_cast<std::size_t>(rows * lines_)) {}

  [[nodiscard]] Unit* row(std::int64_t r) { return storage_[static_cast<std::size_t>(r * lines_)].units; }
  [[nodiscard]] const Unit* row(std::int64_t r) const {
    return storage_[static_cast<std::size_t>(r * lines_)].units;
  }
  [[nodiscard]] std::ptrdiff_t stride() const { return lines_ * kLineUnits; }

 private:
  std::int64_t lines_ = 1;
  std::vector<Line> storage_;
};

// Copies a row of values to units; the last unit is filled up with zero.
template <class Value>
void copy_units(const Value* values, std::int64_t n, Unit* out) {
  if (n % kValuesPerUnit<Value> != 0) out[n / kValuesPerUnit<Value>] = 0;
  if (n > 0) std::memcpy(out, values, static_cast<std::size_t>(n) * sizeof(Value));
}

}  // namespace moesim::reference
