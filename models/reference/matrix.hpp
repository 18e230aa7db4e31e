// A read-only view of a row-major matrix.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::reference {

template <class Value>
struct MatrixView {
  const Value* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;  // elements from one row to the next

  [[nodiscard]] const Value* row(std::int64_t r) const { return data + r * stride; }
};

// A dense matrix over `values`. Throws core::InvariantError if their number is not rows x columns.
template <class Value>
[[nodiscard]] MatrixView<Value> matrix(std::span<const Value> values, std::int64_t rows,
                                       std::int64_t columns) {
  core::check(std::cmp_equal(values.size(), rows * columns), "a matrix needs rows x columns values");
  return {values.data(), rows, columns, columns};
}

}  // namespace moesim::reference
