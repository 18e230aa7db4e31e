// A small report with every kind of content, made by hand.
#pragma once

#include "reports/report.hpp"

namespace moesim::reports {

inline RunReport example_report() {
  RunReport report;
  report.scenario.model.name = "Example 8x7B";
  report.scenario.cluster.nodes = 2;
  report.scenario.cluster.node.name = "box-8";
  report.scenario.cluster.node.gpu.name = "h200-sxm";
  report.scenario.deployment.engine.name = "vllm";
  report.scenario.deployment.engine.version = "0.14";
  report.scenario.deployment.pools["main"] = {};
  report.scenario.seed = 42;
  report.manifest = {"0.1.0", "example", "abc", {{"hw_configs/gpus/h200-sxm.json", "def"}}};

  serving::Results& results = report.results;
  results.clock_end = core::Time{10'500'000'000'000};
  results.gpus = 2;
  serving::RequestRow served;
  served.id = 0;
  served.status = serving::RequestStatus::served;
  served.session = 7;
  served.replica = 0;
  served.dp_rank = 1;
  served.input_tokens = 100;
  served.output_tokens = 4;
  served.generated_tokens = 4;
  served.arrival = core::Time{1};
  served.scheduled = core::Time{2'000'000'000'001};
  served.first_token = core::Time{2'500'000'000'001};
  served.finished = core::Time{4'000'000'000'002};
  serving::RequestRow refused;
  refused.id = 1;
  refused.status = serving::RequestStatus::refused;
  refused.reason = "prompt, with \"quotes\", is too long";
  refused.input_tokens = 9;
  refused.output_tokens = 1;
  refused.arrival = core::Time{3'000'000'000'000};
  results.requests = {served, refused};
  results.timeseries = {
      {core::Time{0}, core::Time{1'000'000'000'000}, 2, 1, 100, 3, 5, 0, 0.5, 0.25, 1e9, 0.125, 5e7, 6}};
  results.experts = {{3, 0, 10}, {3, 1, 30}};
  serving::MemoryBudget budget;
  budget.pool = "main";
  budget.devices = 2;
  budget.total = core::Bytes{std::int64_t{140} << 30};
  budget.weights = core::Bytes{std::int64_t{70} << 30};
  budget.kv_budget = core::Bytes{std::int64_t{35} << 30};
  budget.kv_peak = core::Bytes{std::int64_t{7} << 30};
  budget.kv_blocks = 1000;
  budget.kv_block_tokens = 16;
  budget.kv_bytes_per_token = 1024;
  budget.kv_peak_blocks = 200;
  budget.kv_peak_waste_bytes = 4096;
  budget.kv_groups = {{12, 2048, 1, 128, llm::KvKind::window}, {30, 1280, 4, 0, llm::KvKind::pooled, 256}};
  results.memory = {budget};
  const std::vector<serving::KvPart> kv = {{1.5e6, 2.5e5, 24'000, 6'000}, {5e6, 1e6, 64'000, 1'280}, {}};
  results.memory_series = {{0, core::Time{0}, core::Time{1'000'000'000'000}, kv}};
  results.memory_use = {{{core::Time{500'000'000'000}, 0, 1, 88'000, {}},
                         kv,
                         {{25'000, core::Time{250'000'000'000}}, {64'000, core::Time{500'000'000'000}}, {}}}};
  results.mean_kv_bytes = 1e9;
  results.mean_kv_waste_bytes = 5e7;
  results.memory_events = {{serving::MemoryEventKind::preemption, "main", 0, 1, 9,
                            core::Time{1'500'000'000'000}, 1200, "memory.utilization 0.95 instead of 0.92"}};
  results.served = 1;
  results.refused = 1;
  results.ttft = {1, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5};
  results.tpot = {1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5};
  results.e2e = {1, 4, 4, 4, 4, 4, 4};
  results.step_time.total = {1000};
  results.step_time.by_part[0] = {400};
  results.step_time.by_part[2] = {600};
  results.step_time.by_resource[2] = {1000};
  results.step_time.by_label[1] = {750};
  results.step_time.by_label[4] = {250};
  results.expert_imbalance = 1.5;
  results.slowest_expert_shard = 1.25;
  results.gpu_hour_usd = 2.5;
  results.price_source = "the scenario";
  results.cost_usd_per_mtok = 0.123;
  results.binds = "HBM bandwidth binds";
  results.binds_detail = "more GPUs";
  results.slo = {{"ttft.p99 <= 1 s", "ttft.p99", 2.5, 1.0, "s", false},
                 {"tpot.p95 <= 1 s", "tpot.p95", 0.5, 1.0, "s", true}};
  results.slo_met = false;
  results.checks = {{"tokens", true, "1 = 1"}, {"bytes", true, "2 = 2"}};
  results.warnings = {"something is odd"};
  results.order_hash = 0x1234;
  return report;
}

}  // namespace moesim::reports
