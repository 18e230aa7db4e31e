// The time of one step at `step` fidelity: operator times summed without events, equal ranks and layers
// folded, equal batches remembered. Contention between kernels is not modelled.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "models/llm/batch.hpp"
#include "sim/execution/replica_setup.hpp"
#include "sim/execution/step_time.hpp"

namespace moesim::execution {

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
