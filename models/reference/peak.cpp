#include "models/reference/peak.hpp"

#include <cstring>

namespace moesim::reference {

double run_peak(std::int64_t steps, bool bf16, Isa isa) {
  if (bf16 && resolved(isa, true) == Isa::avx512) return run_peak_avx512(steps, true);
  if (resolved(isa, false) == Isa::avx512) return run_peak_avx512(steps, false);
  constexpr int kSums = 32;
  float sums[kSums] = {};
  float factor = 0.5F;
  for (std::int64_t i = 0; i < steps; ++i) {
    for (int j = 0; j < kSums; ++j) sums[j] = sums[j] * factor + 0.25F;
  }
  float total = 0.0F;
  for (const float sum : sums) total += sum;
  volatile float sink = total;
  (void)sink;
  return static_cast<double>(steps) * kSums * 2.0;
}

std::uint64_t run_read_pass(std::span<const std::byte> bytes, Isa isa, ReadAhead ahead) {
  const auto lines = static_cast<std::int64_t>(bytes.size() / 64);
  if (resolved(isa, false) == Isa::avx512) return run_read_pass_avx512(bytes.data(), lines, ahead);
  std::uint64_t sums[8] = {};
  for (std::int64_t line = 0; line < lines; ++line) {
    std::uint64_t words[8];
    std::memcpy(words, bytes.data() + line * 64, sizeof words);
    for (int j = 0; j < 8; ++j) sums[j] ^= words[j];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total ^= sum;
  return total;
}

}  // namespace moesim::reference
