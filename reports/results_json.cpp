#include "reports/results_json.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <optional>

#include "reports/numerics.hpp"
#include "sim/config/record.hpp"
#include "sim/serving/memory_series.hpp"

namespace moesim::reports {

namespace {

using config::Node;
using serving::Results;

// Keys of execution::Part and cost::Resource, in their order.
constexpr std::array<std::string_view, execution::kParts> kPartKeys = {
    "attention",         "dense_ffn",  "routed_experts", "shared_experts", "router",
    "dispatch_combine",  "all_reduce", "norms",          "embedding_head", "host",
    "hyper_connections", "contention"};
constexpr std::array<std::string_view, cost::kResources> kResourceKeys = {"tensor",   "vector",  "hbm",
                                                                          "scale_up", "network", "latency"};

Node text(std::string_view value) { return Node::of(value); }

// JSON has no infinity: such a number is written as null.
Node number(double value) { return std::isfinite(value) ? Node::of(value) : Node{}; }

Node optional_number(const std::optional<double>& value) { return value ? number(*value) : Node{}; }

Node manifest_node(const RunReport& report) {
  const Manifest& manifest = report.manifest;
  Node node = Node::object();
  node.set("tool", text("moesim"));
  node.set("tool_version", text(manifest.tool_version));
  Node schemas = Node::object();
  schemas.set("scenario", Node::of(kScenarioSchema));
  schemas.set("result", Node::of(kResultSchema));
  node.set("schemas", std::move(schemas));
  node.set("scenario", text(manifest.scenario));
  node.set("scenario_sha256", text(manifest.scenario_sha256));
  Node inputs = Node::array();
  for (const InputDigest& input : manifest.inputs) {
    Node entry = Node::object();
    entry.set("name", text(input.name));
    entry.set("sha256", text(input.sha256));
    inputs.items.push_back(std::move(entry));
  }
  node.set("inputs", std::move(inputs));
  node.set("seed", Node::of(report.scenario.seed));
  node.set("fidelity", text(config::enum_name(report.scenario.fidelity)));
  node.set("partial", Node::of(report.partial()));
  node.set("end", text(end_name(report.results.end)));
  return node;
}

// How many requests a metric with quantiles rests on; nullopt for the others.
std::optional<std::int64_t> sample_size(const Results& results, std::string_view metric) {
  const std::string_view family = metric.substr(0, metric.find('.'));
  if (family == metric) return std::nullopt;
  if (family == "ttft") return results.ttft.count;
  if (family == "tpot") return results.tpot.count;
  if (family == "e2e") return results.e2e.count;
  if (family == "queueing") return results.queueing.count;
  if (family == "itl_max") return results.inter_token_max.count;
  return std::nullopt;
}

Node metrics_node(const Results& results) {
  Node all = Node::object();
  for (const serving::Metric& metric : serving::metrics(results)) {
    Node node = Node::object();
    node.set("value", number(metric.value));
    node.set("unit", text(metric.unit));
    node.set("better", text(metric.lower_is_better ? "lower" : "higher"));
    if (const auto n = sample_size(results, metric.name)) node.set("n", Node::of(*n));
    all.set(metric.name, std::move(node));
  }
  return all;
}

Node rules_node(const std::vector<serving::RuleResult>& rules) {
  Node all = Node::array();
  for (const serving::RuleResult& rule : rules) {
    Node node = Node::object();
    node.set("rule", text(rule.text));
    node.set("metric", text(rule.metric));
    node.set("value", rule.value ? number(*rule.value) : Node{});
    node.set("limit", number(rule.limit));
    node.set("unit", text(rule.unit));
    node.set("held", Node::of(rule.held));
    all.items.push_back(std::move(node));
  }
  return all;
}

Node checks_node(const std::vector<serving::CheckResult>& checks) {
  Node all = Node::array();
  for (const serving::CheckResult& check : checks) {
    Node node = Node::object();
    node.set("name", text(check.name));
    node.set("held", Node::of(check.held));
    node.set("detail", text(check.detail));
    all.items.push_back(std::move(node));
  }
  return all;
}

Node memory_node(const serving::MemoryBudget& budget, bool tightest) {
  Node node = Node::object();
  node.set("pool", text(budget.pool));
  node.set("devices", Node::of(budget.devices));
  node.set("tightest", Node::of(tightest));
  const auto bytes = [&](std::string_view key, core::Bytes value) { node.set(key, Node::of(value.value)); };
  bytes("total_bytes", budget.total);
  bytes("weights_bytes", budget.weights);
  bytes("activations_bytes", budget.activations);
  bytes("exchange_buffers_bytes", budget.exchange_buffers);
  bytes("communicators_bytes", budget.communicators);
  bytes("graphs_bytes", budget.graphs);
  bytes("runtime_bytes", budget.runtime);
  bytes("reserved_bytes", budget.reserved);
  bytes("kv_budget_bytes", budget.kv_budget);
  bytes("kv_peak_bytes", budget.kv_peak);
  node.set("kv_blocks", Node::of(budget.kv_blocks));
  node.set("kv_peak_blocks", Node::of(budget.kv_peak_blocks));
  node.set("kv_block_tokens", Node::of(budget.kv_block_tokens));
  node.set("kv_bytes_per_token", Node::of(budget.kv_bytes_per_token));
  node.set("kv_block_bytes", Node::of(budget.kv_block_bytes));
  node.set("kv_state_bytes", Node::of(budget.kv_state_bytes));
  const bool endless = budget.kv_longest_tokens == serving::kMostSequenceTokens;
  node.set("kv_longest_tokens", endless ? Node{} : Node::of(budget.kv_longest_tokens));
  node.set("kv_full_sequences", Node::of(budget.kv_full_sequences));
  node.set("kv_peak_waste_bytes", Node::of(budget.kv_peak_waste_bytes));
  Node groups = Node::array();
  const std::vector<std::string> names = llm::kv_names(budget.kv_groups);
  for (const llm::KvRows& rows : budget.kv_groups) {
    Node group = Node::object();
    group.set("name", text(names[groups.items.size()]));
    group.set("layers", Node::of(rows.layers));
    group.set("row_bytes", Node::of(rows.bytes));
    group.set("index_key_bytes", Node::of(rows.index_bytes));
    group.set("tokens_per_row", Node::of(rows.ratio));
    group.set("keeps_tokens", rows.keeps > 0 ? Node::of(rows.keeps) : Node{});
    groups.items.push_back(std::move(group));
  }
  node.set("kv_groups", std::move(groups));
  return node;
}

// The stack of a pool's device: means over devices and the measured time, and the fullest device of the run.
Node memory_use_node(const serving::MemoryBudget& budget, const serving::MemoryUse& use) {
  Node node = Node::object();
  node.set("pool", text(budget.pool));
  const bool used = use.fullest.used > 0;
  node.set("fullest_at_s", used ? Node::of(use.fullest.at.seconds()) : Node{});
  node.set("fullest_replica", used ? Node::of(use.fullest.replica) : Node{});
  node.set("fullest_dp_rank", used ? Node::of(use.fullest.dp_rank) : Node{});
  Node categories = Node::array();
  for (const serving::MemoryPart& part : serving::memory_stack(budget, use.kv, use.peaks)) {
    Node category = Node::object();
    category.set("category", text(part.category));
    category.set("mean_bytes", number(part.bytes.mean_bytes));
    category.set("mean_waste_bytes", number(part.bytes.mean_waste_bytes));
    category.set("fullest_bytes", Node::of(part.bytes.worst_bytes));
    category.set("fullest_waste_bytes", Node::of(part.bytes.worst_waste_bytes));
    category.set("peak_bytes", Node::of(part.peak.bytes));
    category.set("peak_at_s", Node::of(part.peak.at.seconds()));
    categories.items.push_back(std::move(category));
  }
  node.set("categories", std::move(categories));
  return node;
}

Node memory_events_node(const std::vector<serving::MemoryEvent>& events) {
  Node all = Node::array();
  for (const serving::MemoryEvent& event : events) {
    Node node = Node::object();
    node.set("event", text(to_string(event.kind)));
    node.set("at_s", Node::of(event.at.seconds()));
    node.set("pool", text(event.pool));
    node.set("replica", Node::of(event.replica));
    node.set("dp_rank", Node::of(event.dp_rank));
    node.set("request", Node::of(event.request));
    node.set("blocks_needed", Node::of(event.blocks_needed));
    node.set("remedy", text(event.remedy));
    all.items.push_back(std::move(node));
  }
  return all;
}

Node kv_use_node(const Results& results) {
  Node node = Node::object();
  node.set("mean_bytes", number(results.mean_kv_bytes));
  node.set("mean_waste_bytes", number(results.mean_kv_waste_bytes));
  return node;
}

Node step_time_node(const execution::StepTime& time) {
  Node node = Node::object();
  const auto seconds = [](core::Duration duration) { return Node::of(duration.seconds()); };
  node.set("total_s", seconds(time.total));
  Node parts = Node::object();
  for (std::size_t i = 0; i < time.by_part.size(); ++i) parts.set(kPartKeys[i], seconds(time.by_part[i]));
  node.set("by_part_s", std::move(parts));
  Node resources = Node::object();
  for (std::size_t i = 0; i < time.by_resource.size(); ++i)
    resources.set(kResourceKeys[i], seconds(time.by_resource[i]));
  node.set("by_resource_s", std::move(resources));
  Node splits = Node::object();
  for (std::size_t i = 0; i < time.splits.size(); ++i) {
    if (time.by_part[i] == core::Duration{}) continue;
    const execution::PartSplit& split = time.splits[i];
    Node one = Node::object();
    one.set("speed_of_light_s", seconds(split.speed_of_light));
    Node bound = Node::object();
    for (std::size_t r = 0; r < split.by_resource.size(); ++r)
      bound.set(kResourceKeys[r], seconds(split.by_resource[r]));
    one.set("by_resource_s", std::move(bound));
    Node labels = Node::object();
    for (std::size_t l = 0; l < split.by_label.size(); ++l)
      labels.set(config::enum_name(static_cast<config::Label>(l)), seconds(split.by_label[l]));
    one.set("by_source_s", std::move(labels));
    splits.set(kPartKeys[i], std::move(one));
  }
  node.set("parts", std::move(splits));
  return node;
}

Node counts_node(const execution::KernelCounts& counts) {
  Node node = Node::object();
  node.set("kernels_begun", Node::of(counts.kernels_begun));
  node.set("kernels_ended", Node::of(counts.kernels_ended));
  node.set("collectives_begun", Node::of(counts.collectives_begun));
  node.set("collectives_ended", Node::of(counts.collectives_ended));
  // Whole bytes as a double: exact up to 8 PiB.
  node.set("link_bytes_begun", Node::of(static_cast<double>(counts.bytes_begun)));
  node.set("link_bytes_ended", Node::of(static_cast<double>(counts.bytes_ended)));
  return node;
}

Node kernels_node(const serving::KernelFacts& facts) {
  Node node = Node::object();
  node.set("steps", counts_node(facts.steps));
  node.set("background", counts_node(facts.background));
  node.set("activities", Node::of(static_cast<std::int64_t>(facts.activities)));
  node.set("slowed", Node::of(static_cast<std::int64_t>(facts.slowed)));
  return node;
}

Node source_node(const Results& results) {
  Node node = Node::object();
  const std::vector<double> shares = label_shares(results);
  for (std::size_t i = 0; i < shares.size(); ++i) {
    node.set(config::enum_name(static_cast<config::Label>(i)), number(shares[i]));
  }
  return node;
}

Node cost_node(const Results& results) {
  Node node = Node::object();
  node.set("gpus", Node::of(results.gpus));
  node.set("gpu_hour_usd", optional_number(results.gpu_hour_usd));
  node.set("price_source", text(results.price_source));
  node.set("cost_usd", optional_number(results.cost_usd));
  node.set("cost_usd_per_mtok", optional_number(results.cost_usd_per_mtok));
  node.set("cost_usd_per_mtok_output", optional_number(results.cost_usd_per_mtok_output));
  return node;
}

}  // namespace

Node results_node(const RunReport& report) {
  const Results& results = report.results;
  Node node = Node::object();
  node.set("schema", text(fmt::format("result/{}", kResultSchema)));
  node.set("manifest", manifest_node(report));
  node.set("slo_met", results.slo_met ? Node::of(*results.slo_met) : Node{});
  node.set("slo", rules_node(results.slo));
  node.set("expect", rules_node(results.expect));
  node.set("metrics", metrics_node(results));
  node.set("cost", cost_node(results));
  Node memory = Node::array();
  for (std::size_t i = 0; i < results.memory.size(); ++i) {
    memory.items.push_back(memory_node(results.memory[i], static_cast<std::int64_t>(i) == results.tightest));
  }
  node.set("memory", std::move(memory));
  node.set("kv_use", kv_use_node(results));
  Node use = Node::array();
  for (std::size_t i = 0; i < results.memory_use.size(); ++i)
    use.items.push_back(memory_use_node(results.memory[i], results.memory_use[i]));
  node.set("memory_over_time", std::move(use));
  node.set("memory_events", memory_events_node(results.memory_events));
  node.set("step_time", step_time_node(results.step_time));
  if (results.kernels) node.set("kernels", kernels_node(*results.kernels));
  node.set("source_shares", source_node(results));
  node.set("accuracy", text(accuracy_sentence(report)));
  Node binds = Node::object();
  binds.set("limit", text(results.binds));
  binds.set("remedy", text(results.binds_detail));
  node.set("binds", std::move(binds));
  node.set("checks", checks_node(results.checks));
  if (results.numerics) node.set("numerics", numerics_node(*results.numerics));
  Node warnings = Node::array();
  for (const std::string& warning : results.warnings) warnings.items.push_back(text(warning));
  node.set("warnings", std::move(warnings));
  node.set("clock_start_s", Node::of(results.clock_start.seconds()));
  node.set("clock_end_s", Node::of(results.clock_end.seconds()));
  node.set("events", Node::of(static_cast<std::int64_t>(results.events)));
  node.set("order_hash", text(fmt::format("{:016x}", results.order_hash)));
  return node;
}

}  // namespace moesim::reports
