// Fast products and expert layers against f64, inside the a-priori bounds, for both paths; and their bits.
#include <cmath>
#include <random>
#include <vector>

#include "models/reference/fast_moe.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

constexpr double kUnit = 0x1p-24;
double gamma_of(std::int64_t n) {
  return static_cast<double>(n) * kUnit / (1.0 - static_cast<double>(n) * kUnit);
}

std::int64_t between(std::int64_t low, std::int64_t high) { return *rc::gen::inRange(low, high + 1); }

// Values of many sizes, so that sums cancel.
template <class Value>
std::vector<Value> arbitrary_values(std::int64_t n) {
  std::mt19937_64 random(*rc::gen::arbitrary<std::uint64_t>());
  const auto spread = static_cast<int>(between(0, 12));
  std::vector<Value> values;
  for (std::int64_t i = 0; i < n; ++i) {
    const double mantissa = static_cast<double>(static_cast<std::int64_t>(random() >> 12U)) * 0x1p-51 - 1.0;
    const int exponent = static_cast<int>(random() % static_cast<std::uint64_t>(2 * spread + 1)) - spread;
    const auto value = static_cast<float>(std::ldexp(mantissa, exponent));
    if constexpr (sizeof(Value) == 2) {
      values.push_back(to_bf16(value));
    } else {
      values.push_back(value);
    }
  }
  return values;
}

template <class Value>
MatrixView<Value> view(const std::vector<Value>& values, std::int64_t rows, std::int64_t columns) {
  return matrix(std::span<const Value>(values), rows, columns);
}

template <class Value>
std::vector<Isa> paths() {
  std::vector<Isa> all{Isa::portable};
  if (resolved(Isa::automatic, sizeof(Value) == 2) == Isa::avx512) all.push_back(Isa::avx512);
  return all;
}

// A number in f64 with a bound of the error that an f32 kernel may have made.
struct Bound {
  double value = 0.0;
  double error = 0.0;
};

// sum of a[k] w[k], where a carries errors.
template <class Value>
Bound dot(const std::vector<Bound>& a, const Value* w) {
  Bound sum;
  double magnitude = 0.0;
  for (std::size_t k = 0; k < a.size(); ++k) {
    const double weight = to_float(w[k]);
    sum.value += a[k].value * weight;
    sum.error += a[k].error * std::fabs(weight);
    magnitude += (std::fabs(a[k].value) + a[k].error) * std::fabs(weight);
  }
  const auto n = static_cast<std::int64_t>(a.size());
  sum.error += gamma_of(n + 1) * magnitude + static_cast<double>(n + 1) * 0x1p-125;
  return sum;
}

template <class Value>
std::vector<Bound> exactly(const Value* values, std::int64_t n) {
  std::vector<Bound> all;
  for (std::int64_t k = 0; k < n; ++k) all.push_back({to_float(values[k]), 0.0});
  return all;
}

template <class Value>
void products_are_within_bounds() {
  const std::int64_t rows = between(0, 70), columns = between(1, 80), depth = between(0, 600);
  const auto a = arbitrary_values<Value>(rows * depth), w = arbitrary_values<Value>(columns * depth);
  const PackedWeights<Value> packed(view(w, columns, depth));
  const std::int64_t stride = columns + between(0, 3);
  for (const Isa isa : paths<Value>()) {
    std::vector<float> out(static_cast<std::size_t>(rows * stride), -1.0F);
    fast_gemm(packed, view(a, rows, depth), out.data(), stride, {isa, nullptr});
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto row = exactly(a.data() + r * depth, depth);
      for (std::int64_t c = 0; c < stride; ++c) {
        const double got = out[static_cast<std::size_t>(r * stride + c)];
        if (c >= columns) {
          RC_ASSERT(got == -1.0);  // the gap is not touched
          continue;
        }
        const Bound want = dot(row, w.data() + c * depth);
        RC_ASSERT(std::fabs(got - want.value) <= want.error);
      }
    }
    // One row alone, and with two threads: the same bits.
    Workers two(2);
    std::vector<float> again(out.size(), -1.0F);
    fast_gemm(packed, view(a, rows, depth), again.data(), stride, {isa, &two});
    RC_ASSERT(again == out);
    if (rows == 0) continue;
    const std::int64_t r = between(0, rows - 1);
    std::vector<float> alone(static_cast<std::size_t>(columns));
    fast_gemm(packed, MatrixView<Value>{a.data() + r * depth, 1, depth, depth}, alone.data(), columns,
              {isa, nullptr});
    RC_ASSERT(std::equal(alone.begin(), alone.end(), out.begin() + r * stride));
  }
}

struct Layer {
  std::int64_t experts, tokens, hidden, width, top_k;
};

template <class Value>
struct ExpertValues {
  std::vector<Value> gate, up, down;
};

// silu(gate) x up: the slope of silu is below 1.1; 8 roundings cover exp, sum, quotient and product.
Bound swiglu(const Bound& gate, const Bound& up, bool bf16) {
  const double silu = gate.value / (1.0 + std::exp(-gate.value));
  Bound h{silu * up.value, 0.0};
  const double silu_error =
      1.1 * gate.error + (kFastExpUlps + 4.0) * 2.0 * kUnit * std::fabs(silu) + 0x1p-125;
  h.error = silu_error * (std::fabs(up.value) + up.error) + std::fabs(silu) * up.error;
  h.error += (kUnit + (bf16 ? 0x1p-8 : 0.0)) * (std::fabs(h.value) + h.error) + 0x1p-125;
  return h;
}

template <class Value>
std::vector<Bound> expert_row(const Value* x, const ExpertValues<Value>& expert, const Layer& layer) {
  const auto row = exactly(x, layer.hidden);
  std::vector<Bound> between_products, y;
  for (std::int64_t f = 0; f < layer.width; ++f)
    between_products.push_back(swiglu(dot(row, expert.gate.data() + f * layer.hidden),
                                      dot(row, expert.up.data() + f * layer.hidden), sizeof(Value) == 2));
  for (std::int64_t c = 0; c < layer.hidden; ++c)
    y.push_back(dot(between_products, expert.down.data() + c * layer.width));
  return y;
}

template <class Value>
void layers_are_within_bounds() {
  Layer layer{between(1, 6), between(1, 40), between(1, 70), between(1, 70), 1};
  layer.top_k = between(1, layer.experts);
  std::vector<ExpertValues<Value>> values;
  std::vector<PackedExpert<Value>> experts;
  for (std::int64_t e = 0; e < layer.experts; ++e) {
    values.push_back({arbitrary_values<Value>(layer.width * layer.hidden),
                      arbitrary_values<Value>(layer.width * layer.hidden),
                      arbitrary_values<Value>(layer.hidden * layer.width)});
    const ExpertValues<Value>& own = values.back();
    experts.push_back({PackedWeights<Value>(view(own.gate, layer.width, layer.hidden)),
                       PackedWeights<Value>(view(own.up, layer.width, layer.hidden)),
                       PackedWeights<Value>(view(own.down, layer.hidden, layer.width))});
  }
  const auto x = arbitrary_values<Value>(layer.tokens * layer.hidden);
  std::mt19937 random(*rc::gen::arbitrary<std::uint32_t>());
  std::vector<std::int32_t> chosen;
  std::vector<float> weights;
  for (std::int64_t t = 0; t < layer.tokens; ++t) {
    const auto first = static_cast<std::int64_t>(random());
    for (std::int64_t j = 0; j < layer.top_k; ++j) {
      chosen.push_back(static_cast<std::int32_t>((first + j) % layer.experts));
      weights.push_back(static_cast<float>(random() % 1000) / 500.0F - 1.0F);
    }
  }
  const FastRouting routing{layer.top_k, chosen, weights};
  const std::span<const PackedExpert<Value>> all(experts);
  for (const Isa isa : paths<Value>()) {
    std::vector<float> out(static_cast<std::size_t>(layer.tokens * layer.hidden));
    fast_moe_layer(all, view(x, layer.tokens, layer.hidden), routing, std::span(out), {isa, nullptr});
    for (std::int64_t t = 0; t < layer.tokens; ++t) {
      std::vector<Bound> sum(static_cast<std::size_t>(layer.hidden));
      std::vector<double> magnitude(sum.size());
      for (std::int64_t j = 0; j < layer.top_k; ++j) {
        const auto pair = static_cast<std::size_t>(t * layer.top_k + j);
        const auto y =
            expert_row(x.data() + t * layer.hidden, values[static_cast<std::size_t>(chosen[pair])], layer);
        for (std::size_t c = 0; c < sum.size(); ++c) {
          sum[c].value += static_cast<double>(weights[pair]) * y[c].value;
          sum[c].error += std::fabs(weights[pair]) * y[c].error;
          magnitude[c] += std::fabs(weights[pair]) * (std::fabs(y[c].value) + y[c].error);
        }
      }
      for (std::size_t c = 0; c < sum.size(); ++c) {
        const double got = out[static_cast<std::size_t>(t * layer.hidden) + c];
        RC_ASSERT(std::fabs(got - sum[c].value) <=
                  sum[c].error + gamma_of(layer.top_k + 1) * magnitude[c] + 0x1p-120);
      }
    }
    Workers two(2);
    std::vector<float> again(out.size());
    fast_moe_layer(all, view(x, layer.tokens, layer.hidden), routing, std::span(again), {isa, &two});
    RC_ASSERT(again == out);
    // The last token alone.
    const auto k = static_cast<std::size_t>(layer.top_k), h = static_cast<std::size_t>(layer.hidden);
    std::vector<float> alone(h);
    fast_moe_layer(all, MatrixView<Value>{x.data() + x.size() - h, 1, layer.hidden, layer.hidden},
                   {layer.top_k, std::span(chosen).last(k), std::span(weights).last(k)}, std::span(alone),
                   {isa, nullptr});
    RC_ASSERT(std::equal(alone.begin(), alone.end(), out.end() - layer.hidden));
  }
}

TEST_CASE("fast products are within their bound, and a row's bits are its own") {
  CHECK(rc::check("f32", products_are_within_bounds<float>));
  CHECK(rc::check("bf16", products_are_within_bounds<Bf16>));
}

TEST_CASE("fast expert layers are within their bound, and a token's bits are its own") {
  CHECK(rc::check("f32", layers_are_within_bounds<float>));
  CHECK(rc::check("bf16", layers_are_within_bounds<Bf16>));
}

TEST_CASE("fast kernels refuse sizes that do not fit") {
  const std::vector<float> w(12, 1.0F), x(8, 1.0F);
  const PackedWeights<float> packed(view(w, 3, 4));
  std::vector<float> out(6);
  CHECK_THROWS_AS(fast_gemm(packed, view(x, 4, 2), out.data(), 3), core::InvariantError);
  const std::vector<PackedExpert<float>> experts{{packed, packed, packed}};
  const std::vector<std::int32_t> chosen{0, 0};
  const std::vector<float> weights{1.0F, 1.0F};
  std::vector<float> result(8);
  CHECK_THROWS_AS(fast_moe_layer(std::span<const PackedExpert<float>>(experts), view(x, 2, 4),
                                 {1, chosen, weights}, std::span(result)),
                  core::InvariantError);
}

}  // namespace
}  // namespace moesim::reference
