// The path for any CPU: plain loops.
#include <algorithm>
#include <bit>

#include "models/reference/fast_exp.hpp"
#include "models/reference/fast_kernels.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

namespace {

[[nodiscard]] float low_half(Unit unit) { return std::bit_cast<float>(unit << 16U); }
[[nodiscard]] float high_half(Unit unit) { return std::bit_cast<float>(unit & 0xFFFF0000U); }

template <int kRows, bool kBf16>
void plain_tile(const Tile& tile) {
  for (int r = 0; r < kRows; ++r) {
    float sums[kTileColumns] = {};
    float* c = tile.c + r * tile.c_stride;
    if (tile.accumulate) std::copy_n(c, kTileColumns, sums);
    const Unit* a = tile.a + r * tile.a_stride;
    const Unit* b = tile.b;
    for (std::int64_t k = 0; k < tile.depth; ++k, ++a, b += kTileColumns) {
      if constexpr (kBf16) {
        const float a0 = low_half(*a), a1 = high_half(*a);
        for (int j = 0; j < kTileColumns; ++j)
          sums[j] = (sums[j] + a0 * low_half(b[j])) + a1 * high_half(b[j]);
      } else {
        const auto a0 = std::bit_cast<float>(*a);
        for (int j = 0; j < kTileColumns; ++j) sums[j] += a0 * std::bit_cast<float>(b[j]);
      }
    }
    std::copy_n(sums, kTileColumns, c);
  }
}

// Values i and i + 1 of a row, i even.
template <bool kBf16>
void store_two(Unit* out, std::int64_t i, float first, float second) {
  if constexpr (kBf16) {
    out[i / 2] = to_bf16(first).bits | static_cast<Unit>(to_bf16(second).bits) << 16U;
  } else {
    out[i] = std::bit_cast<Unit>(first);
    out[i + 1] = std::bit_cast<Unit>(second);
  }
}

template <bool kBf16>
float plain_softmax(const SoftmaxRow& row) {
  using fast_exp::exp1, fast_exp::kInfinity;
  const float old = *row.maximum;
  const float now = std::max(old, row.scale * *std::max_element(row.scores, row.scores + row.columns));
  const float shift = now == -kInfinity ? 0.0F : now;
  float sum = 0.0F;
  for (std::int64_t j = 0; j < row.columns; j += 2) {
    const float first = exp1(row.scale * row.scores[j] - shift);
    const float second = exp1(row.scale * row.scores[j + 1] - shift);
    sum += first + second;
    store_two<kBf16>(row.weights, j, first, second);
  }
  const float factor = old == now || old == -kInfinity ? 1.0F : exp1(old - now);
  *row.maximum = now;
  *row.sum = *row.sum * factor + sum;
  return factor;
}

void plain_scale(float* values, std::int64_t n, float factor) {
  for (std::int64_t i = 0; i < n; ++i) values[i] *= factor;
}

template <bool kBf16>
void plain_swiglu(const float* gate, const float* up, std::int64_t n, Unit* out) {
  const auto value = [&](std::int64_t i) { return gate[i] / (1.0F + fast_exp::exp1(-gate[i])) * up[i]; };
  for (std::int64_t i = 0; i < n; i += 2) store_two<kBf16>(out, i, value(i), value(i + 1));
}

void plain_add_scaled(const float* in, float weight, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] += weight * in[i];
}

void plain_exp(const float* in, std::int64_t n, float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = fast_exp::exp1(in[i]);
}

template <bool kBf16>
constexpr FastKernels kPlain = {
    {plain_tile<1, kBf16>, plain_tile<2, kBf16>, plain_tile<3, kBf16>, plain_tile<4, kBf16>,
     plain_tile<5, kBf16>, plain_tile<6, kBf16>, plain_tile<7, kBf16>, plain_tile<8, kBf16>,
     plain_tile<9, kBf16>, plain_tile<10, kBf16>, plain_tile<11, kBf16>, plain_tile<12, kBf16>,
     plain_tile<13, kBf16>, plain_tile<14, kBf16>},
    plain_softmax<kBf16>,
    plain_scale,
    plain_swiglu<kBf16>,
    plain_add_scaled,
    plain_exp};

}  // namespace

const FastKernels& portable_kernels(bool bf16) { return bf16 ? kPlain<true> : kPlain<false>; }

const FastKernels& fast_kernels(Isa isa, bool bf16) {
  core::check(isa != Isa::automatic, "the path of a kernel must be resolved first");
  const FastKernels* wide = isa == Isa::avx512 ? avx512_kernels(bf16) : nullptr;
  return wide != nullptr ? *wide : portable_kernels(bf16);
}

}  // namespace moesim::reference
