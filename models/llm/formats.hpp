// Number formats of weights, activations and the KV cache, with their exact storage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/record.hpp"

namespace moesim::llm {

enum class NumberFormat : std::uint8_t {
  bf16,
  fp16,
  fp32,
  fp8,        // E4M3, one scale per tensor
  fp8_block,  // E4M3, one f32 scale per 128 x 128 weights and per 128 activations of a row (DeepSeek-V3)
  int8,       // one scale per output channel or per token
  int4,       // weights only: groups of 128 along the depth, one 16-bit scale each (GPTQ, AWQ symmetric)
  int4_g32,   // weights only: groups of 32, one 16-bit scale each (Kimi K2.5)
  mxfp4,      // OCP MX: E2M1, one 8-bit scale per 32
  nvfp4,      // E2M1, one E4M3 scale per 16
};
inline constexpr std::size_t kNumberFormats = 10;

// A positive fraction.
struct Ratio {
  std::int64_t numerator = 1;
  std::int64_t denominator = 1;
  bool operator==(const Ratio&) const = default;
};

// Bits of one element without its share of the scales: 4, 8, 16 or 32.
[[nodiscard]] std::int64_t element_bits(NumberFormat format);

// Bits a weight takes in memory with its share of the block scales, in lowest terms: 8 + 32/16384 for
// fp8_block, 4 + 8/32 for mxfp4, 4 + 8/16 for nvfp4, 4 + 16/128 for int4, 4 + 16/32 for int4_g32. Scales per
// tensor, channel or token are left out: they are below 0.1 % of the bytes for every row of 4,096 elements or
// more.
[[nodiscard]] Ratio bits_per_element(NumberFormat format);

// Bytes of `elements` weights with whole blocks, rounded up to a byte. Exact when the blocks are whole.
[[nodiscard]] std::int64_t bytes_for(std::int64_t elements, NumberFormat format);

// Bytes of one weight matrix [outputs, inputs]: blocks that are cut by an edge have a scale of their own.
// Equal to bytes_for(outputs * inputs) when no block is cut.
[[nodiscard]] std::int64_t matrix_bytes(std::int64_t outputs, std::int64_t inputs, NumberFormat format);

// Bytes of one row of `width` activations: fp8_block has one f32 scale per 128 elements (so a row of 7,168
// takes 7,392 bytes, as DeepEP sends it), mxfp4 and nvfp4 as for weights.
[[nodiscard]] std::int64_t row_bytes(std::int64_t width, NumberFormat format);

// The format in which the tensor cores multiply: the wider of the two operands, and that of the activations
// when both have the same width. Weights that are narrower are widened on the fly (weight-only quantisation).
[[nodiscard]] NumberFormat compute_format(NumberFormat weights, NumberFormat activations);

// The format in which activations enter a linear layer when nothing else is said: that of the weights for
// bf16, fp16, fp8, fp8_block, int8 and nvfp4; bf16 for the formats that are used weight-only (int4, int4_g32,
// mxfp4).
[[nodiscard]] NumberFormat default_activations(NumberFormat weights);

// Linear layers whose weights checkpoints keep in formats of their own.
enum class WeightKind : std::uint8_t {
  attention,  // all projections of attention and of recurrent layers, indexers included
  dense,      // dense feed-forward layers, shared experts, projections to the space of latent experts
  experts,    // routed experts
};

// The formats of one matrix, and of the rows that it is multiplied with.
struct LinearFormats {
  NumberFormat weights = NumberFormat::bf16;
  NumberFormat activations = NumberFormat::bf16;
  bool operator==(const LinearFormats&) const = default;
};

// The formats of one deployment.
//
// Those of weights hold for the linear layers only: the projections of attention, dense feed-forward layers,
// routed and shared experts. Embedding, norms, biases, router and output head stay bf16 (the router's score
// bias fp32), as in the published quantised checkpoints of the models in the zoo. The residual stream and the
// result of every linear layer are bf16; `activations` is the format in which a linear layer's input is
// multiplied and dispatched.
struct Formats {
  NumberFormat weights = NumberFormat::bf16;  // of routed experts, and of the others where those say nothing
  // Of every matrix that a kernel multiplies by it; not given (and for the others): default_activations() of
  // the matrix's own format.
  std::optional<NumberFormat> activations = std::nullopt;
  NumberFormat kv = NumberFormat::bf16;  // bf16, fp16, fp8 or int8
  std::optional<NumberFormat> attention_weights = std::nullopt;
  std::optional<NumberFormat> dense_weights = std::nullopt;
  // Instead of `activations`, for these matrices.
  std::optional<NumberFormat> attention_activations = std::nullopt;
  std::optional<NumberFormat> dense_activations = std::nullopt;

  [[nodiscard]] LinearFormats of(WeightKind kind) const;
  // Of the rows of routed experts, which dispatch sends.
  [[nodiscard]] NumberFormat linear_activations() const { return of(WeightKind::experts).activations; }
  bool operator==(const Formats&) const = default;
};

// Bytes of one element of the residual stream (bf16).
inline constexpr std::int64_t kStreamBytes = 2;

// A format that no kernel combines with the others, or that no KV cache has.
struct FormatProblem {
  std::string_view field;  // "activations" or "kv"
  std::string message;
  std::string_view suggestion;
};
[[nodiscard]] std::vector<FormatProblem> format_problems(const Formats& formats);

}  // namespace moesim::llm

template <>
struct moesim::config::EnumNames<moesim::llm::NumberFormat> {
  using F = moesim::llm::NumberFormat;
  static constexpr EnumName<F> table[] = {
      {F::bf16, "bf16", "bfloat16"},
      {F::fp16, "fp16", "IEEE half precision"},
      {F::fp32, "fp32", "IEEE single precision"},
      {F::fp8, "fp8", "E4M3 with one scale per tensor"},
      {F::fp8_block, "fp8_block", "E4M3 with one scale per 128 x 128 weights and per 128 activations"},
      {F::int8, "int8", "8-bit integers with one scale per channel or token"},
      {F::int4, "int4", "4-bit integers with one 16-bit scale per 128; weights only"},
      {F::int4_g32, "int4_g32", "4-bit integers with one 16-bit scale per 32; weights only"},
      {F::mxfp4, "mxfp4", "E2M1 with one 8-bit scale per 32 (OCP MX)"},
      {F::nvfp4, "nvfp4", "E2M1 with one E4M3 scale per 16 (NVIDIA)"},
  };
};
