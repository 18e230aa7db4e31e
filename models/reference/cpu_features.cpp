#include "models/reference/cpu_features.hpp"

#include "sim/core/check.hpp"

namespace moesim::reference {

CpuFeatures cpu_features() {
  CpuFeatures features;
#if defined(__x86_64__)
  __builtin_cpu_init();
  features.avx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                    __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
                    __builtin_cpu_supports("avx512vbmi") != 0;
  features.avx512_bf16 = features.avx512 && __builtin_cpu_supports("avx512bf16") != 0;
#endif
  return features;
}

Isa resolved(Isa isa, bool bf16) {
  if (isa == Isa::portable) return Isa::portable;
  const CpuFeatures features = cpu_features();
  const bool wide = bf16 ? features.avx512_bf16 : features.avx512;
  core::check(wide || isa == Isa::automatic, "this CPU lacks the AVX-512 instructions that were asked for");
  return wide ? Isa::avx512 : Isa::portable;
}

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return "portable";
    case Isa::avx512:
      return "avx512";
    case Isa::automatic:
      break;
  }
  return "automatic";
}

}  // namespace moesim::reference
