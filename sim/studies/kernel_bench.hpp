// Speed of the CPU reference kernels on this machine, as shares of what the machine can do at best in the
// same run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reports/text.hpp"
#include "sim/config/node.hpp"

namespace moesim::studies {

struct KernelBenchOptions {
  int threads = 1;
  int rounds = 9;
  bool portable = false;             // without AVX-512
  std::vector<std::string> kernels;  // only those whose name begins with one of these; empty: all
};

// Each round takes the time of the limit and then of the kernel, so that a noisy machine slows both; times
// are medians over the rounds.
struct KernelBenchRow {
  std::string kernel;  // "moe/f32"
  std::string shape;
  bool is_bandwidth =
      false;  // work and rates are bytes (a read-only pass is the limit), else FLOPs (the peak)
  double seconds = 0.0;
  double work = 0.0;   // useful FLOPs, or bytes that must be read
  double limit = 0.0;  // FLOP/s of multiply-accumulates on registers, or byte/s of the pass, on all threads
  double gate = 0.0;   // shares of the limit that a Zen 4 core must and should reach
  double goal = 0.0;
  double speedup = 0.0;  // over one thread in the same run; 0 for one thread
  std::string isa;

  [[nodiscard]] double rate() const { return work / seconds; }
  [[nodiscard]] double fraction() const { return rate() / limit; }
};

struct KernelBench {
  int threads = 1;
  std::vector<KernelBenchRow> rows;
};

// The names of all kernels, in the order in which they are measured.
[[nodiscard]] std::vector<std::string> kernel_bench_names();

// Measures; a few seconds for each kernel. One thread is timed by the time it has run, several by the clock.
// Throws config::InputError for a kernel that does not exist.
[[nodiscard]] KernelBench bench_kernels(const KernelBenchOptions& options);

[[nodiscard]] std::string kernel_bench_text(const KernelBench& bench, const reports::Style& style);
// {"threads", "kernels": [{kernel, shape, time_s, rate, unit, limit, limited_by, fraction, gate, goal,
// speedup, isa}]}; speedup is null for one thread.
[[nodiscard]] config::Node kernel_bench_json(const KernelBench& bench);
[[nodiscard]] std::string kernel_bench_csv(const KernelBench& bench);

}  // namespace moesim::studies
