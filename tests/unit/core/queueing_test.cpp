// Closed forms of queueing theory as oracles of Simulation and ProcessorSharing together (L. Kleinrock,
// "Queueing Systems", volumes 1 and 2).
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "sim/core/processor_sharing.hpp"
#include "sim/core/random.hpp"
#include "sim/core/simulation.hpp"
#include "sim/core/statistics.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

enum class Kind : std::uint8_t { arrival, departure };

constexpr std::int64_t kUnitsPerSecond = 1'000'000'000;
constexpr double kMeanService = 1e-3;  // seconds: a million units
constexpr std::uint32_t kCustomers = 200'000;
constexpr std::size_t kBatches = 40;

// One service in units of work, of mean a million.
using DrawWork = std::function<double(Draws&)>;

double deterministic_work(Draws& /*draws*/) { return 1e6; }
double exponential_work(Draws& draws) { return draw_exponential(draws, 1e6); }
// Nine in ten need half a million, the tenth 5.5 million.
double bimodal_work(Draws& draws) { return draws.uniform() < 0.9 ? 0.5e6 : 5.5e6; }

struct Customer {
  Time arrival;
  Time departure;
  std::int64_t work = 0;
};

std::vector<Customer> make_customers(double utilisation, const DrawWork& draw_work, std::uint64_t seed) {
  std::vector<Customer> customers(kCustomers);
  Time now{0};
  for (std::uint32_t i = 0; i < kCustomers; ++i) {
    Draws arrival_draws(seed, 1, i);
    Draws work_draws(seed, 2, i);
    now += duration_from_seconds(draw_exponential(arrival_draws, kMeanService / utilisation));
    customers[i] = {now, {}, 1 + static_cast<std::int64_t>(draw_work(work_draws))};
  }
  return customers;
}

// What a station leaves behind, beside the departures it wrote into the customers.
struct Run {
  Int128 area = 0;  // integral of the number in the system
  Duration busy;
  std::uint64_t scheduled = 0;
  std::uint64_t executed = 0;
  std::uint64_t cancelled = 0;
};

template <class Handler>
Run run_station(std::vector<Customer>& customers, Simulation<>& simulation, TimeWeighted& in_system,
                Handler handler) {
  for (std::uint32_t i = 0; i < kCustomers; ++i) {
    simulation.schedule(customers[i].arrival, Phase::arrival, Kind::arrival, i);
  }
  REQUIRE(simulation.run(handler) == RunEnd::no_more_events);
  REQUIRE(in_system.value() == 0);
  return {in_system.integral(simulation.now()),
          {},
          simulation.scheduled(),
          simulation.executed(),
          simulation.cancelled()};
}

// One server, first come, first served.
Run run_fifo(std::vector<Customer>& customers) {
  Simulation<> simulation;
  TimeWeighted in_system;
  Duration busy;
  std::deque<std::uint32_t> waiting;  // the front one is in service
  const auto start_front = [&] {
    const std::uint32_t id = waiting.front();
    const Duration service = duration_for(customers[id].work, kUnitsPerSecond);
    busy += service;
    simulation.schedule(simulation.now() + service, Phase::completion, Kind::departure, id);
  };
  Run run = run_station(customers, simulation, in_system, [&](EventKey key) {
    if (key.kind<Kind>() == Kind::arrival) {
      in_system.add(simulation.now(), 1);
      waiting.push_back(key.target());
      if (waiting.size() == 1) {
        start_front();
      }
      return;
    }
    in_system.add(simulation.now(), -1);
    customers[key.target()].departure = simulation.now();
    waiting.pop_front();
    if (!waiting.empty()) {
      start_front();
    }
  });
  run.busy = busy;
  return run;
}

// One shared server; its next completion is a live event that each change arms anew.
Run run_sharing(std::vector<Customer>& customers) {
  Simulation<> simulation;
  TimeWeighted in_system;
  ProcessorSharing server(kUnitsPerSecond);
  LiveEvent completion;
  Int128 offered = 0;
  Run run = run_station(customers, simulation, in_system, [&](EventKey key) {
    const Time now = simulation.now();
    if (key.kind<Kind>() == Kind::arrival) {
      in_system.add(now, 1);
      offered += customers[key.target()].work;
      server.add(now, key.target(), 1, customers[key.target()].work);
    } else {
      if (!completion.claim(key)) {
        return Handled::stale;
      }
      for (const std::uint32_t id : server.complete(now)) {
        customers[id].departure = now;
        in_system.add(now, -1);
      }
    }
    if (server.size() > 0) {
      // One that falls on this very instant comes after the completion phase is over.
      const Time at = server.next_completion();
      const Phase phase = at == now ? Phase::arrival : Phase::completion;
      completion.arm(simulation.schedule(at, phase, Kind::departure, 0));
    }
    return Handled::executed;
  });
  REQUIRE(server.served() == offered);
  run.busy = server.busy();
  return run;
}

// The mean of `value` over the customers must be within 4 standard errors (batch means) of the theory, and
// the interval narrow enough to mean something.
void require_mean(const std::vector<Customer>& customers, const std::function<double(const Customer&)>& value,
                  double theory) {
  std::vector<double> means(kBatches, 0.0);
  for (std::size_t i = 0; i < kCustomers; ++i) {
    means[i * kBatches / kCustomers] += value(customers[i]) * kBatches / kCustomers;
  }
  double mean = 0.0;
  for (const double x : means) {
    mean += x / kBatches;
  }
  double variance = 0.0;
  for (const double x : means) {
    variance += (x - mean) * (x - mean) / (kBatches - 1);
  }
  const double error = std::sqrt(variance / kBatches);
  INFO("mean " << mean << " +- " << error << ", theory " << theory);
  REQUIRE(error < 0.05 * theory);
  REQUIRE(std::fabs(mean - theory) < 4.0 * error);
}

double sojourn(const Customer& customer) { return (customer.departure - customer.arrival).seconds(); }

// Little's law without remainder: the area under the number in the system is the sum of the times spent in
// it.
void require_exact_laws(const std::vector<Customer>& customers, const Run& run) {
  Int128 sum = 0;
  for (const Customer& customer : customers) {
    sum += (customer.departure - customer.arrival).ps;
  }
  REQUIRE(run.area == sum);
  REQUIRE(run.executed + run.cancelled == run.scheduled);
}

TEST_CASE("M/M/1: mean time in the system is 1 / (mu - lambda)") {
  for (const double rho : {0.5, 0.8}) {
    std::vector<Customer> customers = make_customers(rho, exponential_work, 1);
    const Run run = run_fifo(customers);
    require_exact_laws(customers, run);
    require_mean(customers, sojourn, kMeanService / (1.0 - rho));
  }
}

TEST_CASE("M/D/1: mean wait is rho / (2 mu (1 - rho)), Pollaczek and Khinchine") {
  for (const double rho : {0.5, 0.8}) {
    std::vector<Customer> customers = make_customers(rho, deterministic_work, 2);
    const Run run = run_fifo(customers);
    require_exact_laws(customers, run);
    require_mean(
        customers, [](const Customer& customer) { return sojourn(customer) - kMeanService; },
        rho * kMeanService / (2.0 * (1.0 - rho)));
  }
}

TEST_CASE("M/G/1-PS: mean time in the system is E[S] / (1 - rho) whatever the law of sizes") {
  for (const DrawWork& draw_work :
       {DrawWork(deterministic_work), DrawWork(exponential_work), DrawWork(bimodal_work)}) {
    for (const double rho : {0.5, 0.8}) {
      std::vector<Customer> customers = make_customers(rho, draw_work, 3);
      const Run run = run_sharing(customers);
      require_exact_laws(customers, run);
      require_mean(customers, sojourn, kMeanService / (1.0 - rho));
    }
  }
}

TEST_CASE("M/G/1-PS: a job of size x takes x / (1 - rho)") {
  std::vector<Customer> customers = make_customers(0.8, bimodal_work, 4);
  run_sharing(customers);
  require_mean(
      customers,
      [](const Customer& customer) {
        return sojourn(customer) /
               (static_cast<double>(customer.work) / static_cast<double>(kUnitsPerSecond));
      },
      1.0 / (1.0 - 0.8));
}

TEST_CASE("first come, first served and sharing are busy for the same time") {
  std::vector<Customer> customers = make_customers(0.8, exponential_work, 5);
  const Duration fifo = run_fifo(customers).busy;
  const Duration sharing = run_sharing(customers).busy;
  // Each completion rounds up by less than one picosecond.
  REQUIRE(std::abs((fifo - sharing).ps) <= std::int64_t{kCustomers});
}

}  // namespace
}  // namespace moesim::core
