// Speed as a ratio to a baseline of the same run: both are timed in turn, round after round, so that a noisy
// machine slows both.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <vector>

namespace moesim::bench {

inline constexpr int kRounds = 9;

// CPU time of this thread in seconds.
inline double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// Times one call. Counts `operations` of work each.
template <class Work>
double seconds_per_operation(std::int64_t operations, Work&& work) {
  const double began = thread_seconds();
  work();
  return (thread_seconds() - began) / static_cast<double>(operations);
}

// Reports as counters the medians over the rounds: `ns` for an operation of the candidate, `baseline_ns`,
// `ratio` (baseline over candidate; more is better) and `goal_ratio`. The time that the library prints is
// that of all rounds of both.
template <class Baseline, class Candidate>
void against_baseline(benchmark::State& state, std::int64_t operations, double goal, Baseline&& baseline,
                      Candidate&& candidate) {
  for (auto _ : state) {
    std::vector<double> slow, fast;
    for (int round = 0; round < kRounds; ++round) {
      slow.push_back(seconds_per_operation(operations, baseline));
      fast.push_back(seconds_per_operation(operations, candidate));
    }
    const double time = median(fast);
    state.counters["ns"] = 1e9 * time;
    state.counters["ratio"] = median(slow) / time;
    state.counters["goal_ratio"] = goal;
    state.counters["baseline_ns"] = 1e9 * median(slow);
  }
}

// The same for work without a baseline: `ns` and `goal_ns` for an operation.
template <class Candidate>
void against_clock(benchmark::State& state, std::int64_t operations, double goal_ns, Candidate&& candidate) {
  for (auto _ : state) {
    std::vector<double> times;
    for (int round = 0; round < kRounds; ++round)
      times.push_back(seconds_per_operation(operations, candidate));
    state.counters["ns"] = 1e9 * median(times);
    state.counters["goal_ns"] = goal_ns;
  }
}

}  // namespace moesim::bench
