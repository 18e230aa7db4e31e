// What this machine can do at best, measured now: what fast kernels are held against.
#pragma once

#include <cstdint>
#include <span>

#include "models/reference/cpu_features.hpp"

namespace moesim::reference {

// Runs `steps` rounds of multiply-accumulates on registers alone and returns the FLOPs they made (2 a
// multiply-accumulate): f32 FMA, or products of bf16 pairs that are summed in f32 (without AVX512-BF16: the
// f32 loop). `isa` as in the fast kernels. The caller takes the time.
[[nodiscard]] double run_peak(std::int64_t steps, bool bf16, Isa isa = Isa::automatic);

// Where memory that will be needed is asked into ahead of the reads. Which is faster differs from hour to
// hour on a shared machine: a fair limit is the better of both.
enum class ReadAhead : std::uint8_t { non_temporal, second_level };

// Reads every whole 64-byte line of `bytes` once, in ascending order, as fast as one thread can; returns a
// value that depends on all of them. The caller takes the time.
[[nodiscard]] std::uint64_t run_read_pass(std::span<const std::byte> bytes, Isa isa = Isa::automatic,
                                          ReadAhead ahead = ReadAhead::non_temporal);

// The AVX-512 versions; without x86-64 they do nothing.
double run_peak_avx512(std::int64_t steps, bool bf16);
std::uint64_t run_read_pass_avx512(const std::byte* bytes, std::int64_t lines, ReadAhead ahead);

}  // namespace moesim::reference
