// The fast CPU reference kernels against the machine's limits: `ratio` is the share of the register-only peak
// (or of the rate of a read-only pass over the same bytes) that was measured in turn with the kernel.
#include <string>

#include "sim/studies/kernel_bench.hpp"
#include "tests/bench/interleaved.hpp"

namespace moesim::bench {
namespace {

void reference_kernel(benchmark::State& state, const std::string& name, int threads) {
  for (auto _ : state) {
    studies::KernelBenchOptions options;
    options.threads = threads;
    options.rounds = kRounds;
    options.kernels = {name};
    const studies::KernelBenchRow row = studies::bench_kernels(options).rows.front();
    state.counters["ns"] = 1e9 * row.seconds;
    state.counters["ratio"] = row.fraction();
    state.counters["gate_ratio"] = row.gate;
    state.counters["goal_ratio"] = row.goal;
    if (threads > 1) state.counters["speedup"] = row.speedup;
  }
}

[[maybe_unused]] const bool registered = [] {
  for (const int threads : {1, 2}) {
    for (const std::string& name : studies::kernel_bench_names()) {
      benchmark::RegisterBenchmark(
          ("kernels/" + name + (threads == 1 ? "" : "/2-threads")).c_str(),
          [name, threads](benchmark::State& state) { reference_kernel(state, name, threads); })
          ->Iterations(1);
    }
  }
  return true;
}();

}  // namespace
}  // namespace moesim::bench
