#include "sim/serving/fleet.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <variant>

#include "models/hardware/topology.hpp"
#include "sim/core/check.hpp"
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

// Ranks of a dense model never meet: each is priced and steps as a replica of one rank.
llm::Layout group_layout(const Scenario& scenario, const Pool& pool) {
  llm::Layout layout = pool.layout();
  const auto moe = [](const llm::LayerGroup& layers) {
    return std::holds_alternative<llm::MoeFfn>(layers.ffn);
  };
  if (std::none_of(scenario.model.layers.begin(), scenario.model.layers.end(), moe))
    layout.dp = layout.ep = 1;
  return layout;
}

}  // namespace

execution::ReplicaSetup replica_setup(const Scenario& scenario, const llm::Layout& layout,
                                      const hardware::Topology& topology, std::int64_t first) {
  execution::ReplicaSetup setup;
  setup.architecture = scenario.model;
  setup.layout = layout;
  setup.formats = scenario.formats();
  setup.engine = scenario.deployment.engine;
  setup.gpu = scenario.cluster.node.gpu;
  setup.kernels = scenario.kernels;
  setup.collectives = scenario.collectives;
  setup.tensor_group = profile(topology, first, layout.tp, 1);
  setup.data_group = profile(topology, first, layout.dp, layout.tp);
  // Dispatch spans every rank of the group; without it the group only says where experts are.
  const bool dispatch = llm::moe_exchange(layout) == llm::MoeExchange::dispatch;
  setup.expert_group = dispatch ? profile(topology, first, layout.ranks(), 1)
                                : profile(topology, first, layout.ep, layout.moe_tp());
  setup.decode_context_group = profile(topology, first, layout.dcp, 1);
  setup.link_labels = link_labels(scenario.cluster);
  setup.popularity = scenario.routing.popularity;
  setup.seed = static_cast<std::uint64_t>(scenario.seed);
  return setup;
}

namespace {

// Groups that see the same links share one model and its memory of prices.
class Models {
 public:
  Models(Fidelity fidelity, execution::StepOptions options) : fidelity_(fidelity), options_(options) {}
  StepCosts get(execution::ReplicaSetup setup) {
    const auto found = std::find_if(known_.begin(), known_.end(), [&](const auto& known) {
      return same(known.first.tensor_group, setup.tensor_group) &&
             same(known.first.data_group, setup.data_group) &&
             same(known.first.expert_group, setup.expert_group) &&
             same(known.first.decode_context_group, setup.decode_context_group);
    });
    if (found != known_.end()) return found->second;
    StepCosts costs;
    if (fidelity_ == Fidelity::kernel) {
      costs.planner = std::make_shared<execution::KernelPlanner>(setup, options_.memo);
    } else {
      costs.model = std::make_shared<execution::StepModel>(setup, options_);
    }
    known_.emplace_back(std::move(setup), costs);
    return costs;
  }

 private:
  Fidelity fidelity_;
  execution::StepOptions options_;
  std::vector<std::pair<execution::ReplicaSetup, StepCosts>> known_;
};

std::string does_not_fit(const MemoryBudget& budget) {
  const auto gib = [](core::Bytes bytes) { return bytes.as_double() / static_cast<double>(1 << 30); };
  if (budget.reserved.value < 0) {
    return fmt::format(
        "the engine runs out of memory: pool \"{}\" captures CUDA graphs of {:.1f} GiB that it did not "
        "count, and "
        "its budget rule keeps {:.1f} GiB free",
        budget.pool, gib(budget.graphs), gib(budget.graphs + budget.reserved));
  }
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
  std::size_t index = 0;
  for (const auto& [name, pool] : scenario.deployment.pools) {
    const MemoryBudget& budget = budgets[index];
    if (budget.kv_blocks < 1)
      throw InfeasibleError(does_not_fit(budget), memory_remedy(scenario, name, pool));
    Models models(scenario.fidelity, options);
    const llm::Layout layout = group_layout(scenario, pool);
    const RankRules rules{
        limits.max_num_batched_tokens,
        limits.max_num_seqs,
        llm::KvPages(scenario.model, pool.layout(), scenario.formats().kv, limits.kv_block_tokens),
        engine.scheduler.chunked_prefill,
        engine.scheduler.mixed_steps,
        engine.scheduler.reserve_full_prompt};
    for (std::int64_t r = 0; r < pool.replicas; ++r) {
      std::vector<StepGroup> groups;
      for (std::int64_t rank = 0; rank < pool.dp_attention; rank += layout.dp) {
        const std::int64_t first = gpus_ + rank * pool.tp;
        std::vector<DeviceIndex> devices;
        for (std::int64_t i = 0; i < layout.ranks(); ++i) {
          devices.push_back({static_cast<std::int32_t>(first + i)});
        }
        groups.emplace_back(models.get(replica_setup(scenario, layout, topology, first)), engine, rules,
                            layout.dp, budget.kv_blocks, std::move(devices),
                            scenario.deployment.micro_batches);
      }
      const std::size_t first_group = groups_.size();
      for (std::size_t g = 0; g < groups.size(); ++g) groups_.push_back({members_.size(), g});
      members_.push_back({Replica(std::move(groups)), index, pool.tp, budget.kv_block_bytes,
                          budget.kv_longest_tokens, first_group});
      gpus_ += pool.layout().ranks();
    }
    ++index;
  }
}

std::int64_t Fleet::capacity_tokens() const {
  std::int64_t most = 0;
  for (const FleetMember& member : members_) most = std::max(most, member.capacity_tokens);
  return most;
}

// Ties and turns go round, as in vLLM's balancer over DP engines.
std::size_t Fleet::choose(std::int64_t tokens) {
  std::size_t best = members_.size();
  std::int64_t least = INT64_MAX;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const std::size_t index = (next_ + i) % members_.size();
    const FleetMember& member = members_[index];
    if (tokens > member.capacity_tokens) continue;
    const std::int64_t load =
        balancer_ == Balancer::round_robin ? 0 : 4 * member.replica.waiting() + member.replica.running();
    if (load < least) {
      least = load;
      best = index;
    }
  }
  core::check(best < members_.size(), "a request is sent to replicas that cannot hold it");
  next_ = (best + 1) % members_.size();
  return best;
}

}  // namespace moesim::serving
