// The pending set and the event loop against std::priority_queue with 24-byte entries.
//
// hold/LAW/N: take the first of N pending events and put it back after a delay. phold/N: N logical processes
// of 64 bytes, each event sends one to a random process, through Simulation. Every run folds the same events
// into an order hash, and both sides must have the same.
#include <algorithm>
#include <array>
#include <cmath>
#include <queue>
#include <vector>

#include "sim/core/ladder_queue.hpp"
#include "sim/core/simulation.hpp"
#include "tests/bench/interleaved.hpp"

namespace moesim::bench {
namespace {

enum class Law : std::uint8_t { exponential, uniform, bimodal };

// 64 KiB of delays in picoseconds with a mean of 1e8, from a 64-bit linear congruential generator (Knuth's
// MMIX): no logarithm in the timed loop, and ties are rare.
constexpr std::size_t kDelays = 8192;
using Delays = std::array<std::int64_t, kDelays>;

Delays delays(Law law) {
  Delays table;
  std::uint64_t state = 1;
  const auto unit = [&state] {  // in (0, 1)
    state = state * 6364136223846793005U + 1442695040888963407U;
    return (static_cast<double>(state >> 11) + 0.5) * 0x1p-53;
  };
  for (std::int64_t& delay : table) {
    const double u = unit();
    const double v = unit();
    double mean_one = 0;
    switch (law) {
      case Law::exponential:
        mean_one = -std::log(u);
        break;
      case Law::uniform:
        mean_one = 2 * u;
        break;
      case Law::bimodal:  // nine in ten short, one long
        mean_one = v < 0.9 ? u * 0.5 : 7.25 + u;
        break;
    }
    delay = 1 + static_cast<std::int64_t>(1e8 * mean_one);
  }
  return table;
}

// What everyone writes first.
struct PlainEvent {
  std::int64_t at = 0;
  std::uint64_t sequence = 0;
  std::uint64_t kind_and_target = 0;
  bool operator<(const PlainEvent& other) const {
    return at != other.at ? at > other.at : sequence > other.sequence;
  }
};
static_assert(sizeof(PlainEvent) == 24);

std::uint64_t fold(std::uint64_t hash, std::uint64_t value) { return (hash ^ value) * 0x9E3779B97F4A7C15U; }

class PlainHold {
 public:
  explicit PlainHold(const Delays& delays) : delays_(&delays) {}
  void fill(std::int64_t pending) {
    for (std::int64_t i = 0; i < pending; ++i) push(0);
  }
  void hold(std::int64_t times) {
    for (std::int64_t i = 0; i < times; ++i) {
      const PlainEvent event = queue_.top();
      queue_.pop();
      hash = fold(fold(hash, static_cast<std::uint64_t>(event.at)), event.sequence);
      push(event.at);
    }
  }
  std::uint64_t hash = 1;

 private:
  void push(std::int64_t now) {
    queue_.push({now + (*delays_)[sequence_ % kDelays], sequence_, 1});
    ++sequence_;
  }
  const Delays* delays_;
  std::priority_queue<PlainEvent> queue_;
  std::uint64_t sequence_ = 0;
};

template <class Queue>
class KeyHold {
 public:
  explicit KeyHold(const Delays& delays) : delays_(&delays) {}
  void fill(std::int64_t pending) {
    for (std::int64_t i = 0; i < pending; ++i) push(core::Time{});
  }
  void hold(std::int64_t times) {
    for (std::int64_t i = 0; i < times; ++i) {
      const core::EventKey event = queue_.pop();
      hash = fold(fold(hash, static_cast<std::uint64_t>(event.time().ps)), event.sequence());
      push(event.time());
    }
  }
  std::uint64_t hash = 1;

 private:
  void push(core::Time now) {
    const core::Duration delay{(*delays_)[sequence_ % kDelays]};
    queue_.push(core::EventKey(now + delay, core::Phase::arrival, sequence_, 1, 0));
    ++sequence_;
  }
  const Delays* delays_;
  Queue queue_;
  std::uint64_t sequence_ = 0;
};

void hold(benchmark::State& state, Law law, std::int64_t pending, double goal) {
  const Delays table = delays(law);
  PlainHold plain(table);
  KeyHold<core::LadderQueue> ladder(table);
  plain.fill(pending);
  ladder.fill(pending);
  plain.hold(3 * pending);
  ladder.hold(3 * pending);
  const std::int64_t times = std::max<std::int64_t>(200'000, pending);
  against_baseline(
      state, times, goal, [&] { plain.hold(times); }, [&] { ladder.hold(times); });
  if (plain.hash != ladder.hash) state.SkipWithError("the two queues gave different events");
}

struct Process {
  std::uint64_t events = 0;
  std::uint64_t random = 1;
  std::uint64_t state[6] = {};
};
static_assert(sizeof(Process) == 64);

// Counts an event at its process and returns the next one's.
std::uint32_t visit(std::vector<Process>& processes, std::uint32_t target) {
  Process& process = processes[target];
  ++process.events;
  process.random = process.random * 6364136223846793005U + target + 1;
  return static_cast<std::uint32_t>((process.random >> 33) % processes.size());
}

class PlainPhold {
 public:
  PlainPhold(const Delays& delays, std::int64_t processes)
      : delays_(&delays), processes_(static_cast<std::size_t>(processes)) {
    for (std::uint32_t i = 0; i < processes_.size(); ++i) send(0, i);
  }
  void run(std::int64_t events) {
    for (std::int64_t i = 0; i < events; ++i) {
      const PlainEvent event = queue_.top();
      queue_.pop();
      hash = fold(fold(hash, static_cast<std::uint64_t>(event.at)), event.sequence);
      send(event.at, visit(processes_, static_cast<std::uint32_t>(event.kind_and_target)));
    }
  }
  std::uint64_t hash = 1;

 private:
  void send(std::int64_t now, std::uint32_t target) {
    queue_.push({now + (*delays_)[sequence_ % kDelays], sequence_, target});
    ++sequence_;
  }
  const Delays* delays_;
  std::vector<Process> processes_;
  std::priority_queue<PlainEvent> queue_;
  std::uint64_t sequence_ = 0;
};

class SimulatedPhold {
 public:
  enum class Kind : std::uint8_t { message };
  SimulatedPhold(const Delays& delays, std::int64_t processes)
      : delays_(&delays), processes_(static_cast<std::size_t>(processes)) {
    for (std::uint32_t i = 0; i < processes_.size(); ++i) send(i);
  }
  void run(std::int64_t events) {
    const auto handler = [this](core::EventKey event) {
      hash = fold(fold(hash, static_cast<std::uint64_t>(event.time().ps)), event.sequence());
      send(visit(processes_, event.target()));
    };
    for (std::int64_t i = 0; i < events; ++i) simulation_.step(handler);
  }
  std::uint64_t hash = 1;

 private:
  void send(std::uint32_t target) {
    const core::Duration delay{(*delays_)[simulation_.scheduled() % kDelays]};
    simulation_.schedule(simulation_.now() + delay, core::Phase::arrival, Kind::message, target);
  }
  const Delays* delays_;
  std::vector<Process> processes_;
  core::Simulation<> simulation_;
};

void phold(benchmark::State& state, std::int64_t processes, double goal) {
  const Delays table = delays(Law::exponential);
  PlainPhold plain(table, processes);
  SimulatedPhold simulated(table, processes);
  plain.run(3 * processes);
  simulated.run(3 * processes);
  const std::int64_t events = std::max<std::int64_t>(200'000, processes);
  against_baseline(
      state, events, goal, [&] { plain.run(events); }, [&] { simulated.run(events); });
  if (plain.hash != simulated.hash) state.SkipWithError("the two engines ran different events");
}

BENCHMARK_CAPTURE(hold, exp_1000, Law::exponential, 1'000, 3.5)->Name("hold/exp/1000")

    ;
BENCHMARK_CAPTURE(hold, exp_100000, Law::exponential, 100'000, 2.8)->Name("hold/exp/100000")

    ;
BENCHMARK_CAPTURE(hold, exp_1000000, Law::exponential, 1'000'000, 3.3)->Name("hold/exp/1000000")

    ;
BENCHMARK_CAPTURE(hold, uniform_1000, Law::uniform, 1'000, 2.3)->Name("hold/uniform/1000")

    ;
BENCHMARK_CAPTURE(hold, uniform_100000, Law::uniform, 100'000, 2.3)->Name("hold/uniform/100000")

    ;
BENCHMARK_CAPTURE(hold, bimodal_1000, Law::bimodal, 1'000, 2.3)->Name("hold/bimodal/1000")

    ;
BENCHMARK_CAPTURE(hold, bimodal_100000, Law::bimodal, 100'000, 2.3)->Name("hold/bimodal/100000")

    ;
BENCHMARK_CAPTURE(phold, processes_1000, 1'000, 2.4)->Name("phold/1000");
BENCHMARK_CAPTURE(phold, processes_100000, 100'000, 2.4)->Name("phold/100000")

    ;

}  // namespace
}  // namespace moesim::bench
