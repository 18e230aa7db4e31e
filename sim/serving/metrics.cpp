#include <fmt/format.h>

#include <array>
#include <functional>

#include "sim/serving/results.hpp"

namespace moesim::serving {

namespace {

struct Definition {
  std::string name;
  std::string unit;
  std::string sentence;
  bool lower_is_better;
  std::function<std::optional<double>(const Results&)> value;
};

struct Statistic {
  std::string_view name;
  std::string_view words;
  double Quantiles::*member;
};

constexpr std::array<Statistic, 6> kStatistics = {{{"mean", "mean", &Quantiles::mean},
                                                   {"p50", "median", &Quantiles::p50},
                                                   {"p90", "90th percentile", &Quantiles::p90},
                                                   {"p95", "95th percentile", &Quantiles::p95},
                                                   {"p99", "99th percentile", &Quantiles::p99},
                                                   {"max", "largest value", &Quantiles::max}}};

void add_family(std::vector<Definition>& all, std::string_view name, std::string_view what,
                Quantiles Results::*family) {
  for (const Statistic& statistic : kStatistics) {
    const auto member = statistic.member;
    all.push_back({fmt::format("{}.{}", name, statistic.name), "s",
                   fmt::format("{}, {}", what, statistic.words), true,
                   [family, member](const Results& r) -> std::optional<double> {
                     if ((r.*family).count == 0) return std::nullopt;
                     return (r.*family).*member;
                   }});
  }
}

std::vector<Definition> definitions() {
  std::vector<Definition> all;
  add_family(all, "ttft", "Time to first token: first token time - arrival, as the client sees it",
             &Results::ttft);
  add_family(all, "tpot", "Time per output token: (end to end - TTFT) / (output tokens - 1)", &Results::tpot);
  add_family(all, "e2e", "End to end: last token time - arrival", &Results::e2e);
  add_family(all, "queueing", "From arrival to the first step that works on the request", &Results::queueing);
  add_family(all, "itl_max", "The longest gap between two tokens of a request", &Results::inter_token_max);
  const auto add = [&](std::string name, std::string unit, std::string sentence, bool lower, auto value) {
    all.push_back({std::move(name), std::move(unit), std::move(sentence), lower,
                   [value](const Results& r) -> std::optional<double> { return value(r); }});
  };
  const auto per_gpu = [](double value, const Results& r) {
    return r.gpus > 0 ? value / static_cast<double>(r.gpus) : 0.0;
  };
  add("goodput", "1/s", "Requests per second that met every SLO about single requests", false,
      [](const Results& r) { return r.goodput_per_s; });
  add("requests_per_s", "1/s", "Served requests per second", false,
      [](const Results& r) { return r.requests_per_s; });
  add("input_tokens_per_s", "1/s", "Prompt tokens of requests that got their first token, per second", false,
      [](const Results& r) { return r.input_tokens_per_s; });
  add("output_tokens_per_s", "1/s", "Generated tokens per second, those of unfinished requests included",
      false, [](const Results& r) { return r.output_tokens_per_s; });
  add("output_tokens_per_s_per_gpu", "1/s", "Generated tokens per second and GPU", false,
      [=](const Results& r) { return per_gpu(r.output_tokens_per_s, r); });
  add("total_tokens_per_s_per_gpu", "1/s", "Prompt and generated tokens per second and GPU", false,
      [=](const Results& r) { return per_gpu(r.input_tokens_per_s + r.output_tokens_per_s, r); });
  add("served", "count", "Requests served", false,
      [](const Results& r) { return static_cast<double>(r.served); });
  add("refused", "count", "Requests refused", true,
      [](const Results& r) { return static_cast<double>(r.refused); });
  add("preemptions", "count", "Times that a request lost its KV blocks and was computed again", true,
      [](const Results& r) { return static_cast<double>(r.preemptions); });
  add("mean_running", "count", "Sequences admitted, mean over time, all replicas", false,
      [](const Results& r) { return r.mean_running; });
  add("mean_waiting", "count", "Requests waiting for admission, mean over time, all replicas", true,
      [](const Results& r) { return r.mean_waiting; });
  add("busy_fraction", "ratio", "Share of the replicas' time spent in steps", false,
      [](const Results& r) { return r.busy_fraction; });
  add("kv_peak_fraction", "ratio", "Highest use of a rank's KV blocks, warm-up included", true,
      [](const Results& r) {
        double highest = 0;
        for (const MemoryBudget& budget : r.memory) {
          if (budget.kv_blocks > 0) {
            highest = std::max(
                highest, static_cast<double>(budget.kv_peak_blocks) / static_cast<double>(budget.kv_blocks));
          }
        }
        return highest;
      });
  add("expert_imbalance", "ratio",
      "Most loaded expert / mean, averaged over MoE layers, warm-up included; 0 without MoE", true,
      [](const Results& r) { return r.expert_imbalance; });
  add("slowest_expert_shard", "ratio",
      "Rows of the expert shard that takes longest (by priced time, not by rows) / mean rows of a shard, "
      "over "
      "all steps, warm-up included; below 1 if few rows that touch many experts take longest; 0 without MoE",
      true, [](const Results& r) { return r.slowest_expert_shard; });
  all.push_back({"contention", "ratio",
                 "Share of the step time that kernels wait for, or are slowed by, others that share a "
                 "resource; only at kernel fidelity",
                 true, [](const Results& r) -> std::optional<double> {
                   if (!r.kernels) return std::nullopt;
                   const auto contention = static_cast<std::size_t>(execution::Part::contention);
                   const double total = r.step_time.total.seconds();
                   return total > 0 ? r.step_time.by_part[contention].seconds() / total : 0.0;
                 }});
  add("gpus", "count", "GPUs of the deployment", true,
      [](const Results& r) { return static_cast<double>(r.gpus); });
  const auto optional = [&](std::string name, std::string sentence, std::optional<double> Results::*member) {
    all.push_back({std::move(name), "usd", std::move(sentence), true,
                   [member](const Results& r) { return r.*member; }});
  };
  optional("cost", "Price of all GPUs for the measured time", &Results::cost_usd);
  optional("cost_per_mtok", "USD per million tokens, prompt and generated together",
           &Results::cost_usd_per_mtok);
  optional("cost_per_mtok_output", "USD per million generated tokens", &Results::cost_usd_per_mtok_output);
  return all;
}

}  // namespace

std::vector<Metric> metrics(const Results& results) {
  std::vector<Metric> all;
  for (const Definition& definition : definitions()) {
    if (const auto value = definition.value(results)) {
      all.push_back({definition.name, *value, definition.unit, definition.lower_is_better});
    }
  }
  return all;
}

std::vector<MetricInfo> metric_catalogue() {
  std::vector<MetricInfo> all;
  for (const Definition& definition : definitions())
    all.push_back({definition.name, definition.unit, definition.sentence});
  return all;
}

std::string_view to_string(RequestStatus status) {
  switch (status) {
    case RequestStatus::served:
      return "served";
    case RequestStatus::refused:
      return "refused";
    case RequestStatus::unfinished:
      return "unfinished";
  }
  return "?";
}

std::string_view to_string(RunEnd end) {
  switch (end) {
    case RunEnd::complete:
      return "complete";
    case RunEnd::until:
      return "stopped at the given time";
    case RunEnd::event_limit:
      return "stopped at the limit of events";
    case RunEnd::wall_limit:
      return "stopped at the limit of wall time";
    case RunEnd::time_limit:
      return "stopped at the limit of simulated time";
    case RunEnd::interrupted:
      return "interrupted";
  }
  return "?";
}

}  // namespace moesim::serving
