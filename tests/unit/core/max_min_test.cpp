#include "sim/core/max_min.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

using Doubles = std::vector<double>;
using Flows = std::vector<FlowClass>;
constexpr double kNoBound = std::numeric_limits<double>::infinity();

TEST_CASE("the textbook line: one long flow and two short ones") {
  // Bertsekas and Gallager: a long flow over both links meets one short flow on each.
  const Doubles capacities = {1.0, 2.0};
  const Flows flows = {{{{0, 1.0}, {1, 1.0}}}, {{{0, 1.0}}}, {{{1, 1.0}}}};
  const Doubles rates = max_min_rates(capacities, flows);
  REQUIRE(rates == Doubles{0.5, 0.5, 1.5});
  REQUIRE(is_max_min_fair(capacities, flows, rates));
}

TEST_CASE("weights, bounds, coefficients and multiplicities") {
  REQUIRE(max_min_rates(Doubles{8.0}, Flows{{{{0, 1.0}}, kNoBound, 1.0}, {{{0, 1.0}}, kNoBound, 3.0}}) ==
          Doubles{2.0, 6.0});
  REQUIRE(max_min_rates(Doubles{8.0}, Flows{{{{0, 1.0}}, 1.0}, {{{0, 1.0}}}}) == Doubles{1.0, 7.0});
  REQUIRE(max_min_rates(Doubles{8.0}, Flows{{{{0, 3.0}}}, {{{0, 1.0}}}}) == Doubles{2.0, 2.0});
  REQUIRE(max_min_rates(Doubles{8.0}, Flows{{{{0, 1.0}, {0, 1.0}}}}) == Doubles{4.0});
  REQUIRE(max_min_rates(Doubles{8.0}, Flows{{{{0, 1.0}}, kNoBound, 1.0, 3}, {{{0, 1.0}}}}) ==
          Doubles{2.0, 2.0});
  REQUIRE(max_min_rates(Doubles{}, Flows{{{}, 5.0}}) == Doubles{5.0});
  REQUIRE(max_min_rates(Doubles{8.0}, Flows{{{{0, 0.0}}, 5.0}}) == Doubles{5.0});
  REQUIRE(max_min_rates(Doubles{0.0, 1.0}, Flows{{{{0, 1.0}}}, {{{1, 1.0}}}}) == Doubles{0.0, 1.0});
  REQUIRE(max_min_rates(Doubles{8.0}, Flows{{{{0, 1.0}}, 0.0}, {{{0, 1.0}}}}) == Doubles{0.0, 8.0});
  REQUIRE(max_min_rates(Doubles{8.0}, Flows{}).empty());
}

TEST_CASE("a flow at its bound has exactly its bound") {
  for (const double bound : {0.1, 0.3, 0.7, 1.1}) {
    for (double weight = 1.0; weight < 50.0; weight += 1.0) {
      REQUIRE(max_min_rates(Doubles{100.0}, Flows{{{{0, 1.0}}, bound, weight}}) == Doubles{bound});
    }
  }
}

TEST_CASE("a symmetric all-to-all is one class") {
  // Eight ports, each with an ingress and an egress of 7 units: every pair gets 1 unit.
  Doubles capacities(16, 7.0);
  Flows pairs;
  for (std::uint32_t from = 0; from < 8; ++from) {
    for (std::uint32_t to = 0; to < 8; ++to) {
      if (from != to) {
        pairs.push_back({{{from, 1.0}, {8 + to, 1.0}}});
      }
    }
  }
  REQUIRE(max_min_rates(capacities, pairs) == Doubles(56, 1.0));
}

TEST_CASE("the certificate rejects what is not max-min fair") {
  const Doubles capacities = {1.0, 2.0};
  const Flows flows = {{{{0, 1.0}, {1, 1.0}}}, {{{0, 1.0}}}, {{{1, 1.0}}, 1.4}};
  REQUIRE(is_max_min_fair(capacities, flows, Doubles{0.5, 0.5, 1.4}));
  REQUIRE_FALSE(is_max_min_fair(capacities, flows, Doubles{0.5, 0.5, 1.3}));  // could have more
  REQUIRE_FALSE(is_max_min_fair(capacities, flows, Doubles{0.5, 0.5, 1.5}));  // over its bound
  REQUIRE_FALSE(is_max_min_fair(capacities, flows, Doubles{0.6, 0.5, 1.4}));  // over the capacity
  REQUIRE_FALSE(
      is_max_min_fair(capacities, flows, Doubles{0.4, 0.6, 1.4}));  // the first is poorer than need be
  REQUIRE_FALSE(is_max_min_fair(capacities, flows, Doubles{0.5, -0.5, 1.4}));
  REQUIRE_FALSE(is_max_min_fair(capacities, flows, Doubles{0.5, std::nan(""), 1.4}));
  REQUIRE_THROWS_AS(is_max_min_fair(capacities, flows, Doubles{0.5, 0.5}), InvariantError);
}

TEST_CASE("max-min rates refuse what makes no sense") {
  const Doubles one = {1.0};
  REQUIRE_THROWS_AS(max_min_rates(one, Flows{{{{1, 1.0}}}}), InvariantError);
  REQUIRE_THROWS_AS(max_min_rates(one, Flows{{{}}}), InvariantError);
  REQUIRE_THROWS_AS(max_min_rates(one, Flows{{{{0, 0.0}}}}), InvariantError);
  REQUIRE_THROWS_AS(max_min_rates(one, Flows{{{{0, -1.0}}}}), InvariantError);
  REQUIRE_THROWS_AS(max_min_rates(one, Flows{{{{0, 1.0}}, -1.0}}), InvariantError);
  REQUIRE_THROWS_AS(max_min_rates(one, Flows{{{{0, 1.0}}, std::nan("")}}), InvariantError);
  REQUIRE_THROWS_AS(max_min_rates(one, Flows{{{{0, 1.0}}, 1.0, 0.0}}), InvariantError);
  REQUIRE_THROWS_AS(max_min_rates(one, Flows{{{{0, 1.0}}, 1.0, 1.0, 0}}), InvariantError);
  REQUIRE_THROWS_AS(max_min_rates(Doubles{-1.0}, Flows{}), InvariantError);
  REQUIRE_THROWS_AS(max_min_rates(Doubles{kNoBound}, Flows{}), InvariantError);
}

}  // namespace
}  // namespace moesim::core
