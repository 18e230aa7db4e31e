#include "sim/serving/memory_events.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/hardware/topology.hpp"
#include "sim/core/integers.hpp"
#include "sim/serving/memory.hpp"

namespace moesim::serving {

std::string_view to_string(MemoryEventKind kind) {
  return kind == MemoryEventKind::stall ? "stall" : "preemption";
}

void MemoryWatch::look(const Fleet& fleet, std::size_t group, core::Time now) {
  const Fleet::GroupPlace place = fleet.place(group);
  const FleetMember& member = fleet.members()[place.member];
  FirstEvents& first = pools_[member.pool];
  if (first.stall && first.preemption) return;
  const std::vector<EngineRank>& ranks = member.replica.groups()[place.group].ranks();
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    const auto note = [&](MemoryEventKind kind, std::int64_t request, std::optional<MemoryEvent>& event) {
      if (event) return;
      event.emplace();
      event->kind = kind;
      event->replica = static_cast<std::int64_t>(place.member);
      event->dp_rank = static_cast<std::int64_t>(place.group * ranks.size() + rank);
      event->request = request;
      event->at = now;
    };
    if (const auto request = ranks[rank].stalled()) note(MemoryEventKind::stall, *request, first.stall);
    const std::vector<std::int64_t>& preempted = ranks[rank].preempted();
    if (!preempted.empty()) note(MemoryEventKind::preemption, preempted.front(), first.preemption);
  }
}

std::vector<MemoryEvent> MemoryWatch::events(const Scenario& scenario, const Fleet& fleet) const {
  std::vector<KvDemand> demands(pools_.size());
  for (const FleetMember& member : fleet.members()) {
    KvDemand& most = demands[member.pool];
    member.replica.for_each_rank([&](const EngineRank& rank) {
      if (rank.peak_demand().blocks > most.blocks) most = rank.peak_demand();
    });
  }
  std::vector<MemoryEvent> all;
  std::size_t index = 0;
  for (const auto& [name, pool] : scenario.deployment.pools) {
    for (const auto* first : {&pools_[index].stall, &pools_[index].preemption}) {
      if (!*first) continue;
      MemoryEvent event = **first;
      event.pool = name;
      event.blocks_needed = demands[index].blocks;
      event.remedy = demand_remedy(scenario, name, pool, demands[index], event.kind);
      all.push_back(std::move(event));
    }
    ++index;
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const MemoryEvent& a, const MemoryEvent& b) { return a.at < b.at; });
  return all;
}

namespace {

// A pool that is asked for more blocks than it has, and changes to it.
class Shortage {
 public:
  Shortage(const Scenario& scenario, const std::string& name, const Pool& pool, const KvDemand& demand)
      : scenario_(&scenario),
        name_(name),
        pool_(pool),
        demand_(demand),
        mean_tokens_(core::divide_up(demand.tokens, std::max<std::int64_t>(demand.sequences, 1))),
        sequence_bytes_(bytes_of_mean(scenario, pool)) {}

  [[nodiscard]] std::string larger_share() const;
  [[nodiscard]] std::string fewer_sequences() const;
  [[nodiscard]] std::string narrow_kv() const;
  [[nodiscard]] std::string more_gpus() const;

 private:
  // Bytes of whole pages of the mean sequence.
  [[nodiscard]] double bytes_of_mean(const Scenario& scenario, const Pool& pool) const {
    const llm::KvPages pages(scenario.model, pool.layout(), scenario.formats().kv,
                             effective_limits(scenario).kv_block_tokens);
    return static_cast<double>(pages.units(mean_tokens_)) * static_cast<double>(pages.unit_bytes());
  }
  // Whether the changed pool holds so many times the demand; its sequences may have other bytes.
  [[nodiscard]] bool holds(const Scenario& scenario, const Pool& pool, double times) const {
    if (!llm::run_problems(scenario.model, pool.layout()).empty()) return false;
    const MemoryBudget now = memory_budget(*scenario_, name_, pool_);
    const MemoryBudget budget = memory_budget(scenario, name_, pool);
    const double needed = static_cast<double>(demand_.blocks) * static_cast<double>(now.kv_block_bytes) *
                          bytes_of_mean(scenario, pool) / std::max(sequence_bytes_, 1.0) * times;
    return budget.kv_blocks > 0 &&
           static_cast<double>(budget.kv_blocks) * static_cast<double>(budget.kv_block_bytes) >= needed;
  }
  [[nodiscard]] std::string gpus(const Pool& pool) const {
    const std::int64_t gpus = pool.replicas * pool.layout().ranks();
    const std::int64_t devices = hardware::device_count(scenario_->cluster);
    return fmt::format("{} GPUs{}", gpus,
                       gpus > devices ? fmt::format(" (the cluster has {})", devices) : "");
  }

  const Scenario* scenario_;
  std::string name_;
  Pool pool_;
  KvDemand demand_;
  std::int64_t mean_tokens_;
  double sequence_bytes_;
};

std::string Shortage::larger_share() const {
  constexpr int kLargestPercent = 98;
  const double fraction =
      scenario_->memory.utilization.value_or(scenario_->deployment.engine.kv.fraction.value);
  for (int percent = static_cast<int>(std::floor(100 * fraction)) + 1; percent <= kLargestPercent;
       ++percent) {
    Scenario changed = *scenario_;
    changed.memory.utilization = percent / 100.0;
    if (holds(changed, pool_, 1.0)) {
      return fmt::format("memory.utilization {:.2f} instead of {}", percent / 100.0, fraction);
    }
  }
  return "";
}

std::string Shortage::fewer_sequences() const {
  const auto fits = [&](std::int64_t sequences) {
    Scenario changed = *scenario_;
    changed.deployment.scheduler.max_num_seqs = sequences;
    return holds(changed, pool_, static_cast<double>(sequences) / static_cast<double>(demand_.sequences));
  };
  std::int64_t low = 0, high = demand_.sequences;  // low fits, high does not
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  if (low == 0) return "";
  return fmt::format("deployment.scheduler.max_num_seqs {} instead of {}", low,
                     effective_limits(*scenario_).max_num_seqs);
}

std::string Shortage::narrow_kv() const {
  const llm::NumberFormat now = scenario_->formats().kv;
  if (llm::element_bits(now) <= 8) return "";
  Scenario changed = *scenario_;
  changed.deployment.formats.kv = llm::NumberFormat::fp8;
  if (!holds(changed, pool_, 1.0)) return "";
  return fmt::format("deployment.formats.kv \"fp8\" instead of \"{}\"", config::enum_name(now));
}

std::string Shortage::more_gpus() const {
  const MemoryBudget now = memory_budget(*scenario_, name_, pool_);
  Pool more = pool_;
  if (now.kv_blocks > 0) more.replicas = core::divide_up(pool_.replicas * demand_.blocks, now.kv_blocks);
  Pool wider = pool_;
  do {
    wider.tp *= 2;
    wider.ep = pool_.ep > 1 ? wider.ep * 2 : 1;
  } while (wider.tp <= 1024 && !holds(*scenario_, wider, 1.0));
  if (wider.tp <= 1024 && wider.tp * pool_.replicas < more.replicas * pool_.tp) {
    return fmt::format("deployment.pools.{}.tp {} instead of {}: {}", name_, wider.tp, pool_.tp, gpus(wider));
  }
  return fmt::format("deployment.pools.{}.replicas {} instead of {}: {}", name_, more.replicas,
                     pool_.replicas, gpus(more));
}

}  // namespace

std::string demand_remedy(const Scenario& scenario, const std::string& name, const Pool& pool,
                          const KvDemand& demand, MemoryEventKind kind) {
  const Shortage shortage(scenario, name, pool, demand);
  if (std::string change = shortage.larger_share(); !change.empty()) return change;
  if (kind == MemoryEventKind::preemption) {
    if (std::string change = shortage.fewer_sequences(); !change.empty()) return change;
  }
  if (std::string change = shortage.narrow_kv(); !change.empty()) return change;
  return shortage.more_gpus();
}

}  // namespace moesim::serving
