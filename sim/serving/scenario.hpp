// The scenario of a serving run: one JSON document, read into values.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/cost/engine_profile.hpp"
#include "models/cost/kernel_library.hpp"
#include "models/hardware/cluster.hpp"
#include "models/llm/architecture.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "models/routing/popularity.hpp"
#include "sim/config/record.hpp"
#include "sim/execution/disturbances.hpp"
#include "sim/serving/numerics.hpp"
#include "workloads/workload.hpp"

namespace moesim::serving {

enum class Kind : std::uint8_t { serving };
enum class Fidelity : std::uint8_t { step, kernel };
enum class Mode : std::uint8_t { aggregated };  // prefill and decode in the same replicas
enum class Role : std::uint8_t { mixed };
enum class Balancer : std::uint8_t { round_robin, least_loaded };

// Replicas of one kind.
struct Pool {
  Role role = Role::mixed;
  std::int64_t replicas = 1;
  std::int64_t tp = 1;
  std::int64_t pp = 1;
  std::int64_t ep = 1;
  std::int64_t dp_attention = 1;
  std::int64_t cp = 1;
  std::int64_t dcp = 1;
  bool sequence_parallel = false;

  [[nodiscard]] llm::Layout layout() const { return {tp, dp_attention, ep, pp, cp, dcp, sequence_parallel}; }
};

// What a scenario may change of the engine's scheduler.
struct SchedulerSettings {
  std::optional<std::int64_t> max_num_batched_tokens;
  std::optional<std::int64_t> max_num_seqs;
};

// The number formats that a scenario asks for; see Scenario::formats for what stands in their place.
struct FormatSettings {
  std::optional<llm::NumberFormat> weights;
  std::optional<llm::NumberFormat> attention_weights;
  std::optional<llm::NumberFormat> dense_weights;
  std::optional<llm::NumberFormat> activations;
  llm::NumberFormat kv = llm::NumberFormat::bf16;
};

struct Deployment {
  cost::EngineProfile engine;
  Mode mode = Mode::aggregated;
  std::map<std::string, Pool> pools;
  FormatSettings formats;
  SchedulerSettings scheduler;
  Balancer balancer = Balancer::round_robin;
  std::int64_t micro_batches = 1;  // of a step, side by side; more than one only at kernel fidelity
};

struct MemorySettings {
  std::optional<double> utilization;  // instead of the engine's fraction
  std::optional<cost::BudgetRule> rule;
};

struct KvSettings {
  std::optional<std::int64_t> block_tokens;
};

struct Prices {
  std::optional<core::Usd> gpu_hour;  // instead of the GPU file's rental price
};

struct Scenario {
  std::int64_t version = 1;
  Kind kind = Kind::serving;
  std::string name;
  std::string description;
  hardware::Cluster cluster;
  llm::Architecture model;
  Deployment deployment;
  workloads::Workload workload;
  routing::Routing routing;
  MemorySettings memory;
  KvSettings kv;
  std::vector<std::string> slo;     // "ttft.p99 <= 1 s"
  std::vector<std::string> expect;  // the same form, on any metric of the results
  Prices prices;
  Fidelity fidelity = Fidelity::step;
  NumericsSettings numerics;
  std::vector<execution::Fault> faults;        // only at kernel fidelity
  std::vector<execution::Traffic> background;  // likewise
  std::int64_t seed = 1;
  // The engine's kernels on this node's GPU: not in the file, but looked up for it (sim/studies). None: the
  // first roofline prices operators.
  std::shared_ptr<const cost::KernelLibrary> kernels{};
  // The collective library (NCCL) on it; none: the costs of the engine's profile.
  std::shared_ptr<const cost::KernelLibrary> collectives{};

  // The formats of the run. Weights: what is asked for, else the format in which the model was published.
  // Activations: what is asked for, else that of the weights, or bf16 where the GPU cannot multiply it
  // (kernels then widen the weights).
  [[nodiscard]] llm::Formats formats() const;
};

[[nodiscard]] const config::Record<Pool>& record_of(config::Type<Pool>);
[[nodiscard]] const config::Record<FormatSettings>& record_of(config::Type<FormatSettings>);
[[nodiscard]] const config::Record<SchedulerSettings>& record_of(config::Type<SchedulerSettings>);
[[nodiscard]] const config::Record<Deployment>& record_of(config::Type<Deployment>);
[[nodiscard]] const config::Record<MemorySettings>& record_of(config::Type<MemorySettings>);
[[nodiscard]] const config::Record<KvSettings>& record_of(config::Type<KvSettings>);
[[nodiscard]] const config::Record<Prices>& record_of(config::Type<Prices>);
[[nodiscard]] const config::Record<NumericsSettings>& record_of(config::Type<NumericsSettings>);
[[nodiscard]] const config::Record<Scenario>& record_of(config::Type<Scenario>);

}  // namespace moesim::serving

namespace moesim::config {

template <>
struct EnumNames<serving::Kind> {
  static constexpr EnumName<serving::Kind> table[] = {
      {serving::Kind::serving, "serving", "requests on a cluster"}};
};
template <>
struct EnumNames<serving::Fidelity> {
  static constexpr EnumName<serving::Fidelity> table[] = {
      {serving::Fidelity::step, "step", "the time of a step is summed from operator times; no contention"},
      {serving::Fidelity::kernel, "kernel",
       "every operator of every rank is an activity on streams that share SMs, HBM and links; "
       "contention is a result"}};
};
template <>
struct EnumNames<serving::Mode> {
  static constexpr EnumName<serving::Mode> table[] = {
      {serving::Mode::aggregated, "aggregated", "prefill and decode in the same replicas"}};
};
template <>
struct EnumNames<serving::Role> {
  static constexpr EnumName<serving::Role> table[] = {{serving::Role::mixed, "mixed", "prefill and decode"}};
};
template <>
struct EnumNames<serving::Balancer> {
  static constexpr EnumName<serving::Balancer> table[] = {
      {serving::Balancer::round_robin, "round-robin", "each replica in turn"},
      {serving::Balancer::least_loaded, "least-loaded",
       "the replica with the least 4 x waiting + running (vLLM)"}};
};

}  // namespace moesim::config
