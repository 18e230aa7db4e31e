// What kernels counted while they ran, beside the work of the operators that the simulator prices.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/llm/operator.hpp"
#include "models/reference/gemm.hpp"
#include "models/reference/probe.hpp"
#include "sim/core/random.hpp"
#include "sim/serving/numerics.hpp"
#include "sim/studies/numerics_formats.hpp"

namespace moesim::studies {

// Inputs of the check: draws of (seed, entity).
class NumericsDraws {
 public:
  NumericsDraws(std::uint64_t seed, std::uint64_t entity) : draws_(seed, kStream, entity) {}
  // Uniform in (-scale, scale): odd multiples of 2^-16 scale.
  [[nodiscard]] std::vector<float> floats(std::int64_t n, double scale);
  [[nodiscard]] std::vector<reference::Bf16> values(std::int64_t n, double scale);

 private:
  static constexpr std::uint32_t kStream = 0x6e75'0001;
  core::Draws draws_;
};

// What is counted of an operator.
enum class CountQuantity : std::uint8_t {
  product_flops,
  other_flops,
  specials,
  weight_reads,
  kv_reads,
  activation_reads,
  kv_writes,
  activation_writes
};
inline constexpr std::size_t kCountQuantities = 8;

// Counts by operator, of both sides.
class CountLedger {
 public:
  // The operators of a layer; what has the same name is added up.
  void model(std::span<const llm::Operator> operators);
  // What a kernel counted. `actual_reads`: activations count as often as they were read (an operator that
  // copies rows counts each copy).
  void kernel(std::string_view name, const reference::Counts& counts, bool actual_reads = false);
  // Leaves an operator out, and says why.
  void skip(std::string_view name, std::string_view why);
  // The same for one of its quantities.
  void skip(std::string_view name, CountQuantity quantity, std::string_view why);
  // Appends to `counts` and `not_checked`. Operators without a kernel are named there; collectives are, once.
  void write(serving::LayerCheck& check) const;

 private:
  using Quantities = std::array<std::int64_t, kCountQuantities>;
  struct Entry {
    bool has_model = false, has_kernel = false, communicates = false;
    Quantities model{}, kernel{};
    std::string skipped;
    std::array<std::string, kCountQuantities> skipped_quantities;
  };
  Entry& entry(std::string_view name);

  std::vector<std::string> order_;  // of names, as they came
  std::map<std::string, Entry, std::less<>> entries_;
};

// A product of decoded operands, as kernels for quantised weights make it; counted. Result [rows of a, rows
// of w] in bf16.
struct CountedProduct {
  std::vector<reference::Bf16> result;
  reference::Counts counts;
};
[[nodiscard]] CountedProduct counted_product(const QuantisedMatrix& a, const QuantisedMatrix& weights,
                                             std::span<const reference::Bf16> bias = {});

// The linear layer of `role`: `rows` x `inputs` activations in the given formats by random weights; its
// counts go to the ledger. Returns the result.
std::vector<reference::Bf16> count_linear(CountLedger& ledger, llm::GemmRole role,
                                          std::span<const reference::Bf16> x, std::int64_t rows,
                                          std::int64_t inputs, std::int64_t outputs,
                                          const llm::LinearFormats& formats, bool bias, NumericsDraws& draws);

// A norm of [rows, width], counted under the name of `role`. `kind`: of the weights and sums.
enum class CountedNorm : std::uint8_t { rms, layer, layer_with_bias };
void count_norm(CountLedger& ledger, llm::ElementwiseRole role, std::int64_t rows, std::int64_t width,
                bool residual, CountedNorm kind, NumericsDraws& draws);

[[nodiscard]] reference::Counts operator+(const reference::Counts& a, const reference::Counts& b);

[[nodiscard]] std::vector<float> as_floats(std::span<const reference::Bf16> values);
[[nodiscard]] std::vector<reference::Bf16> as_bf16(std::span<const float> values);

}  // namespace moesim::studies
