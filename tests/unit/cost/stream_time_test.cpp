#include <vector>

#include "models/cost/kernel_family.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;
using Catch::Matchers::WithinRel;

namespace {

cost::DeviceFigures streaming_h100() {
  cost::DeviceFigures device;
  device.multiprocessors = 132;
  device.clock = 1.83e9;
  device.dram_bandwidth = 3.35e12;
  device.l2_bytes = 50.0 * 1024 * 1024;
  return device;
}

cost::StreamShape quantisation(std::int64_t rows, std::int64_t columns) {
  return {rows, columns, 2 * rows * columns, rows * columns};
}

// l2_share, launch, dram_fraction, l2_rate, row: as fitted to static fp8 quantisation on the H100.
double pass_microseconds(const cost::StreamShape& shape) {
  const std::vector<double> parameters = {0.704, 1.40, 1.0, 21.7, 5.7};
  REQUIRE(parameters.size() == cost::stream_family().parameters.size());
  return cost::stream_family()
             .time(shape, streaming_h100(), parameters, cost::Conditions::serving, nullptr)
             .total *
         1e6;
}

}  // namespace

TEST_CASE("a pass of the H100 takes what was measured") {
  CHECK_THAT(pass_microseconds(quantisation(1, 7168)), WithinRel(1.3461, 0.15));
  CHECK_THAT(pass_microseconds(quantisation(512, 128)), WithinRel(1.4208, 0.15));
  CHECK_THAT(pass_microseconds(quantisation(512, 16384)), WithinRel(6.4139, 0.15));
  CHECK_THAT(pass_microseconds(quantisation(1024, 128)), WithinRel(1.4901, 0.15));
  CHECK_THAT(pass_microseconds(quantisation(8192, 7168)), WithinRel(58.82, 0.15));
  CHECK_THAT(pass_microseconds(quantisation(8192, 16384)), WithinRel(131.61, 0.15));
  CHECK_THAT(pass_microseconds(quantisation(32768, 128)), WithinRel(3.9563, 0.15));
  CHECK_THAT(pass_microseconds(quantisation(32768, 7168)), WithinRel(231.04, 0.15));
  CHECK_THAT(pass_microseconds(quantisation(32768, 16384)), WithinRel(531.91, 0.15));
}

TEST_CASE("a pass over data that fit in L2 is faster than DRAM, a longer one is not") {
  const auto rate = [](std::int64_t rows) {
    return 3.0 * static_cast<double>(rows) * 8192 / (pass_microseconds(quantisation(rows, 8192)) - 1.4);
  };
  CHECK(rate(1024) > 1.3 * rate(16384));
  CHECK(rate(32768) < 3.35e6);
  CHECK(rate(32768) > 0.8 * 3.35e6);
}

TEST_CASE("passes that write nothing are a variant of their own") {
  CHECK(cost::stream_family().variant(quantisation(1, 32)) == "map");
  CHECK(cost::stream_family().variant(cost::StreamShape{1, 32, 64, 0}) == "reduce");
}
