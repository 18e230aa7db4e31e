// What a serving run measured. Plain values; writers turn them into files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/llm/memory.hpp"
#include "sim/core/time.hpp"
#include "sim/core/units.hpp"
#include "sim/execution/kernel_executor.hpp"
#include "sim/execution/step_time.hpp"
#include "sim/serving/numerics.hpp"

namespace moesim::serving {

enum class RequestStatus : std::uint8_t {
  served,
  refused,     // never admitted; `reason` says why
  unfinished,  // the run was stopped before the request ended
};
[[nodiscard]] std::string_view to_string(RequestStatus status);

// One request from birth to end. Times are of the simulation's clock; -1 ps: did not happen.
struct RequestRow {
  std::int64_t id = 0;
  RequestStatus status = RequestStatus::unfinished;
  std::string reason;
  bool warmup = false;
  std::int64_t session = -1;
  std::int64_t replica = -1;
  std::int64_t dp_rank = -1;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;     // asked for
  std::int64_t generated_tokens = 0;  // delivered
  std::int64_t preemptions = 0;
  core::Time arrival;
  core::Time scheduled{-1};    // first time in a batch
  core::Time first_token{-1};  // as the client sees it
  core::Time finished{-1};     // last token, as the client sees it

  [[nodiscard]] core::Duration ttft() const { return first_token - arrival; }
  [[nodiscard]] core::Duration e2e() const { return finished - arrival; }
};

// One interval of the run, all replicas together.
struct TimeseriesRow {
  core::Time begin;
  core::Time end;
  std::int64_t arrivals = 0;
  std::int64_t finished = 0;
  std::int64_t prefill_tokens = 0;
  std::int64_t decode_tokens = 0;
  std::int64_t steps = 0;
  std::int64_t preemptions = 0;
  double mean_running = 0;         // sequences in a batch or waiting for their next step, time-weighted
  double mean_waiting = 0;         // requests that are not admitted, time-weighted
  double mean_kv_bytes = 0;        // KV blocks in use, all devices, time-weighted
  double busy_fraction = 0;        // share of replica time spent in steps
  double mean_kv_waste_bytes = 0;  // of the KV blocks in use what holds no token, time-weighted
  // Decisions of a rank that left a request at the head of its queue because KV blocks were missing.
  std::int64_t admission_stops = 0;
};

// Choices of one expert in one MoE layer over the run.
struct ExpertRow {
  std::int64_t layer = 0;
  std::int64_t expert = 0;
  std::int64_t tokens = 0;
};

// Tokens of a sequence beyond all that is asked for.
inline constexpr std::int64_t kMostSequenceTokens = 1'000'000'000'000;

// How the memory of one device of a pool is divided, in bytes.
struct MemoryBudget {
  std::string pool;
  std::int64_t devices = 0;  // that look like this
  core::Bytes total;         // usable, as the driver reports it
  core::Bytes weights;
  core::Bytes activations;  // peak of the largest step
  core::Bytes exchange_buffers;
  core::Bytes communicators;
  core::Bytes graphs;
  core::Bytes runtime;
  core::Bytes reserved;        // left unused by the budget rule
  core::Bytes kv_budget;       // what remains for KV blocks; negative: the model does not fit
  core::Bytes kv_peak;         // highest use during the run
  std::int64_t kv_blocks = 0;  // per data-parallel rank
  std::int64_t kv_block_tokens = 0;
  std::int64_t kv_bytes_per_token = 0;  // on this device, at long contexts
  std::int64_t kv_block_bytes = 0;      // of one block on this device
  std::int64_t kv_state_bytes = 0;      // of a sequence on this device, whatever its context
  // Context of one sequence that fills all blocks; kMostSequenceTokens where its cache stops growing.
  std::int64_t kv_longest_tokens = 0;
  // Sequences of `max_context_tokens` tokens that all blocks hold.
  std::int64_t kv_full_sequences = 0;
  std::int64_t max_context_tokens = 0;  // of the model
  std::int64_t kv_peak_blocks = 0;
  std::int64_t kv_peak_waste_bytes = 0;  // of the used blocks, without tokens, when most were in use
  std::vector<llm::KvRows> kv_groups;    // the kinds of rows of a sequence on this device
};

// Bytes of one part of the KV blocks of a pool's devices, and of them what holds no token: the mean over
// devices and time, and those of the worst device, the one that used most at any time.
struct KvPart {
  double mean_bytes = 0, mean_waste_bytes = 0;
  std::int64_t worst_bytes = 0, worst_waste_bytes = 0;
};

// The most that any device held of a part, and since when.
struct KvPeak {
  std::int64_t bytes = 0;
  core::Time at;
};

// What the blocks of one device held from a moment on; parts as in MemoryBin.
struct KvMoment {
  core::Time at;
  std::int64_t replica = 0;
  std::int64_t dp_rank = 0;
  std::int64_t used = 0;  // bytes of all parts
  std::vector<llm::KvBytes> parts{};
};

// A pool in one interval of the time series. The parts are the kinds of rows of its budget and the recurrent
// states; memory_stack() of memory_series.hpp has the whole device.
struct MemoryBin {
  std::size_t pool = 0;
  core::Time begin;
  core::Time end;
  std::vector<KvPart> kv;
};

// A pool over the run: means over the measured time, its fullest device of all times and most of each part.
struct MemoryUse {
  KvMoment fullest;
  std::vector<KvPart> kv;  // worst: at the fullest moment
  std::vector<KvPeak> peaks;
};

// The first time that requests had to wait for KV blocks, or lost theirs, in a pool.
enum class MemoryEventKind : std::uint8_t { stall, preemption };
[[nodiscard]] std::string_view to_string(MemoryEventKind kind);

struct MemoryEvent {
  MemoryEventKind kind = MemoryEventKind::stall;
  std::string pool;
  std::int64_t replica = 0;
  std::int64_t dp_rank = 0;
  std::int64_t request = 0;  // that waited, or the first that lost its blocks
  core::Time at;
  std::int64_t blocks_needed = 0;  // at the worst moment of the run: in use and waited for, on one rank
  std::string remedy;              // the smallest single change whose budget holds these
};

// Order statistics of a duration over the measured requests, in seconds.
struct Quantiles {
  std::int64_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};

// One rule of "slo" or "expect", and how it went.
struct RuleResult {
  std::string text;
  std::string metric;           // "ttft.p99"
  std::optional<double> value;  // in SI units; none if the run did not produce the metric
  double limit = 0;
  std::string unit;  // of both
  bool held = false;
};

// What ran at kernel fidelity.
struct KernelFacts {
  execution::KernelCounts steps;       // of the replicas
  execution::KernelCounts background;  // of background traffic; what was on its way at the end has not ended
  std::uint64_t activities = 0;        // pieces of work on shared resources
  std::uint64_t slowed = 0;            // times that one shared a resource which was too small for all
  std::uint64_t verified = 0;          // solutions of shared resources whose certificate was checked
};

// One law that was checked after the run.
struct CheckResult {
  std::string name;
  bool held = false;
  std::string detail;  // both sides
};

enum class RunEnd : std::uint8_t { complete, until, event_limit, wall_limit, time_limit, interrupted };
[[nodiscard]] std::string_view to_string(RunEnd end);

struct Results {
  RunEnd end = RunEnd::complete;
  core::Time clock_start;  // when measuring began (after warm-up)
  core::Time clock_end;    // last event of the run
  std::int64_t gpus = 0;

  std::vector<RequestRow> requests;  // in the order of ids
  std::vector<TimeseriesRow> timeseries;
  std::vector<ExpertRow> experts;          // by layer, then expert; empty without MoE layers
  std::vector<MemoryBudget> memory;        // one per pool
  std::vector<MemoryBin> memory_series;    // by interval of the time series, then pool
  std::vector<MemoryUse> memory_use;       // one per pool
  std::int64_t tightest = 0;               // index into memory
  std::vector<MemoryEvent> memory_events;  // in the order of time; stalls before preemptions
  // Over the measured time, all devices: blocks in use, and the part of them without tokens.
  double mean_kv_bytes = 0, mean_kv_waste_bytes = 0;

  std::int64_t served = 0, refused = 0, unfinished = 0;  // measured requests only
  // Of measured requests that got their first token, unfinished ones included.
  std::int64_t input_tokens = 0, generated_tokens = 0;
  std::int64_t preemptions = 0;
  std::int64_t steps = 0;
  Quantiles ttft, tpot, e2e, queueing, inter_token_max;
  double goodput_per_s = 0;  // requests per second that met every per-request SLO
  double requests_per_s = 0;
  double input_tokens_per_s = 0;
  double output_tokens_per_s = 0;
  double mean_running = 0, mean_waiting = 0, busy_fraction = 0;

  std::optional<KernelFacts> kernels;  // at kernel fidelity
  execution::StepTime step_time;       // sum over all steps of all replicas
  double expert_imbalance = 0;         // max / mean tokens per expert, mean over layers; 0 without MoE
  // Rows of the slowest expert shard / mean rows of a shard, over all steps; 0 without MoE. The slowest by
  // priced time: below 1 if a shard with fewer rows takes longer because they touch more experts.
  double slowest_expert_shard = 0;

  std::optional<double> gpu_hour_usd;
  std::string price_source;
  std::optional<double> cost_usd;           // of the measured time
  std::optional<double> cost_usd_per_mtok;  // per million tokens, input and output together
  std::optional<double> cost_usd_per_mtok_output;

  std::string binds;         // what limits the deployment, one sentence
  std::string binds_detail;  // what would help
  std::vector<RuleResult> slo;
  std::vector<RuleResult> expect;
  std::vector<CheckResult> checks;
  std::optional<NumericsCheck> numerics;  // where the scenario asks for it
  std::vector<std::string> warnings;
  std::uint64_t order_hash = 0;
  std::uint64_t events = 0;
  std::optional<bool> slo_met;  // none without rules in "slo": nothing was asked for
};

// A measured number with a name and a unit.
struct Metric {
  std::string name;  // "ttft.p99"
  double value = 0;
  std::string unit;  // "s", "1/s", "bytes", "usd", "ratio", "tokens", "count"
  bool lower_is_better = true;
};

// Every metric of the results, in a fixed order. Rules of "slo" and "expect" are about these names.
[[nodiscard]] std::vector<Metric> metrics(const Results& results);
// Names that rules may use, with unit and a sentence: what `describe metric` prints.
struct MetricInfo {
  std::string name;
  std::string unit;
  std::string sentence;
};
[[nodiscard]] std::vector<MetricInfo> metric_catalogue();

}  // namespace moesim::serving
