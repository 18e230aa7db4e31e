// Where the time of a step goes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "models/cost/price.hpp"
#include "sim/core/time.hpp"

namespace moesim::execution {

// What a step spends its time on, along the path of the slowest rank.
enum class Part : std::uint8_t {
  attention,  // projections and attention kernels
  dense_ffn,
  routed_experts,
  shared_experts,
  router,
  dispatch_combine,
  all_reduce,         // and all-gather, reduce-scatter
  norms,              // norms, rotations, activations and other elementwise kernels
  embedding_head,     // embedding, output head, sampling
  host,               // host time that the GPU has to wait for
  hyper_connections,  // residual streams read, mixed and written (DeepSeek-V4)
  contention,  // kernel fidelity: kernels that wait for, or are slowed by, others that share a resource
};
inline constexpr std::size_t kParts = 12;
[[nodiscard]] std::string_view to_string(Part part);

inline constexpr std::size_t kLabels = 5;

// The time of one part, split two ways; both splits sum to it.
struct PartSplit {
  std::array<core::Duration, cost::kResources> by_resource{};
  std::array<core::Duration, kLabels> by_label{};
  // What its operators would take on the datasheet's peaks and bandwidths, each without any latency.
  core::Duration speed_of_light;
};

// Time along the slowest path, split three ways; each split sums to `total`.
struct StepTime {
  core::Duration total;
  std::array<core::Duration, kParts> by_part{};
  std::array<core::Duration, cost::kResources> by_resource{};  // the resource that binds each operator
  std::array<core::Duration, kLabels> by_label{};              // config::Label of the binding parameter
  std::array<PartSplit, kParts> splits{};
  // Rows of the slowest expert shard (by priced time) x number of shards, and rows of all shards, summed over
  // MoE layers: their ratio says how much more than the mean the slowest shard had.
  std::int64_t slowest_shard_rows = 0;
  std::int64_t all_shard_rows = 0;

  StepTime& operator+=(const StepTime& other);
};
[[nodiscard]] StepTime operator*(const StepTime& time, std::int64_t n);

// Adds `length` to a part, a resource and a label. Saturating, like all sums here: hardware may be described
// so slow that a step has no end, which the caller finds out.
void add(StepTime& time, core::Duration length, Part part, cost::Resource resource, config::Label label,
         core::Duration speed_of_light = {});
// Adds the time of an operator.
void add(StepTime& time, const cost::Price& price, Part part);

}  // namespace moesim::execution
