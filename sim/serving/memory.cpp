#include "sim/serving/memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "sim/serving/engine_rank.hpp"
#include "sim/serving/simulate.hpp"

namespace moesim::serving {

namespace {

// vLLM's blocks of DeepSeek-V4 hold 256 tokens, two entries of its largest ratio (vLLM blog, 2026-04-24);
// smaller ones would be pages of one entry that is mostly empty. 1 for other models.
std::int64_t least_block_tokens(const llm::Architecture& model) {
  std::int64_t least = 1;
  for (const llm::LayerGroup& group : model.layers) {
    if (const auto* pooled = std::get_if<llm::CompressedAttention>(&group.attention)) {
      least = std::max(least, 2 * pooled->ratio);
    }
  }
  return least;
}

}  // namespace

EffectiveLimits effective_limits(const Scenario& scenario) {
  const cost::EngineProfile& engine = scenario.deployment.engine;
  const SchedulerSettings& own = scenario.deployment.scheduler;
  return {own.max_num_batched_tokens.value_or(engine.scheduler.max_num_batched_tokens.value),
          own.max_num_seqs.value_or(engine.scheduler.max_num_seqs.value),
          scenario.kv.block_tokens.value_or(
              std::max(engine.kv.block_tokens.value, least_block_tokens(scenario.model)))};
}

namespace {

// Groups of more than one rank that a rank belongs to: tensor, data and expert communicators.
std::int64_t communicators(const llm::Layout& layout) {
  return (layout.tp > 1 ? 1 : 0) + (layout.dp > 1 ? 1 : 0) + (layout.dcp > 1 ? 1 : 0) +
         (layout.ep > 1 && layout.dp > 1 ? 1 : 0);
}

// CUDA context, libraries and engine.
core::Bytes runtime_bytes(const cost::MemoryCosts& costs, core::Bytes total) {
  const double share = costs.runtime_share ? costs.runtime_share->value : 0.0;
  return costs.runtime.value + core::Bytes{static_cast<std::int64_t>(share * total.as_double())};
}

// Activations and workspace of the largest step.
core::Bytes activation_bytes(const Scenario& scenario, const llm::Layout& layout,
                             const EffectiveLimits& limits) {
  const cost::MemoryCosts& costs = scenario.deployment.engine.memory;
  llm::StepShape largest{limits.max_num_batched_tokens,
                         std::min(limits.max_num_seqs, limits.max_num_batched_tokens)};
  if (costs.sampler_per_logit) largest.sampler_bytes = costs.sampler_per_logit->value.value;
  if (costs.latent_context_tokens) {
    // vLLM's rule for the workspace of chunked prompts.
    largest.latent_context_rows = std::min(
        std::max(8 * scenario.model.max_context_tokens, 4 * limits.max_num_seqs * limits.kv_block_tokens),
        costs.latent_context_tokens->value);
  }
  largest.keeps_expert_buffers = costs.keeps_expert_buffers;
  const core::Bytes peak{llm::activation_peak_bytes(scenario.model, layout, scenario.formats(), largest)};
  return costs.gemm_workspace ? peak + costs.gemm_workspace->value : peak;
}

// What an engine holds of the weights: themselves, and copies that it makes at load time.
core::Bytes resident_weights(const Scenario& scenario, const llm::Layout& layout) {
  const llm::Formats formats = scenario.formats();
  const core::Bytes own{llm::weight_bytes_per_rank(scenario.model, layout, formats).total()};
  const auto& each = scenario.deployment.engine.memory.absorbed_weight;
  if (!each) return own;
  return own + core::Bytes{llm::absorbed_copy_bytes(scenario.model, layout, formats, each->value.value)};
}

core::Bytes share_of(core::Bytes bytes, double fraction) {
  return core::Bytes{static_cast<std::int64_t>(std::floor(bytes.as_double() * fraction))};
}

}  // namespace

void divide_rest(MemoryBudget& budget, cost::BudgetRule rule, double fraction, cost::GraphAccounting graphs) {
  const core::Bytes used = budget.weights + budget.activations + budget.exchange_buffers +
                           budget.communicators + budget.graphs + budget.runtime;
  const core::Bytes uncounted = graphs == cost::GraphAccounting::none ? budget.graphs : core::Bytes{};
  if (rule == cost::BudgetRule::total_times_fraction) {
    budget.reserved = budget.total - share_of(budget.total, fraction) - uncounted;
  } else {
    const core::Bytes free = std::max(core::Bytes{}, budget.total - used + uncounted);
    budget.reserved = free - share_of(free, fraction) - uncounted;
  }
  budget.kv_budget = budget.total - used - budget.reserved;
}

void count_blocks(MemoryBudget& budget, const llm::KvPages& pages) {
  budget.kv_block_bytes = pages.unit_bytes();
  budget.kv_blocks = 0;
  budget.kv_longest_tokens = budget.kv_full_sequences = 0;
  if (budget.kv_budget.value <= 0 || budget.reserved.value < 0) return;
  budget.kv_blocks = budget.kv_budget.value / budget.kv_block_bytes;
  budget.kv_longest_tokens = pages.longest(budget.kv_blocks, kMostSequenceTokens);
  const std::int64_t full = pages.units(budget.max_context_tokens);
  budget.kv_full_sequences = full > 0 ? budget.kv_blocks / full : 0;
  // Room for a part of what one sequence takes at least is no room.
  if (budget.kv_longest_tokens == 0) budget.kv_blocks = 0;
}

MemoryBudget memory_budget(const Scenario& scenario, const std::string& name, const Pool& pool) {
  const cost::EngineProfile& engine = scenario.deployment.engine;
  const llm::Layout layout = pool.layout();
  const llm::Formats formats = scenario.formats();
  const EffectiveLimits limits = effective_limits(scenario);
  MemoryBudget budget;
  budget.pool = name;
  budget.devices = pool.replicas * layout.ranks();
  budget.total = scenario.cluster.node.gpu.hbm.usable_capacity.value;
  budget.weights = resident_weights(scenario, layout);
  budget.activations = activation_bytes(scenario, layout, limits);
  if (engine.comm.all_to_all == cost::AllToAll::per_expert_messages) {
    const auto buffers =
        llm::exchange_buffers(scenario.model, layout, formats,
                              std::min(engine.comm.exchange_tokens.value, limits.max_num_batched_tokens));
    budget.exchange_buffers = {buffers.dispatch_bytes + buffers.combine_bytes};
  }
  budget.communicators = engine.memory.per_communicator.value * communicators(layout);
  budget.graphs = engine.graphs.decode_sizes.empty() ? core::Bytes{} : engine.memory.graphs.value;
  budget.runtime = runtime_bytes(engine.memory, budget.total);
  divide_rest(budget, scenario.memory.rule.value_or(engine.kv.budget_rule),
              scenario.memory.utilization.value_or(engine.kv.fraction.value),
              engine.memory.cudagraph_accounting);
  budget.kv_block_tokens = limits.kv_block_tokens;
  budget.kv_bytes_per_token = llm::kv_bytes_per_token_per_rank(scenario.model, layout, formats.kv);
  budget.kv_state_bytes = llm::state_bytes(scenario.model, layout);
  budget.kv_groups = llm::kv_rows(scenario.model, layout, formats.kv);
  budget.max_context_tokens = scenario.model.max_context_tokens;
  count_blocks(budget, llm::KvPages(scenario.model, layout, formats.kv, limits.kv_block_tokens));
  return budget;
}

namespace {

std::string gib(core::Bytes bytes) {
  return fmt::format("{:.1f} GiB", bytes.as_double() / static_cast<double>(std::int64_t{1} << 30));
}

// The part that takes most besides the weights, and what makes it smaller.
struct LargestTerm {
  std::string words;
  std::string remedy;
  core::Bytes bytes;
};

constexpr std::string_view kMoreMemory = "a GPU with more memory";

// Activations follow the sampler's rows, the tokens of a step, or neither (cached rows of a long context).
LargestTerm activation_term(const Scenario& scenario, const MemoryBudget& budget, const Pool& pool) {
  const auto halves = [&](std::optional<std::int64_t> SchedulerSettings::*setting) {
    Scenario changed = scenario;
    changed.deployment.scheduler.*setting = 1;
    return 2 * memory_budget(changed, budget.pool, pool).activations.value < budget.activations.value;
  };
  const EffectiveLimits limits = effective_limits(scenario);
  if (halves(&SchedulerSettings::max_num_seqs)) {
    return {fmt::format("activations of steps with logits of {} sequences",
                        std::min(limits.max_num_seqs, limits.max_num_batched_tokens)),
            "a smaller deployment.scheduler.max_num_seqs", budget.activations};
  }
  const std::string words = fmt::format("activations of steps of {} tokens", limits.max_num_batched_tokens);
  if (!halves(&SchedulerSettings::max_num_batched_tokens))
    return {words, std::string(kMoreMemory), budget.activations};
  return {words, "a smaller deployment.scheduler.max_num_batched_tokens", budget.activations};
}

LargestTerm largest_term(const Scenario& scenario, const MemoryBudget& budget, const Pool& pool) {
  const double fraction = scenario.memory.utilization.value_or(scenario.deployment.engine.kv.fraction.value);
  const std::int64_t tokens = effective_limits(scenario).max_num_batched_tokens;
  const LargestTerm terms[] = {
      {fmt::format("what the budget rule keeps free (memory.utilization {})", fraction),
       "a larger memory.utilization", budget.reserved},
      activation_term(scenario, budget, pool),
      {fmt::format("exchange buffers for steps of {} tokens", tokens),
       "a smaller deployment.scheduler.max_num_batched_tokens", budget.exchange_buffers},
      {"communicators", "fewer parallel groups", budget.communicators},
      {"CUDA graphs", "an engine without graphs", budget.graphs},
      {"the engine's runtime", std::string(kMoreMemory), budget.runtime}};
  return *std::max_element(std::begin(terms), std::end(terms),
                           [](const LargestTerm& a, const LargestTerm& b) { return a.bytes < b.bytes; });
}

// A setting of the scenario that takes memory, and what it does.
struct Setting {
  std::string words;
  void (*reset)(Scenario&);
};

std::vector<Setting> own_settings(const Scenario& scenario, const MemoryBudget& now) {
  const cost::EngineProfile& engine = scenario.deployment.engine;
  const SchedulerSettings& scheduler = scenario.deployment.scheduler;
  std::vector<Setting> settings;
  if (scenario.memory.utilization) {
    settings.push_back(
        {fmt::format("memory.utilization {} keeps {} free: with the engine's {}",
                     *scenario.memory.utilization, gib(now.reserved), engine.kv.fraction.value),
         [](Scenario& changed) { changed.memory.utilization.reset(); }});
  }
  if (scheduler.max_num_seqs) {
    settings.push_back(
        {fmt::format("max_num_seqs {} needs {} for activations: with the engine's {}",
                     *scheduler.max_num_seqs, gib(now.activations), engine.scheduler.max_num_seqs.value),
         [](Scenario& changed) { changed.deployment.scheduler.max_num_seqs.reset(); }});
  }
  if (scheduler.max_num_batched_tokens) {
    settings.push_back(
        {fmt::format("max_num_batched_tokens {} needs {} for activations and buffers: with the engine's {}",
                     *scheduler.max_num_batched_tokens, gib(now.activations + now.exchange_buffers),
                     engine.scheduler.max_num_batched_tokens.value),
         [](Scenario& changed) { changed.deployment.scheduler.max_num_batched_tokens.reset(); }});
  }
  return settings;
}

// The scenario's own settings are to blame if the pool fits with those of the engine. Names the fewest that
// have to go, or "".
std::string blamed_setting(const Scenario& scenario, const std::string& name, const Pool& pool) {
  const std::vector<Setting> settings = own_settings(scenario, memory_budget(scenario, name, pool));
  for (std::size_t count = 1; count <= settings.size(); ++count) {
    for (std::uint32_t chosen = 1; chosen < 1U << settings.size(); ++chosen) {
      if (static_cast<std::size_t>(std::popcount(chosen)) != count) continue;
      Scenario changed = scenario;
      std::string words;
      for (std::size_t i = 0; i < settings.size(); ++i) {
        if ((chosen >> i & 1U) == 0) continue;
        settings[i].reset(changed);
        words += (words.empty() ? "" : ", and ") + settings[i].words;
      }
      if (memory_budget(changed, name, pool).kv_blocks > 0)
        return words + (count == 1 ? " it fits" : ", it fits");
    }
  }
  return "";
}

}  // namespace

std::string memory_remedy(const Scenario& scenario, const std::string& name, const Pool& pool) {
  if (std::string blamed = blamed_setting(scenario, name, pool); !blamed.empty()) return blamed;
  const std::int64_t devices = hardware::device_count(scenario.cluster);
  const auto fits = [&](const Pool& candidate) {
    return llm::run_problems(scenario.model, candidate.layout()).empty() &&
           memory_budget(scenario, name, candidate).kv_blocks > 0;
  };
  for (std::int64_t factor = 2; factor <= 1024; factor *= 2) {
    Pool wider = pool;
    wider.tp *= factor;
    wider.ep = pool.ep > 1 ? pool.ep * factor : 1;
    Pool spread = pool;
    spread.dp_attention *= factor;
    spread.ep *= factor;
    const auto describe = [&](const Pool& p) {
      const std::int64_t gpus = p.replicas * p.layout().ranks();
      return fmt::format("tp {}, dp_attention {}, ep {} fits: {} GPUs{}", p.tp, p.dp_attention, p.ep, gpus,
                         gpus > devices ? fmt::format(" (the cluster has {})", devices) : "");
    };
    if (fits(wider)) return describe(wider);
    if (fits(spread)) return describe(spread);
  }
  const MemoryBudget budget = memory_budget(scenario, name, pool);
  const LargestTerm term = largest_term(scenario, budget, pool);
  const std::string remedy = term.bytes > budget.weights ? term.remedy : "smaller number formats";
  return fmt::format(
      "no larger tp, dp_attention or ep makes room: use {} (the largest part besides the weights is {}, {})",
      remedy == kMoreMemory ? remedy : fmt::format("{} or {}", remedy, kMoreMemory), term.words,
      gib(term.bytes));
}

std::vector<MemoryBudget> memory_budgets(const Scenario& scenario) {
  std::vector<MemoryBudget> budgets;
  for (const auto& [name, pool] : scenario.deployment.pools)
    budgets.push_back(memory_budget(scenario, name, pool));
  return budgets;
}

}  // namespace moesim::serving
