#include "models/routing/popularity.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/support/catch.hpp"

using namespace moesim;

namespace {

std::vector<std::int64_t> draw(const routing::Popularity& popularity, std::uint64_t id, std::int64_t tokens,
                               std::int64_t top_k, std::int64_t experts) {
  const auto p = routing::expert_probabilities(popularity, 7, 3, experts, 0);
  std::vector<std::int64_t> counts(static_cast<std::size_t>(experts));
  routing::draw_expert_counts(popularity, 7, 3, id, tokens, top_k, p, counts);
  return counts;
}

std::int64_t sum(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

}  // namespace

TEST_CASE("expert counts sum to tokens x top-k and no expert gets a token twice") {
  for (const std::int64_t tokens : {std::int64_t{0}, std::int64_t{1}, std::int64_t{3}, std::int64_t{1000}}) {
    for (const double sigma : {0.0, 1.05, 4.0}) {
      const auto counts = draw(routing::LognormalPopularity{sigma, 0}, 1, tokens, 8, 64);
      CHECK(sum(counts) == tokens * 8);
      CHECK(*std::max_element(counts.begin(), counts.end()) <= tokens);
    }
  }
  // top_k = experts: every token goes to every expert, however skewed the popularity is.
  const auto all = draw(routing::LognormalPopularity{4.0, 0}, 1, 100, 8, 8);
  CHECK(std::all_of(all.begin(), all.end(), [](std::int64_t count) { return count == 100; }));
}

TEST_CASE("balanced counts differ by at most one") {
  const auto counts = draw(routing::BalancedPopularity{}, 0, 101, 8, 64);
  const auto [low, high] = std::minmax_element(counts.begin(), counts.end());
  CHECK(*high - *low <= 1);
  CHECK(sum(counts) == 808);
}

TEST_CASE("draws depend on nothing but their arguments") {
  const routing::Popularity popularity = routing::LognormalPopularity{1.05, 0.1};
  CHECK(draw(popularity, 5, 777, 8, 256) == draw(popularity, 5, 777, 8, 256));
  CHECK(draw(popularity, 5, 777, 8, 256) != draw(popularity, 6, 777, 8, 256));
  CHECK(routing::expert_probabilities(popularity, 1, 0, 64, 0) !=
        routing::expert_probabilities(popularity, 1, 0, 64, 1));
  CHECK(routing::expert_probabilities(routing::LognormalPopularity{1.05, 0}, 1, 0, 64, 0) ==
        routing::expert_probabilities(routing::LognormalPopularity{1.05, 0}, 1, 0, 64, 1));
}

// TensorRT-LLM tech blog 4, table 1 (DeepSeek-R1 on 32 GPUs, 256 tokens a rank, top-8 of 256, experts in
// order): rank imbalance (max - mean) / mean is 1.564, expert imbalance 10.95.
TEST_CASE("the default popularity has the published imbalance of DeepSeek-R1") {
  constexpr std::int64_t kLayers = 58, kSeeds = 4, kRanks = 32, kPerRank = 8;
  double rank_sum = 0, expert_sum = 0;
  for (std::int64_t seed = 0; seed < kSeeds; ++seed) {
    for (std::int64_t layer = 0; layer < kLayers; ++layer) {
      const routing::Popularity popularity = routing::LognormalPopularity{};
      const auto p =
          routing::expert_probabilities(popularity, static_cast<std::uint64_t>(seed), layer, 256, 0);
      std::vector<std::int64_t> counts(256);
      routing::draw_expert_counts(popularity, static_cast<std::uint64_t>(seed), layer,
                                  static_cast<std::uint64_t>(layer), 32 * 256, 8, p, counts);
      std::int64_t busiest = 0;
      for (std::int64_t rank = 0; rank < kRanks; ++rank) {
        const auto first = counts.begin() + rank * kPerRank;
        busiest = std::max(busiest, std::accumulate(first, first + kPerRank, std::int64_t{0}));
      }
      rank_sum += static_cast<double>(busiest) / 2048.0 - 1;
      expert_sum += static_cast<double>(*std::max_element(counts.begin(), counts.end())) / 256.0 - 1;
    }
  }
  CHECK(std::abs(rank_sum / (kLayers * kSeeds) / 1.564 - 1) < 0.10);
  CHECK(std::abs(expert_sum / (kLayers * kSeeds) / 10.95 - 1) < 0.14);
}
