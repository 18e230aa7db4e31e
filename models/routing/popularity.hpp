// How often each expert is chosen, per MoE layer, and how that drifts.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "models/routing/replay.hpp"
#include "sim/config/record.hpp"
#include "sim/core/time.hpp"

namespace moesim::routing {

// Every expert gets the same number of tokens in every step: the bound that no routing can beat.
struct BalancedPopularity {
  bool operator==(const BalancedPopularity&) const = default;
};

// Every expert is equally likely; steps differ by chance only.
struct UniformPopularity {
  bool operator==(const UniformPopularity&) const = default;
};

// Expert weights drawn per layer from lognormal(0, sigma); in each epoch every weight is multiplied by
// exp(N(0, drift)). sigma = 1.05 and drift = 0.10 reproduce the published DeepSeek-R1 table of TensorRT-LLM's
// tech blog 4 (rank imbalance 1.56 at EP32 without replication).
struct LognormalPopularity {
  double sigma = 1.05;
  double drift = 0.0;
  bool operator==(const LognormalPopularity&) const = default;
};

// Tokens choose as those of a routing trace did. Whole tokens are replayed: which experts go together stays
// as it was. Layer i of the model's MoE layers replays layer i of the trace.
struct TracePopularity {
  std::string file;                     // as written in the scenario
  std::shared_ptr<const Replay> trace;  // not in the file: read before a run
  bool operator==(const TracePopularity&) const = default;
};

using Popularity = std::variant<BalancedPopularity, UniformPopularity, LognormalPopularity, TracePopularity>;

// The scenario's "routing" object.
struct Routing {
  Popularity popularity = LognormalPopularity{};
  core::Duration epoch{core::kPicosecondsPerSecond};  // the popularity is constant inside an epoch
};

[[nodiscard]] const config::Record<BalancedPopularity>& record_of(config::Type<BalancedPopularity>);
[[nodiscard]] const config::Record<UniformPopularity>& record_of(config::Type<UniformPopularity>);
[[nodiscard]] const config::Record<LognormalPopularity>& record_of(config::Type<LognormalPopularity>);
[[nodiscard]] const config::Record<TracePopularity>& record_of(config::Type<TracePopularity>);
[[nodiscard]] const config::Record<Routing>& record_of(config::Type<Routing>);

// The probability that one choice of a token in `layer` and `epoch` falls on each expert; sums to 1. Of a
// trace: the shares of the choices that are in it. A pure function of its arguments. `layer` counts all
// layers of the model, from 0. Throws core::InvariantError for a trace that was not read or is another
// model's.
[[nodiscard]] std::vector<double> expert_probabilities(const Popularity& popularity, std::uint64_t seed,
                                                       std::int64_t layer, std::int64_t experts,
                                                       std::int64_t epoch);

// True when the probabilities differ between epochs.
[[nodiscard]] bool drifts(const Popularity& popularity);

// Draws how many of tokens x top_k choices fall on each expert: multinomial, but no expert gets more than one
// choice of a token (choices over that bound are drawn again among the other experts). Balanced: equal
// counts, the remainder on the first experts. Trace: those of `tokens` consecutive tokens of the layer's
// trace, around its end if need be, from the start of a record on that (seed, draw) chooses: among the
// records of exactly `tokens` tokens if there are any. The counts sum to tokens * top_k exactly. A pure
// function of (seed, draw, arguments). Throws core::InvariantError if top_k > experts.
void draw_expert_counts(const Popularity& popularity, std::uint64_t seed, std::int64_t layer,
                        std::uint64_t draw, std::int64_t tokens, std::int64_t top_k,
                        std::span<const double> probabilities, std::span<std::int64_t> counts);

// True if the layer's trace has a record of exactly so many tokens, which a draw then repeats.
[[nodiscard]] bool repeats_record(const Popularity& popularity, std::int64_t layer, std::int64_t tokens);

}  // namespace moesim::routing

namespace moesim::config {
template <>
struct VariantTag<routing::Popularity> {
  static constexpr std::string_view key = "family";
  static constexpr std::string_view names[] = {"balanced", "uniform", "lognormal", "trace"};
};
}  // namespace moesim::config
