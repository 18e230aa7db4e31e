#include <vector>

#include "models/cost/kernel_library.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using Catch::Matchers::WithinRel;
using cost::Collective;
using cost::CollectiveShape;
using cost::Conditions;

namespace {

cost::DeviceFigures node_figures(const char* node) {
  return cost::figures_of(hardware::load_node(node, test::source_catalogue()).value);
}

const cost::DeviceFigures& h100() {
  static const cost::DeviceFigures figures = node_figures("hgx-h100-8");
  return figures;
}

std::vector<double> initial(const cost::KernelFamily& family) {
  std::vector<double> values;
  for (const cost::Parameter& one : family.parameters) values.push_back(one.initial);
  return values;
}

std::size_t index_of(const cost::KernelFamily& family, std::string_view name) {
  for (std::size_t i = 0; i < family.parameters.size(); ++i) {
    if (family.parameters[i].name == name) return i;
  }
  FAIL("no parameter " << name);
  return 0;
}

double micro(const cost::KernelFamily& family, const CollectiveShape& shape,
             const cost::DeviceFigures& device = h100(), Conditions conditions = Conditions::serving) {
  return family.time(shape, device, initial(family), conditions, nullptr).total * 1e6;
}

CollectiveShape ring(Collective collective, std::int64_t ranks, std::int64_t bytes) {
  return {collective, ranks, bytes};
}

}  // namespace

TEST_CASE("collectives on H100 take about as long as measured") {
  const auto& family = cost::collective_family();
  // Medians of nccl.csv, us.
  CHECK_THAT(micro(family, ring(Collective::all_gather, 8, 268'435'456)), WithinRel(730.0, 0.1));
  CHECK_THAT(micro(family, ring(Collective::all_gather, 2, 268'435'456)), WithinRel(548.0, 0.1));
  CHECK_THAT(micro(family, ring(Collective::reduce_scatter, 4, 33'554'432)), WithinRel(109.0, 0.15));
  CHECK_THAT(micro(family, ring(Collective::all_reduce, 8, 512)), WithinRel(15.5, 0.15));
  CHECK_THAT(micro(family, ring(Collective::all_reduce, 2, 134'217'728)), WithinRel(477.0, 0.1));
}

TEST_CASE("two GPUs are slower per byte than eight because each copies its own part") {
  const auto& family = cost::collective_family();
  const std::int64_t bytes = std::int64_t{1} << 32;
  const auto per_wire_byte = [&](std::int64_t ranks, double copy_rate) {
    std::vector<double> values = initial(family);
    values[index_of(family, "copy_rate")] = copy_rate;
    const auto n = static_cast<double>(ranks);
    const auto time =
        family.time(ring(Collective::all_gather, ranks, bytes), h100(), values, Conditions::serving, nullptr);
    return time.total / (static_cast<double>(bytes) * (n - 1) / n);
  };
  CHECK(per_wire_byte(2, 3) > 1.2 * per_wire_byte(8, 3));
  CHECK_THAT(per_wire_byte(2, 1e9), WithinRel(per_wire_byte(8, 1e9), 0.01));
}

TEST_CASE("a switch adds up numbers of more than two Hoppers, but neither integers nor for A100") {
  const auto& family = cost::collective_family();
  const std::int64_t bytes = std::int64_t{1} << 30;
  CollectiveShape sum = ring(Collective::all_reduce, 8, bytes);
  CollectiveShape whole = sum;
  whole.whole_numbers = true;
  // Half and int8 of 256 MiB on 8 H100 differ by a factor of 0.79.
  CHECK_THAT(micro(family, sum) / micro(family, whole), WithinRel(0.79, 0.1));
  const cost::DeviceFigures a100 = node_figures("hgx-a100-8");
  CHECK(micro(family, sum, a100) == micro(family, whole, a100));
  sum.ranks = whole.ranks = 2;
  CHECK(micro(family, sum) == micro(family, whole));
}

TEST_CASE("each GPU of a PCIe box reaches less of its link the more there are") {
  const auto& family = cost::collective_family();
  const cost::DeviceFigures l40s = node_figures("l40s-pcie-8");
  CHECK_FALSE(l40s.switched);
  const auto bus = [&](std::int64_t ranks) {
    const double wire = 1e9 * static_cast<double>(ranks - 1);
    return wire / micro(family, ring(Collective::all_gather, ranks, ranks * 1'000'000'000), l40s);
  };
  CHECK(bus(2) > 1.2 * bus(4));
  CHECK(bus(4) > 1.2 * bus(8));
  CHECK_THAT(bus(16), WithinRel(bus(8), 0.1));
}

TEST_CASE("one message between two GPUs is one step") {
  const auto& family = cost::collective_family();
  const std::int64_t bytes = std::int64_t{1} << 30;
  const auto time = family.time(ring(Collective::point_to_point, 2, bytes), h100(), initial(family),
                                Conditions::serving, nullptr);
  CHECK(family.variant(ring(Collective::point_to_point, 2, bytes)) == "direct");
  CHECK_THAT(time.speed_of_light, WithinRel(static_cast<double>(bytes) / 450e9, 1e-9));
  CHECK_THAT(time.total, WithinRel(static_cast<double>(bytes) / (0.8 * 450e9), 0.02));
  CHECK(time.latency < 7e-6);
}

TEST_CASE("the variants of collectives are rings and direct messages; those of all-reduces are launches") {
  CHECK(cost::collective_family().variant(ring(Collective::all_reduce, 8, 1)) == "ring");
  CHECK(cost::collective_family().variant(ring(Collective::reduce_scatter, 8, 1)) == "ring");
  CHECK(cost::collective_family().variant(ring(Collective::all_to_all, 8, 1)) == "direct");
  CollectiveShape eager = ring(Collective::all_reduce, 8, 1);
  CHECK(cost::custom_all_reduce_family().variant(eager) == "graph");
  eager.eager = true;
  CHECK(cost::custom_all_reduce_family().variant(eager) == "eager");
}

TEST_CASE("an engine's all-reduce is one shot, then two, then the library's") {
  const auto& family = cost::custom_all_reduce_family();
  const auto without = [&](std::string_view start_up, std::int64_t bytes) {
    std::vector<double> values = initial(family);
    values[index_of(family, start_up)] = 1e6;
    const CollectiveShape shape = ring(Collective::all_reduce, 8, bytes);
    return family.time(shape, h100(), values, Conditions::serving, nullptr).total * 1e6 /
           micro(family, shape);
  };
  // What is taken away is what was used.
  CHECK(without("one_shot_start_up", 1024) > 2);
  CHECK_THAT(without("two_shot_start_up", 1024), WithinRel(1.0, 0.01));
  CHECK(without("two_shot_start_up", 1 << 20) > 1.2);
  CHECK(without("start_up", 1 << 28) > 1.2);
  CHECK_THAT(without("start_up", 1024), WithinRel(1.0, 0.01));
}

TEST_CASE("own kernels need memory in one hop, or pairs") {
  const auto& family = cost::custom_all_reduce_family();
  const cost::DeviceFigures l40s = node_figures("l40s-pcie-8");
  const auto slower = [&](std::int64_t ranks) {
    std::vector<double> values = initial(family);
    values[index_of(family, "one_shot_start_up")] *= 2;
    const CollectiveShape shape = ring(Collective::all_reduce, ranks, 1024);
    return family.time(shape, l40s, values, Conditions::serving, nullptr).total * 1e6 >
           micro(family, shape, l40s);
  };
  CHECK(slower(2));
  CHECK_FALSE(slower(4));
}

TEST_CASE("without a graph the host is the floor, and the benchmark copies its input first") {
  const auto& family = cost::custom_all_reduce_family();
  CollectiveShape shape = ring(Collective::all_reduce, 8, 1024);
  shape.eager = true;
  CHECK_THAT(micro(family, shape), WithinRel(25.0, 0.05));
  shape.bytes = std::int64_t{1} << 28;
  const double serving = micro(family, shape),
               benchmark = micro(family, shape, h100(), Conditions::benchmark);
  CHECK_THAT(benchmark - serving, WithinRel(2 * 268.435456 / (0.9 * 3.35), 1e-6));
  shape.eager = false;
  CHECK(micro(family, shape) == micro(family, shape, h100(), Conditions::benchmark));
}

TEST_CASE("what is no collective is refused") {
  const auto& family = cost::collective_family();
  const auto values = initial(family);
  CHECK_THROWS_AS(family.time(cost::GemmShape{}, h100(), values, Conditions::serving, nullptr),
                  core::InvariantError);
  CHECK_THROWS_AS(
      family.time(ring(Collective::all_reduce, 0, 1), h100(), values, Conditions::serving, nullptr),
      core::InvariantError);
}
