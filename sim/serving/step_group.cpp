#include "sim/serving/step_group.hpp"

#include <algorithm>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::serving {

StepGroup::StepGroup(StepCosts costs, const cost::EngineProfile& engine, const RankRules& rules,
                     std::int64_t ranks, std::int64_t kv_blocks, std::vector<hardware::DeviceIndex> devices,
                     std::int64_t micro_batches)
    : costs_(std::move(costs)),
      engine_(&engine),
      micro_batches_(static_cast<std::size_t>(micro_batches)),
      devices_(std::move(devices)) {
  core::check(micro_batches == 1 || costs_.planner, "micro-batches need kernel fidelity");
  for (std::int64_t rank = 0; rank < ranks; ++rank) ranks_.emplace_back(rules, kv_blocks);
}

void StepGroup::pad(std::vector<llm::RankBatch>& batches) const {
  std::int64_t fullest = 0;
  for (const llm::RankBatch& batch : batches) fullest = std::max(fullest, batch.tokens);
  const auto& sizes = engine_->graphs.decode_sizes;
  const auto size = std::lower_bound(sizes.begin(), sizes.end(), fullest);
  if (!engine_->graphs.pad || size == sizes.end()) return;
  for (llm::RankBatch& batch : batches) batch.tokens = *size;
}

core::Duration StepGroup::host_time(std::int64_t sequences) const {
  return engine_->host.step_base.value + sequences * engine_->host.per_sequence.value;
}

StepGroup::Choice StepGroup::choose() {
  Choice choice;
  lanes_ = micro_batches_;
  batches_.resize(ranks_.size() * lanes_);
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    const auto own = std::span<llm::RankBatch>(batches_).subspan(rank * lanes_, lanes_);
    const std::int64_t sequences = ranks_[rank].schedule(costs_.batch_rule(), own);
    if (sequences == 0) continue;
    choice.most_sequences = std::max(choice.most_sequences, sequences);
    choice.fewest_sequences = std::min(choice.fewest_sequences, sequences);
    choice.decodes_only = choice.decodes_only && ranks_[rank].decodes_only();
  }
  if (choice.fewest_sequences < static_cast<std::int64_t>(lanes_)) join_micro_batches();
  return choice;
}

void StepGroup::join_micro_batches() {
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    llm::RankBatch sum;
    for (std::size_t lane = 0; lane < lanes_; ++lane) sum += batches_[rank * lanes_ + lane];
    batches_[rank] = sum;
  }
  lanes_ = 1;
  batches_.resize(ranks_.size());
}

void StepGroup::take_arrivals() {
  for (EngineRank& rank : ranks_) rank.take_arrivals();
}

bool StepGroup::choose_step(bool back_to_back) {
  core::check(!busy_, "ranks start a step while one is running");
  bool prepared = engine_->host.async && back_to_back;
  if (!prepared) take_arrivals();
  Choice choice = choose();
  take_arrivals();
  if (prepared && choice.most_sequences == 0) {
    // There was nothing to prepare: the engine looks again when the step before has ended.
    prepared = false;
    choice = choose();
  }
  if (choice.most_sequences == 0) return false;
  for (llm::RankBatch& batch : batches_) {
    if (batch.tokens == 0) llm::add_chunk(batch, {1, 0, true}, costs_.batch_rule());
  }
  if (choice.decodes_only) pad(batches_);
  const core::Duration host = host_time(choice.most_sequences);
  const core::Duration hidden = prepared ? gpu_time_ : core::Duration{};
  exposed_host_ = std::max(core::Duration{}, host - hidden);
  busy_ = true;
  return true;
}

execution::StepTime StepGroup::price(std::int64_t epoch) const {
  return costs_.model->price(batches_, epoch);
}

execution::KernelProgram StepGroup::plan(std::int64_t epoch) const {
  return costs_.planner->plan(batches_, lanes_, epoch, devices_);
}

execution::StepTime StepGroup::set_gpu_time(const execution::StepTime& gpu) {
  gpu_time_ = gpu.total;
  execution::StepTime time = gpu;
  execution::add(time, exposed_host_, execution::Part::host, cost::Resource::latency,
                 engine_->host.per_sequence.label);
  return time;
}

void StepGroup::finish_step(std::vector<TokenOut>& out) {
  core::check(busy_, "ranks end a step that was not started");
  busy_ = false;
  for (EngineRank& rank : ranks_) rank.finish_step(out);
}

namespace {

template <class Value>
std::int64_t sum_over(const std::vector<EngineRank>& ranks, Value value) {
  std::int64_t sum = 0;
  for (const EngineRank& rank : ranks) sum += value(rank);
  return sum;
}

}  // namespace

std::int64_t StepGroup::step_tokens() const {
  return sum_over(ranks_, [](const EngineRank& rank) { return rank.step_tokens(); });
}
std::int64_t StepGroup::step_decode_tokens() const {
  return sum_over(ranks_, [](const EngineRank& rank) { return rank.step_decode_tokens(); });
}

}  // namespace moesim::serving
