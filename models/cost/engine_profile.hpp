// How a serving engine of a given version behaves: its defaults, its host costs and its communication.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/config/record.hpp"

namespace moesim::cost {

// Which bytes the KV cache may take.
enum class BudgetRule : std::uint8_t {
  total_times_fraction,  // total x fraction - weights - activations - runtime (vLLM, SGLang)
  free_times_fraction,   // (total - weights - activations - runtime) x fraction (TensorRT-LLM)
};

// Whether the engine leaves room for its CUDA graphs.
enum class GraphAccounting : std::uint8_t {
  none,      // they take what the budget rule keeps free (vLLM before 0.21)
  profiled,  // estimated before, and part of the budget
};

// How tokens of an MoE layer travel under DP attention.
enum class AllToAll : std::uint8_t {
  all_gather_reduce_scatter,  // every rank gets every token; partial results are reduced and scattered
  per_expert_messages,        // one message per (token, expert), as DeepEP's low-latency mode sends them
};

struct SchedulerDefaults {
  config::Sourced<std::int64_t> max_num_batched_tokens;  // token budget of one step and DP rank
  config::Sourced<std::int64_t> max_num_seqs;            // running sequences per DP rank
  std::optional<config::Sourced<core::Bytes>>
      memory_at_least;                   // of the GPUs for which these defaults are made
  std::optional<std::string> except;     // part of the names of GPUs that have other defaults all the same
  std::optional<std::string> otherwise;  // the profile with the defaults of the other GPUs
  bool chunked_prefill = true;           // a prompt over the budget is cut; false: it is refused
  bool mixed_steps = true;               // prompts and decodes share a step; false: prompts stall the decodes
  bool reserve_full_prompt = true;  // a request is admitted only if its whole prompt fits in free KV blocks
};

struct KvDefaults {
  config::Sourced<std::int64_t> block_tokens;
  BudgetRule budget_rule = BudgetRule::total_times_fraction;
  config::Sourced<double> fraction;
};

struct HostCosts {
  config::Sourced<core::Duration> step_base;     // scheduling and preparation of one step
  config::Sourced<core::Duration> per_sequence;  // and for each sequence in it
  bool async = true;                             // prepared while the GPU runs the step before
  config::Sourced<core::Duration> http;          // one way between the client and the engine's queue
};

struct GraphDefaults {
  std::vector<std::int64_t> decode_sizes;  // token counts with a CUDA graph, rising; empty: none
  bool pad = true;                         // a decode step is padded up to the next size
};

struct CommunicationCosts {
  // All-reduce inside a domain: the engine's own kernels.
  config::Sourced<core::Duration> all_reduce_latency;         // start-up, the crossing of the link included
  config::Sourced<core::Duration> one_shot_latency_per_rank;  // more for each further rank
  config::Sourced<double> one_shot_fraction;    // share of a link when everyone sends everything to everyone
  config::Sourced<double> all_reduce_fraction;  // share of a link in two steps or a ring
  config::Sourced<double> in_switch_fraction;   // share of a link when the switch adds
  // All-gather, reduce-scatter and everything that crosses domains: the collective library.
  config::Sourced<core::Duration> collective_latency;  // start-up
  config::Sourced<double> link_fraction;               // share of a scale-up link
  config::Sourced<double> network_fraction;            // share of a NIC
  // One-sided messages from every rank to every other: dispatch and combine of an MoE layer.
  config::Sourced<core::Duration> all_to_all_latency;                    // start-up
  config::Sourced<core::Duration> all_to_all_latency_per_doubling;       // of the ranks in a domain
  config::Sourced<core::Duration> all_to_all_latency_per_node_doubling;  // of the domains
  AllToAll all_to_all = AllToAll::all_gather_reduce_scatter;
  config::Sourced<std::int64_t>
      exchange_tokens;  // tokens of one rank that the all-to-all buffers hold at a time
  // Multiprocessors that the kernels of a collective hold while it runs; none if not given.
  std::optional<config::Sourced<std::int64_t>> multiprocessors;
};

struct MemoryCosts {
  config::Sourced<core::Bytes> runtime;                  // CUDA context, libraries, engine
  std::optional<config::Sourced<double>> runtime_share;  // and so much of the device's memory more
  config::Sourced<core::Bytes> per_communicator;         // of each communication group that a rank belongs to
  config::Sourced<core::Bytes> graphs;                   // CUDA graphs
  GraphAccounting cudagraph_accounting = GraphAccounting::profiled;
  // Peak of the sampler for each logit: its copies in bf16 and fp32, sorted, with indices, as probabilities.
  std::optional<config::Sourced<core::Bytes>> sampler_per_logit;
  std::optional<config::Sourced<core::Bytes>> gemm_workspace;  // of the GEMM library
  // Most cached rows that a chunk of a prompt expands at a time in latent attention.
  std::optional<config::Sourced<std::int64_t>> latent_context_tokens;
  // Bytes of each weight of the second copy of latent up projections, see llm::absorbed_copy_bytes().
  std::optional<config::Sourced<core::Bytes>> absorbed_weight;
  bool keeps_expert_buffers = false;  // while other layers and the sampler run
};

struct EngineProfile {
  std::string name;
  std::string version;
  // Kernel library of hw_configs/kernels whose times price its operators; none: the first roofline.
  std::optional<std::string> kernels;
  SchedulerDefaults scheduler;
  KvDefaults kv;
  HostCosts host;
  GraphDefaults graphs;
  CommunicationCosts comm;
  MemoryCosts memory;
  std::map<std::string, std::string> sources;
};

// True if the scheduler's defaults are those of a GPU of this name and usable memory.
[[nodiscard]] bool made_for(const SchedulerDefaults& defaults, std::string_view gpu, core::Bytes memory);

[[nodiscard]] const config::Record<SchedulerDefaults>& record_of(config::Type<SchedulerDefaults>);
[[nodiscard]] const config::Record<KvDefaults>& record_of(config::Type<KvDefaults>);
[[nodiscard]] const config::Record<HostCosts>& record_of(config::Type<HostCosts>);
[[nodiscard]] const config::Record<GraphDefaults>& record_of(config::Type<GraphDefaults>);
[[nodiscard]] const config::Record<CommunicationCosts>& record_of(config::Type<CommunicationCosts>);
[[nodiscard]] const config::Record<MemoryCosts>& record_of(config::Type<MemoryCosts>);
[[nodiscard]] const config::Record<EngineProfile>& record_of(config::Type<EngineProfile>);

}  // namespace moesim::cost

namespace moesim::config {

template <>
struct CatalogueEntry<cost::EngineProfile> {
  static constexpr std::string_view folder = "hw_configs/engines";
  static constexpr std::string_view noun = "engine";
};

template <>
struct EnumNames<cost::BudgetRule> {
  using enum cost::BudgetRule;
  static constexpr EnumName<cost::BudgetRule> table[] = {
      {total_times_fraction, "total-times-fraction",
       "total memory x fraction - everything else (vLLM, SGLang)"},
      {free_times_fraction, "free-times-fraction", "(total - everything else) x fraction (TensorRT-LLM)"},
  };
};

template <>
struct EnumNames<cost::GraphAccounting> {
  using enum cost::GraphAccounting;
  static constexpr EnumName<cost::GraphAccounting> table[] = {
      {none, "none", "graphs take what the budget rule keeps free (vLLM before 0.21)"},
      {profiled, "profiled", "graphs are estimated before the KV cache is allocated, inside the budget"},
  };
};

template <>
struct EnumNames<cost::AllToAll> {
  using enum cost::AllToAll;
  static constexpr EnumName<cost::AllToAll> table[] = {
      {all_gather_reduce_scatter, "all-gather-reduce-scatter", "every rank gets every token"},
      {per_expert_messages, "per-expert-messages", "one message per token and expert (DeepEP low latency)"},
  };
};

}  // namespace moesim::config
