#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "models/reference/golden.hpp"
#include "models/reference/storage.hpp"

namespace moesim::reference {

namespace {

std::string_view type_word(GoldenType type) {
  switch (type) {
    case GoldenType::f32:
      return "f32";
    case GoldenType::f64:
      return "f64";
    case GoldenType::i32:
      return "i32";
    case GoldenType::i64:
      return "i64";
    case GoldenType::u8:
      return "u8";
    case GoldenType::i8:
      return "i8";
    case GoldenType::u16:
      return "u16";
    case GoldenType::u32:
      return "u32";
  }
  return "?";
}

bool is_real(GoldenType type) { return type == GoldenType::f32 || type == GoldenType::f64; }

// The values of a tensor, which read_golden_family has aligned and measured.
template <class Value>
std::span<const Value> values_of(const GoldenTensor& tensor) {
  return {reinterpret_cast<const Value*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(Value)};
}

template <class Value>
std::span<const Value> typed_values(const std::string& name, const GoldenTensor& tensor, GoldenType type) {
  if (tensor.type != type) {
    throw GoldenError(fmt::format("case {}: the tensor \"{}\" is {}, the kernel reads {}", name, tensor.name,
                                  type_word(tensor.type), type_word(type)));
  }
  return values_of<Value>(tensor);
}

// Calls `visit` with the values of a tensor in their own type.
template <class Visit>
void visit_values(const GoldenTensor& tensor, Visit&& visit) {
  switch (tensor.type) {
    case GoldenType::f32:
      return visit(values_of<float>(tensor));
    case GoldenType::f64:
      return visit(values_of<double>(tensor));
    case GoldenType::i32:
      return visit(values_of<std::int32_t>(tensor));
    case GoldenType::i64:
      return visit(values_of<std::int64_t>(tensor));
    case GoldenType::u8:
      return visit(values_of<std::uint8_t>(tensor));
    case GoldenType::i8:
      return visit(values_of<std::int8_t>(tensor));
    case GoldenType::u16:
      return visit(values_of<std::uint16_t>(tensor));
    case GoldenType::u32:
      return visit(values_of<std::uint32_t>(tensor));
  }
}

// One value of a tensor as the type a kernel reads. A kernel's floats may be written as f32, f64 or, in u16,
// bf16; its whole numbers as any whole numbers that fit.
template <class Value, class Stored>
Value converted_value(const std::string& name, const GoldenTensor& tensor, Stored stored) {
  constexpr bool kReal = std::is_floating_point_v<Value>;
  if constexpr (kReal && std::is_floating_point_v<Stored>) {
    return static_cast<Value>(stored);
  } else if constexpr (kReal && std::is_same_v<Stored, std::uint16_t>) {
    return static_cast<Value>(to_float(Bf16{stored}));
  } else if constexpr (!kReal && std::is_integral_v<Stored>) {
    if (!std::in_range<Value>(stored)) {
      throw GoldenError(fmt::format("case {}: {} of the tensor \"{}\" does not fit into {} bits", name,
                                    stored, tensor.name, sizeof(Value) * 8));
    }
    return static_cast<Value>(stored);
  } else {
    throw GoldenError(fmt::format("case {}: the tensor \"{}\" is {}, the kernel reads {}", name, tensor.name,
                                  type_word(tensor.type), kReal ? "real numbers" : "whole numbers"));
  }
}

// The values of a tensor as the kernel reads them, converted once.
template <class Value, class Store>
std::span<const Value> read_values(const std::string& name, const GoldenTensor& tensor, GoldenType type,
                                   Store& store) {
  if (tensor.type == type) return values_of<Value>(tensor);
  auto& kept = store[tensor.name];
  if (kept == nullptr) {
    std::vector<Value> values;
    visit_values(tensor, [&](const auto& stored) {
      for (const auto value : stored) values.push_back(converted_value<Value>(name, tensor, value));
    });
    kept = std::make_shared<const std::vector<Value>>(std::move(values));
  }
  return *kept;
}

// "[1, 0, 17]": the place of an element in row-major order.
std::string place_words(std::size_t index, const std::vector<std::int64_t>& shape) {
  std::vector<std::size_t> place(shape.size());
  for (std::size_t i = shape.size(); i-- > 0;) {
    const auto size = static_cast<std::size_t>(shape[i]);
    place[i] = index % size;
    index /= size;
  }
  return fmt::format("[{}]", fmt::join(place, ", "));
}

// Finds the first wrong element and how many there are.
struct Mismatches {
  std::int64_t count = 0;
  std::size_t first = 0;

  void add(std::size_t index) {
    if (count++ == 0) first = index;
  }
  [[nodiscard]] std::string words(const GoldenTensor& tensor, const std::string& got,
                                  const std::string& want) const {
    std::string text = fmt::format("{} of {} values are wrong, the first at {}: {} instead of {}", count,
                                   tensor.elements(), place_words(first, tensor.shape), got, want);
    if (tensor.tolerance.kind == GoldenTolerance::Kind::mixed) {
      text += fmt::format(" (allowed: {} + {} of it)", tensor.tolerance.absolute, tensor.tolerance.relative);
    }
    return text;
  }
};

// How much of the tolerance a difference uses; 1 is all of it.
double share_used(double got, double want, const GoldenTolerance& tolerance, double extra = 0.0) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  if (std::isnan(got) || std::isnan(want)) return kInfinite;
  if (got == want) return 0.0;
  if (std::isinf(got) || std::isinf(want)) return kInfinite;
  const double difference = std::abs(got - want);
  const double allowed = tolerance.absolute + tolerance.relative * std::abs(want) + extra;
  return allowed > 0.0 ? difference / allowed : kInfinite;
}

// Compares real results; Got and Want are float or double.
template <class Got, class Want>
GoldenCase::Result compare_reals(const GoldenTensor& tensor, std::span<const Got> got,
                                 std::span<const double> extra) {
  GoldenCase::Result result{tensor.name, "", 0.0, std::ssize(got)};
  const std::span<const Want> want = values_of<Want>(tensor);
  Mismatches wrong;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto mine = static_cast<double>(got[i]);
    const auto theirs = static_cast<double>(want[i]);
    if (tensor.tolerance.kind == GoldenTolerance::Kind::exact) {
      // Different bits of doubles that compare equal are +0 and -0, which count as equal.
      if (mine != theirs && !(std::isnan(mine) && std::isnan(theirs))) wrong.add(i);
      continue;
    }
    const double share = share_used(mine, theirs, tensor.tolerance, extra.empty() ? 0.0 : extra[i]);
    result.worst = std::max(result.worst, share);
    if (!(share <= 1.0)) wrong.add(i);
  }
  if (wrong.count > 0) {
    result.failure =
        wrong.words(tensor, fmt::format("{}", got[wrong.first]), fmt::format("{}", want[wrong.first]));
  }
  return result;
}

// Compares whole numbers, as such where the tolerance is exact.
template <class Want>
GoldenCase::Result compare_integers(const GoldenTensor& tensor, std::span<const std::int64_t> got) {
  GoldenCase::Result result{tensor.name, "", 0.0, std::ssize(got)};
  const std::span<const Want> want = values_of<Want>(tensor);
  Mismatches wrong;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const auto theirs = static_cast<std::int64_t>(want[i]);
    if (got[i] == theirs) continue;
    if (tensor.tolerance.kind == GoldenTolerance::Kind::mixed) {
      const double share =
          share_used(static_cast<double>(got[i]), static_cast<double>(theirs), tensor.tolerance);
      result.worst = std::max(result.worst, share);
      if (share <= 1.0) continue;
    }
    wrong.add(i);
  }
  if (wrong.count > 0) {
    result.failure =
        wrong.words(tensor, fmt::format("{}", got[wrong.first]), fmt::format("{}", want[wrong.first]));
  }
  return result;
}

// What keeps a result from being compared at all, or "".
std::string unfit_words(const GoldenTensor* tensor, std::string_view output, std::size_t size, bool real) {
  if (!tensor->output) {
    return fmt::format("the kernel gives \"{}\", which is no output of the case", output);
  }
  if (real != is_real(tensor->type)) {
    return fmt::format("the kernel gives {}, the file holds {}", real ? "real numbers" : "whole numbers",
                       type_word(tensor->type));
  }
  if (std::cmp_not_equal(size, tensor->elements())) {
    return fmt::format("the kernel gives {} values, the file holds {}", size, tensor->elements());
  }
  return "";
}

template <class Got>
GoldenCase::Result real_result(const GoldenTensor* tensor, std::string_view output,
                               std::span<const Got> values, std::span<const double> extra = {}) {
  std::string unfit = unfit_words(tensor, output, values.size(), true);
  if (!unfit.empty()) return {std::string(output), std::move(unfit), 0.0, 0};
  if (tensor->tolerance.kind == GoldenTolerance::Kind::info) return {tensor->name, "", 0.0, 0, true};
  return tensor->type == GoldenType::f32 ? compare_reals<Got, float>(*tensor, values, extra)
                                         : compare_reals<Got, double>(*tensor, values, extra);
}

// A parameter of a path such as "rope.base", or nullptr. JSON's null is no value.
const config::Node* find_parameter(const config::Node& params, std::string_view path) {
  const config::Node* node = &params;
  while (node != nullptr && !path.empty()) {
    const std::size_t dot = std::min(path.find('.'), path.size());
    node = node->kind == config::Node::Kind::object ? node->find(path.substr(0, dot)) : nullptr;
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return node == nullptr || node->kind == config::Node::Kind::null ? nullptr : node;
}

[[noreturn]] void fail_parameter(const std::string& name, std::string_view path, const config::Node* node,
                                 std::string_view wanted) {
  if (node == nullptr) throw GoldenError(fmt::format("case {}: no parameter \"{}\"", name, path));
  throw GoldenError(fmt::format("case {}: the parameter \"{}\" is {}, not {}", name, path,
                                config::kind_words(node->kind), wanted));
}

bool number_of(const config::Node* node, double& value) {
  if (node == nullptr) return false;
  if (node->kind == config::Node::Kind::real) value = node->real;
  if (node->kind == config::Node::Kind::integer) value = static_cast<double>(node->integer);
  return node->kind == config::Node::Kind::real || node->kind == config::Node::Kind::integer;
}

}  // namespace

std::int64_t GoldenTensor::elements() const {
  std::int64_t product = 1;
  for (const std::int64_t size : shape) product *= size;
  return product;
}

GoldenCase::GoldenCase(std::string name, std::string kind, config::Node params,
                       std::vector<GoldenTensor> tensors)
    : name_(std::move(name)),
      kind_(std::move(kind)),
      params_(std::move(params)),
      tensors_(std::move(tensors)) {}

double GoldenCase::number(std::string_view path) const {
  const config::Node* node = find_parameter(params_, path);
  double value = 0.0;
  if (!number_of(node, value)) fail_parameter(name_, path, node, "a number");
  return value;
}

std::int64_t GoldenCase::integer(std::string_view path) const {
  const config::Node* node = find_parameter(params_, path);
  if (node != nullptr && node->kind == config::Node::Kind::integer) return node->integer;
  // A whole number may be written with a decimal point.
  constexpr double kExact = 0x1p53;
  if (node != nullptr && node->kind == config::Node::Kind::real && std::abs(node->real) <= kExact &&
      std::trunc(node->real) == node->real) {
    return static_cast<std::int64_t>(node->real);
  }
  fail_parameter(name_, path, node, "a whole number");
}

bool GoldenCase::flag(std::string_view path) const {
  const config::Node* node = find_parameter(params_, path);
  if (node == nullptr || node->kind != config::Node::Kind::boolean) {
    fail_parameter(name_, path, node, "true or false");
  }
  return node->boolean;
}

std::string GoldenCase::text(std::string_view path) const {
  const config::Node* node = find_parameter(params_, path);
  if (node == nullptr || node->kind != config::Node::Kind::string) {
    fail_parameter(name_, path, node, "a text");
  }
  return node->text;
}

std::vector<double> GoldenCase::numbers(std::string_view path) const {
  const config::Node* node = find_parameter(params_, path);
  if (node == nullptr || node->kind != config::Node::Kind::array) {
    fail_parameter(name_, path, node, "a list of numbers");
  }
  std::vector<double> all(node->items.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!number_of(&node->items[i], all[i])) fail_parameter(name_, path, &node->items[i], "a number");
  }
  return all;
}

bool GoldenCase::has(std::string_view path) const { return find_parameter(params_, path) != nullptr; }

double GoldenCase::number_or(std::string_view path, double otherwise) const {
  return has(path) ? number(path) : otherwise;
}
std::int64_t GoldenCase::integer_or(std::string_view path, std::int64_t otherwise) const {
  return has(path) ? integer(path) : otherwise;
}
bool GoldenCase::flag_or(std::string_view path, bool otherwise) const {
  return has(path) ? flag(path) : otherwise;
}
std::string GoldenCase::text_or(std::string_view path, std::string_view otherwise) const {
  return has(path) ? text(path) : std::string(otherwise);
}

const GoldenTensor* GoldenCase::find_tensor(std::string_view tensor) const {
  const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                  [&](const GoldenTensor& one) { return one.name == tensor; });
  return found == tensors_.end() ? nullptr : &*found;
}

bool GoldenCase::has_tensor(std::string_view tensor) const { return find_tensor(tensor) != nullptr; }

const GoldenTensor& GoldenCase::tensor(std::string_view tensor) const {
  const GoldenTensor* found = find_tensor(tensor);
  if (found == nullptr) throw GoldenError(fmt::format("case {}: no tensor \"{}\"", name_, tensor));
  return *found;
}

std::int64_t GoldenCase::dimension(std::string_view tensor, std::size_t index) const {
  const GoldenTensor* found = find_tensor(tensor);
  return found == nullptr || index >= found->shape.size() ? -1 : found->shape[index];
}

std::span<const float> GoldenCase::f32(std::string_view tensor) const {
  return read_values<float>(name_, this->tensor(tensor), GoldenType::f32, floats_);
}
std::span<const double> GoldenCase::f64(std::string_view tensor) const {
  return read_values<double>(name_, this->tensor(tensor), GoldenType::f64, doubles_);
}
std::span<const std::int32_t> GoldenCase::i32(std::string_view tensor) const {
  return read_values<std::int32_t>(name_, this->tensor(tensor), GoldenType::i32, integers_);
}
std::span<const std::int64_t> GoldenCase::i64(std::string_view tensor) const {
  return read_values<std::int64_t>(name_, this->tensor(tensor), GoldenType::i64, long_integers_);
}
std::span<const std::uint8_t> GoldenCase::u8(std::string_view tensor) const {
  return typed_values<std::uint8_t>(name_, this->tensor(tensor), GoldenType::u8);
}
std::span<const std::int8_t> GoldenCase::i8(std::string_view tensor) const {
  return typed_values<std::int8_t>(name_, this->tensor(tensor), GoldenType::i8);
}
std::span<const std::uint16_t> GoldenCase::u16(std::string_view tensor) const {
  return typed_values<std::uint16_t>(name_, this->tensor(tensor), GoldenType::u16);
}
std::span<const std::uint32_t> GoldenCase::u32(std::string_view tensor) const {
  return typed_values<std::uint32_t>(name_, this->tensor(tensor), GoldenType::u32);
}

void GoldenCase::give(std::string_view output, std::span<const float> values) {
  if (has_tensor(output)) results_.push_back(real_result(find_tensor(output), output, values));
}

void GoldenCase::give_within(std::string_view output, std::span<const float> values,
                             std::span<const double> extra) {
  if (has_tensor(output)) results_.push_back(real_result(find_tensor(output), output, values, extra));
}

void GoldenCase::give(std::string_view output, std::span<const double> values) {
  if (has_tensor(output)) results_.push_back(real_result(find_tensor(output), output, values));
}

void GoldenCase::give(std::string_view output, std::span<const std::int64_t> values) {
  const GoldenTensor* tensor = find_tensor(output);
  if (tensor == nullptr) return;
  std::string unfit = unfit_words(tensor, output, values.size(), false);
  if (!unfit.empty()) {
    results_.push_back({std::string(output), std::move(unfit), 0.0, 0});
    return;
  }
  if (tensor->tolerance.kind == GoldenTolerance::Kind::info) {
    results_.push_back({tensor->name, "", 0.0, 0, true});
    return;
  }
  visit_values(*tensor, [&]<class Want>(std::span<const Want>) {
    if constexpr (std::is_integral_v<Want>) {
      results_.push_back(compare_integers<Want>(*tensor, values));
    }
  });
}

void GoldenCase::give_count(std::string_view parameter, std::int64_t value) {
  if (!has(parameter)) return;
  Result result{std::string(parameter), "", 0.0, 1};
  if (const std::int64_t want = integer(parameter); value != want) {
    result.failure = fmt::format("counted {}, the file says {}", value, want);
  }
  results_.push_back(std::move(result));
}

void GoldenCase::give_fact(std::string_view parameter, double value) {
  if (!has(parameter)) return;
  constexpr double kClose = 1e-9;
  const double want = number(parameter);
  Result result{std::string(parameter), "",
                share_used(value, want, {GoldenTolerance::Kind::mixed, 0.0, kClose}), 1};
  if (!(result.worst <= 1.0)) result.failure = fmt::format("computed {}, the file says {}", value, want);
  results_.push_back(std::move(result));
}

void GoldenCase::finish() {
  for (const GoldenTensor& tensor : tensors_) {
    if (!tensor.output || tensor.tolerance.kind == GoldenTolerance::Kind::info) continue;
    const bool given = std::any_of(results_.begin(), results_.end(),
                                   [&](const Result& result) { return result.output == tensor.name; });
    if (!given) results_.push_back({tensor.name, "the kernel did not give this output", 0.0, 0});
  }
}

}  // namespace moesim::reference
