#include "models/routing/popularity.hpp"

#include <algorithm>
#include <numeric>

#include "sim/core/check.hpp"
#include "sim/core/math.hpp"
#include "sim/core/random.hpp"

namespace moesim::routing {

namespace {

// Streams of the seed that routing draws from.
constexpr std::uint32_t kWeightStream = 0x2001;
constexpr std::uint32_t kDriftStream = 0x2002;
constexpr std::uint32_t kCountStream = 0x2003;
constexpr std::uint32_t kReplayStream = 0x2004;

const Replay& replay_of(const TracePopularity& popularity, std::int64_t experts) {
  core::check(popularity.trace != nullptr, "the routing trace was not read");
  core::check(popularity.trace->experts == experts, "the routing trace is of another model");
  return *popularity.trace;
}

}  // namespace

const config::Record<BalancedPopularity>& record_of(config::Type<BalancedPopularity>) {
  static const auto record = config::Record<BalancedPopularity>(
      "balanced popularity", "Every expert gets the same number of tokens in every step");
  return record;
}

const config::Record<UniformPopularity>& record_of(config::Type<UniformPopularity>) {
  static const auto record = config::Record<UniformPopularity>(
      "uniform popularity", "Every expert is equally likely for every choice");
  return record;
}

const config::Record<LognormalPopularity>& record_of(config::Type<LognormalPopularity>) {
  static const auto record =
      config::Record<LognormalPopularity>("lognormal popularity",
                                          "Expert weights drawn per layer from a lognormal law")
          .optional("sigma", &LognormalPopularity::sigma,
                    "Standard deviation of the logarithm of the weights", config::between(0, 5))
          .optional("drift", &LognormalPopularity::drift,
                    "Standard deviation of the logarithm of each epoch's change of every weight",
                    config::between(0, 5));
  return record;
}

const config::Record<TracePopularity>& record_of(config::Type<TracePopularity>) {
  static const auto record =
      config::Record<TracePopularity>("trace popularity", "Tokens choose as those of a routing trace did")
          .required("file", &TracePopularity::file,
                    "Routing trace (JSON lines of Megatron-LM or of `moesim kernels route`), relative to the "
                    "scenario file; \"data:PATH\" is inside the data folder",
                    config::at_least(1));
  return record;
}

const config::Record<Routing>& record_of(config::Type<Routing>) {
  static const auto record =
      config::Record<Routing>("routing", "How tokens choose experts")
          .optional("popularity", &Routing::popularity, "How often each expert is chosen")
          .optional("epoch", &Routing::epoch, "How long the popularity stays constant when it drifts",
                    config::at_least(0.001));
  return record;
}

bool drifts(const Popularity& popularity) {
  const auto* lognormal = std::get_if<LognormalPopularity>(&popularity);
  return lognormal != nullptr && lognormal->drift > 0;
}

std::vector<double> expert_probabilities(const Popularity& popularity, std::uint64_t seed, std::int64_t layer,
                                         std::int64_t experts, std::int64_t epoch) {
  core::check(experts > 0 && layer >= 0 && epoch >= 0, "a popularity needs experts, a layer and an epoch");
  std::vector<double> weights(static_cast<std::size_t>(experts), 1.0);
  if (const auto* trace = std::get_if<TracePopularity>(&popularity)) {
    const auto counts = replay_of(*trace, experts).layer(layer).counts();
    std::transform(counts.begin(), counts.end(), weights.begin(),
                   [](std::int64_t count) { return static_cast<double>(count); });
  }
  if (const auto* lognormal = std::get_if<LognormalPopularity>(&popularity)) {
    core::Draws base(seed, kWeightStream, static_cast<std::uint64_t>(layer));
    // Layers use fewer than 2^16 of the entity numbers, so an epoch has a block of its own.
    core::Draws change(seed, kDriftStream,
                       (static_cast<std::uint64_t>(epoch) << 16) + static_cast<std::uint64_t>(layer));
    for (double& weight : weights) {
      double logarithm = lognormal->sigma * core::draw_normal(base);
      if (lognormal->drift > 0) logarithm += lognormal->drift * core::draw_normal(change);
      weight = core::math::exp(logarithm);
    }
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= sum;
  return weights;
}

namespace {

void balanced_counts(std::int64_t choices, std::span<std::int64_t> counts) {
  const auto experts = static_cast<std::int64_t>(counts.size());
  for (std::int64_t e = 0; e < experts; ++e) {
    counts[static_cast<std::size_t>(e)] = choices / experts + (e < choices % experts ? 1 : 0);
  }
}

}  // namespace

namespace {

void replay_counts(const ReplayLayer& layer, std::uint64_t seed, std::uint64_t draw, std::int64_t tokens,
                   std::span<std::int64_t> counts) {
  core::Draws draws(seed, kReplayStream, draw);
  const auto starts = layer.starts_for(tokens);
  const std::int64_t chosen = core::draw_integer(draws, 0, static_cast<std::int64_t>(starts.size()) - 1);
  layer.count_from(starts[static_cast<std::size_t>(chosen)], tokens, counts);
}

}  // namespace

bool repeats_record(const Popularity& popularity, std::int64_t layer, std::int64_t tokens) {
  const auto* trace = std::get_if<TracePopularity>(&popularity);
  if (trace == nullptr) return false;
  core::check(trace->trace != nullptr, "the routing trace was not read");
  return trace->trace->layer(layer).has_record_of(tokens);
}

void draw_expert_counts(const Popularity& popularity, std::uint64_t seed, std::int64_t layer,
                        std::uint64_t draw, std::int64_t tokens, std::int64_t top_k,
                        std::span<const double> probabilities, std::span<std::int64_t> counts) {
  core::check(counts.size() == probabilities.size(), "one count per expert");
  core::check(tokens >= 0 && top_k >= 0 && top_k <= static_cast<std::int64_t>(counts.size()),
              "a token cannot choose more experts than there are");
  const std::int64_t choices = tokens * top_k;
  if (std::holds_alternative<BalancedPopularity>(popularity)) return balanced_counts(choices, counts);
  if (const auto* trace = std::get_if<TracePopularity>(&popularity)) {
    const Replay& replay = replay_of(*trace, static_cast<std::int64_t>(counts.size()));
    core::check(replay.top_k == top_k, "the routing trace is of another model");
    return replay_counts(replay.layer(layer), seed, draw, tokens, counts);
  }
  core::Draws draws(seed, kCountStream, draw);
  std::fill(counts.begin(), counts.end(), 0);
  std::vector<double> open(probabilities.begin(), probabilities.end());
  std::vector<std::int64_t> drawn(counts.size());
  std::int64_t left = choices;
  while (left > 0) {
    core::draw_multinomial(draws, left, open, drawn);
    left = 0;
    for (std::size_t e = 0; e < counts.size(); ++e) {
      counts[e] += drawn[e];
      // A token chooses an expert once: what passes `tokens` goes to the experts that still have room.
      if (counts[e] > tokens) {
        left += counts[e] - tokens;
        counts[e] = tokens;
      }
      if (counts[e] == tokens) open[e] = 0.0;
    }
  }
}

}  // namespace moesim::routing
