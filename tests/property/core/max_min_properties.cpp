#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "rapidcheck.h"
#include "sim/core/max_min.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

struct Problem {
  std::vector<double> capacities;
  std::vector<FlowClass> flows;
};

// A random topology. Every number is a fraction of small whole numbers, so that ties and near ties are
// common.
Problem arbitrary_problem() {
  const auto fraction = [](int from, int to) {
    return *rc::gen::inRange(from, to) / static_cast<double>(*rc::gen::element(1, 3, 7));
  };
  Problem problem;
  const auto resources = *rc::gen::inRange<std::uint32_t>(1, 9);
  for (std::uint32_t r = 0; r < resources; ++r) {
    problem.capacities.push_back(fraction(*rc::gen::element(0, 1, 1, 1), 50));
  }
  const int flows = *rc::gen::inRange(1, 25);
  for (int i = 0; i < flows; ++i) {
    FlowClass flow;
    const int uses = *rc::gen::inRange(0, 4);
    for (int u = 0; u < uses; ++u) {
      flow.uses.push_back({*rc::gen::inRange<std::uint32_t>(0, resources), fraction(1, 6)});
    }
    if (uses == 0 || *rc::gen::inRange(0, 3) == 0) {
      flow.bound = fraction(0, 20);
    }
    flow.weight = fraction(1, 5);
    flow.multiplicity = *rc::gen::element<std::int64_t>(1, 1, 2, 5);
    problem.flows.push_back(flow);
  }
  return problem;
}

void assert_close(const std::vector<double>& a, const std::vector<double>& b) {
  RC_ASSERT(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    RC_ASSERT(std::fabs(a[i] - b[i]) <= 1e-9 * std::max(std::fabs(a[i]), std::fabs(b[i])));
  }
}

TEST_CASE("the rates carry their certificate") {
  REQUIRE(rc::check([] {
    const Problem problem = arbitrary_problem();
    const std::vector<double> rates = max_min_rates(problem.capacities, problem.flows);
    RC_ASSERT(is_max_min_fair(problem.capacities, problem.flows, rates));
    RC_ASSERT(rates == max_min_rates(problem.capacities, problem.flows));
  }));
}

TEST_CASE("the certificate rejects any other rates") {
  REQUIRE(rc::check([] {
    const Problem problem = arbitrary_problem();
    std::vector<double> rates = max_min_rates(problem.capacities, problem.flows);
    const auto changed = *rc::gen::inRange<std::size_t>(0, rates.size());
    RC_PRE(rates[changed] > 0.0);
    rates[changed] *= *rc::gen::element(0.99, 1.01);
    RC_ASSERT(!is_max_min_fair(problem.capacities, problem.flows, rates));
  }));
}

TEST_CASE("capacities and bounds scale the rates; weights count by their ratios only") {
  REQUIRE(rc::check([] {
    const Problem problem = arbitrary_problem();
    const std::vector<double> rates = max_min_rates(problem.capacities, problem.flows);
    const double factor = *rc::gen::element(0.25, 8.0, 3.7);
    Problem scaled = problem;
    for (double& capacity : scaled.capacities) {
      capacity *= factor;
    }
    for (FlowClass& flow : scaled.flows) {
      flow.bound *= factor;
      flow.weight *= 16.0;
    }
    std::vector<double> expected = rates;
    for (double& rate : expected) {
      rate *= factor;
    }
    const std::vector<double> found = max_min_rates(scaled.capacities, scaled.flows);
    assert_close(found, expected);
    if (factor != 3.7) {
      RC_ASSERT(found == expected);  // a power of two changes no rounding
    }
  }));
}

TEST_CASE("a class has the rates of its flows") {
  REQUIRE(rc::check([] {
    const Problem problem = arbitrary_problem();
    const std::vector<double> rates = max_min_rates(problem.capacities, problem.flows);
    std::vector<FlowClass> members;
    std::vector<double> expected;
    for (std::size_t i = 0; i < problem.flows.size(); ++i) {
      for (std::int64_t n = 0; n < problem.flows[i].multiplicity; ++n) {
        members.push_back(problem.flows[i]);
        members.back().multiplicity = 1;
        expected.push_back(rates[i]);
      }
    }
    assert_close(max_min_rates(problem.capacities, members), expected);
    RC_ASSERT(is_max_min_fair(problem.capacities, members, expected));
  }));
}

TEST_CASE("the order of the flows does not matter") {
  REQUIRE(rc::check([] {
    const Problem problem = arbitrary_problem();
    std::vector<double> expected = max_min_rates(problem.capacities, problem.flows);
    std::vector<FlowClass> backward = problem.flows;
    std::reverse(backward.begin(), backward.end());
    std::reverse(expected.begin(), expected.end());
    assert_close(max_min_rates(problem.capacities, backward), expected);
  }));
}

TEST_CASE("taking a flow away never lowers the least rate / weight of the others") {
  REQUIRE(rc::check([] {
    Problem problem = arbitrary_problem();
    RC_PRE(problem.flows.size() > 1U);
    const auto least = [&](const std::vector<double>& rates, std::size_t except) {
      double level = std::numeric_limits<double>::infinity();
      for (std::size_t i = 0; i < rates.size(); ++i) {
        if (i != except) {
          level = std::min(level, rates[i] / problem.flows[i].weight);
        }
      }
      return level;
    };
    const auto gone = *rc::gen::inRange<std::size_t>(0, problem.flows.size());
    const double before = least(max_min_rates(problem.capacities, problem.flows), gone);
    problem.flows.erase(problem.flows.begin() + static_cast<std::ptrdiff_t>(gone));
    const double after = least(max_min_rates(problem.capacities, problem.flows), SIZE_MAX);
    RC_ASSERT(after >= before * (1.0 - 1e-9));
  }));
}

}  // namespace
}  // namespace moesim::core
