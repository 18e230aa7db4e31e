// Matrices in the number formats of a deployment, as operands of the reference kernels.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/llm/formats.hpp"
#include "models/reference/gemm.hpp"
#include "models/reference/small_float.hpp"
#include "sim/serving/numerics.hpp"

namespace moesim::studies {

// A matrix whose elements are code x scale (formats of 8 and 4 bits), or rounded values (16 and 32).
class QuantisedMatrix {
 public:
  // Weights [rows, columns] in `format`, blocks as llm::matrix_bytes() counts them.
  static QuantisedMatrix weights(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                                 llm::NumberFormat format);
  // Rows of activations, blocks as llm::row_bytes() counts them. 8-bit formats with one scale per tensor or
  // token have it for the matrix or row.
  static QuantisedMatrix activations(std::span<const float> values, std::int64_t rows, std::int64_t columns,
                                     llm::NumberFormat format);

  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t columns() const { return columns_; }
  [[nodiscard]] int bits() const { return bits_; }
  // Values first, ..., first + n - 1 of a row.
  void decode(std::int64_t row, std::int64_t first, std::int64_t n, float* out) const;
  [[nodiscard]] std::vector<float> values() const;
  // `original`: what was quantised.
  [[nodiscard]] serving::FormatError error(std::span<const float> original, std::string matrix,
                                           llm::NumberFormat format) const;

  // Tells a probe of the scales of these values.
  template <class P>
  void touch_scales(std::int64_t row, std::int64_t first, std::int64_t n, reference::Operand operand,
                    int tensor, P& probe) const {
    if (scale_bits_ == 0) return;
    const std::int64_t begin = scale_index(row, first), end = scale_index(row, first + n - 1);
    probe.touch(operand, tensor, begin, end - begin + 1, scale_bits_);
  }

 private:
  QuantisedMatrix(std::int64_t rows, std::int64_t columns) : rows_(rows), columns_(columns) {}
  void quantise_eight(std::span<const float> values, llm::NumberFormat format, bool weights);
  void quantise_four(std::span<const float> values, llm::NumberFormat format);
  void plain(std::span<const float> values, llm::NumberFormat format);
  [[nodiscard]] std::int64_t scale_index(std::int64_t row, std::int64_t column) const {
    return row / block_rows_ * ((columns_ + block_columns_ - 1) / block_columns_) + column / block_columns_;
  }
  [[nodiscard]] double element_bound(double value, double scale) const;

  std::int64_t rows_;
  std::int64_t columns_;
  int bits_ = 16;
  int scale_bits_ = 0;  // 0: not counted
  std::int64_t block_rows_ = 1;
  std::int64_t block_columns_ = 1;
  const reference::SmallFloat* element_ = nullptr;  // of the codes; none: integers or plain values
  double lowest_code_ = 0, highest_code_ = 0;       // of integers
  double scale_error_ = 0;
  std::vector<float> decoded_;  // code as a number, or the value
  std::vector<float> scales_;   // empty: plain values
};

// An operand of gemm_rows() whose scales are counted, too.
template <class P>
[[nodiscard]] auto counted_rows(const QuantisedMatrix& matrix, reference::Operand operand, int scale_tensor,
                                P& probe) {
  const auto decode = [&matrix, operand, scale_tensor, &probe](std::int64_t row, std::int64_t first,
                                                               std::int64_t n, float* out) {
    matrix.decode(row, first, n, out);
    matrix.touch_scales(row, first, n, operand, scale_tensor, probe);
  };
  return reference::DecodedRows<decltype(decode)>{matrix.rows(), matrix.columns(), matrix.bits(), decode};
}

}  // namespace moesim::studies
