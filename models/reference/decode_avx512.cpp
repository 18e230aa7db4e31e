// Decode with AVX-512. Sixteen scores at a time (16 keys of one head, 8 of two, 4 of four) keep a register of
// partial sums each; a tree of blends turns the sixteen registers into one with a score in each lane, so
// there are no horizontal additions.
#include "models/reference/decode_part.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <limits>

namespace moesim::reference {

namespace {

constexpr std::int64_t kLineBytes = 64;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

// Lanes whose index has the bit `step` set come from b, the others from a; each holds the sum of the lanes i
// and i ^ step of its source.
template <int kStep>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512 fold(__m512 a,
                                                                                                  __m512 b) {
  constexpr auto kMask = static_cast<__mmask16>(kStep == 8   ? 0xFF00
                                                : kStep == 4 ? 0xF0F0
                                                : kStep == 2 ? 0xCCCC
                                                             : 0xAAAA);
  const __m512 kept = _mm512_mask_blend_ps(kMask, a, b);
  const __m512 other = _mm512_mask_blend_ps(kMask, b, a);
  if constexpr (kStep == 8) return _mm512_add_ps(kept, _mm512_shuffle_f32x4(other, other, 0x4E));
  if constexpr (kStep == 4) return _mm512_add_ps(kept, _mm512_shuffle_f32x4(other, other, 0xB1));
  if constexpr (kStep == 2) return _mm512_add_ps(kept, _mm512_permute_ps(other, 0x4E));
  return _mm512_add_ps(kept, _mm512_permute_ps(other, 0xB1));
}

// Lane i of the result is the sum of the lanes of sums[i].
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512 sums_of_sixteen(
    __m512 (&sums)[16]) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) sums[i] = fold<8>(sums[i], sums[i + 8]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) sums[i] = fold<4>(sums[i], sums[i + 4]);
  return fold<1>(fold<2>(sums[0], sums[2]), fold<2>(sums[1], sums[3]));
}

// 64 bytes or fewer of a row of values; the rest is zero.
template <bool kBf16>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512i load_values(
    const std::byte* at, __mmask32 mask) {
  if constexpr (kBf16) {
    return _mm512_maskz_loadu_epi16(mask, at);
  } else {
    return _mm512_maskz_loadu_epi32(static_cast<__mmask16>(mask), at);
  }
}

// The values of line `line` of a row of `dim` values that exist.
template <bool kBf16>
[[nodiscard]] __mmask32 mask_of_line(std::int64_t dim, std::int64_t line) {
  constexpr std::int64_t kValues = kBf16 ? 32 : 16;
  const std::int64_t left = std::min(dim - line * kValues, kValues);
  return static_cast<__mmask32>((std::uint64_t{1} << static_cast<unsigned>(left)) - 1U);
}

template <bool kBf16>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16"), gnu::always_inline]] inline __m512 multiply_add(
    __m512i a, __m512i b, __m512 sum) {
  if constexpr (kBf16) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  } else {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
}

// Into the L2 cache: fetched into L1, they would drive out what is in use.
[[gnu::always_inline]] inline void ask_for(const std::byte* from, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += kLineBytes) __builtin_prefetch(from + i, 0, 2);
}

// One block of keys.
struct Block {
  std::int64_t first = 0;
  std::int64_t keys = 0;
  const std::byte* next = nullptr;  // asked for meanwhile, a share with each step; null: nothing
  std::int64_t next_bytes = 0;      // for each step
};

// scores[g][key] of kHeads heads and all keys of a block; unused keys of the last 32 get -inf.
template <bool kBf16, int kHeads>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] void block_scores(
    const DecodePart& part, std::int64_t head, const Block& block, float (&scores)[kHeads][kDecodeBlock]) {
  constexpr int kKeys = 16 / kHeads;
  const std::int64_t row_bytes = part.qk_dim * (kBf16 ? 2 : 4);
  const std::int64_t lines = (row_bytes + kLineBytes - 1) / kLineBytes;
  const Unit* q = part.q + head * part.q_stride;
  for (std::int64_t key = 0; key < block.keys; key += kKeys) {
    if (block.next != nullptr) ask_for(block.next + key / kKeys * block.next_bytes, block.next_bytes);
    const std::byte* rows[kKeys];
#pragma GCC unroll 16
    for (int i = 0; i < kKeys; ++i)
      rows[i] = part.k + (block.first + std::min(key + i, block.keys - 1)) * row_bytes;
    __m512 sums[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) sums[i] = _mm512_setzero_ps();
    for (std::int64_t line = 0; line < lines; ++line) {
      const __mmask32 mask = mask_of_line<kBf16>(part.qk_dim, line);
      __m512i query[kHeads];
#pragma GCC unroll 4
      for (int g = 0; g < kHeads; ++g)
        query[g] = _mm512_loadu_si512(q + g * part.q_stride + line * kLineUnits);
#pragma GCC unroll 16
      for (int i = 0; i < kKeys; ++i) {
        const __m512i values = load_values<kBf16>(rows[i] + line * kLineBytes, mask);
#pragma GCC unroll 4
        for (int g = 0; g < kHeads; ++g)
          sums[g * kKeys + i] = multiply_add<kBf16>(query[g], values, sums[g * kKeys + i]);
      }
    }
    float sixteen[16];
    _mm512_storeu_ps(sixteen, sums_of_sixteen(sums));
#pragma GCC unroll 4
    for (int g = 0; g < kHeads; ++g) std::memcpy(&scores[g][key], sixteen + g * kKeys, kKeys * sizeof(float));
  }
  for (int g = 0; g < kHeads; ++g)
    std::fill(scores[g] + block.keys, scores[g] + (block.keys + 31) / 32 * 32, kLowest);
}

// out += weights x values for kLines lines of the values and kHeads heads. For bf16 two keys at a time: their
// values interleave to pairs, which leaves the columns of a line in the order of natural_order().
template <bool kBf16, int kHeads, int kLines>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] void block_values(
    const DecodePart& part, std::int64_t head, const Block& block, std::int64_t line,
    const Unit (&weights)[kHeads][kDecodeBlock]) {
  constexpr int kHalves = kBf16 ? 2 : 1;
  const std::int64_t row_bytes = part.v_dim * (kBf16 ? 2 : 4);
  const std::byte* row = part.v + block.first * row_bytes + line * kLineBytes;
  float* out = part.out + head * part.out_stride + line * kHalves * 16;
  __mmask32 masks[kLines];
  __m512 sums[kHeads][kLines][kHalves];
#pragma GCC unroll 4
  for (int l = 0; l < kLines; ++l) masks[l] = mask_of_line<kBf16>(part.v_dim, line + l);
#pragma GCC unroll 4
  for (int g = 0; g < kHeads; ++g) {
#pragma GCC unroll 8
    for (int l = 0; l < kLines * kHalves; ++l)
      sums[g][l / kHalves][l % kHalves] = _mm512_loadu_ps(out + g * part.out_stride + l * 16);
  }
  for (std::int64_t key = 0; key < block.keys; key += kHalves, row += kHalves * row_bytes) {
    if (block.next != nullptr) ask_for(block.next + key / kHalves * block.next_bytes, block.next_bytes);
    const std::byte* second = key + 1 < block.keys ? row + row_bytes : row;
    __m512i weight[kHeads];
#pragma GCC unroll 4
    for (int g = 0; g < kHeads; ++g)
      weight[g] = _mm512_set1_epi32(static_cast<int>(weights[g][key / kHalves]));
#pragma GCC unroll 4
    for (int l = 0; l < kLines; ++l) {
      const __m512i a = load_values<kBf16>(row + l * kLineBytes, masks[l]);
      if constexpr (kBf16) {
        const __m512i b = load_values<kBf16>(second + l * kLineBytes, masks[l]);
        const __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpackhi_epi16(a, b);
#pragma GCC unroll 4
        for (int g = 0; g < kHeads; ++g) {
          sums[g][l][0] = multiply_add<kBf16>(weight[g], low, sums[g][l][0]);
          sums[g][l][1] = multiply_add<kBf16>(weight[g], high, sums[g][l][1]);
        }
      } else {
#pragma GCC unroll 4
        for (int g = 0; g < kHeads; ++g) sums[g][l][0] = multiply_add<kBf16>(weight[g], a, sums[g][l][0]);
      }
    }
  }
#pragma GCC unroll 4
  for (int g = 0; g < kHeads; ++g) {
#pragma GCC unroll 8
    for (int l = 0; l < kLines * kHalves; ++l)
      _mm512_storeu_ps(out + g * part.out_stride + l * 16, sums[g][l / kHalves][l % kHalves]);
  }
}

// kHeads heads against one block: scores, softmax, values. `fetch`: the block's values and the next block's
// keys are asked for (by the first heads only; the others find them in a cache).
template <bool kBf16, int kHeads>
void block_of_heads(const DecodePart& part, std::int64_t head, std::int64_t first, bool fetch) {
  constexpr int kLines = kHeads == 4 ? 2 : 4;
  const FastKernels& kernels = *avx512_kernels(kBf16);
  const std::int64_t k_row = part.qk_dim * (kBf16 ? 2 : 4), v_row = part.v_dim * (kBf16 ? 2 : 4);
  Block block{first, std::min(kDecodeBlock, part.keys - first)};
  float scores[kHeads][kDecodeBlock];
  Unit weights[kHeads][kDecodeBlock];
  if (fetch) {
    block.next = part.v + first * v_row;
    block.next_bytes = 16 / kHeads * v_row;
  }
  block_scores<kBf16, kHeads>(part, head, block, scores);
  for (int g = 0; g < kHeads; ++g) {
    const float factor = kernels.softmax({.scores = scores[g],
                                          .weights = weights[g],
                                          .columns = (block.keys + 31) / 32 * 32,
                                          .scale = part.scale,
                                          .maximum = part.maximum + head + g,
                                          .sum = part.sum + head + g});
    if (factor != 1.0F) kernels.scale(part.out + (head + g) * part.out_stride, part.out_stride, factor);
  }
  block.next = nullptr;
  const std::int64_t lines = (v_row + kLineBytes - 1) / kLineBytes;
  std::int64_t line = 0;
  for (; line + kLines <= lines; line += kLines) {
    if (fetch) {  // an equal share of the next keys with each group of lines
      const std::int64_t share = kDecodeBlock * k_row / (lines / kLines);
      block.next = part.k + (first + kDecodeBlock) * k_row + line / kLines * share;
      block.next_bytes = share / (kDecodeBlock / (kBf16 ? 2 : 1));
    }
    block_values<kBf16, kHeads, kLines>(part, head, block, line, weights);
  }
  block.next = nullptr;
  for (; line < lines; ++line) block_values<kBf16, kHeads, 1>(part, head, block, line, weights);
}

// Undoes the order in which interleaved pairs leave the columns of each 32: lane 4 j + i of the lower half is
// column 8 j + i, of the upper half column 8 j + 4 + i.
void natural_order(float* values, std::int64_t n) {
  for (std::int64_t line = 0; line < n; line += 32) {
    float sorted[32];
    for (int lane = 0; lane < 16; ++lane) {
      sorted[lane / 4 * 8 + lane % 4] = values[line + lane];
      sorted[lane / 4 * 8 + lane % 4 + 4] = values[line + 16 + lane];
    }
    std::copy_n(sorted, 32, values + line);
  }
}

template <bool kBf16>
void decode_part(const DecodePart& part) {
  std::fill_n(part.maximum, part.heads, kLowest);
  std::fill_n(part.sum, part.heads, 0.0F);
  std::fill_n(part.out, part.heads * part.out_stride, 0.0F);
  for (std::int64_t first = 0; first < part.keys; first += kDecodeBlock) {
    std::int64_t head = 0;
    for (; head + 4 <= part.heads; head += 4) block_of_heads<kBf16, 4>(part, head, first, head == 0);
    for (; head + 2 <= part.heads; head += 2) block_of_heads<kBf16, 2>(part, head, first, head == 0);
    for (; head < part.heads; ++head) block_of_heads<kBf16, 1>(part, head, first, head == 0);
  }
  if constexpr (kBf16) {
    for (std::int64_t head = 0; head < part.heads; ++head)
      natural_order(part.out + head * part.out_stride, (part.v_dim + 31) / 32 * 32);
  }
}

}  // namespace

DecodeKernel avx512_decode(bool bf16) { return bf16 ? decode_part<true> : decode_part<false>; }

}  // namespace moesim::reference

#else

namespace moesim::reference {

DecodeKernel avx512_decode(bool /*bf16*/) { return nullptr; }

}  // namespace moesim::reference

#endif
