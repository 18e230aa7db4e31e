// What the CPU at hand can do, and which of the fast kernels' two paths is taken.
#pragma once

#include <cstdint>
#include <string_view>

namespace moesim::reference {

// The instructions a fast kernel uses. `automatic` takes AVX-512 where the CPU has it.
enum class Isa : std::uint8_t { automatic, portable, avx512 };

struct CpuFeatures {
  bool avx512 = false;       // F, BW, DQ, VL and VBMI
  bool avx512_bf16 = false;  // vdpbf16ps besides
};

// Asks the CPU (and the operating system, which must save the wide registers).
[[nodiscard]] CpuFeatures cpu_features();

// The path that `isa` means on this CPU, never `automatic`. Kernels on bf16 need AVX512-BF16 for the AVX-512
// path. Throws core::InvariantError if AVX-512 is asked for and absent.
[[nodiscard]] Isa resolved(Isa isa, bool bf16);

// "avx512", "portable", "automatic".
[[nodiscard]] std::string_view name_of(Isa isa);

}  // namespace moesim::reference
