#include "sim/serving/fleet.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/hardware/topology.hpp"
#include "sim/serving/memory.hpp"

namespace moesim::serving {

namespace {

using hardware::DeviceIndex;
using hardware::GroupProfile;

GroupProfile profile(const hardware::Topology& topology, std::int64_t first, std::int64_t count,
                     std::int64_t stride) {
  std::vector<DeviceIndex> devices;
  for (std::int64_t i = 0; i < count; ++i) devices.push_back({static_cast<std::int32_t>(first + i * stride)});
  return topology.group_profile(devices);
}

bool same(const GroupProfile& a, const GroupProfile& b) {
  return a.size == b.size && a.domain_sizes == b.domain_sizes && a.domain_kind == b.domain_kind &&
         a.in_switch_reduction == b.in_switch_reduction && a.domain_bandwidth == b.domain_bandwidth &&
         a.domain_latency == b.domain_latency && a.network_bandwidth == b.network_bandwidth &&
         a.network_latency == b.network_latency && a.crosses_spine == b.crosses_spine;
}

// The weaker of the labels of the bandwidths that traffic inside a domain and between domains depends on.
cost::LinkLabels link_labels(const hardware::Cluster& cluster) {
  const hardware::Node& node = cluster.node;
  cost::LinkLabels labels{node.host_link.bandwidth.label, config::Label::derived};
  if (node.scale_up && node.scale_up->bandwidth) {
    labels.scale_up = node.scale_up->bandwidth->label;
  } else if (node.scale_up && node.gpu.scale_up) {
    labels.scale_up = node.gpu.scale_up->bandwidth.label;
  }
  if (node.nics) labels.network = std::max(node.nics->bandwidth.label, node.host_link.bandwidth.label);
  if (cluster.fabric) labels.network = std::max(labels.network, cluster.fabric->link_bandwidth.label);
  return labels;
}

execution::ReplicaSetup make_setup(const Scenario& scenario, const Pool& pool,
                                   const hardware::Topology& topology, std::int64_t first) {
  execution::ReplicaSetup setup;
  setup.architecture = scenario.model;
  setup.layout = pool.layout();
  setup.formats = scenario.deployment.formats;
  setup.engine = scenario.deployment.engine;
  setup.gpu = scenario.cluster.node.gpu;
  setup.tensor_group = profile(topology, first, pool.tp, 1);
  setup.data_group = profile(topology, first, pool.dp_attention, pool.tp);
  // Dispatch spans every rank of the replica; without it the group only says where experts are.
  const bool dispatch = llm::moe_exchange(setup.layout) == llm::MoeExchange::dispatch;
  setup.expert_group = dispatch ? profile(topology, first, setup.layout.ranks(), 1)
                                : profile(topology, first, pool.ep, setup.layout.moe_tp());
  setup.link_labels = link_labels(scenario.cluster);
  setup.popularity = scenario.routing.popularity;
  setup.seed = static_cast<std::uint64_t>(scenario.seed);
  return setup;
}

std::string does_not_fit(const MemoryBudget& budget) {
  const auto gib = [](core::Bytes bytes) { return bytes.as_double() / static_cast<double>(1 << 30); };
  return fmt::format(
      "the model does not fit: pool \"{}\" needs {:.1f} GiB per GPU for weights, {:.1f} GiB for activations, "
      "{:.1f} GiB "
      "for buffers, communicators, graphs and runtime; with {:.1f} GiB kept free by the budget rule that "
      "leaves {:.1f} "
      "GiB of {:.1f} GiB for KV blocks",
      budget.pool, gib(budget.weights), gib(budget.activations),
      gib(budget.exchange_buffers + budget.communicators + budget.graphs + budget.runtime),
      gib(budget.reserved), gib(budget.kv_budget), gib(budget.total));
}

}  // namespace

Fleet::Fleet(const Scenario& scenario, const std::vector<MemoryBudget>& budgets,
             execution::StepOptions options)
    : balancer_(scenario.deployment.balancer) {
  const hardware::Topology topology(scenario.cluster);
  const cost::EngineProfile& engine = scenario.deployment.engine;
  const EffectiveLimits limits = effective_limits(scenario);
  const RankRules rules{limits.max_num_batched_tokens, limits.max_num_seqs,
                        limits.kv_block_tokens,        engine.scheduler.chunked_prefill,
                        engine.scheduler.mixed_steps,  engine.scheduler.reserve_full_prompt};
  std::size_t index = 0;
  for (const auto& [name, pool] : scenario.deployment.pools) {
    const MemoryBudget& budget = budgets[index];
    if (budget.kv_blocks < 1)
      throw InfeasibleError(does_not_fit(budget), memory_remedy(scenario, name, pool));
    // Replicas that see the same links share one model and its memory of prices.
    std::vector<std::pair<execution::ReplicaSetup, std::shared_ptr<execution::StepModel>>> models;
    for (std::int64_t r = 0; r < pool.replicas; ++r) {
      execution::ReplicaSetup setup = make_setup(scenario, pool, topology, gpus_);
      auto found = std::find_if(models.begin(), models.end(), [&](const auto& known) {
        return same(known.first.tensor_group, setup.tensor_group) &&
               same(known.first.data_group, setup.data_group) &&
               same(known.first.expert_group, setup.expert_group);
      });
      if (found == models.end()) {
        auto model = std::make_shared<execution::StepModel>(setup, options);
        found = models.insert(models.end(), {std::move(setup), std::move(model)});
      }
      members_.push_back({Replica(found->second, engine, rules, pool.dp_attention, budget.kv_blocks), index,
                          pool.tp, budget.kv_block_tokens * budget.kv_bytes_per_token,
                          budget.kv_blocks * budget.kv_block_tokens});
      gpus_ += pool.layout().ranks();
    }
    ++index;
  }
}

std::size_t Fleet::choose() {
  if (balancer_ == Balancer::round_robin) {
    const std::size_t chosen = next_;
    next_ = (next_ + 1) % members_.size();
    return chosen;
  }
  // Ties go round, as in vLLM's balancer over DP engines.
  std::size_t best = next_;
  std::int64_t least = INT64_MAX;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const std::size_t member = (next_ + i) % members_.size();
    const std::int64_t load = 4 * members_[member].replica.waiting() + members_[member].replica.running();
    if (load < least) {
      least = load;
      best = member;
    }
  }
  next_ = (best + 1) % members_.size();
  return best;
}

}  // namespace moesim::serving
