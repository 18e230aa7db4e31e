#include "models/cost/engine_profile.hpp"

#include <fmt/format.h>

#include "models/hardware/limits.hpp"

namespace moesim::cost {

namespace {

// In seconds. A step of 10^6 sequences still takes less than a run can last.
constexpr double kMaxHostTime = 3600;
constexpr double kMaxHostTimePerSequence = 1;
// 1 PiB, in bytes: sums of them stay far below 2^63.
constexpr double kMaxMemory = 0x1p50;

}  // namespace

const config::Record<SchedulerDefaults>& record_of(config::Type<SchedulerDefaults>) {
  using S = SchedulerDefaults;
  static const auto record =
      config::Record<S>("engine scheduler", "What the engine's scheduler does when nothing is said")
          .required("max_num_batched_tokens", &S::max_num_batched_tokens,
                    "Token budget of one step and DP rank", config::between(1, 1e7))
          .required("max_num_seqs", &S::max_num_seqs, "Running sequences per DP rank",
                    config::between(1, 1e6))
          .optional("memory_at_least", &S::memory_at_least,
                    "Memory of the GPUs for which these defaults are made")
          .optional("except", &S::except,
                    "GPUs with this in their name have other defaults, whatever their memory")
          .optional("otherwise", &S::otherwise, "The profile with the defaults of the other GPUs")
          .optional("chunked_prefill", &S::chunked_prefill,
                    "A prompt over the budget is cut; false: it is refused")
          .optional("mixed_steps", &S::mixed_steps,
                    "Prompts and decodes share a step; false: a step with prompts stalls the decodes")
          .optional("reserve_full_prompt", &S::reserve_full_prompt,
                    "A request is admitted only if its whole sequence fits in free KV blocks");
  return record;
}

const config::Record<KvDefaults>& record_of(config::Type<KvDefaults>) {
  static const auto record =
      config::Record<KvDefaults>("engine KV cache", "How the engine sizes and pages its KV cache")
          .required("block_tokens", &KvDefaults::block_tokens, "Tokens of one KV block",
                    config::between(1, 65536))
          .optional("budget_rule", &KvDefaults::budget_rule, "Which bytes the KV cache may take")
          .required("fraction", &KvDefaults::fraction, "The fraction of the rule", config::above_up_to(0, 1));
  return record;
}

const config::Record<HostCosts>& record_of(config::Type<HostCosts>) {
  static const auto record =
      config::Record<HostCosts>("engine host costs", "CPU time around the steps")
          .required("step_base", &HostCosts::step_base, "Scheduling and preparation of one step",
                    config::between(0, kMaxHostTime))
          .required("per_sequence", &HostCosts::per_sequence, "The same for each sequence of the step",
                    config::between(0, kMaxHostTimePerSequence))
          .optional("async", &HostCosts::async, "A step is prepared while the GPU runs the one before")
          .required("http", &HostCosts::http, "One way between the client and the engine's queue",
                    config::between(0, kMaxHostTime));
  return record;
}

const config::Record<GraphDefaults>& record_of(config::Type<GraphDefaults>) {
  static const auto record =
      config::Record<GraphDefaults>("engine graphs", "CUDA graphs of decode steps")
          .optional("decode_sizes", &GraphDefaults::decode_sizes, "Token counts with a graph, rising",
                    config::between(1, 65536))
          .optional("pad", &GraphDefaults::pad, "A decode step is padded up to the next size")
          .check([](const GraphDefaults& graphs, config::Problems& problems) {
            for (std::size_t i = 1; i < graphs.decode_sizes.size(); ++i) {
              if (graphs.decode_sizes[i] <= graphs.decode_sizes[i - 1]) {
                problems.error(fmt::format("/decode_sizes/{}", i), "graph sizes must rise");
              }
            }
          });
  return record;
}

const config::Record<CommunicationCosts>& record_of(config::Type<CommunicationCosts>) {
  using C = CommunicationCosts;
  static const auto record =
      config::Record<C>("engine communication", "Collectives of the engine and its libraries")
          .required("all_reduce_latency", &C::all_reduce_latency,
                    "Start-up of an all-reduce inside a domain, the crossing of the link included",
                    config::between(0, hardware::kMaxLinkLatency))
          .required("one_shot_latency_per_rank", &C::one_shot_latency_per_rank,
                    "One-shot all-reduce: more start-up for each further rank",
                    config::between(0, hardware::kMaxLinkLatency))
          .required("one_shot_fraction", &C::one_shot_fraction,
                    "Share of a link when every rank sends everything to every other",
                    config::above_up_to(0, 1))
          .required("all_reduce_fraction", &C::all_reduce_fraction,
                    "Share of a link that an all-reduce in two steps or a ring reaches",
                    config::above_up_to(0, 1))
          .required("in_switch_fraction", &C::in_switch_fraction,
                    "Share of a link that an all-reduce in the switch reaches", config::above_up_to(0, 1))
          .required("collective_latency", &C::collective_latency,
                    "Start-up of an all-gather, a reduce-scatter or a collective over several domains",
                    config::between(0, hardware::kMaxLinkLatency))
          .required("all_to_all_latency", &C::all_to_all_latency, "Start-up of one dispatch or combine",
                    config::between(0, hardware::kMaxLinkLatency))
          .required("all_to_all_latency_per_doubling", &C::all_to_all_latency_per_doubling,
                    "More start-up for each doubling of the ranks in a domain",
                    config::between(0, hardware::kMaxLinkLatency))
          .required("all_to_all_latency_per_node_doubling", &C::all_to_all_latency_per_node_doubling,
                    "More start-up for each doubling of the domains",
                    config::between(0, hardware::kMaxLinkLatency))
          .required("link_fraction", &C::link_fraction,
                    "Share of a scale-up link that the other collectives reach", config::above_up_to(0, 1))
          .required("network_fraction", &C::network_fraction, "Share of a NIC that collectives reach",
                    config::above_up_to(0, 1))
          .optional("all_to_all", &C::all_to_all, "How tokens of an MoE layer travel under DP attention")
          .required("exchange_tokens", &C::exchange_tokens,
                    "Tokens of one rank that the buffers of per-expert messages hold at a time",
                    config::at_least(1))
          .optional("multiprocessors", &C::multiprocessors,
                    "Multiprocessors (compute units) that the kernels of a collective hold while it runs; "
                    "counted at kernel fidelity. When absent none",
                    config::between(1, 4096));
  return record;
}

const config::Record<MemoryCosts>& record_of(config::Type<MemoryCosts>) {
  static const auto record =
      config::Record<MemoryCosts>("engine memory", "Device memory beside weights, activations and KV cache")
          .required("runtime", &MemoryCosts::runtime, "CUDA context, libraries and engine",
                    config::between(0, kMaxMemory))
          .optional("runtime_share", &MemoryCosts::runtime_share,
                    "What these take more on larger devices, as a share of the device's memory. When absent "
                    "nothing",
                    config::between(0, 1))
          .required("per_communicator", &MemoryCosts::per_communicator,
                    "Each communication group that a rank belongs to", config::between(0, kMaxMemory))
          .required("graphs", &MemoryCosts::graphs, "CUDA graphs", config::between(0, kMaxMemory))
          .optional("cudagraph_accounting", &MemoryCosts::cudagraph_accounting,
                    "Whether the KV cache leaves room for them")
          .optional("sampler_per_logit", &MemoryCosts::sampler_per_logit,
                    "Peak of the sampler for each logit of a step. When absent the bf16 row and an fp32 copy",
                    config::between(0, 4096))
          .optional("gemm_workspace", &MemoryCosts::gemm_workspace,
                    "Workspace of the GEMM library. When absent none", config::between(0, kMaxMemory))
          .optional(
              "latent_context_tokens", &MemoryCosts::latent_context_tokens,
              "Most cached tokens that latent attention gathers and expands at a time for a chunk of a "
              "prompt; fewer where 8 contexts or 4 blocks for each sequence are fewer. When absent none",
              config::between(0, 1 << 30))
          .optional("absorbed_weight", &MemoryCosts::absorbed_weight,
                    "Each weight of the second copy that is made of quantised up projections of latent "
                    "attention. When absent there is no copy",
                    config::between(0, 8))
          .optional("keeps_expert_buffers", &MemoryCosts::keeps_expert_buffers,
                    "Whether the buffers of the experts stay allocated while other layers and the sampler "
                    "run");
  return record;
}

bool made_for(const SchedulerDefaults& defaults, std::string_view gpu, core::Bytes memory) {
  const bool excepted = defaults.except && gpu.find(*defaults.except) != std::string_view::npos;
  return !excepted && (!defaults.memory_at_least || memory >= defaults.memory_at_least->value);
}

namespace {

// A suggestion for a JSON string.
std::string quoted(const std::string& text) { return text.empty() ? "" : fmt::format("\"{}\"", text); }

template <class T>
void check_source(const config::Sourced<T>& number, std::string_view pointer, const EngineProfile& engine,
                  config::Problems& problems) {
  if (number.overridden || engine.sources.contains(number.source)) return;
  std::vector<std::string> known;
  for (const auto& [id, text] : engine.sources) known.push_back(id);
  problems.error(fmt::format("{}/source", pointer),
                 fmt::format("\"{}\" is not in this file's \"sources\"", number.source),
                 quoted(config::nearest(number.source, known)), "unknown_source");
}

void check_sources(const EngineProfile& engine, config::Problems& problems) {
  check_source(engine.scheduler.max_num_batched_tokens, "/scheduler/max_num_batched_tokens", engine,
               problems);
  check_source(engine.scheduler.max_num_seqs, "/scheduler/max_num_seqs", engine, problems);
  if (engine.scheduler.memory_at_least) {
    check_source(*engine.scheduler.memory_at_least, "/scheduler/memory_at_least", engine, problems);
  }
  check_source(engine.kv.block_tokens, "/kv/block_tokens", engine, problems);
  check_source(engine.kv.fraction, "/kv/fraction", engine, problems);
  check_source(engine.host.step_base, "/host/step_base", engine, problems);
  check_source(engine.host.per_sequence, "/host/per_sequence", engine, problems);
  check_source(engine.host.http, "/host/http", engine, problems);
  const CommunicationCosts& comm = engine.comm;
  check_source(comm.all_reduce_latency, "/comm/all_reduce_latency", engine, problems);
  check_source(comm.one_shot_latency_per_rank, "/comm/one_shot_latency_per_rank", engine, problems);
  check_source(comm.one_shot_fraction, "/comm/one_shot_fraction", engine, problems);
  check_source(comm.all_reduce_fraction, "/comm/all_reduce_fraction", engine, problems);
  check_source(comm.in_switch_fraction, "/comm/in_switch_fraction", engine, problems);
  check_source(comm.collective_latency, "/comm/collective_latency", engine, problems);
  check_source(comm.all_to_all_latency, "/comm/all_to_all_latency", engine, problems);
  check_source(comm.all_to_all_latency_per_doubling, "/comm/all_to_all_latency_per_doubling", engine,
               problems);
  check_source(comm.all_to_all_latency_per_node_doubling, "/comm/all_to_all_latency_per_node_doubling",
               engine, problems);
  check_source(comm.link_fraction, "/comm/link_fraction", engine, problems);
  check_source(comm.network_fraction, "/comm/network_fraction", engine, problems);
  check_source(comm.exchange_tokens, "/comm/exchange_tokens", engine, problems);
  if (comm.multiprocessors) check_source(*comm.multiprocessors, "/comm/multiprocessors", engine, problems);
  check_source(engine.memory.runtime, "/memory/runtime", engine, problems);
  const MemoryCosts& memory = engine.memory;
  if (memory.runtime_share) check_source(*memory.runtime_share, "/memory/runtime_share", engine, problems);
  if (memory.sampler_per_logit) {
    check_source(*memory.sampler_per_logit, "/memory/sampler_per_logit", engine, problems);
  }
  if (memory.gemm_workspace) check_source(*memory.gemm_workspace, "/memory/gemm_workspace", engine, problems);
  if (memory.latent_context_tokens) {
    check_source(*memory.latent_context_tokens, "/memory/latent_context_tokens", engine, problems);
  }
  if (memory.absorbed_weight) {
    check_source(*memory.absorbed_weight, "/memory/absorbed_weight", engine, problems);
  }
  check_source(engine.memory.per_communicator, "/memory/per_communicator", engine, problems);
  check_source(engine.memory.graphs, "/memory/graphs", engine, problems);
}

}  // namespace

const config::Record<EngineProfile>& record_of(config::Type<EngineProfile>) {
  using E = EngineProfile;
  static const auto record =
      config::Record<E>("engine", "How a serving engine of one version behaves")
          .required("name", &E::name, "Its name", config::at_least(1))
          .required("version", &E::version, "The version whose defaults these are", config::at_least(1))
          .optional(
              "kernels", &E::kernels,
              "Kernel library whose measured times price its operators (hw_configs/kernels); left out: a "
              "roofline",
              config::at_least(1))
          .required("scheduler", &E::scheduler, "Scheduler defaults")
          .required("kv", &E::kv, "KV cache defaults")
          .required("host", &E::host, "Host costs")
          .optional("graphs", &E::graphs, "CUDA graphs")
          .required("comm", &E::comm, "Communication")
          .required("memory", &E::memory, "Memory beside weights and KV cache")
          .required("sources", &E::sources, "Where the numbers come from, by identifier")
          .check(check_sources);
  return record;
}

}  // namespace moesim::cost
