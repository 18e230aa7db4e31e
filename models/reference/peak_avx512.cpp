#include "models/reference/peak.hpp"

#if defined(__x86_64__)

#include <immintrin.h>

namespace moesim::reference {

namespace {

// More than latency x throughput of any CPU so far needs, and few enough to stay in registers.
constexpr int kSums = 24;

template <bool kBf16>
[[gnu::target("avx512vl,avx512dq,avx512vbmi,avx512bf16")]] float multiply_add_registers(std::int64_t steps) {
  __m512 sums[kSums];
#pragma GCC unroll 24
  for (int j = 0; j < kSums; ++j) {
    sums[j] = _mm512_setzero_ps();
    asm volatile("" : "+v"(sums[j]));  // or all sums would be found equal, and computed once
  }
  __m512 a = _mm512_set1_ps(0.5F), b = _mm512_set1_ps(0.25F);
  for (std::int64_t i = 0; i < steps; ++i) {
    // The operands look new in each round, so that no product is moved out of the loop.
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 24
    for (int j = 0; j < kSums; ++j) {
      if constexpr (kBf16) {
        sums[j] = _mm512_dpbf16_ps(sums[j], (__m512bh)a, (__m512bh)b);
      } else {
        sums[j] = _mm512_fmadd_ps(a, b, sums[j]);
      }
    }
  }
#pragma GCC unroll 24
  for (int j = 1; j < kSums; ++j) sums[0] = _mm512_add_ps(sums[0], sums[j]);
  return _mm512_cvtss_f32(sums[0]);
}

template <int kLocality, std::int64_t kAhead>
[[gnu::target("avx512vl,avx512dq,avx512vbmi")]] std::uint64_t read_lines(const std::byte* bytes,
                                                                         std::int64_t lines) {
  __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                     _mm512_setzero_si512()};
  std::int64_t line = 0;
  for (; line + 4 <= lines; line += 4) {
    const std::byte* at = bytes + line * 64;
    for (int j = 0; j < 4; ++j) __builtin_prefetch(at + kAhead + j * 64, 0, kLocality);
    for (int j = 0; j < 4; ++j) sums[j] = _mm512_xor_si512(sums[j], _mm512_loadu_si512(at + j * 64));
  }
  for (; line < lines; ++line) sums[0] = _mm512_xor_si512(sums[0], _mm512_loadu_si512(bytes + line * 64));
  std::uint64_t words[8], total = 0;
  _mm512_storeu_si512(
      words, _mm512_xor_si512(_mm512_xor_si512(sums[0], sums[1]), _mm512_xor_si512(sums[2], sums[3])));
  for (const std::uint64_t word : words) total ^= word;
  return total;
}

}  // namespace

double run_peak_avx512(std::int64_t steps, bool bf16) {
  volatile float sink = bf16 ? multiply_add_registers<true>(steps) : multiply_add_registers<false>(steps);
  (void)sink;
  return static_cast<double>(steps) * kSums * (bf16 ? 64.0 : 32.0);
}

std::uint64_t run_read_pass_avx512(const std::byte* bytes, std::int64_t lines, ReadAhead ahead) {
  return ahead == ReadAhead::non_temporal ? read_lines<0, 2048>(bytes, lines)
                                          : read_lines<2, 4096>(bytes, lines);
}

}  // namespace moesim::reference

#else

namespace moesim::reference {

double run_peak_avx512(std::int64_t /*steps*/, bool /*bf16*/) { return 0.0; }
std::uint64_t run_read_pass_avx512(const std::byte* /*bytes*/, std::int64_t /*lines*/, ReadAhead /*ahead*/) {
  return 0;
}

}  // namespace moesim::reference

#endif
