// Four-bit weights with AVX-512: a table of 32 bf16 values (16 twice, so that no bit needs to be masked)
// turns the lowest bits of 32 words into weights with one vpermw; three shifts bring up the other codes.
#include "models/reference/quantised_gemv.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>

namespace moesim::reference {

namespace {

constexpr std::int64_t kBlocks = 4;  // scales of a chunk
// Rows that are multiplied together; the codes and scales of the next ones are asked for meanwhile, into the
// L2 cache.
constexpr int kRowsAtOnce = 4;

// The scales of four blocks, each in the four lanes that hold sums of its weights.
template <FourBitScale kScale>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512 scales_of_chunk(
    const std::byte* at, std::int64_t blocks, __m512i places) {
  if constexpr (kScale == FourBitScale::f32) {
    const __m128i four =
        _mm_maskz_loadu_epi32(static_cast<__mmask8>((1U << static_cast<unsigned>(blocks)) - 1U), at);
    return _mm512_castsi512_ps(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(four), places));
  } else if constexpr (kScale == FourBitScale::bf16) {
    std::uint64_t four = 0;
    std::memcpy(&four, at, static_cast<std::size_t>(2 * blocks));
    return _mm512_castsi512_ps(_mm512_shuffle_epi8(_mm512_set1_epi64(static_cast<long long>(four)), places));
  } else {
    std::uint32_t four = 0;
    std::memcpy(&four, at, static_cast<std::size_t>(blocks));
    const __m512i bytes = _mm512_shuffle_epi8(_mm512_set1_epi32(static_cast<int>(four)), places);
    return _mm512_castsi512_ps(_mm512_slli_epi32(bytes, 23));
  }
}

// For each byte of a lane of 32 bits the byte of the loaded scales that goes there, or 0x80 for zero.
template <FourBitScale kScale>
[[nodiscard]] Line scale_places() {
  Line line{};
  for (Unit lane = 0; lane < kLineUnits; ++lane) {
    const Unit block = lane / 4;
    if (kScale == FourBitScale::f32) line.units[lane] = 0x03020100U + 0x04040404U * block;
    if (kScale == FourBitScale::bf16)
      line.units[lane] = (2 * block + 1) << 24U | (2 * block) << 16U | 0x8080U;
    if (kScale == FourBitScale::e8m0) line.units[lane] = 0x80808000U | block;
  }
  return line;
}

[[nodiscard]] Line value_table(FourBitCode code) {
  Line line{};
  for (Unit i = 0; i < 32; ++i) {
    const Unit bits = to_bf16(four_bit_value(code, static_cast<std::uint8_t>(i % 16))).bits;
    line.units[i / 2] |= bits << (i % 2 * 16);
  }
  return line;
}

// Sums of the products of 128 weights: lane i has those of bytes 4 i, ..., 4 i + 3.
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512 chunk_products(
    __m512i codes, const Line* planes, __m512i table) {
  const __m512i w0 = _mm512_permutexvar_epi16(codes, table);
  const __m512i w1 = _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 4), table);
  const __m512i w2 = _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 8), table);
  const __m512i w3 = _mm512_permutexvar_epi16(_mm512_srli_epi16(codes, 12), table);
  __m512 sum = _mm512_setzero_ps();
  sum = _mm512_dpbf16_ps(sum, (__m512bh)w0, (__m512bh)_mm512_load_si512(planes));
  sum = _mm512_dpbf16_ps(sum, (__m512bh)w1, (__m512bh)_mm512_load_si512(planes + 1));
  sum = _mm512_dpbf16_ps(sum, (__m512bh)w2, (__m512bh)_mm512_load_si512(planes + 2));
  return _mm512_dpbf16_ps(sum, (__m512bh)w3, (__m512bh)_mm512_load_si512(planes + 3));
}

[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline float sum_of_lanes(
    __m512 x) {
  x = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0x4E));
  x = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0xB1));
  x = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4E));
  return _mm512_cvtss_f32(_mm512_add_ps(x, _mm512_permute_ps(x, 0xB1)));
}

// True if a row has an E8M0 scale of 0 or 255, whose bits are not those of an f32 exponent.
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] bool has_odd_scale(const std::byte* scales,
                                                                              std::int64_t n) {
  const __m512i one = _mm512_set1_epi8(1);
  __mmask64 odd = 0;
  for (std::int64_t i = 0; i < n; i += 64) {
    const __mmask64 there = n - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << static_cast<unsigned>(n - i)) - 1U;
    const __m512i next = _mm512_add_epi8(_mm512_maskz_loadu_epi8(there, scales + i), one);
    odd |= _mm512_mask_cmple_epu8_mask(there, next, one);
  }
  return odd != 0;
}

[[nodiscard]] constexpr std::int64_t bytes_of(FourBitScale scale) {
  return scale == FourBitScale::f32 ? 4 : scale == FourBitScale::bf16 ? 2 : 1;
}

// kRows neighbouring rows: they share the loads of the activations, and hide each other's latencies.
template <FourBitScale kScale, int kRows>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] void row_products(
    const std::uint8_t* codes, const std::byte* scales, const Line* planes, std::int64_t blocks,
    const Line& table_line, const Line& place_line, float* out) {
  const __m512i table = _mm512_load_si512(&table_line), places = _mm512_load_si512(&place_line);
  const std::int64_t code_row = blocks * 16, scale_row = blocks * bytes_of(kScale);
  __m512 sums[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) sums[r] = _mm512_setzero_ps();
  std::int64_t block = 0;
  for (; block + kBlocks <= blocks; block += kBlocks) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const std::uint8_t* at = codes + r * code_row + block * 16;
      __builtin_prefetch(at + kRowsAtOnce * code_row, 0, 2);
      const __m512 products = chunk_products(_mm512_loadu_si512(at), planes + block, table);
      const __m512 scale =
          scales_of_chunk<kScale>(scales + r * scale_row + block * bytes_of(kScale), kBlocks, places);
      sums[r] = _mm512_fmadd_ps(products, scale, sums[r]);
    }
  }
  if (block < blocks) {
    const auto mask = static_cast<__mmask16>((1U << static_cast<unsigned>(4 * (blocks - block))) - 1U);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m512i chunk = _mm512_maskz_loadu_epi32(mask, codes + r * code_row + block * 16);
      const __m512 scale =
          scales_of_chunk<kScale>(scales + r * scale_row + block * bytes_of(kScale), blocks - block, places);
      sums[r] = _mm512_fmadd_ps(chunk_products(chunk, planes + block, table), scale, sums[r]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) out[r] = sum_of_lanes(sums[r]);
}

template <FourBitScale kScale>
void rows_of(const FourBitRows& part) {
  const FourBitWeights& weights = *part.weights;
  const std::int64_t blocks = weights.columns / kFourBitBlock;
  const Line table = value_table(weights.code), places = scale_places<kScale>();
  for (std::int64_t done = 0; done < part.rows;) {
    const std::int64_t row = part.first + done;
    const std::byte* scales = weights.scales.data() + row * blocks * bytes_of(kScale);
    const std::uint8_t* codes = weights.codes.data() + row * blocks * 16;
    const std::int64_t rows = part.rows - done >= kRowsAtOnce ? kRowsAtOnce : 1;
    const std::int64_t scale_bytes = rows * blocks * bytes_of(kScale);
    for (std::int64_t i = 0; i < scale_bytes; i += 64) __builtin_prefetch(scales + scale_bytes + i, 0, 2);
    if (kScale == FourBitScale::e8m0 && has_odd_scale(scales, rows * blocks)) {
      FourBitRows plain = part;
      plain.first = row;
      plain.rows = rows;
      portable_four_bit_rows(plain);
    } else if (rows == 1) {
      row_products<kScale, 1>(codes, scales, part.planes, blocks, table, places, part.out + row);
    } else {
      row_products<kScale, kRowsAtOnce>(codes, scales, part.planes, blocks, table, places, part.out + row);
    }
    done += rows;
  }
}

void wide_rows(const FourBitRows& part) {
  switch (part.weights->scale) {
    case FourBitScale::e8m0:
      return rows_of<FourBitScale::e8m0>(part);
    case FourBitScale::bf16:
      return rows_of<FourBitScale::bf16>(part);
    case FourBitScale::f32:
      return rows_of<FourBitScale::f32>(part);
  }
}

}  // namespace

void (*avx512_four_bit_rows())(const FourBitRows& part) { return wide_rows; }

}  // namespace moesim::reference

#else

namespace moesim::reference {

void (*avx512_four_bit_rows())(const FourBitRows& part) { return nullptr; }

}  // namespace moesim::reference

#endif
