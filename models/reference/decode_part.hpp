// The inner part of decode: the query heads of one KV head against some of its keys, in two versions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "models/reference/fast_kernels.hpp"

namespace moesim::reference {

inline constexpr std::int64_t kDecodeBlock = 64;  // keys whose scores are known before their values are read

struct DecodePart {
  const Unit* q = nullptr;  // [heads][q_stride], filled up with zeros to whole lines
  std::ptrdiff_t q_stride = 0;
  std::int64_t heads = 0;
  const std::byte* k = nullptr;  // [keys][qk_dim] values without gaps
  const std::byte* v = nullptr;  // [keys][v_dim]
  std::int64_t keys = 0;         // at least one
  std::int64_t qk_dim = 0;
  std::int64_t v_dim = 0;
  float scale = 1.0F;
  float* maximum = nullptr;  // results: of scale x scores, one for each head
  float* sum = nullptr;      // of exp(scale x score - maximum)
  float* out = nullptr;      // [heads][out_stride] sums of weight x value, out_stride >= v_dim in whole 32s
  std::ptrdiff_t out_stride = 0;
};

using DecodeKernel = void (*)(const DecodePart& part);

[[nodiscard]] DecodeKernel portable_decode(bool bf16);
[[nodiscard]] DecodeKernel avx512_decode(bool bf16);  // null where it cannot be compiled

}  // namespace moesim::reference
