#include "sim/serving/memory_series.hpp"

#include <algorithm>

#include "sim/core/check.hpp"

namespace moesim::serving {

KvLedger::KvLedger(const Fleet& fleet, std::size_t pools, SystemState& state)
    : pools_(pools), by_group_(fleet.groups()), most_(fleet.groups()) {
  for (const FleetMember& member : fleet.members()) {
    PoolParts& pool = pools_[member.pool];
    pool.tp = member.tp;
    if (pool.groups == 0) pool.first_group = member.first_group;
    pool.groups += member.replica.groups().size();
    member.replica.for_each_rank([&](const EngineRank& rank) {
      pool.count = rank.kv_parts().size();
      ++pool.ranks;
    });
  }
  std::size_t parts = 0;
  for (PoolParts& pool : pools_) {
    pool.first = parts;
    parts += pool.count;
  }
  for (std::size_t group = 0; group < by_group_.size(); ++group) {
    by_group_[group].resize(pools_[fleet.members()[fleet.place(group).member].pool].count);
  }
  peaks_.resize(parts);
  state.kv.resize(parts);
  state.fullest.resize(pools);
}

// Of the ranks with most blocks in use the first.
void KvLedger::find_fullest(const Fleet& fleet, std::size_t pool, KvMoment& fullest) const {
  const PoolParts& own = pools_[pool];
  const auto first = most_.begin() + static_cast<std::ptrdiff_t>(own.first_group);
  const auto most = std::max_element(first, first + static_cast<std::ptrdiff_t>(own.groups));
  const Fleet::GroupPlace place = fleet.place(static_cast<std::size_t>(most - most_.begin()));
  const FleetMember& member = fleet.members()[place.member];
  const std::vector<EngineRank>& ranks = member.replica.groups()[place.group].ranks();
  const auto rank = std::max_element(
      ranks.begin(), ranks.end(),
      [](const EngineRank& a, const EngineRank& b) { return a.kv().used() < b.kv().used(); });
  fullest.replica = static_cast<std::int64_t>(place.member);
  fullest.dp_rank = static_cast<std::int64_t>(place.group * ranks.size()) + (rank - ranks.begin());
  fullest.used = *most * member.block_bytes;
  fullest.parts = rank->kv_parts();
}

void KvLedger::update(const Fleet& fleet, std::size_t group, core::Time now, SystemState& state) {
  const Fleet::GroupPlace place = fleet.place(group);
  const FleetMember& member = fleet.members()[place.member];
  const PoolParts& pool = pools_[member.pool];
  sum_.assign(pool.count, {});
  most_[group] = 0;
  for (const EngineRank& rank : member.replica.groups()[place.group].ranks()) {
    most_[group] = std::max(most_[group], rank.kv().used());
    for (std::size_t i = 0; i < pool.count; ++i) {
      const llm::KvBytes& part = rank.kv_parts()[i];
      sum_[i].used += part.used;
      sum_[i].held += part.held;
      KvPeak& peak = peaks_[pool.first + i];
      if (part.used > peak.bytes) peak = {part.used, now};
    }
  }
  for (std::size_t i = 0; i < pool.count; ++i) {
    llm::KvBytes& total = state.kv[pool.first + i];
    total.used += sum_[i].used - by_group_[group][i].used;
    total.held += sum_[i].held - by_group_[group][i].held;
  }
  by_group_[group] = sum_;
  find_fullest(fleet, member.pool, state.fullest[member.pool]);
}

namespace {

// The parts of one pool: means from integrals over `picoseconds`, the worst device from its moment.
std::vector<KvPart> parts_of(const PoolParts& pool, const std::vector<KvSum>& sums, double picoseconds,
                             const KvMoment& worst) {
  std::vector<KvPart> parts(pool.count);
  const double devices = picoseconds * static_cast<double>(pool.ranks);
  for (std::size_t i = 0; i < pool.count; ++i) {
    KvPart& part = parts[i];
    if (picoseconds > 0 && pool.first + i < sums.size()) {
      const KvSum& sum = sums[pool.first + i];
      part.mean_bytes = static_cast<double>(sum.used) / devices;
      part.mean_waste_bytes = static_cast<double>(sum.used - sum.held) / devices;
    }
    if (i < worst.parts.size()) {
      part.worst_bytes = worst.parts[i].used;
      part.worst_waste_bytes = worst.parts[i].used - worst.parts[i].held;
    }
  }
  return parts;
}

}  // namespace

void summarise_memory_series(const KvLedger& ledger, const Recorder& recorder, Results& results) {
  const std::vector<Recorder::MemoryInterval> intervals = recorder.memory();
  const KvMoment none;
  std::vector<KvMoment> fullest(ledger.pools().size());
  for (const Recorder::MemoryInterval& interval : intervals) {
    for (std::size_t pool = 0; pool < ledger.pools().size(); ++pool) {
      const KvMoment& worst = pool < interval.fullest->size() ? (*interval.fullest)[pool] : none;
      if (worst.used > fullest[pool].used) fullest[pool] = worst;
      const auto length = static_cast<double>((interval.end - interval.begin).ps);
      results.memory_series.push_back(
          {pool, interval.begin, interval.end, parts_of(ledger.pools()[pool], *interval.kv, length, worst)});
    }
  }
  const Recorder::Load load = recorder.load();
  for (std::size_t index = 0; index < ledger.pools().size(); ++index) {
    const PoolParts& pool = ledger.pools()[index];
    const auto first = ledger.peaks().begin() + static_cast<std::ptrdiff_t>(pool.first);
    results.memory_use.push_back({fullest[index],
                                  parts_of(pool, load.kv, load.picoseconds, fullest[index]),
                                  {first, first + static_cast<std::ptrdiff_t>(pool.count)}});
  }
}

namespace {

// `share` of `whole` of a part; whole rows have whole keys, so nothing is rounded.
MemoryPart cut(const MemoryPart& part, std::int64_t share, std::int64_t whole) {
  const auto real = [&](double bytes) {
    return bytes * static_cast<double>(share) / static_cast<double>(whole);
  };
  const auto exact = [&](std::int64_t bytes) { return bytes / whole * share; };
  return {part.category,
          {real(part.bytes.mean_bytes), real(part.bytes.mean_waste_bytes), exact(part.bytes.worst_bytes),
           exact(part.bytes.worst_waste_bytes)},
          {exact(part.peak.bytes), part.peak.at}};
}

}  // namespace

std::vector<MemoryPart> memory_stack(const MemoryBudget& budget, const std::vector<KvPart>& kv,
                                     const std::vector<KvPeak>& peaks) {
  std::vector<MemoryPart> stack;
  const auto constant = [&](const char* category, core::Bytes bytes) {
    if (bytes.value == 0) return;
    stack.push_back({category, {bytes.as_double(), 0, bytes.value, 0}, {bytes.value, {}}});
  };
  constant("weights", budget.weights);
  const std::vector<std::string> names = llm::kv_names(budget.kv_groups);
  core::check(kv.size() == names.size() + 1, "a series of memory with other parts than its budget");
  MemoryPart free{
      "kv_free", {budget.kv_budget.as_double(), 0, budget.kv_budget.value, 0}, {budget.kv_budget.value, {}}};
  for (std::size_t i = 0; i < kv.size(); ++i) {
    free.bytes.mean_bytes -= kv[i].mean_bytes;
    free.bytes.worst_bytes -= kv[i].worst_bytes;
    MemoryPart part{i < names.size() ? "kv_" + names[i] : "recurrent_state", kv[i],
                    i < peaks.size() ? peaks[i] : KvPeak{}};
    const llm::KvRows rows = i < names.size() ? budget.kv_groups[i] : llm::KvRows{};
    if (i == names.size() && budget.kv_state_bytes == 0) continue;
    if (rows.index_bytes == 0) {
      stack.push_back(std::move(part));
      continue;
    }
    stack.push_back(cut(part, rows.bytes - rows.index_bytes, rows.bytes));
    part.category += "_index_keys";
    stack.push_back(cut(part, rows.index_bytes, rows.bytes));
  }
  stack.push_back(std::move(free));
  constant("activations", budget.activations);
  constant("exchange_buffers", budget.exchange_buffers);
  constant("communicators", budget.communicators);
  constant("graphs", budget.graphs);
  constant("runtime", budget.runtime);
  constant("reserved", budget.reserved);
  return stack;
}

}  // namespace moesim::serving
