// Closed forms of collective operations, simulated step by step: an all-reduce of S bytes over n ranks in a
// ring takes 2 (n-1)/n S/B + 2 (n-1) alpha, an all-to-all alpha + (n-1)/n S/B (R. Thakur, R. Rabenseifner and
// W. Gropp, "Optimization of collective communication operations in MPICH", IJHPCA 19(1), 2005).
#include <cstdint>
#include <vector>

#include "sim/core/flow_network.hpp"
#include "sim/core/simulation.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

enum class Kind : std::uint8_t { start, completion };

// n ranks whose ports send and receive `per_second` bytes a second each way.
class Ports {
 public:
  Ports(std::uint32_t ranks, std::int64_t per_second) : ranks_(ranks) {
    for (std::uint32_t port = 0; port < 2 * ranks; ++port) {
      network_.add_resource(static_cast<double>(per_second));
    }
    network_.verify_every(1);
  }

  [[nodiscard]] std::uint32_t ranks() const { return ranks_; }
  [[nodiscard]] std::uint32_t add_route(std::uint32_t from, std::uint32_t to) {
    const ResourceUse route[] = {{from, 1.0}, {ranks_ + to, 1.0}};
    return network_.add_class(route);
  }
  FlowNetwork& network() { return network_; }

  // Makes the next end of a flow an event.
  void arm(Simulation<>& simulation) {
    const Time at = network_.next_completion();
    if (at < kEndOfTime) {
      completion_.arm(simulation.schedule(at, Phase::completion, Kind::completion, 0));
    }
  }
  [[nodiscard]] bool claim(EventKey key) { return completion_.claim(key); }

 private:
  std::uint32_t ranks_;
  FlowNetwork network_;
  LiveEvent completion_;
};

// A rank sends a part to its neighbour alpha after it has sent and received the part before; 2 (n-1) times.
class Ring {
 public:
  Ring(std::uint32_t ranks, std::int64_t part, std::int64_t per_second, Duration alpha)
      : ports_(ranks, per_second), part_(part), alpha_(alpha), sent_(ranks, 0), received_(ranks, 0) {
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
      static_cast<void>(ports_.add_route(rank, (rank + 1) % ranks));
    }
  }

  Time run() {
    for (std::uint32_t rank = 0; rank < ports_.ranks(); ++rank) schedule_start(rank);
    simulation_.run([&](EventKey key) { return handle(key); });
    for (std::uint32_t rank = 0; rank < ports_.ranks(); ++rank) {
      REQUIRE(sent_[rank] == steps());
      REQUIRE(received_[rank] == steps());
    }
    REQUIRE((ports_.network().served() == static_cast<Int128>(part_) * ports_.ranks() * steps()));
    return simulation_.last_executed_at();
  }

 private:
  [[nodiscard]] std::uint32_t steps() const { return 2 * (ports_.ranks() - 1); }

  void schedule_start(std::uint32_t rank) {
    simulation_.schedule(simulation_.now() + alpha_, Phase::arrival, Kind::start, rank);
  }
  Handled handle(EventKey key) {
    const Time now = simulation_.now();
    if (key.kind<Kind>() == Kind::start) {
      ports_.network().add(now, key.target(), key.target(), part_);
      ports_.arm(simulation_);
      return Handled::executed;
    }
    if (!ports_.claim(key)) return Handled::stale;
    for (const std::uint32_t rank : ports_.network().complete(now)) {
      const std::uint32_t next = (rank + 1) % ports_.ranks();
      ++sent_[rank];
      ++received_[next];
      for (const std::uint32_t one : {rank, next}) {
        if (sent_[one] == received_[one] && sent_[one] < steps()) schedule_start(one);
      }
    }
    ports_.arm(simulation_);
    return Handled::executed;
  }

  Simulation<> simulation_;
  Ports ports_;
  std::int64_t part_;
  Duration alpha_;
  std::vector<std::uint32_t> sent_;
  std::vector<std::uint32_t> received_;
};

Time all_to_all(std::uint32_t ranks, std::int64_t part, std::int64_t per_second, Duration alpha) {
  Simulation<> simulation;
  Ports ports(ranks, per_second);
  std::uint32_t flows = 0;
  for (std::uint32_t from = 0; from < ranks; ++from) {
    for (std::uint32_t to = 0; to < ranks; ++to) {
      if (from == to) continue;
      simulation.schedule(simulation.now() + alpha, Phase::arrival, Kind::start, ports.add_route(from, to));
    }
  }
  simulation.run([&](EventKey key) {
    if (key.kind<Kind>() == Kind::start) {
      ports.network().add(simulation.now(), key.target(), key.target(), part);
    } else if (ports.claim(key)) {
      flows += static_cast<std::uint32_t>(ports.network().complete(simulation.now()).size());
    } else {
      return Handled::stale;
    }
    ports.arm(simulation);
    return Handled::executed;
  });
  REQUIRE(flows == ranks * (ranks - 1));
  return simulation.last_executed_at();
}

constexpr Duration kAlphas[] = {{0}, {1}, {2'500'001}};

TEST_CASE("a ring all-reduce takes 2 (n-1)/n S/B + 2 (n-1) alpha, to the picosecond") {
  constexpr std::int64_t kBandwidth = 5'000'000'000'000;  // 5 bytes a picosecond
  for (const std::uint32_t n : {2U, 3U, 8U, 17U}) {
    const std::int64_t bytes = std::int64_t{5} * n * 1'000'003;
    for (const Duration alpha : kAlphas) {
      const std::int64_t steps = 2 * (std::int64_t{n} - 1);
      const Duration sending = duration_for(steps * (bytes / n), kBandwidth);  // no remainder
      REQUIRE(Ring(n, bytes / n, kBandwidth, alpha).run() == Time{} + sending + steps * alpha);
    }
  }
}

TEST_CASE("where a part takes no whole number of picoseconds, each step of a ring is rounded up") {
  constexpr std::int64_t kBandwidth = 449'999'999'999;
  for (const std::uint32_t n : {2U, 5U}) {
    for (const Duration alpha : kAlphas) {
      const Duration step = alpha + duration_for(1'000'003, kBandwidth);
      REQUIRE(Ring(n, 1'000'003, kBandwidth, alpha).run() == Time{} + 2 * (std::int64_t{n} - 1) * step);
    }
  }
}

TEST_CASE("an all-to-all takes alpha + (n-1)/n S/B, to the picosecond") {
  constexpr std::int64_t kBandwidth = 7'000'000'000'000;
  for (const std::uint32_t n : {2U, 3U, 8U, 17U}) {
    const std::int64_t bytes = std::int64_t{n} * 1'000'000;
    for (const Duration alpha : kAlphas) {
      const Duration sending = duration_for(bytes / n * (std::int64_t{n} - 1), kBandwidth);
      const Time end = all_to_all(n, bytes / n, kBandwidth, alpha);
      INFO("n " << n << " alpha " << alpha.ps << " end " << end.ps << " sending " << sending.ps);
      REQUIRE(end == Time{} + alpha + sending);
    }
  }
}

TEST_CASE("a share of a port that is no binary fraction is rounded down: the end is late by a tick at most") {
  constexpr std::int64_t kBandwidth = 5'000'000'000'000;
  for (const std::uint32_t n : {4U, 7U, 12U}) {
    const Duration sending = duration_for((std::int64_t{n} - 1) * 5'000'000, kBandwidth);
    const Duration taken = all_to_all(n, 5'000'000, kBandwidth, Duration{0}) - Time{};
    INFO("n " << n << " taken " << taken.ps << " ps, without rounding " << sending.ps);
    CHECK(taken >= sending);
    CHECK(taken <= sending + Duration{1});
  }
}

}  // namespace
}  // namespace moesim::core
