// The steps of a mixture-of-experts layer around its products.
//
// Counts: rows and results, as llm::work_of. The permutation and the routing weights (12 bytes a row) are not
// counted.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/experts_activation.hpp"
#include "models/reference/gemm.hpp"
#include "models/routing/gate/permutation.hpp"

namespace moesim::reference {

// In which order the rows of a token are added up.
enum class CombineOrder : std::uint8_t {
  expert_ascending,  // Hugging Face index_add_, DeepSeek
  choice,            // best expert first
};

// The type of the running sum. bf16: the weight, each weighted row and each partial sum are rounded (Hugging
// Face and Grok-1 in a bf16 model); f32: rounded once, with the shared experts, at the end (DeepSeek).
enum class Accumulator : std::uint8_t { f32, bf16 };

// Where gate and up lie among the columns of their fused product.
enum class GateUpLayout : std::uint8_t {
  halves,       // all of the gate, then all of up
  interleaved,  // gate, up, gate, up (gpt-oss checkpoints)
};

// Experts and weights of each token, [tokens, top_k]; `keep`: one byte a pair, empty if nothing is dropped.
struct Routing {
  std::span<const std::int32_t> experts;
  std::span<const float> weights;
  std::int64_t top_k = 1;
  std::span<const std::uint8_t> keep;
};

namespace detail {

inline constexpr int kTensorIn = 0;
inline constexpr int kTensorOut = 1;

}  // namespace detail

// Rows of x in the order of the experts: out [rows, H]. With `weights` each row is multiplied by its routing
// weight in f32 and rounded to Value (Llama 4).
template <class Value, Probe P>
void gather_rows(const MatrixView<Value>& x, const gate::Permutation& permutation, std::int64_t top_k,
                 std::span<const float> weights, std::span<Value> out, P& probe) {
  for (std::int64_t r = 0; r < permutation.rows(); ++r) {
    const std::int64_t pair = permutation.pair_of_row[static_cast<std::size_t>(r)];
    const Value* from = x.row(pair / top_k);
    Value* to = out.data() + r * x.columns;
    probe.touch(Operand::activations, detail::kTensorIn, pair / top_k * x.columns, x.columns, kBitsOf<Value>);
    probe.touch(Operand::result, detail::kTensorOut, r * x.columns, x.columns, kBitsOf<Value>);
    if (weights.empty()) {
      std::copy(from, from + x.columns, to);
      continue;
    }
    const float weight = weights[static_cast<std::size_t>(pair)];
    for (std::int64_t i = 0; i < x.columns; ++i) to[i] = stored_as<Value>(to_float(from[i]) * weight);
    probe.flops(x.columns);
  }
}

// Activation of each row of a fused product: [rows, 2 F] -> [rows, F], or [rows, F] -> [rows, F] without a
// gate.
template <class Value, Probe P>
void activate_rows(std::span<const Value> rows, std::int64_t width, const ExpertActivation& activation,
                   GateUpLayout layout, std::span<Value> out, P& probe) {
  const std::int64_t in_width = (activation.gated() ? 2 : 1) * width;
  const bool interleaved = layout == GateUpLayout::interleaved && activation.gated();
  const std::int64_t step = interleaved ? 2 : 1;
  const std::int64_t up_at = !activation.gated() ? 0 : interleaved ? 1 : width;
  const std::int64_t count = static_cast<std::int64_t>(out.size()) / std::max<std::int64_t>(width, 1);
  for (std::int64_t r = 0; r < count; ++r) {
    const Value* from = rows.data() + r * in_width;
    for (std::int64_t i = 0; i < width; ++i) {
      out[static_cast<std::size_t>(r * width + i)] = stored_as<Value>(
          activate(activation, to_float(from[i * step]), to_float(from[i * step + up_at]), probe));
    }
    probe.touch(Operand::activations, detail::kTensorIn, r * in_width, in_width, kBitsOf<Value>);
    probe.touch(Operand::result, detail::kTensorOut, r * width, width, kBitsOf<Value>);
  }
}

// The rows of one token in the order in which they are added.
[[nodiscard]] inline std::vector<std::int64_t> rows_of_token(const gate::Permutation& permutation,
                                                             std::int64_t token, std::int64_t top_k,
                                                             CombineOrder order) {
  std::vector<std::int64_t> rows;
  for (std::int64_t j = 0; j < top_k; ++j) {
    const std::int64_t row = permutation.row_of_pair[static_cast<std::size_t>(token * top_k + j)];
    if (row >= 0) rows.push_back(row);
  }
  // Rows lie by expert.
  if (order == CombineOrder::expert_ascending) std::sort(rows.begin(), rows.end());
  return rows;
}

// out[t] = sum of weight x row over the rows of token t, from 0, in the declared order; 0 for a token without
// rows. `weights` [tokens, top_k], empty: all 1. out [tokens, H] is float or the stream's type.
template <class Value, class Result, Probe P>
void combine_rows(std::span<const Value> rows, std::int64_t hidden, const gate::Permutation& permutation,
                  std::int64_t top_k, std::span<const float> weights, CombineOrder order,
                  Accumulator accumulator, std::span<Result> out, P& probe) {
  const bool narrow = accumulator == Accumulator::bf16;
  const auto rounded_sum = [&](float x) { return narrow ? rounded_to_bf16(x) : x; };
  std::vector<float> sum(static_cast<std::size_t>(hidden));
  const std::int64_t tokens = static_cast<std::int64_t>(permutation.row_of_pair.size()) / top_k;
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::fill(sum.begin(), sum.end(), 0.0F);
    std::vector<std::int64_t> own = rows_of_token(permutation, t, top_k, order);
    if constexpr (P::has(Fault::reverse_combine_order)) std::reverse(own.begin(), own.end());
    if constexpr (P::has(Fault::drop_last_choice)) own.resize(own.empty() ? 0 : own.size() - 1);
    for (const std::int64_t r : own) {
      const auto pair = static_cast<std::size_t>(permutation.pair_of_row[static_cast<std::size_t>(r)]);
      const float weight = rounded_sum(weights.empty() ? 1.0F : weights[pair]);
      for (std::int64_t i = 0; i < hidden; ++i) {
        const float weighted = rounded_sum(weight * to_float(rows[static_cast<std::size_t>(r * hidden + i)]));
        float& s = sum[static_cast<std::size_t>(i)];
        s = rounded_sum(s + weighted);
      }
      probe.flops(2 * hidden);
      probe.touch(Operand::activations, detail::kTensorIn, r * hidden, hidden, kBitsOf<Value>);
    }
    for (std::int64_t i = 0; i < hidden; ++i) {
      out[static_cast<std::size_t>(t * hidden + i)] = stored_as<Result>(sum[static_cast<std::size_t>(i)]);
    }
    probe.touch(Operand::result, detail::kTensorOut, t * hidden, hidden, kBitsOf<Result>);
  }
}

}  // namespace moesim::reference
