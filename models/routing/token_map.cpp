#include "models/routing/token_map.hpp"

#include <numeric>

#include "sim/core/check.hpp"
#include "sim/core/random.hpp"

namespace moesim::routing {

namespace {

constexpr std::uint32_t kPairStream = 0x2004;

}  // namespace

std::vector<std::int64_t> draw_pair_rows(std::uint64_t seed, std::uint64_t draw,
                                         std::span<const std::int64_t> sent,
                                         std::span<const std::int64_t> received) {
  const std::size_t ranks = sent.size();
  core::check(ranks == received.size(), "one number of sent and of received rows per rank");
  const std::int64_t rows = std::accumulate(sent.begin(), sent.end(), std::int64_t{0});
  core::check(rows == std::accumulate(received.begin(), received.end(), std::int64_t{0}),
              "as many rows are received as are sent");
  core::Draws draws(seed, kPairStream, draw);
  std::vector<std::int64_t> open(sent.begin(), sent.end());  // rows of each sender that have no receiver yet
  std::vector<std::int64_t> pairs(ranks * ranks);
  for (std::size_t to = 0; to < ranks; ++to) {
    std::int64_t left = received[to];
    std::int64_t items = std::accumulate(open.begin(), open.end(), std::int64_t{0});
    for (std::size_t from = 0; from < ranks; ++from) {
      const std::int64_t count = core::draw_hypergeometric(draws, items, open[from], left);
      items -= open[from];
      left -= count;
      open[from] -= count;
      pairs[from * ranks + to] = count;
    }
  }
  return pairs;
}

}  // namespace moesim::routing
