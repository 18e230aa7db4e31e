#include "sim/studies/measured_moe.hpp"

#include <algorithm>
#include <numeric>

#include "models/cost/moe_time.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;
using studies::benchmark_rows;
using studies::ExpertBenchmark;

namespace {

std::int64_t sum(const std::vector<std::int64_t>& rows) {
  return std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
}

ExpertBenchmark benchmark(std::int64_t tokens, std::int64_t top_k, std::int64_t experts, std::int64_t ranks,
                          double alpha) {
  return {tokens, top_k, experts, ranks, alpha};
}

}  // namespace

TEST_CASE("Round-robin routing spreads few tokens over the stride") {
  // Stride 32, tokens 8 apart: rank 0 of 16 has experts 0 to 15, of which tokens 0 and 1 take one each.
  const auto rows = benchmark_rows(benchmark(4, 8, 256, 16, 0), 0);
  REQUIRE(rows.size() == 16);
  CHECK(sum(rows) == 2);
  CHECK(rows[0] == 1);
  CHECK(rows[8] == 1);
  // One token alone takes expert 0 of this rank.
  CHECK(sum(benchmark_rows(benchmark(1, 8, 256, 16, 0), 0)) == 1);
}

TEST_CASE("Round-robin routing of many tokens is even") {
  const auto rows = benchmark_rows(benchmark(2048, 8, 256, 16, 0), 0);
  REQUIRE(rows.size() == 16);
  for (const std::int64_t one : rows) CHECK(one == 64);
  // 40 tokens, stride 32: each choice covers 40 experts in a row, so 8 of each 32 have one more.
  const auto some = benchmark_rows(benchmark(40, 8, 256, 1, 0), 0);
  CHECK(sum(some) == 320);
  CHECK(some[0] == 2);
  CHECK(some[7] == 2);
  CHECK(some[8] == 1);
  CHECK(some[31] == 1);
}

TEST_CASE("Skewed routing keeps every row, caps experts and times the busiest rank") {
  for (const double alpha : {1.0, 1.01, 1.2}) {
    for (const std::int64_t tokens : {1, 7, 300, 4096}) {
      const auto all = benchmark_rows(benchmark(tokens, 8, 128, 1, alpha), 3);
      CAPTURE(alpha, tokens);
      CHECK(sum(all) == tokens * 8);
      CHECK(*std::max_element(all.begin(), all.end()) <= tokens);
      CHECK(*std::min_element(all.begin(), all.end()) >= 0);
      const auto rank = benchmark_rows(benchmark(tokens, 8, 128, 16, alpha), 3);
      std::int64_t busiest = 0;
      for (std::size_t r = 0; r < 16; ++r) {
        busiest = std::max(
            busiest, std::accumulate(all.begin() + static_cast<std::ptrdiff_t>(8 * r),
                                     all.begin() + static_cast<std::ptrdiff_t>(8 * r + 8), std::int64_t{0}));
      }
      CHECK(sum(rank) == busiest);
    }
  }
}

TEST_CASE("A steeper power law loads the busiest rank more") {
  const auto busiest = [](double alpha) {
    return studies::benchmark_load(benchmark(4096, 8, 256, 32, alpha)).rows;
  };
  CHECK(busiest(0) == 1024);
  CHECK(busiest(1.01) > 1.5 * busiest(0));
  CHECK(busiest(1.2) > 1.1 * busiest(1.01));
}

TEST_CASE("Draws differ from each other and never from themselves") {
  const ExpertBenchmark one = benchmark(512, 8, 128, 4, 1.2);
  CHECK(benchmark_rows(one, 0) == benchmark_rows(one, 0));
  CHECK(benchmark_rows(one, 0) != benchmark_rows(one, 1));
  const cost::ExpertLoad load = studies::benchmark_load(one);
  CHECK(load.rows == studies::benchmark_load(one).rows);
  double rows = 0;
  for (std::uint32_t draw = 0; draw < studies::kRoutingDraws; ++draw) {
    rows += static_cast<double>(sum(benchmark_rows(one, draw)));
  }
  CHECK(load.rows == rows / studies::kRoutingDraws);
}
