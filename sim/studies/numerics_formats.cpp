#include "sim/studies/numerics_formats.hpp"

#include <algorithm>
#include <cmath>

#include "models/reference/block_formats.hpp"
#include "models/reference/bounds_formats.hpp"
#include "models/reference/storage.hpp"
#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::studies {

using llm::NumberFormat;
namespace ref = reference;

namespace {

std::vector<float> decoded_codes(std::span<const std::uint8_t> codes, const ref::SmallFloat& element) {
  std::vector<float> values;
  values.reserve(codes.size());
  for (const std::uint8_t code : codes) values.push_back(element.decode(code));
  return values;
}

}  // namespace

QuantisedMatrix QuantisedMatrix::weights(std::span<const float> values, std::int64_t rows,
                                         std::int64_t columns, NumberFormat format) {
  QuantisedMatrix matrix(rows, columns);
  const std::int64_t bits = llm::element_bits(format);
  if (bits == 4) {
    matrix.quantise_four(values, format);
  } else if (bits == 8) {
    matrix.quantise_eight(values, format, true);
  } else {
    matrix.plain(values, format);
  }
  return matrix;
}

QuantisedMatrix QuantisedMatrix::activations(std::span<const float> values, std::int64_t rows,
                                             std::int64_t columns, NumberFormat format) {
  QuantisedMatrix matrix(rows, columns);
  const std::int64_t bits = llm::element_bits(format);
  if (bits == 4) {
    matrix.quantise_four(values, format);
  } else if (bits == 8) {
    matrix.quantise_eight(values, format, false);
  } else {
    matrix.plain(values, format);
  }
  return matrix;
}

void QuantisedMatrix::quantise_eight(std::span<const float> values, NumberFormat format, bool weights) {
  bits_ = 8;
  if (format == NumberFormat::int8) {
    ref::IntMatrix codes = ref::quantize_int8_rows(values, rows_, columns_);
    block_columns_ = std::max<std::int64_t>(1, columns_);
    lowest_code_ = -127;
    highest_code_ = 127;
    decoded_.assign(codes.codes.begin(), codes.codes.end());
    scales_ = std::move(codes.scales);
    return;
  }
  ref::Fp8Matrix codes;
  if (format == NumberFormat::fp8_block) {
    codes = weights ? ref::quantize_fp8_weights(values, rows_, columns_)
                    : ref::quantize_fp8_activations(values, rows_, columns_, false);
    scale_bits_ = 32;
  } else {
    const std::int64_t all = std::max<std::int64_t>({1, rows_, columns_});
    codes = ref::quantize_fp8_weights(values, rows_, columns_, all);
  }
  block_rows_ = codes.block_rows;
  block_columns_ = codes.block_columns;
  element_ = &ref::kE4m3fn;
  decoded_ = decoded_codes(codes.codes, *element_);
  scales_ = std::move(codes.scales);
}

void QuantisedMatrix::quantise_four(std::span<const float> values, NumberFormat format) {
  bits_ = 4;
  if (format == NumberFormat::int4 || format == NumberFormat::int4_g32) {
    block_columns_ = format == NumberFormat::int4 ? 128 : 32;
    ref::IntMatrix codes = ref::quantize_int4(values, rows_, columns_, block_columns_);
    scale_bits_ = 16;
    scale_error_ = 0x1p-11;
    lowest_code_ = -8;
    highest_code_ = 7;
    decoded_.assign(codes.codes.begin(), codes.codes.end());
    for (const float scale : codes.scales) scales_.push_back(ref::to_float(ref::to_fp16(scale)));
    return;
  }
  element_ = &ref::kE2m1;
  scale_bits_ = 8;
  if (format == NumberFormat::mxfp4) {
    const ref::MxMatrix codes = ref::quantize_mx(values, rows_, columns_, ref::kE2m1);
    block_columns_ = codes.block;
    decoded_ = decoded_codes(codes.codes, *element_);
    for (const std::uint8_t scale : codes.scales) scales_.push_back(ref::decode_e8m0(scale));
    return;
  }
  const ref::Nvfp4Matrix codes = ref::quantize_nvfp4(values, rows_, columns_);
  block_columns_ = codes.block;
  decoded_ = decoded_codes(codes.codes, *element_);
  for (const std::uint8_t scale : codes.scales)
    scales_.push_back(ref::kE4m3fn.decode(scale) * codes.global_scale);
}

void QuantisedMatrix::plain(std::span<const float> values, NumberFormat format) {
  core::check(std::cmp_equal(values.size(), rows_ * columns_), "a matrix needs rows x columns values");
  bits_ = static_cast<int>(llm::element_bits(format));
  decoded_.reserve(values.size());
  for (const float value : values) {
    decoded_.push_back(format == NumberFormat::bf16   ? ref::rounded_to_bf16(value)
                       : format == NumberFormat::fp16 ? ref::to_float(ref::to_fp16(value))
                                                      : value);
  }
  scale_error_ = format == NumberFormat::bf16 ? 0x1p-8 : format == NumberFormat::fp16 ? 0x1p-11 : 0.0;
}

void QuantisedMatrix::decode(std::int64_t row, std::int64_t first, std::int64_t n, float* out) const {
  const float* from = decoded_.data() + row * columns_ + first;
  if (scales_.empty()) {
    std::copy(from, from + n, out);
    return;
  }
  for (std::int64_t i = 0; i < n;) {
    // Up to the end of the block.
    const std::int64_t end = std::min(n, ((first + i) / block_columns_ + 1) * block_columns_ - first);
    const float scale = scales_[static_cast<std::size_t>(scale_index(row, first + i))];
    for (; i < end; ++i) out[i] = from[i] * scale;
  }
}

std::vector<float> QuantisedMatrix::values() const {
  std::vector<float> all(decoded_.size());
  for (std::int64_t row = 0; row < rows_; ++row) decode(row, 0, columns_, all.data() + row * columns_);
  return all;
}

double QuantisedMatrix::element_bound(double value, double scale) const {
  if (element_ != nullptr) return ref::scaled_error_bound(*element_, value, scale);
  if (!scales_.empty())
    return ref::integer_error_bound(value, scale, lowest_code_, highest_code_, scale_error_);
  return scale_error_ * std::fabs(value) + 0x1p-25;
}

serving::FormatError QuantisedMatrix::error(std::span<const float> original, std::string matrix,
                                            NumberFormat format) const {
  serving::FormatError result;
  result.matrix = std::move(matrix);
  result.format = config::enum_name(format);
  const std::vector<float> stored = values();
  double errors = 0, squares = 0;
  for (std::int64_t row = 0; row < rows_; ++row) {
    for (std::int64_t column = 0; column < columns_; ++column) {
      const auto at = static_cast<std::size_t>(row * columns_ + column);
      const double value = static_cast<double>(original[at]);
      const double error = std::fabs(value - static_cast<double>(stored[at]));
      const double scale =
          scales_.empty() ? 1.0
                          : static_cast<double>(scales_[static_cast<std::size_t>(scale_index(row, column))]);
      errors += error * error;
      squares += value * value;
      if (error > 0) result.bound_share = std::max(result.bound_share, error / element_bound(value, scale));
    }
  }
  if (squares > 0) result.relative = core::math::sqrt(errors / squares);
  return result;
}

}  // namespace moesim::studies
