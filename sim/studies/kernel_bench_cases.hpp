// What kernel_bench measures.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/reference/fast_gemm.hpp"

namespace moesim::studies {

// A kernel with its inputs in memory.
struct PreparedKernel {
  std::string shape;
  double work = 0.0;  // FLOPs or bytes of one run
  // Runs the kernel; `round` tells apart inputs that must not be found in a cache.
  std::function<void(std::int64_t round, const reference::FastOptions& options)> run;
  // What its limit is measured on: the bytes of a read pass, or empty for the peak.
  std::function<std::span<const std::byte>(std::int64_t round)> pass;
};

struct KernelCase {
  std::string name;
  bool bf16 = false;  // the peak and the instructions
  double gate = 0.0;
  double goal = 0.0;
  std::function<PreparedKernel()> prepare;
};

[[nodiscard]] std::vector<KernelCase> kernel_cases();

}  // namespace moesim::studies
