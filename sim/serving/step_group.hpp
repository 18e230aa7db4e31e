// Data-parallel ranks of one engine that step together, and the time of their steps.
//
// Every rank has its own queue, KV pool and batch. A step starts when any rank has work; an idle rank runs a
// dummy token. A decode-only step is padded to the graph size of the fullest rank on all of them (vLLM:
// padding to the largest rank under graphs).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "models/cost/engine_profile.hpp"
#include "sim/execution/kernel_planner.hpp"
#include "sim/execution/step_model.hpp"
#include "sim/serving/engine_rank.hpp"

namespace moesim::serving {

// What the steps of a group are run with. Groups that see the same links share it.
struct StepCosts {
  std::shared_ptr<execution::StepModel> model;        // at step fidelity
  std::shared_ptr<execution::KernelPlanner> planner;  // at kernel fidelity

  [[nodiscard]] const llm::BatchRule& batch_rule() const {
    return model ? model->batch_rule() : planner->batch_rule();
  }
};

class StepGroup {
 public:
  // `devices`: one per rank, the tensor ranks of a data-parallel rank side by side.
  // A step runs as so many micro-batches side by side if every rank with work has a sequence for each, else
  // as one; more than one only at kernel fidelity.
  StepGroup(StepCosts costs, const cost::EngineProfile& engine, const RankRules& rules, std::int64_t ranks,
            std::int64_t kv_blocks, std::vector<hardware::DeviceIndex> devices,
            std::int64_t micro_batches = 1);

  void enqueue(std::size_t rank, const Sequence& sequence) { ranks_[rank].enqueue(sequence); }
  // Chooses the next step; false if no rank has anything to run. Needs !busy(). With an async engine the host
  // prepares a step while the GPU runs the one before, if they are `back_to_back`: its time hides behind that
  // one, and sequences that arrived after that one started join only the step after this.
  [[nodiscard]] bool choose_step(bool back_to_back);
  // Of the chosen step: host time that the GPU waits for before it.
  [[nodiscard]] core::Duration exposed_host_time() const { return exposed_host_; }
  // The time of the chosen step on the GPU, at step fidelity, or what the ranks do in it, at kernel fidelity.
  [[nodiscard]] execution::StepTime price(std::int64_t epoch) const;
  [[nodiscard]] execution::KernelProgram plan(std::int64_t epoch) const;
  // Tells how long the step takes on the GPU; returns it with the host's time.
  execution::StepTime set_gpu_time(const execution::StepTime& gpu);
  // Ends the running step.
  void finish_step(std::vector<TokenOut>& out);

  [[nodiscard]] bool busy() const { return busy_; }
  [[nodiscard]] const std::vector<EngineRank>& ranks() const { return ranks_; }
  // Real tokens of the running step, without dummies and padding.
  [[nodiscard]] std::int64_t step_tokens() const;
  [[nodiscard]] std::int64_t step_decode_tokens() const;

 private:
  struct Choice {
    std::int64_t most_sequences = 0;            // of any rank
    std::int64_t fewest_sequences = INT64_MAX;  // of any rank with work
    bool decodes_only = true;
  };
  [[nodiscard]] Choice choose();
  void take_arrivals();
  void join_micro_batches();
  void pad(std::vector<llm::RankBatch>& batches) const;
  [[nodiscard]] core::Duration host_time(std::int64_t sequences) const;

  StepCosts costs_;
  const cost::EngineProfile* engine_;
  std::vector<EngineRank> ranks_;
  std::size_t micro_batches_ = 1;
  std::size_t lanes_ = 1;                // micro-batches of the chosen step
  std::vector<llm::RankBatch> batches_;  // those of a rank side by side
  std::vector<hardware::DeviceIndex> devices_;
  bool busy_ = false;
  core::Duration exposed_host_;
  core::Duration gpu_time_;  // of the last step whose time is known
};

}  // namespace moesim::serving
