#include "models/cost/moe_time.hpp"

#include <array>
#include <cmath>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;
using Catch::Matchers::WithinRel;
using cost::Conditions;

namespace {

using NF = llm::NumberFormat;

// Round figures, so that times can be worked out by hand.
cost::DeviceFigures device() {
  cost::DeviceFigures d;
  d.multiprocessors = 100;
  d.clock = 1e9;
  d.dram_bandwidth = 1e12;
  d.l2_bytes = 0x1p26;
  d.peak = {1e13, 1e14, 2e14, 0, 0, 2e14};
  return d;
}

cost::MoeParameters parameters() {
  cost::MoeParameters p;
  p.start_up = 20;
  p.routing = 4;
  p.split_activation = 10;
  p.pass_rate = 10;
  p.dram_fraction = 0.8;
  p.load_rate = 100;
  p.tensor_fraction = 0.5;
  p.tile_clocks = 1000;
  p.wave_rounding = 1;
  p.foreign_rows = 0;
  p.cache_share = 1;
  p.token_clocks = 500;
  p.expert_setup = 64;
  return p;
}

std::vector<double> values(const cost::MoeParameters& p) {
  return {p.start_up,    p.routing,         p.split_activation, p.pass_rate,     p.dram_fraction,
          p.load_rate,   p.tensor_fraction, p.tile_clocks,      p.wave_rounding, p.foreign_rows,
          p.cache_share, p.token_clocks,    p.expert_setup};
}

cost::MoeShape layer(std::vector<std::int64_t> rows, std::int64_t tokens) {
  cost::MoeShape shape;
  shape.tokens = tokens;
  shape.hidden = 1024;
  shape.width = 512;
  shape.top_k = 2;
  shape.experts = 64;
  shape.local_experts = static_cast<std::int64_t>(rows.size());
  shape.draws = {cost::load_of(rows)};
  return shape;
}

double seconds(const cost::MoeShape& shape, const cost::MoeParameters& p, Conditions conditions) {
  return cost::moe_family().time(shape, device(), values(p), conditions, nullptr).total;
}

}  // namespace

TEST_CASE("A load counts rows, active experts and tiles of each height") {
  const std::array<std::int64_t, 5> rows = {0, 1, 16, 17, 300};
  const cost::ExpertLoad load = cost::load_of(rows);
  CHECK(load.rows == 334);
  CHECK(load.active == 4);
  CHECK(load.longest == 300);
  CHECK(load.tiles ==
        std::array<double, 5>{1 + 1 + 2 + 19, 1 + 1 + 1 + 10, 1 + 1 + 1 + 5, 1 + 1 + 1 + 3, 1 + 1 + 1 + 2});
  CHECK(cost::load_of({}).rows == 0);
}

TEST_CASE("A mean load is the mean of each figure") {
  const std::array<std::int64_t, 2> some = {4, 0}, more = {40, 2};
  const std::array<cost::ExpertLoad, 2> loads = {cost::load_of(some), cost::load_of(more)};
  const cost::ExpertLoad mean = cost::mean_load(loads);
  CHECK(mean.rows == 23);
  CHECK(mean.active == 1.5);
  CHECK(mean.longest == 22);
  CHECK(mean.tiles[0] == 2.5);
  CHECK_THROWS_AS(cost::mean_load({}), core::InvariantError);
}

TEST_CASE("A grouped product is worked out by hand") {
  cost::GroupedShape shape;
  shape.columns = 1280;
  shape.depth = 1000;
  const std::array<std::int64_t, 4> rows = {16, 16, 16, 1};
  const cost::KernelTime time =
      cost::grouped_product_time(shape, cost::load_of(rows), device(), parameters());
  // Tiles of 16 rows: 4 x 10 on 100 multiprocessors, one wave. Multiplying 2 x 16 x 128 x 1000 at 0.5
  // TFLOP/s: 8.192 us. Loading 1000 x (16 + 128) x 2 bytes at 100 B/ns: 2.88 us. And 1 us of the tile itself.
  CHECK_THAT(time.compute, WithinRel(9.192e-6, 1e-12));
  // 4 experts of 1280 x 1000 and 49 rows in and out, at 0.8 TB/s.
  const double bytes = 4 * 1280 * 1000 * 2.0 + 49 * (1000 + 1280) * 2.0;
  CHECK_THAT(time.memory, WithinRel(bytes / 0.8e12, 1e-12));
  const double a = time.compute, b = time.memory;
  CHECK_THAT(time.total, WithinRel(std::pow(std::pow(a, 1.5) + std::pow(b, 1.5), 2.0 / 3.0), 1e-12));
  CHECK(time.latency == 0);
}

TEST_CASE("Unfinished waves count as the parameter says") {
  cost::GroupedShape shape;
  shape.columns = 12800 + 128;
  shape.depth = 1000;
  const std::array<std::int64_t, 1> rows = {16};
  cost::MoeParameters p = parameters();
  const double two = cost::grouped_product_time(shape, cost::load_of(rows), device(), p).compute;
  CHECK_THAT(two, WithinRel(2 * 9.192e-6, 1e-12));
  p.wave_rounding = 0;
  const double some = cost::grouped_product_time(shape, cost::load_of(rows), device(), p).compute;
  CHECK_THAT(some, WithinRel(1.01 * 9.192e-6, 1e-12));
}

TEST_CASE("The fullest tile sets how much is loaded, not the mean one") {
  cost::GroupedShape shape;
  shape.columns = 1280;
  shape.depth = 1000;
  cost::MoeParameters p = parameters();
  p.load_rate = 10;  // loads take longer than multiplications
  const std::array<std::int64_t, 2> one = {16, 0}, two = {16, 1};
  const double alone = cost::grouped_product_time(shape, cost::load_of(one), device(), p).compute;
  CHECK_THAT(alone, WithinRel(1e-6 + 1000 * (16 + 128) * 2 / 10e9, 1e-12));
  CHECK(cost::grouped_product_time(shape, cost::load_of(two), device(), p).compute == alone);
}

TEST_CASE("Parts add up to the fused layer") {
  const cost::MoeShape shape = layer({3, 0, 200, 9}, 106);
  const cost::MoeParts parts =
      cost::moe_parts(shape, shape.draws[0], device(), parameters(), Conditions::serving);
  CHECK_THAT(seconds(shape, parameters(), Conditions::serving), WithinRel(parts.total(), 1e-12));
  // Less the microsecond between two replays of a benchmark.
  CHECK_THAT(parts.start_up, WithinRel(19e-6, 1e-12));
  const cost::MoeParts measured =
      cost::moe_parts(shape, shape.draws[0], device(), parameters(), Conditions::benchmark);
  CHECK_THAT(measured.start_up, WithinRel(20e-6, 1e-12));
  // 64 experts of the layer, 4 of them here.
  CHECK_THAT(parts.routing, WithinRel(2e-6, 1e-12));
  // 106 tokens of 500 clocks on 100 multiprocessors of 1 GHz.
  CHECK_THAT(parts.choice, WithinRel(530e-9, 1e-12));
  // 212 rows, in and out, at 1 TB/s; the sum of each token is written once.
  CHECK_THAT(parts.permute, WithinRel(212 * 1024 * 4.0 / 1e12, 1e-12));
  CHECK_THAT(parts.activation, WithinRel(212 * (2 * 1024 + 512 * 2.0) / 1e12, 1e-12));
  CHECK_THAT(parts.unpermute, WithinRel((212 * 1024 * 2.0 + 106 * 1024 * 2.0) / 1e12, 1e-12));
}

TEST_CASE("The time of several draws is their mean") {
  cost::MoeShape both = layer({3, 0, 200, 9}, 106);
  const cost::MoeShape other = layer({53, 53, 53, 53}, 106);
  const double first = seconds(both, parameters(), Conditions::serving);
  const double second = seconds(other, parameters(), Conditions::serving);
  REQUIRE(first != second);
  both.draws.push_back(other.draws[0]);
  CHECK_THAT(seconds(both, parameters(), Conditions::serving), WithinRel((first + second) / 2, 1e-12));
  both.draws.clear();
  CHECK_THROWS_AS(seconds(both, parameters(), Conditions::serving), core::InvariantError);
}

TEST_CASE("Experts without a gate have one matrix less and a kernel more") {
  cost::MoeShape shape = layer({8, 8}, 8);
  const auto gated = cost::moe_parts(shape, shape.draws[0], device(), parameters(), Conditions::serving);
  shape.gated = false;
  const auto plain = cost::moe_parts(shape, shape.draws[0], device(), parameters(), Conditions::serving);
  CHECK_THAT(plain.start_up, WithinRel(gated.start_up + 10e-6, 1e-12));
  CHECK(plain.up.memory < 0.6 * gated.up.memory);
  CHECK(plain.down.total == gated.down.total);
}

TEST_CASE("A benchmark finds small weights in L2, serving never does") {
  // 3 MiB an expert, L2 of 64 MiB.
  const cost::MoeShape small = layer(std::vector<std::int64_t>(4, 1), 2);
  const cost::MoeShape large = layer(std::vector<std::int64_t>(64, 1), 32);
  const auto up = [](const cost::MoeShape& shape, Conditions conditions) {
    return cost::moe_parts(shape, shape.draws[0], device(), parameters(), conditions).up.memory;
  };
  CHECK(up(small, Conditions::benchmark) < 0.01 * up(small, Conditions::serving));
  CHECK(up(large, Conditions::benchmark) > 0.99 * up(large, Conditions::serving));
}

TEST_CASE("Kernels that compute the rows of other ranks take as long on every rank") {
  cost::MoeParameters p = parameters();
  p.foreign_rows = 1;
  const auto load = [](std::int64_t experts) {
    return std::vector<std::int64_t>(static_cast<std::size_t>(experts), 64);
  };
  const cost::MoeShape whole = layer(load(64), 2048), part = layer(load(16), 2048);
  const auto compute = [&](const cost::MoeShape& shape) {
    return cost::moe_parts(shape, shape.draws[0], device(), p, Conditions::serving).up.compute;
  };
  CHECK_THAT(compute(part), WithinRel(compute(whole), 1e-12));
  const auto memory = [&] {
    return cost::moe_parts(whole, whole.draws[0], device(), p, Conditions::serving).up.memory;
  };
  const double all = memory();
  p.foreign_rows = 0;
  // The rows of this rank are among those of the group.
  CHECK(memory() == all);
  CHECK(compute(part) < 0.3 * compute(whole));
}

TEST_CASE("A rank without rows takes the start-up alone") {
  const cost::MoeShape shape = layer({0, 0}, 0);
  CHECK_THAT(seconds(shape, parameters(), Conditions::serving), WithinRel(20.5e-6, 1e-12));
}

TEST_CASE("The family's table has an order, bounds and initial values that fit together") {
  const cost::KernelFamily& family = cost::moe_family();
  std::vector<double> initial;
  for (const cost::Parameter& parameter : family.parameters) {
    CAPTURE(parameter.name);
    CHECK(parameter.low < parameter.initial);
    CHECK(parameter.initial < parameter.high);
    initial.push_back(parameter.initial);
  }
  const cost::MoeParameters p = cost::moe_parameters(initial);
  CHECK(family.parameters[3].name == "pass_rate");
  CHECK(p.pass_rate == initial[3]);
  CHECK(family.parameters[10].name == "cache_share");
  CHECK(p.cache_share == initial[10]);
  CHECK(p.token_clocks == initial[11]);
  CHECK(p.expert_setup == initial[12]);
  initial.pop_back();
  CHECK_THROWS_AS(cost::moe_parameters(initial), core::InvariantError);
  std::int64_t nodes = 1;
  for (const cost::SurfaceAxis& axis : family.surface_axes) nodes *= axis.nodes;
  CHECK(nodes <= 64);
}
