#include "models/routing/token_map.hpp"

#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;
using Rows = std::vector<std::int64_t>;

namespace {

void check_margins(const Rows& pairs, const Rows& sent, const Rows& received) {
  const std::size_t ranks = sent.size();
  REQUIRE(pairs.size() == ranks * ranks);
  for (std::size_t a = 0; a < ranks; ++a) {
    std::int64_t out = 0, in = 0;
    for (std::size_t b = 0; b < ranks; ++b) {
      CHECK(pairs[a * ranks + b] >= 0);
      out += pairs[a * ranks + b];
      in += pairs[b * ranks + a];
    }
    CHECK(out == sent[a]);
    CHECK(in == received[a]);
  }
}

}  // namespace

TEST_CASE("drawn pairs of rows have the sums that were asked for") {
  for (const auto& [sent, received] : {std::pair<Rows, Rows>{{}, {}},
                                       {{5}, {5}},
                                       {{0, 0, 0}, {0, 0, 0}},
                                       {{7, 0, 3}, {0, 10, 0}},
                                       {{1, 2, 3, 4, 5, 6, 7, 8}, {36, 0, 0, 0, 0, 0, 0, 0}},
                                       {{65536, 65536, 1, 0}, {1, 100'000, 31'071, 1}},
                                       {{300'000, 400'000, 500'000}, {1'100'000, 50'000, 50'000}}}) {
    for (std::uint64_t draw = 0; draw < 20; ++draw) {
      check_margins(routing::draw_pair_rows(11, draw, sent, received), sent, received);
    }
  }
}

TEST_CASE("drawn pairs depend on seed and draw, and on nothing else") {
  const Rows sent{40, 30, 20, 10}, received{25, 25, 25, 25};
  const Rows one = routing::draw_pair_rows(11, 5, sent, received);
  CHECK(one == routing::draw_pair_rows(11, 5, sent, received));
  CHECK(one != routing::draw_pair_rows(11, 6, sent, received));
  CHECK(one != routing::draw_pair_rows(12, 5, sent, received));
  CHECK(one == Rows{10, 10, 12, 8, 9, 4, 7, 10, 3, 8, 3, 6, 3, 3, 3, 1});
}

// Two ranks: one number says all. It is hypergeometric, p(k) = C(4, k) C(3, 3 - k) / C(7, 3).
TEST_CASE("each assignment of rows is equally likely") {
  constexpr int kDraws = 70'000;
  std::map<std::int64_t, int> seen;
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    ++seen[routing::draw_pair_rows(1, draw, Rows{4, 3}, Rows{3, 4})[0]];
  }
  const double ways[] = {1, 12, 18, 4};  // of 35
  double sum = 0;
  for (int k = 0; k < 4; ++k) {
    const double expected = ways[k] / 35 * kDraws;
    sum += (seen[k] - expected) * (seen[k] - expected) / expected;
  }
  CHECK(seen.size() == 4);
  CHECK(sum < 16);  // chi-square with 3 degrees of freedom: 1 in 1000
}

// Every pair has its mean sent x received / rows, whatever the order in which pairs are drawn.
TEST_CASE("every pair gets its share in the mean") {
  const Rows sent{100, 300, 600}, received{200, 700, 100};
  constexpr int kDraws = 2000;
  std::vector<double> mean(9);
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    const Rows pairs = routing::draw_pair_rows(2, draw, sent, received);
    for (std::size_t i = 0; i < 9; ++i) mean[i] += static_cast<double>(pairs[i]) / kDraws;
  }
  for (std::size_t from = 0; from < 3; ++from) {
    for (std::size_t to = 0; to < 3; ++to) {
      const double s = static_cast<double>(sent[from]), r = static_cast<double>(received[to]);
      const double variance = s * r / 1000 * (1 - s / 1000) * (1000 - r) / 999;
      CHECK(std::fabs(mean[from * 3 + to] - s * r / 1000) < 5 * std::sqrt(variance / kDraws));
    }
  }
}

TEST_CASE("drawn pairs refuse sums that differ, and counts below nothing") {
  CHECK_THROWS_AS(routing::draw_pair_rows(1, 1, Rows{1, 2}, Rows{3}), core::InvariantError);
  CHECK_THROWS_AS(routing::draw_pair_rows(1, 1, Rows{1, 2}, Rows{1, 1}), core::InvariantError);
  CHECK_THROWS_AS(routing::draw_pair_rows(1, 1, Rows{-1, 2}, Rows{1, 0}), core::InvariantError);
  CHECK_THROWS_AS(routing::draw_pair_rows(1, 1, Rows{1, 0}, Rows{-1, 2}), core::InvariantError);
}
