#include <algorithm>
#include <numeric>
#include <variant>

#include "sim/serving/summary.hpp"

namespace moesim::serving {

namespace {

// Draws of the run's totals are kept apart from those that price steps by the top bit of the draw's number.
constexpr std::uint64_t kTotals = std::uint64_t{1} << 63;

std::vector<std::int64_t> layer_counts(const Scenario& scenario, const llm::MoeFfn& moe, std::int64_t layer,
                                       const RunFacts& facts) {
  const auto seed = static_cast<std::uint64_t>(scenario.seed);
  std::vector<std::int64_t> total(static_cast<std::size_t>(moe.choices())), counts(total.size());
  for (const auto& [epoch, tokens] : facts.routed_tokens) {
    const auto probabilities =
        routing::expert_probabilities(scenario.routing.popularity, seed, layer, moe.choices(), epoch);
    const std::uint64_t draw =
        kTotals | (static_cast<std::uint64_t>(epoch) << 16) | static_cast<std::uint64_t>(layer);
    routing::draw_expert_counts(scenario.routing.popularity, seed, layer, draw, tokens, moe.top_k,
                                probabilities, counts);
    for (std::size_t e = 0; e < total.size(); ++e) total[e] += counts[e];
  }
  return total;
}

}  // namespace

void summarise_experts(const Scenario& scenario, const RunFacts& facts, Results& results) {
  std::int64_t layer = 0, moe_layers = 0;
  double sum = 0;
  for (const llm::LayerRun& run : llm::layer_runs(scenario.model)) {
    const auto* moe = std::get_if<llm::MoeFfn>(&scenario.model.layers[run.group].ffn);
    for (std::int64_t i = 0; i < run.count; ++i, ++layer) {
      if (moe == nullptr) continue;
      const std::vector<std::int64_t> counts = layer_counts(scenario, *moe, layer, facts);
      for (std::size_t e = 0; e < counts.size(); ++e) {
        results.experts.push_back({layer, static_cast<std::int64_t>(e), counts[e]});
      }
      const std::int64_t all = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
      if (all == 0) continue;
      const double mean = static_cast<double>(all) / static_cast<double>(counts.size());
      sum += static_cast<double>(*std::max_element(counts.begin(), counts.end())) / mean;
      ++moe_layers;
    }
  }
  if (moe_layers > 0) results.expert_imbalance = sum / static_cast<double>(moe_layers);
  if (results.step_time.all_shard_rows > 0) {
    results.slowest_expert_shard = static_cast<double>(results.step_time.slowest_shard_rows) /
                                   static_cast<double>(results.step_time.all_shard_rows);
  }
}

}  // namespace moesim::serving
