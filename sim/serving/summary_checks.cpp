// Laws that hold for every run, whatever the scenario. A broken one is a mistake in moesim.
#include <fmt/format.h>

#include <numeric>
#include <variant>

#include "sim/serving/summary.hpp"

namespace moesim::serving {

namespace {

// Both sides of an equation of whole numbers.
CheckResult equal(std::string name, core::Int128 left, core::Int128 right, std::string_view unit) {
  const auto text = [](core::Int128 value) { return fmt::format("{}", value); };
  return {std::move(name), left == right, fmt::format("{} {} = {} {}", text(left), unit, text(right), unit)};
}

template <std::size_t N>
std::int64_t sum_of(const std::array<core::Duration, N>& parts) {
  return std::accumulate(parts.begin(), parts.end(), std::int64_t{0},
                         [](std::int64_t sum, core::Duration part) { return sum + part.ps; });
}

struct EngineTotals {
  std::int64_t computed = 0, lost = 0, in_cache = 0, in_step = 0;
  std::int64_t allocated = 0, released = 0, used = 0, waste = 0;
};

EngineTotals totals(const Fleet& fleet) {
  EngineTotals t;
  for (const FleetMember& member : fleet.members()) {
    member.replica.for_each_rank([&](const EngineRank& rank) {
      t.computed += rank.tokens_computed();
      t.lost += rank.tokens_lost();
      t.in_cache += rank.tokens_in_cache();
      t.in_step += rank.tokens_in_step();
      t.allocated += rank.kv().allocated();
      t.released += rank.kv().released();
      t.used += rank.kv().used();
      t.waste += rank.kv_waste_bytes();
    });
  }
  return t;
}

void check_requests(Results& results) {
  std::int64_t asked = 0, delivered = 0, ended = 0, ordered = 0, served = 0;
  for (const RequestRow& row : results.requests) {
    if (row.status != RequestStatus::unfinished) ++ended;
    if (row.status != RequestStatus::served) continue;
    ++served;
    asked += row.output_tokens;
    delivered += row.generated_tokens;
    const bool in_order =
        row.arrival <= row.scheduled && row.scheduled < row.first_token && row.first_token <= row.finished;
    ordered += in_order ? 1 : 0;
  }
  results.checks.push_back(equal("tokens delivered = tokens asked for", delivered, asked, "tokens"));
  results.checks.push_back(
      equal("arrival <= scheduled < first token <= finish", ordered, served, "requests"));
  if (results.end == RunEnd::complete) {
    results.checks.push_back(
        equal("every request ended", ended, static_cast<std::int64_t>(results.requests.size()), "requests"));
  }
}

void check_engines(const EngineTotals& t, Results& results) {
  // A served request had all its tokens computed but the last one, which nobody reads.
  core::Int128 kept = core::Int128{t.in_cache} + t.in_step + t.lost;
  for (const RequestRow& row : results.requests) {
    if (row.status == RequestStatus::served) kept += row.input_tokens + row.output_tokens - 1;
  }
  results.checks.push_back(
      equal("tokens computed = served + in cache + lost to preemption", t.computed, kept, "tokens"));
  results.checks.push_back(
      equal("KV blocks taken - given back = in use", t.allocated - t.released, t.used, "blocks"));
  if (results.end != RunEnd::complete) return;
  results.checks.push_back(equal("no KV block is left in use", t.used, 0, "blocks"));
  results.checks.push_back(equal("no bytes are left in KV blocks", t.waste, 0, "bytes"));
}

void check_experts(const Scenario& scenario, const RunFacts& facts, Results& results) {
  core::Int128 expected = 0, counted = 0;
  std::int64_t tokens = 0;
  for (const auto& [epoch, count] : facts.routed_tokens) tokens += count;
  for (const llm::LayerGroup& group : scenario.model.layers) {
    if (const auto* moe = std::get_if<llm::MoeFfn>(&group.ffn))
      expected += core::Int128{tokens} * moe->top_k * group.count;
  }
  for (const ExpertRow& row : results.experts) counted += row.tokens;
  if (!results.experts.empty()) {
    results.checks.push_back(equal("expert choices = tokens x top-k x layers", counted, expected, "choices"));
  }
}

// Over the whole run: the kinds of rows and the states fill the blocks, and nothing else does.
void check_memory_series(const Recorder& recorder, const RunFacts& facts, Results& results) {
  core::Int128 parts = 0;
  for (const PoolParts& pool : facts.kv_parts) {
    for (std::size_t i = pool.first; i < pool.first + pool.count && i < recorder.kv_parts().size(); ++i) {
      parts += recorder.kv_parts()[i].used * pool.tp;
    }
  }
  results.checks.push_back(equal("KV bytes by kind of row = bytes of KV blocks, over time", parts,
                                 recorder.kv_integral(), "B ps"));
}

// Whatever was slowed, stopped or sent another way: nothing is lost.
void check_kernels(Results& results) {
  if (!results.kernels || results.end != RunEnd::complete) return;
  const execution::KernelCounts& counts = results.kernels->steps;
  results.checks.push_back(
      equal("kernels ended = kernels begun", counts.kernels_ended, counts.kernels_begun, "kernels"));
  results.checks.push_back(equal("collectives ended = collectives begun", counts.collectives_ended,
                                 counts.collectives_begun, "collectives"));
  results.checks.push_back(equal("link bytes of ended collectives = of begun ones", counts.bytes_ended,
                                 counts.bytes_begun, "bytes"));
}

}  // namespace

void check_laws(const Scenario& scenario, const Fleet& fleet, const Recorder& recorder, const RunFacts& facts,
                Results& results) {
  const EngineTotals t = totals(fleet);
  check_requests(results);
  check_engines(t, results);
  check_memory_series(recorder, facts, results);
  std::int64_t tokens = 0;
  for (const auto& [epoch, count] : facts.routed_tokens) tokens += count;
  results.checks.push_back(equal("tokens routed = tokens computed", tokens, t.computed, "tokens"));
  check_experts(scenario, facts, results);
  check_kernels(results);
  const execution::StepTime& time = results.step_time;
  results.checks.push_back(equal("step time by part = step time", sum_of(time.by_part), time.total.ps, "ps"));
  results.checks.push_back(
      equal("step time by resource = step time", sum_of(time.by_resource), time.total.ps, "ps"));
  results.checks.push_back(
      equal("step time by label = step time", sum_of(time.by_label), time.total.ps, "ps"));
  results.checks.push_back(equal("events pending + executed + cancelled = scheduled",
                                 core::Int128{facts.pending} + facts.executed + facts.cancelled,
                                 facts.scheduled, "events"));
  if (results.end == RunEnd::complete) {
    results.checks.push_back(equal("Little's law: integral of requests in the engines = sum of their times",
                                   recorder.residence(), facts.residence_of_served, "ps"));
    results.checks.push_back(
        equal("replicas are busy exactly during steps", recorder.busy_integral(), time.total.ps, "ps"));
  }
}

}  // namespace moesim::serving
