#include "sim/serving/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "sim/core/statistics.hpp"
#include "sim/serving/rules.hpp"

namespace moesim::serving {

namespace {

using core::Duration;

Quantiles quantiles(core::ExactQuantiles<double>& sample) {
  Quantiles q;
  q.count = static_cast<std::int64_t>(sample.count());
  if (q.count == 0) return q;
  q.mean = sample.mean();
  q.p50 = sample.quantile(0.50);
  q.p90 = sample.quantile(0.90);
  q.p95 = sample.quantile(0.95);
  q.p99 = sample.quantile(0.99);
  q.max = sample.quantile(1.0);
  return q;
}

// The latencies of one served request, in seconds.
struct Latencies {
  double ttft = 0, e2e = 0, queueing = 0, itl_max = 0;
  std::optional<double> tpot;
};

Latencies latencies_of(const RequestRow& row, Duration longest_gap) {
  Latencies l;
  l.ttft = row.ttft().seconds();
  l.e2e = row.e2e().seconds();
  l.queueing = (row.scheduled - row.arrival).seconds();
  l.itl_max = longest_gap.seconds();
  if (row.output_tokens > 1) {
    l.tpot = (row.finished - row.first_token).seconds() / static_cast<double>(row.output_tokens - 1);
  }
  return l;
}

bool meets(const Latencies& l, const Rule& rule) {
  const std::string_view family = std::string_view(rule.metric).substr(0, rule.metric.find('.'));
  if (family == "ttft") return holds(rule, l.ttft);
  if (family == "tpot") return !l.tpot || holds(rule, *l.tpot);
  if (family == "e2e") return holds(rule, l.e2e);
  if (family == "queueing") return holds(rule, l.queueing);
  return holds(rule, l.itl_max);
}

std::vector<Rule> parsed(const std::vector<std::string>& texts) {
  std::vector<Rule> rules;
  for (const std::string& text : texts) {
    Rule rule;
    RuleError error;
    core::check(parse_rule(text, rule, error), "a rule of a scenario that was read is wrong");
    rules.push_back(std::move(rule));
  }
  return rules;
}

// Counts, quantiles and goodput over the measured requests; returns the number that met every SLO.
std::int64_t measure_requests(const std::vector<Rule>& slo, const RunFacts& facts, Results& results) {
  core::ExactQuantiles<double> ttft, tpot, e2e, queueing, gaps;
  std::int64_t good = 0;
  bool any = false;
  for (const RequestRow& row : results.requests) {
    if (row.warmup) continue;
    results.preemptions += row.preemptions;
    if (!any || row.arrival < results.clock_start) results.clock_start = row.arrival;
    any = true;
    // What a run that was cut short has done for unfinished requests took its time and its money too.
    results.generated_tokens += row.generated_tokens;
    if (row.generated_tokens > 0) results.input_tokens += row.input_tokens;
    if (row.status == RequestStatus::refused) ++results.refused;
    if (row.status == RequestStatus::unfinished) ++results.unfinished;
    if (row.status != RequestStatus::served) continue;
    ++results.served;
    results.clock_end = std::max(results.clock_end, row.finished);
    const Latencies l = latencies_of(row, facts.longest_gaps[static_cast<std::size_t>(row.id)]);
    ttft.add(l.ttft);
    e2e.add(l.e2e);
    queueing.add(l.queueing);
    if (row.output_tokens > 1) {
      gaps.add(l.itl_max);
      tpot.add(*l.tpot);
    }
    const bool met = std::all_of(slo.begin(), slo.end(),
                                 [&](const Rule& rule) { return !is_per_request(rule) || meets(l, rule); });
    good += met ? 1 : 0;
  }
  results.ttft = quantiles(ttft);
  results.tpot = quantiles(tpot);
  results.e2e = quantiles(e2e);
  results.queueing = quantiles(queueing);
  results.inter_token_max = quantiles(gaps);
  return good;
}

void measure_rates(const Recorder& recorder, std::int64_t good, Results& results) {
  results.clock_end =
      std::max(results.clock_end, results.end == RunEnd::complete ? results.clock_start : recorder.now());
  const double seconds = (results.clock_end - results.clock_start).seconds();
  if (seconds > 0) {
    results.goodput_per_s = static_cast<double>(good) / seconds;
    results.requests_per_s = static_cast<double>(results.served) / seconds;
    results.input_tokens_per_s = static_cast<double>(results.input_tokens) / seconds;
    results.output_tokens_per_s = static_cast<double>(results.generated_tokens) / seconds;
  }
  const Recorder::Load load = recorder.load();
  results.mean_running = load.mean_running;
  results.mean_waiting = load.mean_waiting;
  results.busy_fraction = load.busy_fraction;
  results.mean_kv_bytes = load.mean_kv_bytes;
  results.mean_kv_waste_bytes = load.mean_kv_waste_bytes;
}

void measure_memory(const Fleet& fleet, Results& results) {
  for (const FleetMember& member : fleet.members()) {
    MemoryBudget& budget = results.memory[member.pool];
    member.replica.for_each_rank([&](const EngineRank& rank) {
      if (rank.kv().peak() > budget.kv_peak_blocks) budget.kv_peak_waste_bytes = rank.kv_waste_at_peak();
      budget.kv_peak_blocks = std::max(budget.kv_peak_blocks, rank.kv().peak());
    });
    budget.kv_peak = {budget.kv_peak_blocks * member.block_bytes};
  }
  const auto free = [](const MemoryBudget& budget) { return budget.kv_budget - budget.kv_peak; };
  const auto tightest = std::min_element(results.memory.begin(), results.memory.end(),
                                         [&](const auto& a, const auto& b) { return free(a) < free(b); });
  results.tightest = tightest - results.memory.begin();
}

void measure_cost(const Scenario& scenario, Results& results) {
  const hardware::Gpu& gpu = scenario.cluster.node.gpu;
  if (scenario.prices.gpu_hour) {
    results.gpu_hour_usd = scenario.prices.gpu_hour->value;
    results.price_source = "the scenario's prices";
  } else if (gpu.price) {
    results.gpu_hour_usd = gpu.price->per_hour.value.value;
    results.price_source =
        fmt::format("rental price of {} ({}, {})", gpu.name, gpu.price->per_hour.source, gpu.price->date);
  } else {
    results.price_source = fmt::format("no price is known for {}: set prices.gpu_hour", gpu.name);
    return;
  }
  const double hours = (results.clock_end - results.clock_start).seconds() / 3600;
  results.cost_usd = *results.gpu_hour_usd * static_cast<double>(results.gpus) * hours;
  const auto per_million = [&](std::int64_t tokens) -> std::optional<double> {
    if (tokens == 0) return std::nullopt;
    return *results.cost_usd / static_cast<double>(tokens) * 1e6;
  };
  results.cost_usd_per_mtok = per_million(results.input_tokens + results.generated_tokens);
  results.cost_usd_per_mtok_output = per_million(results.generated_tokens);
}

// A rule on a metric without a value (no request was served) is not held.
std::vector<RuleResult> judge(const std::vector<Rule>& rules, const std::vector<Metric>& all) {
  std::vector<RuleResult> judged;
  for (const Rule& rule : rules) {
    RuleResult result{rule.text, rule.metric, std::nullopt, rule.limit, rule.unit, false};
    const auto metric =
        std::find_if(all.begin(), all.end(), [&](const Metric& m) { return m.name == rule.metric; });
    if (metric != all.end()) {
      result.value = metric->value;
      result.held = holds(rule, metric->value);
    }
    judged.push_back(std::move(result));
  }
  return judged;
}

// Requests longer than the context of pre-training: the model runs them on a stretched rotation.
void warn_of_stretched(const Scenario& scenario, Results& results) {
  const auto& scaling = scenario.model.rope_scaling;
  if (!scaling) return;
  const auto stretched =
      std::count_if(results.requests.begin(), results.requests.end(), [&](const RequestRow& row) {
        return row.status == RequestStatus::served &&
               row.input_tokens + row.output_tokens > scaling->original_context_tokens;
      });
  if (stretched == 0) return;
  results.warnings.push_back(fmt::format(
      "{} requests pass the {} tokens of the model's pre-training (RoPE scaling {}, by {}): what "
      "this does to quality is not simulated",
      stretched, scaling->original_context_tokens, config::enum_name(scaling->method), scaling->factor));
}

void collect_warnings(const Scenario& scenario, Results& results) {
  if (results.end != RunEnd::complete) {
    results.warnings.push_back(fmt::format("the run is partial ({}): {} requests are unfinished",
                                           to_string(results.end), results.unfinished));
  }
  if (results.end == RunEnd::time_limit && results.kernels && !scenario.faults.empty()) {
    results.warnings.emplace_back("a step could not end: what faults have stopped does not go on");
  }
  const auto warm = [](const RequestRow& row) { return row.warmup; };
  if (!results.requests.empty() && std::all_of(results.requests.begin(), results.requests.end(), warm)) {
    results.warnings.emplace_back("the warm-up covers all requests: nothing was measured");
  }
  std::set<std::string> reasons;
  for (const RequestRow& row : results.requests) {
    if (row.status == RequestStatus::refused && reasons.size() < 3) reasons.insert(row.reason);
  }
  for (const std::string& reason : reasons)
    results.warnings.push_back(fmt::format("requests were refused: {}", reason));
  warn_of_stretched(scenario, results);
  const auto* trace = std::get_if<routing::TracePopularity>(&scenario.routing.popularity);
  if (trace != nullptr && trace->trace != nullptr) {
    for (const std::string& warning : trace->trace->warnings) results.warnings.push_back(warning);
  }
  if (results.served > 0 && results.served < 100) {
    results.warnings.push_back(
        fmt::format("p99 is close to the maximum: {} served and measured", results.served));
  }
  if (scenario.fidelity == Fidelity::step) {
    results.warnings.push_back(
        "step fidelity: contention between kernels, transfers and links is not modelled");
  }
}

}  // namespace

void summarise(const Scenario& scenario, const Fleet& fleet, const Recorder& recorder, const RunFacts& facts,
               Results& results) {
  const std::vector<Rule> slo = parsed(scenario.slo);
  const std::int64_t good = measure_requests(slo, facts, results);
  measure_rates(recorder, good, results);
  measure_memory(fleet, results);
  measure_cost(scenario, results);
  summarise_experts(scenario, facts, results);
  check_laws(scenario, fleet, recorder, facts, results);
  explain_binding(scenario, results);
  const std::vector<Metric> all = metrics(results);
  results.slo = judge(slo, all);
  results.expect = judge(parsed(scenario.expect), all);
  // A refused request met no target, whatever the others' latencies are, unless the scenario says itself how
  // many may be refused.
  const bool own_rule =
      std::any_of(slo.begin(), slo.end(), [](const Rule& rule) { return rule.metric == "refused"; });
  if (!slo.empty() && !own_rule && results.refused > 0) {
    std::vector<RuleResult> implied = judge(parsed({"refused <= 0"}), all);
    results.slo.push_back(std::move(implied.front()));
  }
  if (!slo.empty()) {
    results.slo_met =
        std::all_of(results.slo.begin(), results.slo.end(), [](const RuleResult& r) { return r.held; });
  }
  collect_warnings(scenario, results);
}

}  // namespace moesim::serving
