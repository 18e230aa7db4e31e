#include "models/cost/exchange_time.hpp"

#include <vector>

#include "models/cost/kernel_library.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using Catch::Matchers::WithinAbs;
using Catch::Matchers::WithinRel;
using cost::Conditions;
using cost::ExchangeShape;
using Kind = cost::ExchangeShape::Kind;
using Phase = cost::ExchangeShape::Phase;

namespace {

const cost::DeviceFigures& h100() {
  static const cost::DeviceFigures figures =
      cost::figures_of(hardware::load_node("hgx-h100-8", test::source_catalogue()).value);
  return figures;
}

std::vector<double> initial() {
  std::vector<double> values;
  for (const cost::Parameter& one : cost::exchange_family().parameters) values.push_back(one.initial);
  return values;
}

std::vector<double> with(std::string_view name, double value) {
  std::vector<double> values = initial();
  const auto& parameters = cost::exchange_family().parameters;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].name == name) {
      values[i] = value;
      return values;
    }
  }
  FAIL("no parameter " << name);
  return values;
}

cost::KernelTime time_of(const ExchangeShape& shape, const std::vector<double>& values = initial()) {
  return cost::exchange_family().time(shape, h100(), values, Conditions::serving, nullptr);
}

ExchangeShape deepseek(Kind kind, std::int64_t nodes, std::int64_t tokens, Phase phase = Phase::dispatch) {
  ExchangeShape shape;
  shape.kind = kind;
  shape.phase = phase;
  shape.ranks = 8 * nodes;
  shape.ranks_per_domain = 8;
  shape.tokens = tokens;
  shape.hidden = 7168;
  shape.top_k = 8;
  shape.experts = 256;
  shape.row_bytes = phase == Phase::dispatch ? 7392 : 14336;
  return shape;
}

}  // namespace

TEST_CASE("low latency sends a row for each expert, an eighth of them to itself") {
  const auto traffic = cost::exchange_traffic(deepseek(Kind::low_latency, 1, 128));
  CHECK(traffic.rows == 1024);
  CHECK(traffic.bytes == 1024.0 * 7392);
  CHECK(traffic.near_bytes == traffic.bytes * 7 / 8);
  CHECK(traffic.far_bytes == 0);
  const auto four = cost::exchange_traffic(deepseek(Kind::low_latency, 4, 128));
  CHECK(four.near_bytes == four.bytes * 7 / 32);
  CHECK(four.far_bytes == four.bytes * 24 / 32);
}

TEST_CASE("normal mode sends a token once to each rank, and once over the network to each domain") {
  // Eight different ones of 256 experts in 8 groups of 32: 8 (1 - C(224, 8) / C(256, 8)).
  const auto one = cost::exchange_traffic(deepseek(Kind::normal, 1, 1000));
  CHECK_THAT(one.rows, WithinRel(1000 * 5.2937, 1e-3));
  CHECK(one.far_bytes == 0);
  const auto four = cost::exchange_traffic(deepseek(Kind::normal, 4, 1000));
  // 4 (1 - C(192, 8) / C(256, 8)) domains, three quarters of them not its own.
  CHECK_THAT(four.far_bytes / 7392 / 1000, WithinRel(3.6142 * 0.75, 1e-3));
  ExchangeShape balanced = deepseek(Kind::normal, 1, 1000);
  balanced.destinations = 8;
  CHECK(cost::exchange_traffic(balanced).rows == 8000);
}

TEST_CASE("every part of an exchange can be the longest") {
  const ExchangeShape near = deepseek(Kind::low_latency, 1, 65536);
  const double usual = time_of(near).total;
  CHECK(time_of(near, with("link_share", 0.05)).total > 3 * usual);
  CHECK(time_of(near, with("expert_rate", 0.1)).total > 3 * usual);
  CHECK(time_of(near, with("row_rate", 0.1)).total > 3 * usual);
  CHECK(time_of(near, with("row_clocks", 5000)).total > 1.1 * usual);
  const ExchangeShape far = deepseek(Kind::low_latency, 8, 65536);
  CHECK(time_of(far, with("network_share", 0.1)).total > 3 * time_of(far).total);
  // Few multiprocessors copy slowly.
  ExchangeShape few = deepseek(Kind::normal, 1, 65536);
  few.multiprocessors = 4;
  ExchangeShape more = few;
  more.multiprocessors = 20;
  CHECK(time_of(few).total > 3 * time_of(more).total);
}

TEST_CASE("an exchange with no tokens takes its start-up") {
  for (const Kind kind : {Kind::low_latency, Kind::normal, Kind::one_sided, Kind::two_sided}) {
    const auto time = time_of(deepseek(kind, 1, 0));
    CHECK(time.total == time.latency);
    CHECK(time.latency > 10e-6);
  }
  CHECK(time_of(deepseek(Kind::normal, 4, 0)).total > time_of(deepseek(Kind::normal, 2, 0)).total);
}

TEST_CASE("preparing sends counts, not rows") {
  ExchangeShape shape = deepseek(Kind::two_sided, 1, 4096, Phase::prepare);
  const double prepare = time_of(shape).total;
  shape.row_bytes = 1'000'000;
  CHECK(time_of(shape).total == prepare);
  shape.phase = Phase::dispatch;
  CHECK(time_of(shape).total > 10 * prepare);
}

TEST_CASE("each kind and phase of exchanges has parameters of its own") {
  const auto& family = cost::exchange_family();
  CHECK(family.variant(deepseek(Kind::low_latency, 1, 1)) == "low_latency_dispatch");
  CHECK(family.variant(deepseek(Kind::normal, 1, 1, Phase::combine)) == "normal_combine");
  CHECK(family.variant(deepseek(Kind::two_sided, 1, 1, Phase::prepare)) == "two_sided_prepare");
  CHECK(family.variant(deepseek(Kind::one_sided, 1, 1, Phase::combine_low_precision)) ==
        "one_sided_combine_low_precision");
}

TEST_CASE("an exchange across domains without a network is refused") {
  cost::DeviceFigures alone = h100();
  alone.network_bandwidth = 0;
  CHECK_THROWS_AS(cost::exchange_family().time(deepseek(Kind::low_latency, 2, 8), alone, initial(),
                                               Conditions::serving, nullptr),
                  core::InvariantError);
  CHECK_NOTHROW(cost::exchange_family().time(deepseek(Kind::low_latency, 1, 8), alone, initial(),
                                             Conditions::serving, nullptr));
}
