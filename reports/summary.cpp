#include "reports/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "reports/numerics.hpp"
#include "sim/config/record.hpp"
#include "sim/config/render.hpp"
#include "sim/serving/memory_series.hpp"

namespace moesim::reports {

namespace {

using config::printable;  // names and sources come from files
using serving::Results;

std::string heading(std::string_view text, const Style& style) {
  return paint(wrapped(text, style.width), Tone::heading, style) + "\n";
}

// A paragraph that starts with a label and hangs below its text.
std::string paragraph(std::string_view label, std::string_view text, const Style& style) {
  return hanging(label, text, style.width) + "\n";
}

// What a run at kernel fidelity is about besides its load.
std::string kernel_conditions(const serving::Scenario& scenario) {
  constexpr std::size_t kMostNamed = 6;
  std::vector<std::string> parts;
  const std::int64_t lanes = scenario.deployment.micro_batches;
  if (lanes > 1) parts.push_back(fmt::format("{} micro-batches side by side", lanes));
  std::vector<std::string> faults;
  for (const execution::Fault& fault : scenario.faults) {
    if (faults.size() == kMostNamed) break;
    faults.push_back(fmt::format("{} {}", config::enum_name(fault.kind), printable(fault.target)));
  }
  if (scenario.faults.size() > kMostNamed) {
    faults.push_back(fmt::format("{} more", scenario.faults.size() - kMostNamed));
  }
  parts.push_back(faults.empty() ? "no faults" : fmt::format("faults: {}", fmt::join(faults, ", ")));
  const std::size_t traffic = scenario.background.size();
  parts.push_back(traffic == 0
                      ? "no background traffic"
                      : fmt::format("{} kind{} of background traffic", traffic, traffic == 1 ? "" : "s"));
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::string title(const RunReport& report, const Style& style) {
  const serving::Scenario& scenario = report.scenario;
  const hardware::Cluster& cluster = scenario.cluster;
  const std::string name = paint(printable(report.manifest.scenario), Tone::heading, style);
  const std::string line =
      fmt::format("{}: {} on {} x {}, {} GPU{} ({})", name, printable(scenario.model.name), cluster.nodes,
                  printable(cluster.node.name), report.results.gpus, report.results.gpus == 1 ? "" : "s",
                  printable(cluster.node.gpu.name));
  std::string out = wrapped(line, style.width) + "\n";
  for (const auto& [pool_name, pool] : scenario.deployment.pools) {
    const std::string text = fmt::format(
        "{} replica{} of tp {}, dp_attention {}, ep {}; {} {}; weights {}, KV {}", pool.replicas,
        pool.replicas == 1 ? "" : "s", pool.tp, pool.dp_attention, pool.ep,
        printable(scenario.deployment.engine.name), printable(scenario.deployment.engine.version),
        config::enum_name(scenario.formats().weights), config::enum_name(scenario.deployment.formats.kv));
    out += paragraph(fmt::format("  pool {}: ", pool_name), text, style);
  }
  if (scenario.fidelity == serving::Fidelity::kernel) {
    out += paragraph("  kernel fidelity: ", kernel_conditions(scenario), style);
  }
  return out;
}

std::string partial_banner(const RunReport& report, const Style& style) {
  if (!report.partial()) return "";
  const Results& results = report.results;
  const std::string text = fmt::format(
      "PARTIAL RESULTS: {} after {} of simulated time. {} requests were served, {} had not ended. Every "
      "number below is about the part that ran; the workload is not answered.",
      end_words(results.end), human_seconds(results.clock_end.seconds()), grouped(results.served),
      grouped(results.unfinished));
  return paint(wrapped(text, style.width), Tone::bad, style) + "\n\n";
}

// How far a value is from its limit: "1.2 times the limit", "36 % below".
std::string distance(const serving::RuleResult& rule) {
  if (!rule.value || rule.limit == 0 || !std::isfinite(*rule.value) || !std::isfinite(rule.limit)) return "";
  const double ratio = *rule.value / rule.limit;
  if (*rule.value == rule.limit) return "at the limit";
  if (ratio >= 2) return fmt::format("{} times the limit", human_number(ratio));
  return ratio >= 1 ? fmt::format("{} above", percent(ratio - 1))
                    : fmt::format("{} below", percent(1 - ratio));
}

std::string rule_table(const std::vector<serving::RuleResult>& rules, std::string_view good,
                       std::string_view bad, const Style& style) {
  std::string out;
  std::size_t text_width = 0;
  for (const auto& rule : rules) text_width = std::max(text_width, printable(rule.text).size());
  const std::size_t word_width = std::max(good.size(), bad.size());
  for (const auto& rule : rules) {
    const std::string word = fmt::format("{:<{}}", rule.held ? good : bad, word_width);
    out += fmt::format("  {}  {:<{}}  {}", paint(word, rule.held ? Tone::good : Tone::bad, style),
                       printable(rule.text), text_width,
                       rule.value ? human_value(*rule.value, rule.unit) : "no value in this run");
    const std::string far = distance(rule);
    if (!far.empty()) out += fmt::format("  ({})", far);
    out += '\n';
  }
  return out;
}

std::string verdict(const RunReport& report, const Style& style) {
  const auto& rules = report.results.slo;
  if (rules.empty()) return "SLO: none asked for\n";
  const auto missed = std::count_if(rules.begin(), rules.end(), [](const auto& rule) { return !rule.held; });
  std::string out;
  if (missed == 0) {
    out = fmt::format("SLO {}: {} of {} rules hold\n", paint("met", Tone::good, style), rules.size(),
                      rules.size());
  } else {
    out = fmt::format("SLO {}: {} of {} rules missed\n", paint("MISSED", Tone::bad, style), missed,
                      rules.size());
  }
  return out + rule_table(rules, "met", "MISSED", style);
}

std::string expectations(const RunReport& report, const Style& style) {
  const auto& rules = report.results.expect;
  if (rules.empty()) return "";
  const auto failed = std::count_if(rules.begin(), rules.end(), [](const auto& rule) { return !rule.held; });
  return fmt::format("\nExpectations: {} of {} hold\n", static_cast<std::ptrdiff_t>(rules.size()) - failed,
                     rules.size()) +
         rule_table(rules, "holds", "FAILED", style);
}

std::string latency(const Results& results, const Style& style) {
  Table table({{"Latency", false, 0},
               {"p50", true, 0},
               {"p95", true, 0},
               {"p99", true, 0},
               {"mean", true, 1},
               {"max", true, 2},
               {"requests", true, 3}});
  const auto add = [&](std::string name, const serving::Quantiles& q) {
    if (q.count == 0) {
      table.add({std::move(name), "-", "-", "-", "-", "-", "0"});
      return;
    }
    table.add({std::move(name), human_seconds(q.p50), human_seconds(q.p95), human_seconds(q.p99),
               human_seconds(q.mean), human_seconds(q.max), grouped(q.count)});
  };
  add("  TTFT (first token)", results.ttft);
  add("  TPOT (per output token)", results.tpot);
  add("  E2E (whole request)", results.e2e);
  add("  queueing before prefill", results.queueing);
  return table.text(style);
}

std::string throughput(const Results& results, const Style& style) {
  const double gpus = results.gpus > 0 ? static_cast<double>(results.gpus) : 1.0;
  const double seconds = (results.clock_end - results.clock_start).seconds();
  std::string out =
      heading(fmt::format("Throughput over {} of simulated time", human_seconds(seconds)), style);
  out += paragraph("  requests       ",
                   fmt::format("{} /s served, {} /s goodput (every per-request SLO met)",
                               human_number(results.requests_per_s), human_number(results.goodput_per_s)),
                   style);
  out += fmt::format("  output tokens  {} /s, {} /s per GPU\n", human_number(results.output_tokens_per_s),
                     human_number(results.output_tokens_per_s / gpus));
  out += fmt::format("  input tokens   {} /s, {} /s per GPU\n", human_number(results.input_tokens_per_s),
                     human_number(results.input_tokens_per_s / gpus));
  out += paragraph("  load           ",
                   fmt::format("{} requests running and {} waiting on average, replicas busy {}",
                               human_number(results.mean_running), human_number(results.mean_waiting),
                               percent(results.busy_fraction)),
                   style);
  return out +
         paragraph("  outcome        ",
                   fmt::format("{} served, {} refused, {} unfinished; {} preemptions; {} steps",
                               grouped(results.served), grouped(results.refused), grouped(results.unfinished),
                               grouped(results.preemptions), grouped(results.steps)),
                   style);
}

std::string cost(const Results& results, const Style& style) {
  if (!results.gpu_hour_usd) {
    return heading("Cost", style) +
           "  unknown: no price per GPU hour in the scenario (prices.gpu_hour) or the GPU file\n";
  }
  std::string out = heading("Cost", style);
  if (results.cost_usd_per_mtok) {
    out += fmt::format("  {} per million tokens, input and output together\n",
                       human_usd(*results.cost_usd_per_mtok));
  }
  if (results.cost_usd_per_mtok_output) {
    out += fmt::format("  {} per million output tokens\n", human_usd(*results.cost_usd_per_mtok_output));
  }
  const double hourly = *results.gpu_hour_usd * static_cast<double>(results.gpus);
  out += paragraph("  ",
                   fmt::format("{} GPU{} x {} = {} per hour, idle time included; price: {}", results.gpus,
                               results.gpus == 1 ? "" : "s", human_usd(*results.gpu_hour_usd),
                               human_usd(hourly), printable(results.price_source)),
                   style);
  return out;
}

// When requests first waited for blocks or lost them.
std::string memory_event(const serving::MemoryEvent& event, const Style& style) {
  const bool stall = event.kind == serving::MemoryEventKind::stall;
  return paragraph("  ",
                   fmt::format("{} in pool {} at {}, request {} on replica {}; avoided by {}",
                               stall ? "first wait for KV blocks" : "first preemption", event.pool,
                               human_seconds(event.at.seconds()), event.request, event.replica, event.remedy),
                   style);
}

// Room of the cache of one data-parallel rank. Where every token takes the same, in tokens of all sequences
// together; where windows or states make the first tokens dearer, in sequences.
std::string kv_room(const serving::MemoryBudget& budget) {
  const bool plain =
      budget.kv_state_bytes == 0 && std::all_of(budget.kv_groups.begin(), budget.kv_groups.end(),
                                                [](const auto& rows) { return rows.keeps == 0; });
  const std::string per_token = fmt::format("{} B per token and device", grouped(budget.kv_bytes_per_token));
  if (plain) {
    return fmt::format("room for {} tokens of context per data-parallel rank ({})",
                       grouped(budget.kv_longest_tokens), per_token);
  }
  std::string room =
      fmt::format("room for {} sequences of {} tokens, the longest context, per data-parallel rank",
                  grouped(budget.kv_full_sequences), grouped(budget.max_context_tokens));
  if (budget.kv_full_sequences == 0) {
    room = fmt::format("room for one sequence of {} tokens per data-parallel rank",
                       grouped(budget.kv_longest_tokens));
  }
  room += fmt::format(" ({} at long contexts", per_token);
  if (budget.kv_state_bytes > 0)
    room += fmt::format(", {} B of state per sequence", grouped(budget.kv_state_bytes));
  return room + ")";
}

// What the KV blocks of a pool's devices hold: on average, and on the fullest device when it was fullest.
std::string kv_over_time(const serving::MemoryBudget& budget, const serving::MemoryUse& use,
                         const Style& style) {
  if (use.fullest.used == 0) return "";
  Table table({{"  KV blocks", false, 0},
               {"mean", true, 0},
               {"mean, empty", true, 2},
               {"fullest", true, 0},
               {"fullest, empty", true, 1}});
  const auto add = [&](std::string_view name, const serving::KvPart& part) {
    table.add({fmt::format("  {}", name), human_bytes(part.mean_bytes), human_bytes(part.mean_waste_bytes),
               human_bytes(static_cast<double>(part.worst_bytes)),
               human_bytes(static_cast<double>(part.worst_waste_bytes))});
  };
  for (const serving::MemoryPart& part : serving::memory_stack(budget, use.kv, use.peaks)) {
    const bool state = part.category == "recurrent_state";
    if (part.category == "kv_free") continue;
    if (!state && part.category.rfind("kv_", 0) != 0) continue;
    add(part.category, part.bytes);
  }
  return table.text(style) +
         paragraph(
             "  ",
             fmt::format("fullest at {} (replica {}, data-parallel rank {}); memory.csv has all "
                         "categories over time",
                         human_seconds(use.fullest.at.seconds()), use.fullest.replica, use.fullest.dp_rank),
             style);
}

std::string memory(const Results& results, const Style& style) {
  const auto index = static_cast<std::size_t>(results.tightest);
  if (index >= results.memory.size()) return "";
  const serving::MemoryBudget& budget = results.memory[index];
  const double total = std::max(1.0, budget.total.as_double());
  std::string out = heading(fmt::format("Memory of the tightest device (pool {}, {} alike), {} usable",
                                        budget.pool, budget.devices, human_bytes(budget.total.as_double())),
                            style);
  const auto row = [&](std::string_view name, double bytes) {
    std::string line = fmt::format("  {:<22}{:>12}  {:>7}", name, human_bytes(bytes), percent(bytes / total));
    constexpr std::size_t kWithBar = 70;  // columns
    const std::string drawn = style.width < kWithBar ? "" : bar(bytes / total, 20, style);
    if (!drawn.empty()) line += "  " + drawn;
    out += line + '\n';
  };
  row("weights", budget.weights.as_double());
  row("KV budget", budget.kv_budget.as_double());
  row("  KV peak use", budget.kv_peak.as_double());
  const core::Bytes free = budget.kv_budget - budget.kv_peak;
  row("  KV never used", free.as_double());
  row("activations", budget.activations.as_double());
  if (budget.exchange_buffers.value > 0) row("exchange buffers", budget.exchange_buffers.as_double());
  if (budget.communicators.value > 0) row("communicators", budget.communicators.as_double());
  if (budget.graphs.value > 0) row("CUDA graphs", budget.graphs.as_double());
  row("runtime", budget.runtime.as_double());
  row("reserved by the rule", budget.reserved.as_double());
  if (budget.kv_blocks > 0) {
    const double peak = static_cast<double>(budget.kv_peak_blocks) / static_cast<double>(budget.kv_blocks);
    out += paragraph("  ", kv_room(budget) + fmt::format(", at most {} in use", percent(peak)), style);
  }
  if (index < results.memory_use.size()) out += kv_over_time(budget, results.memory_use[index], style);
  if (results.mean_kv_bytes > 0) {
    out += paragraph("  ",
                     fmt::format("{} of the KV blocks in use hold no token, mean over time",
                                 percent(results.mean_kv_waste_bytes / results.mean_kv_bytes)),
                     style);
  }
  for (const serving::MemoryEvent& event : results.memory_events) out += memory_event(event, style);
  return out;
}

// "routed experts 41.0 %, attention 22.1 %, ...": the largest first, and nothing below 0.05 %.
std::string share_list(std::vector<std::pair<std::string, double>> shares) {
  std::stable_sort(shares.begin(), shares.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string out;
  for (const auto& [name, share] : shares) {
    if (share < 0.0005) continue;
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", name, percent(share));
  }
  return out.empty() ? "no steps ran" : out;
}

std::string spaced(std::string_view name) {
  std::string out(name);
  std::replace(out.begin(), out.end(), '_', ' ');
  return out;
}

std::string time_split(const Results& results, const Style& style) {
  const auto total = static_cast<double>(results.step_time.total.ps);
  if (total <= 0) return "";
  std::vector<std::pair<std::string, double>> parts, resources;
  for (std::size_t i = 0; i < results.step_time.by_part.size(); ++i) {
    parts.emplace_back(spaced(execution::to_string(static_cast<execution::Part>(i))),
                       static_cast<double>(results.step_time.by_part[i].ps) / total);
  }
  for (std::size_t i = 0; i < results.step_time.by_resource.size(); ++i) {
    resources.emplace_back(spaced(cost::to_string(static_cast<cost::Resource>(i))),
                           static_cast<double>(results.step_time.by_resource[i].ps) / total);
  }
  std::string out = heading("Where the step time goes, along the slowest rank", style);
  out += paragraph("  by part:              ", share_list(std::move(parts)), style);
  out += paragraph("  by binding resource:  ", share_list(std::move(resources)), style);
  if (!results.experts.empty()) {
    out += paragraph(
        "  expert imbalance:     ",
        fmt::format("busiest expert {} x the mean of its layer, slowest expert shard {} x the mean",
                    human_number(results.expert_imbalance), human_number(results.slowest_expert_shard)),
        style);
  }
  return out;
}

std::string quality(const RunReport& report, const Style& style) {
  const Results& results = report.results;
  std::vector<std::pair<std::string, double>> shares;
  const std::vector<double> values = label_shares(results);
  for (std::size_t i = 0; i < values.size(); ++i) {
    shares.emplace_back(config::enum_name(static_cast<config::Label>(i)), values[i]);
  }
  std::string out = heading("How good these numbers are", style);
  out += paragraph(
      "  ",
      fmt::format("step time by the origin of the number that binds: {}", share_list(std::move(shares))),
      style);
  return out + paragraph("  ", accuracy_sentence(report), style);
}

std::string binding(const Results& results, const Style& style) {
  if (results.binds.empty()) return "";
  std::string out = heading("What binds", style) + paragraph("  ", results.binds, style);
  if (!results.binds_detail.empty()) out += paragraph("  would help: ", results.binds_detail, style);
  return out;
}

std::string checks(const Results& results, const Style& style) {
  const auto held =
      std::count_if(results.checks.begin(), results.checks.end(), [](const auto& c) { return c.held; });
  const bool all = static_cast<std::size_t>(held) == results.checks.size();
  std::string out = fmt::format("checks: {} of {} held\n", held, results.checks.size());
  if (!all) out = paint(out.substr(0, out.size() - 1), Tone::bad, style) + "\n";
  for (const serving::CheckResult& check : results.checks) {
    if (!check.held)
      out += paragraph("  BROKEN ", printable(fmt::format("{}: {}", check.name, check.detail)), style);
  }
  if (results.numerics)
    out += numerics_sentence(*results.numerics, style) + numerics_failures(*results.numerics);
  return out;
}

std::string warnings(const Results& results, const Style& style) {
  std::string out;
  for (const std::string& warning : results.warnings) {
    out += paragraph(paint("warning: ", Tone::warning, style), printable(warning), style);
  }
  return out;
}

}  // namespace

std::string text_summary(const RunReport& report, const Style& given) {
  Style style = given;
  style.width = std::clamp<std::size_t>(given.width, 60, 100);
  const Results& results = report.results;
  const std::string sections[] = {verdict(report, style) + expectations(report, style),
                                  latency(results, style),
                                  throughput(results, style),
                                  cost(results, style),
                                  memory(results, style),
                                  time_split(results, style),
                                  quality(report, style),
                                  binding(results, style),
                                  warnings(results, style) + checks(results, style)};
  std::string out = title(report, style) + "\n" + partial_banner(report, style);
  for (std::size_t i = 0; i < std::size(sections); ++i) {
    if (sections[i].empty()) continue;
    out += sections[i] + (i + 1 < std::size(sections) ? "\n" : "");
  }
  return out;
}

}  // namespace moesim::reports
