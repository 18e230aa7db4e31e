// The AVX-512 path. Every function names its instructions itself: the rest of the program is compiled for any
// CPU, and fast_kernels() leads here only where the CPU has them.
#include "models/reference/fast_kernels.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>

#include "models/reference/fast_exp.hpp"

namespace moesim::reference {

namespace {

using namespace fast_exp;

// One step of a product: 16 sums of one f32 product each, or of two bf16 products each.
template <bool kBf16>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512 multiply_add(
    __m512i a, __m512i b, __m512 sum) {
  if constexpr (kBf16) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  } else {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
}

// Steps of depth between a load of weights and the request for those that will be needed then.
constexpr std::ptrdiff_t kAhead = 16;

template <int kRows, bool kBf16>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] void tile_product(const Tile& tile) {
  __m512 sums[kRows][2];
  if (tile.accumulate) {
#pragma GCC unroll 14
    for (int r = 0; r < kRows; ++r) {
      sums[r][0] = _mm512_loadu_ps(tile.c + r * tile.c_stride);
      sums[r][1] = _mm512_loadu_ps(tile.c + r * tile.c_stride + 16);
    }
  } else {
#pragma GCC unroll 14
    for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
  }
  const std::ptrdiff_t a_stride = tile.a_stride;
  // Three rows share a pointer: the address of each is then one instruction's own.
  constexpr int kPointers = (kRows + 2) / 3;
  const Unit* a[kPointers];
#pragma GCC unroll 5
  for (int i = 0; i < kPointers; ++i) a[i] = tile.a + 3 * i * a_stride;
  const Unit* b = tile.b;
  for (std::int64_t k = 0; k < tile.depth; ++k, b += kTileColumns) {
    const __m512i b0 = _mm512_loadu_si512(b);
    const __m512i b1 = _mm512_loadu_si512(b + 16);
    _mm_prefetch(reinterpret_cast<const char*>(b + kAhead * kTileColumns), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(b + kAhead * kTileColumns + 16), _MM_HINT_T0);
#pragma GCC unroll 14
    for (int r = 0; r < kRows; ++r) {
      const __m512i broadcast = _mm512_set1_epi32(static_cast<int>(a[r / 3][r % 3 * a_stride]));
      sums[r][0] = multiply_add<kBf16>(broadcast, b0, sums[r][0]);
      sums[r][1] = multiply_add<kBf16>(broadcast, b1, sums[r][1]);
    }
#pragma GCC unroll 5
    for (int i = 0; i < kPointers; ++i) ++a[i];
  }
#pragma GCC unroll 14
  for (int r = 0; r < kRows; ++r) {
    _mm512_storeu_ps(tile.c + r * tile.c_stride, sums[r][0]);
    _mm512_storeu_ps(tile.c + r * tile.c_stride + 16, sums[r][1]);
  }
}

// exp(x) = 2^n exp(r), |r| <= ln 2 / 2, with the polynomial of Cephes (S. L. Moshier, expf). Below -104 every
// result rounds to zero. A NaN stays one: the second operand of max and min is returned then.
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512 exp16(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-104.0F), x);
  x = _mm512_min_ps(_mm512_set1_ps(89.0F), x);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(kLog2E)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2High), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2Low), r);
  __m512 p = _mm512_set1_ps(kExp[0]);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp[1]));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp[2]));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp[3]));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp[4]));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExp[5]));
  p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r);
  return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0F)), n);
}

// Lane i with lane i ^ 8, then ^ 4, ^ 2, ^ 1.
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512 swap_lanes(
    __m512 x, int step) {
  if (step == 8) return _mm512_shuffle_f32x4(x, x, 0x4E);
  if (step == 4) return _mm512_shuffle_f32x4(x, x, 0xB1);
  return step == 2 ? _mm512_permute_ps(x, 0x4E) : _mm512_permute_ps(x, 0xB1);
}

[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline float largest_lane(
    __m512 x) {
  x = _mm512_max_ps(x, swap_lanes(x, 8));
  x = _mm512_max_ps(x, swap_lanes(x, 4));
  x = _mm512_max_ps(x, swap_lanes(x, 2));
  return _mm512_cvtss_f32(_mm512_max_ps(x, swap_lanes(x, 1)));
}

[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline float sum_of_lanes(
    __m512 x) {
  x = _mm512_add_ps(x, swap_lanes(x, 8));
  x = _mm512_add_ps(x, swap_lanes(x, 4));
  x = _mm512_add_ps(x, swap_lanes(x, 2));
  return _mm512_cvtss_f32(_mm512_add_ps(x, swap_lanes(x, 1)));
}

// Two registers of f32 become 32 f32 or 32 bf16 in memory.
template <bool kBf16>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline void store_pair(
    Unit* out, __m512 low, __m512 high) {
  if constexpr (kBf16) {
    _mm512_storeu_si512(out, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  } else {
    _mm512_storeu_ps(out, low);
    _mm512_storeu_ps(out + 16, high);
  }
}

template <bool kBf16>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] float softmax_row(const SoftmaxRow& row) {
  const float* s = row.scores;
  __m512 top = _mm512_loadu_ps(s), top2 = _mm512_loadu_ps(s + 16);
  for (std::int64_t j = 32; j < row.columns; j += 32) {
    top = _mm512_max_ps(top, _mm512_loadu_ps(s + j));
    top2 = _mm512_max_ps(top2, _mm512_loadu_ps(s + j + 16));
  }
  const float old = *row.maximum;
  const float now = std::max(old, row.scale * largest_lane(_mm512_max_ps(top, top2)));
  const __m512 scale = _mm512_set1_ps(row.scale);
  const __m512 shift = _mm512_set1_ps(now == -kInfinity ? 0.0F : now);
  __m512 sum = _mm512_setzero_ps(), sum2 = _mm512_setzero_ps();
  Unit* out = row.weights;
  for (std::int64_t j = 0; j < row.columns; j += 32, out += kBf16 ? 16 : 32) {
    const __m512 low = exp16(_mm512_fmsub_ps(_mm512_loadu_ps(s + j), scale, shift));
    const __m512 high = exp16(_mm512_fmsub_ps(_mm512_loadu_ps(s + j + 16), scale, shift));
    sum = _mm512_add_ps(sum, low);
    sum2 = _mm512_add_ps(sum2, high);
    store_pair<kBf16>(out, low, high);
  }
  const float factor =
      old == now || old == -kInfinity ? 1.0F : _mm512_cvtss_f32(exp16(_mm512_set1_ps(old - now)));
  *row.maximum = now;
  *row.sum = *row.sum * factor + sum_of_lanes(_mm512_add_ps(sum, sum2));
  return factor;
}

[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] void scale_values(float* values, std::int64_t n,
                                                                             float factor) {
  const __m512 by = _mm512_set1_ps(factor);
  for (std::int64_t i = 0; i < n; i += 16)
    _mm512_storeu_ps(values + i, _mm512_mul_ps(by, _mm512_loadu_ps(values + i)));
}

[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512 silu16(
    __m512 x) {
  const __m512 one = _mm512_set1_ps(1.0F);
  return _mm512_div_ps(x, _mm512_add_ps(one, exp16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

template <bool kBf16>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] void swiglu_values(const float* gate,
                                                                              const float* up, std::int64_t n,
                                                                              Unit* out) {
  for (std::int64_t i = 0; i < n; i += 32, out += kBf16 ? 16 : 32) {
    const __m512 low = _mm512_mul_ps(silu16(_mm512_loadu_ps(gate + i)), _mm512_loadu_ps(up + i));
    const __m512 high = _mm512_mul_ps(silu16(_mm512_loadu_ps(gate + i + 16)), _mm512_loadu_ps(up + i + 16));
    store_pair<kBf16>(out, low, high);
  }
}

[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] __mmask16 first_lanes(std::int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xFFFFU : (1U << static_cast<unsigned>(n)) - 1U);
}

[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] void add_scaled_values(const float* in,
                                                                                  float weight,
                                                                                  std::int64_t n,
                                                                                  float* out) {
  const __m512 by = _mm512_set1_ps(weight);
  for (std::int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = first_lanes(n - i);
    const __m512 sum =
        _mm512_fmadd_ps(by, _mm512_maskz_loadu_ps(mask, in + i), _mm512_maskz_loadu_ps(mask, out + i));
    _mm512_mask_storeu_ps(out + i, mask, sum);
  }
}

[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] void exp_values(const float* in, std::int64_t n,
                                                                           float* out) {
  for (std::int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = first_lanes(n - i);
    _mm512_mask_storeu_ps(out + i, mask, exp16(_mm512_maskz_loadu_ps(mask, in + i)));
  }
}

template <bool kBf16>
constexpr FastKernels kWide = {
    {tile_product<1, kBf16>, tile_product<2, kBf16>, tile_product<3, kBf16>, tile_product<4, kBf16>,
     tile_product<5, kBf16>, tile_product<6, kBf16>, tile_product<7, kBf16>, tile_product<8, kBf16>,
     tile_product<9, kBf16>, tile_product<10, kBf16>, tile_product<11, kBf16>, tile_product<12, kBf16>,
     tile_product<13, kBf16>, tile_product<14, kBf16>},
    softmax_row<kBf16>,
    scale_values,
    swiglu_values<kBf16>,
    add_scaled_values,
    exp_values};

}  // namespace

const FastKernels* avx512_kernels(bool bf16) { return bf16 ? &kWide<true> : &kWide<false>; }

}  // namespace moesim::reference

#else

namespace moesim::reference {

const FastKernels* avx512_kernels(bool /*bf16*/) { return nullptr; }

}  // namespace moesim::reference

#endif
