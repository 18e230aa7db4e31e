// Timelines: the cost of an event (a slice or a counter value) when it is recorded, and when it is written.
// The goal of 667 ns is a Perfetto trace of 50,000 slices and 100,000 counter values in 0.1 s.
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "reports/chrome_trace.hpp"
#include "reports/perfetto.hpp"
#include "sim/execution/timeline.hpp"
#include "tests/bench/interleaved.hpp"

namespace moesim::bench {
namespace {

using execution::Timeline;

constexpr std::int64_t kSlices = 50'000;
constexpr std::int64_t kValues = 100'000;

// Kernels on two tracks of each of 8 devices, half of them slowed down by something shared.
Timeline recorded() {
  constexpr std::size_t kDevices = 8;
  Timeline timeline;
  std::vector<Timeline::Track> tracks;
  std::vector<Timeline::Counter> counters;
  for (std::size_t device = 0; device < kDevices; ++device) {
    const auto process = timeline.add_process("gpu" + std::to_string(device));
    for (const char* name : {"compute", "communication"}) tracks.push_back(timeline.add_track(process, name));
    for (const char* name : {"HBM", "link"}) counters.push_back(timeline.add_counter(process, name, "%"));
  }
  const auto category = timeline.name("kernel");
  const auto tokens = timeline.name("tokens");
  constexpr core::Duration kLength{12'345'678};
  core::Time now;
  for (std::int64_t i = 0; i < kSlices; ++i) {
    const auto slot = static_cast<std::size_t>(i) % tracks.size();
    if (slot == 0) now += kLength;
    const std::array<Timeline::Argument, 1> arguments = {{{tokens, i % 4096}}};
    const auto name = timeline.name(i % 3 == 0 ? "attention" : i % 3 == 1 ? "grouped gemm" : "all-reduce");
    timeline.slice(tracks[slot], name, category, now, now + kLength,
                   i % 2 == 0 ? kLength : core::Duration{10'000'000}, arguments);
    for (std::int64_t n = 0; n < kValues / kSlices; ++n) {
      timeline.count(counters[slot], now + core::Duration{n * 1000},
                     static_cast<double>((i + n) % 1001) / 10);
    }
  }
  return timeline;
}

void record(benchmark::State& state) {
  against_clock(state, kSlices + kValues, 100, [] { benchmark::DoNotOptimize(recorded().slices().data()); });
}

void write(benchmark::State& state, void (*writer)(const Timeline&, const reports::Sink&), double goal_ns) {
  const Timeline timeline = recorded();
  std::size_t bytes = 0;
  const reports::Sink sink = [&](std::string_view chunk) { bytes += chunk.size(); };
  against_clock(state, kSlices + kValues, goal_ns, [&] { writer(timeline, sink); });
  state.counters["bytes_per_event"] =
      static_cast<double>(bytes) / static_cast<double>(kRounds * (kSlices + kValues));
}

void perfetto(benchmark::State& state) { write(state, reports::write_perfetto, 667); }
void chrome(benchmark::State& state) { write(state, reports::write_chrome_trace, 1000); }

BENCHMARK(record)->Name("trace/record")->Iterations(1);
BENCHMARK(perfetto)->Name("trace/perfetto")->Iterations(1);
BENCHMARK(chrome)->Name("trace/chrome")->Iterations(1);

}  // namespace
}  // namespace moesim::bench
