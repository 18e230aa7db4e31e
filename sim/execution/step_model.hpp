// The time of one step at `step` fidelity: operator times summed without events, equal ranks and layers
// folded, equal batches remembered. Contention between kernels is not modelled.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "models/cost/price.hpp"
#include "models/llm/batch.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "models/routing/popularity.hpp"

namespace moesim::execution {

// What a step spends its time on, along the path of the slowest rank.
enum class Part : std::uint8_t {
  attention,  // projections and attention kernels
  dense_ffn,
  routed_experts,
  shared_experts,
  router,
  dispatch_combine,
  all_reduce,      // and all-gather, reduce-scatter
  norms,           // norms and other elementwise kernels
  embedding_head,  // embedding, output head, sampling
  host,            // host time that the GPU has to wait for
};
inline constexpr std::size_t kParts = 10;
[[nodiscard]] std::string_view to_string(Part part);

inline constexpr std::size_t kLabels = 5;

// Time along the slowest path, split three ways; each split sums to `total`.
struct StepTime {
  core::Duration total;
  std::array<core::Duration, kParts> by_part{};
  std::array<core::Duration, cost::kResources> by_resource{};  // the resource that binds each operator
  std::array<core::Duration, kLabels> by_label{};              // config::Label of the binding parameter
  // Rows of the slowest expert shard (by priced time) x number of shards, and rows of all shards, summed over
  // MoE layers: their ratio says how much more than the mean the slowest shard had.
  std::int64_t slowest_shard_rows = 0;
  std::int64_t all_shard_rows = 0;

  StepTime& operator+=(const StepTime& other);
};

// Everything a replica's step time depends on.
struct ReplicaSetup {
  llm::Architecture architecture;
  llm::Layout layout;
  llm::Formats formats;
  cost::EngineProfile engine;
  hardware::Gpu gpu;
  hardware::GroupProfile tensor_group;  // tp ranks of one data-parallel rank
  hardware::GroupProfile data_group;    // dp ranks with one tensor rank
  hardware::GroupProfile expert_group;  // ranks of the expert all-to-all
  routing::Popularity popularity = routing::LognormalPopularity{};
  cost::LinkLabels link_labels;
  std::uint64_t seed = 0;
  std::int64_t block_tokens = 64;  // attention is priced in whole blocks of context
};

struct StepOptions {
  bool memo = true;  // remember priced batches
  bool fold = true;  // price equal layers once; false: layer by layer, rank by rank
};

// The load of the slowest expert shard at a number of tokens.
struct ShardLoad {
  std::vector<std::int64_t> rows_by_expert;  // of the slowest shard
  std::int64_t rows = 0;                     // sum of them
};

class StepModel {
 public:
  StepModel(ReplicaSetup setup, StepOptions options);
  ~StepModel();
  StepModel(StepModel&&) noexcept;
  StepModel& operator=(StepModel&&) noexcept;

  // The time of one step: one batch per data-parallel rank (none empty: an idle rank runs a dummy token), in
  // the routing epoch `epoch`. A pure function of its arguments: memo and folding change no bit of it.
  [[nodiscard]] StepTime price(std::span<const llm::RankBatch> ranks, std::int64_t epoch);

  [[nodiscard]] const llm::BatchRule& batch_rule() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moesim::execution
