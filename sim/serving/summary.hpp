// From the rows of a run to its numbers, and the laws that must hold between them.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "sim/serving/fleet.hpp"
#include "sim/serving/recorder.hpp"
#include "sim/serving/results.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::serving {

// What the event loop knows and the results do not hold.
struct RunFacts {
  core::Int128 residence_of_served = 0;  // sum over served requests of the time in the engine, ps
  std::uint64_t scheduled = 0, executed = 0, cancelled = 0, pending = 0;  // events
  std::map<std::int64_t, std::int64_t> routed_tokens;  // tokens that passed the MoE layers, by routing epoch
  std::vector<PoolParts> kv_parts;                     // of the recorder's lists
  std::vector<core::Duration> longest_gaps;            // between two tokens of a request, by id
};

// Fills everything in `results` that follows from its rows: counts, quantiles, rates, cost, experts, what
// binds, rules and checks.
void summarise(const Scenario& scenario, const Fleet& fleet, const Recorder& recorder, const RunFacts& facts,
               Results& results);

// The single steps of summarise(), in their own files.
void summarise_experts(const Scenario& scenario, const RunFacts& facts, Results& results);
void explain_binding(const Scenario& scenario, Results& results);
void check_laws(const Scenario& scenario, const Fleet& fleet, const Recorder& recorder, const RunFacts& facts,
                Results& results);

}  // namespace moesim::serving
