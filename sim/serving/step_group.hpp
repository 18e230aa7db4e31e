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
#include "sim/execution/step_model.hpp"
#include "sim/serving/engine_rank.hpp"

namespace moesim::serving {

class StepGroup {
 public:
  StepGroup(std::shared_ptr<execution::StepModel> model, const cost::EngineProfile& engine,
            const RankRules& rules, std::int64_t ranks, std::int64_t kv_blocks);

  void enqueue(std::size_t rank, const Sequence& sequence) { ranks_[rank].enqueue(sequence); }
  // Chooses and prices the next step; false if no rank has anything to run. Needs !busy(). With an async
  // engine the host prepares a step while the GPU runs the one before, if they are `back_to_back`: its time
  // hides behind that one, and sequences that arrived after that one started join only the step after this.
  [[nodiscard]] bool start_step(std::int64_t epoch, bool back_to_back);
  // Ends the running step.
  void finish_step(std::vector<TokenOut>& out);

  [[nodiscard]] bool busy() const { return busy_; }
  [[nodiscard]] const execution::StepTime& step_time() const { return step_time_; }  // of the running step
  [[nodiscard]] const std::vector<EngineRank>& ranks() const { return ranks_; }
  // Real tokens of the running step, without dummies and padding.
  [[nodiscard]] std::int64_t step_tokens() const;
  [[nodiscard]] std::int64_t step_decode_tokens() const;

 private:
  struct Choice {
    std::int64_t most_sequences = 0;  // of any rank
    bool decodes_only = true;
  };
  [[nodiscard]] Choice choose();
  void take_arrivals();
  void pad(std::vector<llm::RankBatch>& batches) const;
  [[nodiscard]] core::Duration host_time(std::int64_t sequences) const;

  std::shared_ptr<execution::StepModel> model_;
  const cost::EngineProfile* engine_;
  std::vector<EngineRank> ranks_;
  std::vector<llm::RankBatch> batches_;
  bool busy_ = false;
  execution::StepTime step_time_;
  core::Duration gpu_time_;  // of the running step, or of the last one
};

}  // namespace moesim::serving
