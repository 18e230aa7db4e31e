#include "models/reference/weights/weight_tensor.hpp"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::reference {

std::int64_t WeightTensor::elements() const {
  const std::optional<std::int64_t> count = element_count(shape);
  core::check(count.has_value(), "the readers refuse tensors whose size does not fit");
  return *count;
}

std::int64_t WeightTensor::rows() const { return columns() == 0 ? 0 : elements() / columns(); }

std::int64_t WeightTensor::columns() const { return shape.empty() ? 1 : shape.back(); }

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::optional<std::int64_t> element_count(std::span<const std::int64_t> shape) {
  bool empty = false;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) return std::nullopt;
    empty |= dimension == 0;
  }
  if (empty) return 0;
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) {
    if (count > std::numeric_limits<std::int64_t>::max() / dimension) return std::nullopt;
    count *= dimension;
  }
  return count;
}

std::string name_problem(std::string_view name) {
  if (name.empty()) return "a tensor has an empty name";
  if (name.size() > kMaxTensorName) return fmt::format("a tensor's name has {} bytes", name.size());
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      return fmt::format("a tensor's name has a control character (byte {})", static_cast<unsigned char>(c));
    }
  }
  return "";
}

}  // namespace moesim::reference
