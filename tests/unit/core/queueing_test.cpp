// Closed forms of queueing theory as oracles of Simulation, Server, ProcessorSharing and FlowNetwork together
// (L. Kleinrock, "Queueing Systems", volumes 1 and 2).
//
// Means are compared within confidence intervals; what holds on every path (Little's law, the utilisation
// law, the recursion of a queue) is compared without tolerance, at the end and at instants with customers
// present.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <queue>
#include <vector>

#include "sim/core/flow_network.hpp"
#include "sim/core/processor_sharing.hpp"
#include "sim/core/random.hpp"
#include "sim/core/server.hpp"
#include "sim/core/simulation.hpp"
#include "sim/core/statistics.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

enum class Kind : std::uint8_t { arrival, departure, observation };

constexpr std::int64_t kUnitsPerSecond = 1'000'000'000;
constexpr std::int64_t kTicksPerUnit = kPicosecondsPerSecond / kUnitsPerSecond;
constexpr double kMeanWork = 1e6;
constexpr double kMeanService = kMeanWork / static_cast<double>(kUnitsPerSecond);  // seconds
constexpr std::uint32_t kSlots = 1U << 16;     // more customers are never present
constexpr std::size_t kArrivalsAhead = 2'000;  // enough for the rungs of a ladder
constexpr std::size_t kBatches = 20;

// The law of a service in units of work.
struct Law {
  double (*draw)(Draws&);
  double squared_variation;  // variance / mean^2
};

const Law kDeterministic{[](Draws& /*draws*/) { return kMeanWork; }, 0.0};
const Law kExponential{[](Draws& draws) { return draw_exponential(draws, kMeanWork); }, 1.0};
// Nine in ten need half the mean, the tenth 5.5 times the mean.
const Law kBimodal{[](Draws& draws) { return (draws.uniform() < 0.9 ? 0.5 : 5.5) * kMeanWork; }, 2.25};

struct Customer {
  Time arrival;
  Time departure;
  std::int64_t work = 0;

  [[nodiscard]] Duration service() const { return {work * kTicksPerUnit}; }
  [[nodiscard]] Time start() const { return {departure.ps - service().ps}; }  // where one server serves it
};

// What can be seen at an instant.
struct Observation {
  Time at;
  Int128 present = 0;  // integrals over time: customers in the system,
  Int128 busy = 0;     // servers that serve,
  Int128 waiting = 0;  // customers in the queue
};

struct Experiment {
  double utilisation = 0.0;
  double squared_variation = 0.0;
  std::vector<Customer> customers;
  std::vector<Observation> observations;
};

// Over how many customers a queue forgets: rho / (1 - sqrt(rho))^2 for M/M/1, more for more variable
// services, as the mean work in the queue is.
double relaxation(const Experiment& experiment) {
  const double rho = experiment.utilisation;
  return rho / std::pow(1.0 - std::sqrt(rho), 2) * std::max(1.0, (1.0 + experiment.squared_variation) / 2.0);
}

constexpr double kRelaxationsPerBatch = 20.0;

Experiment make_experiment(double utilisation, const Law& law, std::uint64_t seed, std::int64_t servers = 1) {
  Experiment experiment{utilisation, law.squared_variation, {}, {}};
  // Close to saturation a queue forgets slowly: 1 million customers at 0.95 for the most variable services.
  const auto batch = static_cast<std::size_t>(kRelaxationsPerBatch * relaxation(experiment)) + 1;
  experiment.customers.resize(std::max<std::size_t>(150'000, kBatches * batch));
  const double mean_gap = kMeanService / utilisation / static_cast<double>(servers);
  Draws gaps(seed, 1, 0);
  Draws works(seed, 2, 0);
  Time now{0};
  for (Customer& customer : experiment.customers) {
    now += duration_from_seconds(draw_exponential(gaps, mean_gap));
    customer = {now, {}, 1 + static_cast<std::int64_t>(law.draw(works))};
  }
  return experiment;
}

// Lets the customers arrive at a station (see below) and depart from it, and observes it three times on the
// way and at the end.
template <class Station>
void run(Experiment& experiment, Station& station) {
  std::vector<Customer>& customers = experiment.customers;
  Simulation<> simulation;
  std::size_t scheduled = 0;
  const auto schedule_arrival = [&] {
    if (scheduled < customers.size()) {
      simulation.schedule(customers[scheduled++].arrival, Phase::arrival, Kind::arrival, 0);
    }
  };
  for (std::size_t i = 0; i < kArrivalsAhead; ++i) schedule_arrival();
  for (std::int64_t i = 1; i < 4; ++i) {
    simulation.schedule(Time{customers.back().arrival.ps / 4 * i}, Phase::statistics, Kind::observation, 0);
  }
  std::vector<std::uint32_t> in_slot(kSlots);
  std::uint32_t arrived = 0;
  TimeWeighted present;
  const auto observe = [&](Time at) {
    experiment.observations.push_back(
        {at, present.integral(at), station.busy_until(at), station.waiting_until(at)});
  };
  REQUIRE(simulation.run([&](EventKey key) {
    const Time now = simulation.now();
    if (key.kind<Kind>() == Kind::observation) {
      observe(now);
    } else if (key.kind<Kind>() == Kind::arrival) {
      schedule_arrival();
      const std::uint32_t slot = arrived % kSlots;
      in_slot[slot] = arrived;
      present.add(now, 1);
      station.arrive(simulation, slot, customers[arrived++].work);
    } else {
      const std::vector<std::uint32_t>* departed = station.depart(simulation, key);
      if (departed == nullptr) return Handled::stale;
      for (const std::uint32_t slot : *departed) {
        customers[in_slot[slot]].departure = now;
        present.add(now, -1);
      }
    }
    return Handled::executed;
  }) == RunEnd::no_more_events);
  REQUIRE(present.value() == 0);
  REQUIRE(simulation.executed() + simulation.cancelled() == simulation.scheduled());
  observe(simulation.now());
}

// c servers, first come, first served: a Server whose units work.
class QueueStation {
 public:
  explicit QueueStation(std::int64_t servers) : server_(servers), work_(kSlots), departed_(1) {}

  void arrive(Simulation<>& simulation, std::uint32_t slot, std::int64_t work) {
    work_[slot] = work;
    if (server_.request(simulation.now(), slot)) start(simulation, slot);
  }
  const std::vector<std::uint32_t>* depart(Simulation<>& simulation, EventKey key) {
    departed_[0] = key.target();
    for (const std::uint32_t slot : server_.release(simulation.now(), key.target())) start(simulation, slot);
    return &departed_;
  }
  [[nodiscard]] Int128 busy_until(Time at) const { return server_.busy_over_time().integral(at); }
  [[nodiscard]] Int128 waiting_until(Time at) const { return server_.waiting_over_time().integral(at); }

 private:
  void start(Simulation<>& simulation, std::uint32_t slot) {
    simulation.schedule(simulation.now() + duration_for(work_[slot], kUnitsPerSecond), Phase::completion,
                        Kind::departure, slot);
  }

  Server server_;
  std::vector<std::int64_t> work_;
  std::vector<std::uint32_t> departed_;
};

// The two models of one shared resource behind one face.
class OneResource {
 public:
  void add(Time now, std::uint32_t slot, std::int64_t work) { sharing_.add(now, slot, 1, work); }
  [[nodiscard]] Time next_completion() { return sharing_.next_completion(); }
  const std::vector<std::uint32_t>& complete(Time now) { return sharing_.complete(now); }
  [[nodiscard]] Int128 served() const { return sharing_.served(); }

 private:
  ProcessorSharing sharing_{kUnitsPerSecond};
};

class OneResourceNetwork {
 public:
  OneResourceNetwork() {
    const ResourceUse use{network_.add_resource(static_cast<double>(kUnitsPerSecond)), 1.0};
    network_.add_class({&use, 1});
    network_.verify_every(1000);
  }
  void add(Time now, std::uint32_t slot, std::int64_t work) { network_.add(now, 0, slot, work); }
  [[nodiscard]] Time next_completion() { return network_.next_completion(); }
  const std::vector<std::uint32_t>& complete(Time now) { return network_.complete(now); }
  [[nodiscard]] Int128 served() const { return network_.served(); }

 private:
  FlowNetwork network_;
};

// One server that all share; its next completion is a live event that each change arms anew.
template <class Resource>
class SharedStation {
 public:
  void arrive(Simulation<>& simulation, std::uint32_t slot, std::int64_t work) {
    resource_.add(simulation.now(), slot, work);
    offered_ += work;
    ++present_;
    busy_.set(simulation.now(), 1);
    arm(simulation);
  }
  const std::vector<std::uint32_t>* depart(Simulation<>& simulation, EventKey key) {
    if (!completion_.claim(key)) return nullptr;
    const std::vector<std::uint32_t>& departed = resource_.complete(simulation.now());
    present_ -= departed.size();
    busy_.set(simulation.now(), present_ > 0 ? 1 : 0);
    if (present_ > 0) arm(simulation);
    return &departed;
  }
  [[nodiscard]] Int128 busy_until(Time at) const { return busy_.integral(at); }
  [[nodiscard]] Int128 waiting_until(Time /*at*/) const { return 0; }
  [[nodiscard]] bool served_all() const { return resource_.served() == offered_; }

 private:
  void arm(Simulation<>& simulation) {
    // One that falls on this very instant comes after the completion phase is over.
    const Time at = resource_.next_completion();
    const Phase phase = at == simulation.now() ? Phase::arrival : Phase::completion;
    completion_.arm(simulation.schedule(at, phase, Kind::departure, 0));
  }

  Resource resource_;
  LiveEvent completion_;
  TimeWeighted busy_;
  Int128 offered_ = 0;
  std::size_t present_ = 0;
};

// The quantile of Student's law with kBatches - 1 degrees of freedom that 0.05 % pass.
constexpr double kStudent = 3.883;

// The mean of `value` over the customers must be within the 99.9 % confidence interval of the theory, and the
// interval narrow enough to mean something. Neighbours are correlated over many customers, so that the
// interval comes from the means of few batches, each of 20 relaxation times or more, and is wider by the
// correlation that neighbouring batches still show.
template <class Value>
void require_mean(const Experiment& experiment, Value value, double theory) {
  const std::vector<Customer>& customers = experiment.customers;
  const std::size_t batch = customers.size() / kBatches;
  REQUIRE(static_cast<double>(batch) >= kRelaxationsPerBatch * relaxation(experiment));
  std::array<double, kBatches> means{};
  for (std::size_t i = 0; i < kBatches * batch; ++i) {
    means[i / batch] += value(customers[i]) / static_cast<double>(batch);
  }
  double mean = 0.0;
  for (const double x : means) mean += x / kBatches;
  double squares = 0.0;
  double products = 0.0;
  for (std::size_t i = 0; i < kBatches; ++i) {
    squares += (means[i] - mean) * (means[i] - mean);
    if (i > 0) products += (means[i] - mean) * (means[i - 1] - mean);
  }
  const double correlation = std::max(0.0, products / squares);
  REQUIRE(correlation < 0.5);
  const double error =
      std::sqrt(squares / (kBatches - 1) / kBatches * (1.0 + correlation) / (1.0 - correlation));
  INFO("mean " << mean << " +- " << error << ", theory " << theory << ", correlation " << correlation);
  CHECK(error < (experiment.utilisation > 0.9 ? 0.06 : 0.05) * theory);
  CHECK(std::fabs(mean - theory) < kStudent * error);
}

double sojourn(const Customer& customer) { return (customer.departure - customer.arrival).seconds(); }
double wait(const Customer& customer) { return (customer.start() - customer.arrival).seconds(); }

// The part of an interval that lies before an instant.
std::int64_t part_before(Time at, Time from, Time to) { return (std::min(to, at) - std::min(from, at)).ps; }

// Little's law at every observation: the integral of the number in the system is the sum of the times in it,
// of those who are still there up to now.
void require_littles_law(const Experiment& experiment) {
  for (const Observation& seen : experiment.observations) {
    Int128 sum = 0;
    for (const Customer& customer : experiment.customers) {
      sum += part_before(seen.at, customer.arrival, customer.departure);
    }
    REQUIRE((seen.present == sum));
  }
}

// The utilisation law of servers that do not share, and Little's law of their queue.
void require_laws_of_servers(const Experiment& experiment) {
  require_littles_law(experiment);
  for (const Observation& seen : experiment.observations) {
    Int128 busy = 0;
    Int128 waiting = 0;
    for (const Customer& customer : experiment.customers) {
      busy += part_before(seen.at, customer.start(), customer.departure);
      waiting += part_before(seen.at, customer.arrival, customer.start());
    }
    REQUIRE((seen.busy == busy));
    REQUIRE((seen.waiting == waiting));
  }
  Int128 work = 0;
  for (const Customer& customer : experiment.customers) work += customer.work;
  REQUIRE((experiment.observations.back().busy == work * kTicksPerUnit));
}

// Each customer starts when it has come and one of the servers is free (J. Kiefer and J. Wolfowitz, 1955;
// with one server D. Lindley, 1952).
void require_recursion(const Experiment& experiment, std::size_t servers) {
  std::priority_queue<std::int64_t, std::vector<std::int64_t>, std::greater<>> free_at;
  for (std::size_t i = 0; i < servers; ++i) free_at.push(0);
  std::size_t wrong = 0;
  for (const Customer& customer : experiment.customers) {
    const std::int64_t departure = std::max(customer.arrival.ps, free_at.top()) + customer.service().ps;
    free_at.pop();
    free_at.push(departure);
    wrong += customer.departure.ps != departure ? 1 : 0;
  }
  REQUIRE(wrong == 0);
}

// A shared server is busy exactly while anyone is present, and that is for as long as the work takes: no
// shorter, and longer by less than the tick by which each completion is rounded up.
void require_laws_of_sharing(const Experiment& experiment) {
  require_littles_law(experiment);
  for (const Observation& seen : experiment.observations) {
    Int128 busy = 0;
    Int128 work = 0;
    Time until{0};
    for (const Customer& customer : experiment.customers) {
      busy += part_before(seen.at, std::max(customer.arrival, until), std::max(customer.departure, until));
      until = std::max(until, customer.departure);
      if (customer.departure <= seen.at) work += customer.work;
    }
    REQUIRE((seen.busy == busy));
    REQUIRE((seen.busy >= work * kTicksPerUnit));
    if (&seen == &experiment.observations.back()) {
      REQUIRE((seen.busy < work * kTicksPerUnit + static_cast<Int128>(experiment.customers.size())));
    }
  }
}

Experiment run_queue(double rho, const Law& law, std::uint64_t seed, std::int64_t servers = 1) {
  Experiment experiment = make_experiment(rho, law, seed, servers);
  QueueStation station(servers);
  run(experiment, station);
  require_laws_of_servers(experiment);
  require_recursion(experiment, static_cast<std::size_t>(servers));
  return experiment;
}

TEST_CASE("M/M/1: mean time in the system is 1 / (mu - lambda)") {
  for (const double rho : {0.5, 0.8, 0.95}) {
    require_mean(run_queue(rho, kExponential, 1), sojourn, kMeanService / (1.0 - rho));
  }
}

TEST_CASE("M/D/1: mean wait is rho / (2 mu (1 - rho)), Pollaczek and Khinchine") {
  for (const double rho : {0.5, 0.8, 0.95}) {
    require_mean(run_queue(rho, kDeterministic, 2), wait, rho * kMeanService / (2.0 * (1.0 - rho)));
  }
}

// The probability of waiting, from Erlang's recursion for the loss formula.
double erlang_c(std::int64_t servers, double offered) {
  double loss = 1.0;
  for (std::int64_t c = 1; c <= servers; ++c)
    loss = offered * loss / (static_cast<double>(c) + offered * loss);
  const double rho = offered / static_cast<double>(servers);
  return loss / (1.0 - rho * (1.0 - loss));
}

TEST_CASE("M/M/c: mean wait is C(c, lambda / mu) / (c mu - lambda), Erlang") {
  REQUIRE(erlang_c(1, 0.8) == Approx(0.8));
  REQUIRE(erlang_c(2, 1.0) == Approx(1.0 / 3.0));
  for (const std::int64_t servers : {2, 12}) {
    for (const double rho : {0.5, 0.8}) {
      if (servers == 12 && rho < 0.8) continue;  // hardly anyone waits
      const double offered = rho * static_cast<double>(servers);
      const Experiment experiment = run_queue(rho, kExponential, 6, servers);
      require_mean(experiment, wait,
                   erlang_c(servers, offered) * kMeanService / (static_cast<double>(servers) - offered));
    }
  }
}

// Through both models of a shared resource, on one path: their customers part by rounding only.
void require_sharing(double rho, const Law& law, std::uint64_t seed) {
  const double theory = kMeanService / (1.0 - rho);
  Experiment sharing = make_experiment(rho, law, seed);
  Experiment network = sharing;
  SharedStation<OneResource> one;
  run(sharing, one);
  REQUIRE(one.served_all());
  require_laws_of_sharing(sharing);
  require_mean(sharing, sojourn, theory);
  SharedStation<OneResourceNetwork> other;
  run(network, other);
  REQUIRE(other.served_all());
  require_laws_of_sharing(network);
  require_mean(network, sojourn, theory);
  std::int64_t apart = 0;
  for (std::size_t i = 0; i < sharing.customers.size(); ++i) {
    const Duration difference = sharing.customers[i].departure - network.customers[i].departure;
    apart = std::max(apart, std::abs(difference.ps));
  }
  INFO("the models part by " << apart << " ps");
  REQUIRE(apart < 1000);  // less than a tick for each customer of a busy period, of services of 1e9
}

TEST_CASE("M/G/1-PS: mean time in the system is E[S] / (1 - rho) whatever the law of sizes") {
  for (const double rho : {0.5, 0.8, 0.95}) {
    require_sharing(rho, kDeterministic, 3);
    require_sharing(rho, kExponential, 3);
    require_sharing(rho, kBimodal, 3);
  }
}

TEST_CASE("M/G/1-PS: a job of size x takes x / (1 - rho)") {
  Experiment experiment = make_experiment(0.8, kBimodal, 4);
  SharedStation<OneResource> station;
  run(experiment, station);
  require_mean(
      experiment, [](const Customer& customer) { return sojourn(customer) / customer.service().seconds(); },
      1.0 / (1.0 - 0.8));
}

}  // namespace
}  // namespace moesim::core
