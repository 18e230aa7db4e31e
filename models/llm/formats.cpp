#include "models/llm/formats.hpp"

#include <array>
#include <string>

#include "sim/core/check.hpp"
#include "sim/core/integers.hpp"

namespace moesim::llm {

namespace {

// How weights and activations of a format share their scales.
struct Storage {
  std::int64_t bits = 0;            // of one element
  std::int64_t scale_bits = 0;      // of one block scale, 0 for none
  std::int64_t weight_outputs = 1;  // a weight block is weight_outputs x weight_inputs
  std::int64_t weight_inputs = 1;
  std::int64_t activation_inputs = 1;  // an activation block lies in one row
};

constexpr std::array<Storage, kNumberFormats> kStorage = {{
    {16, 0, 1, 1, 1},        // bf16
    {16, 0, 1, 1, 1},        // fp16
    {32, 0, 1, 1, 1},        // fp32
    {8, 0, 1, 1, 1},         // fp8
    {8, 32, 128, 128, 128},  // fp8_block
    {8, 0, 1, 1, 1},         // int8
    {4, 16, 1, 128, 128},    // int4
    {4, 16, 1, 32, 32},      // int4_g32
    {4, 8, 1, 32, 32},       // mxfp4
    {4, 8, 1, 16, 16},       // nvfp4
}};

const Storage& storage_of(NumberFormat format) { return kStorage.at(static_cast<std::size_t>(format)); }

// A format is wide enough for the activations of a weight format: see Formats' record.
bool activations_fit(NumberFormat weights, NumberFormat activations) {
  if (activations == NumberFormat::bf16 || activations == NumberFormat::fp16)
    return weights != NumberFormat::fp32;
  if (activations == NumberFormat::int4 || activations == NumberFormat::int4_g32) return false;
  if (activations == weights) return true;
  return activations == NumberFormat::fp8 && element_bits(weights) == 4;
}

}  // namespace

std::int64_t element_bits(NumberFormat format) { return storage_of(format).bits; }

Ratio bits_per_element(NumberFormat format) {
  const Storage& storage = storage_of(format);
  const std::int64_t block = storage.weight_outputs * storage.weight_inputs;
  Ratio ratio{storage.bits * block + storage.scale_bits, block};
  while (ratio.numerator % 2 == 0 && ratio.denominator % 2 == 0) {  // blocks are powers of two
    ratio.numerator /= 2;
    ratio.denominator /= 2;
  }
  return ratio;
}

std::int64_t bytes_for(std::int64_t elements, NumberFormat format) {
  const Ratio ratio = bits_per_element(format);
  const std::int64_t bits_per_byte_unit = 8 * ratio.denominator;
  // In parts, so that elements x numerator cannot overflow.
  const std::int64_t whole = elements / bits_per_byte_unit;
  const std::int64_t rest = elements % bits_per_byte_unit;
  return whole * ratio.numerator + core::divide_up(rest * ratio.numerator, bits_per_byte_unit);
}

std::int64_t matrix_bytes(std::int64_t outputs, std::int64_t inputs, NumberFormat format) {
  const Storage& storage = storage_of(format);
  const std::int64_t blocks =
      core::divide_up(outputs, storage.weight_outputs) * core::divide_up(inputs, storage.weight_inputs);
  return core::divide_up(outputs * inputs * storage.bits, 8) + blocks * storage.scale_bits / 8;
}

std::int64_t row_bytes(std::int64_t width, NumberFormat format) {
  const Storage& storage = storage_of(format);
  return core::divide_up(width * storage.bits, 8) +
         core::divide_up(width, storage.activation_inputs) * storage.scale_bits / 8;
}

NumberFormat compute_format(NumberFormat weights, NumberFormat activations) {
  return element_bits(weights) > element_bits(activations) ? weights : activations;
}

NumberFormat default_activations(NumberFormat weights) {
  switch (weights) {
    case NumberFormat::int4:
    case NumberFormat::int4_g32:
    case NumberFormat::mxfp4:
      return NumberFormat::bf16;
    default:
      return weights;
  }
}

LinearFormats Formats::of(WeightKind kind) const {
  if (kind == WeightKind::experts) return {weights, activations.value_or(default_activations(weights))};
  const bool attention = kind == WeightKind::attention;
  const NumberFormat own = (attention ? attention_weights : dense_weights).value_or(weights);
  const auto& special = attention ? attention_activations : dense_activations;
  if (special) return {own, *special};
  return {own, activations && activations_fit(own, *activations) ? *activations : default_activations(own)};
}

std::vector<FormatProblem> format_problems(const Formats& formats) {
  std::vector<FormatProblem> problems;
  const NumberFormat activations = formats.linear_activations();
  if (!activations_fit(formats.weights, activations)) {
    problems.push_back({"activations",
                        "no kernel multiplies " + std::string(config::enum_name(formats.weights)) +
                            " weights by " + std::string(config::enum_name(activations)) + " activations",
                        formats.weights == NumberFormat::fp32 ? "fp32" : "bf16"});
  }
  switch (formats.kv) {
    case NumberFormat::bf16:
    case NumberFormat::fp16:
    case NumberFormat::fp8:
    case NumberFormat::int8:
      break;
    default:
      problems.push_back({"kv",
                          "the KV cache cannot be " + std::string(config::enum_name(formats.kv)) +
                              "; it is bf16, fp16, fp8 or int8",
                          "fp8"});
  }
  return problems;
}

}  // namespace moesim::llm
