// A tensor of a checkpoint: what it is called, what it holds, and where its bytes are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moesim::reference {

// How values are stored. `other`: a type that is known by name at most; its values cannot be read.
enum class WeightType : std::uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  i64,
  i32,
  i16,
  i8,
  u8,
  boolean,
  q8_0,
  q4_0,
  mxfp4,
  other,
};

struct WeightTensor {
  std::string name;
  WeightType type = WeightType::other;
  std::string type_name;             // as the file's format calls it: "BF16", "Q4_K"
  std::vector<std::int64_t> shape;   // the slowest dimension first; empty: one value
  std::span<const std::byte> bytes;  // row-major; any alignment; empty where the size of the type is unknown
  std::string file;                  // the file that holds it, for messages

  // Number of values; it fits, as the readers check.
  [[nodiscard]] std::int64_t elements() const;
  // All dimensions but the last together, and the last: the matrix that rows are taken from.
  [[nodiscard]] std::int64_t rows() const;
  [[nodiscard]] std::int64_t columns() const;
};

// "[256, 7168]".
[[nodiscard]] std::string shape_text(std::span<const std::int64_t> shape);

// The product of the dimensions, or nullopt if one is negative or the product passes 2^63 - 1. A dimension of
// 0 makes the product 0 whatever the others are.
[[nodiscard]] std::optional<std::int64_t> element_count(std::span<const std::int64_t> shape);

// The limits of both readers.
inline constexpr std::size_t kMaxTensorRank = 32;
inline constexpr std::size_t kMaxTensorName = 65535;  // bytes

// What is wrong with a tensor's name, or "": empty, too long, or with a control character (a NUL would cut
// it).
[[nodiscard]] std::string name_problem(std::string_view name);

// The values of rows first_row ... first_row + rows - 1, row-major, as f32. f64 and integers are rounded to
// nearest; everything else is exact. Throws config::InputError for a type that cannot be read
// ("unsupported_type", with the file, tensor and type), core::InvariantError for rows outside the tensor.
[[nodiscard]] std::vector<float> to_floats(const WeightTensor& tensor, std::int64_t first_row,
                                           std::int64_t rows);
// All values.
[[nodiscard]] std::vector<float> to_floats(const WeightTensor& tensor);
// Values of an integer type. Throws config::InputError for any other type.
[[nodiscard]] std::vector<std::int64_t> to_integers(const WeightTensor& tensor);

}  // namespace moesim::reference
