// One sentence on what limits the deployment, and one on what would help.
#include <fmt/format.h>

#include <algorithm>

#include "sim/serving/summary.hpp"

namespace moesim::serving {

namespace {

template <std::size_t N>
std::size_t largest(const std::array<core::Duration, N>& parts) {
  return static_cast<std::size_t>(std::max_element(parts.begin(), parts.end()) - parts.begin());
}

double share(core::Duration part, core::Duration whole) {
  return whole.ps > 0 ? 100.0 * static_cast<double>(part.ps) / static_cast<double>(whole.ps) : 0.0;
}

std::string_view remedy(cost::Resource resource) {
  switch (resource) {
    case cost::Resource::tensor:
      return "more GPUs, a narrower number format or shorter prompts";
    case cost::Resource::vector:
      return "fewer attention scores (shorter context) or more GPUs";
    case cost::Resource::hbm:
      return "narrower weights or KV, a larger batch per GPU, or GPUs with more bandwidth";
    case cost::Resource::scale_up:
      return "a smaller tp, more DP attention or faster links";
    case cost::Resource::network:
      return "keeping expert and tensor groups inside one domain, or faster NICs";
    case cost::Resource::latency:
      return "fewer or larger kernels, a smaller tp or a larger batch";
  }
  return "";
}

bool kv_is_full(const Results& results) {
  return std::any_of(results.memory.begin(), results.memory.end(), [](const MemoryBudget& budget) {
    return budget.kv_blocks > 0 && 100 * budget.kv_peak_blocks >= 98 * budget.kv_blocks;
  });
}

}  // namespace

void explain_binding(const Scenario&, Results& results) {
  const execution::StepTime& time = results.step_time;
  if (time.total.ps == 0) {
    results.binds = "nothing ran";
    return;
  }
  const auto resource = static_cast<cost::Resource>(largest(time.by_resource));
  const auto part = static_cast<execution::Part>(largest(time.by_part));
  const std::string where =
      fmt::format("{:.0f} % of the step time is bound by {}; the largest part is {} with {:.0f} %",
                  share(time.by_resource[largest(time.by_resource)], time.total), cost::to_string(resource),
                  execution::to_string(part), share(time.by_part[largest(time.by_part)], time.total));
  const bool queueing = results.mean_waiting > 0.05 * std::max(1.0, results.mean_running);
  if (kv_is_full(results) && (results.preemptions > 0 || queueing)) {
    results.binds = "KV cache capacity: blocks run out and requests wait or are computed again";
    results.binds_detail = fmt::format("more GPUs, fp8 KV or a larger share of memory ({} preemptions; {})",
                                       results.preemptions, where);
    return;
  }
  if (results.busy_fraction < 0.5) {
    results.binds =
        fmt::format("the load: replicas are idle {:.0f} % of the time", 100 * (1 - results.busy_fraction));
    results.binds_detail = fmt::format("fewer GPUs carry this load too; inside a step, {}", where);
    return;
  }
  results.binds = where;
  results.binds_detail = std::string(remedy(resource));
}

}  // namespace moesim::serving
