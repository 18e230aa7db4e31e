#include "sim/serving/step_trace.hpp"

#include <fmt/format.h>

#include <array>
#include <string>

namespace moesim::serving {

StepTrace::StepTrace(execution::Timeline* timeline, const Fleet& fleet) : timeline_(timeline) {
  if (timeline_ == nullptr) return;
  const auto cluster = timeline_->add_process("cluster");
  running_ = timeline_->add_counter(cluster, "running sequences", "sequences");
  waiting_ = timeline_->add_counter(cluster, "waiting requests", "requests");
  kv_use_ = timeline_->add_counter(cluster, "KV use", "%");
  category_ = timeline_->name("step");
  prefill_ = timeline_->name("prefill step");
  decode_ = timeline_->name("decode step");
  mixed_ = timeline_->name("mixed step");
  tokens_ = timeline_->name("tokens");
  sequences_ = timeline_->name("sequences");
  for (std::size_t i = 0; i < fleet.members().size(); ++i) {
    const FleetMember& member = fleet.members()[i];
    const auto& groups = member.replica.groups();
    for (std::size_t group = 0; group < groups.size(); ++group) {
      const std::string name =
          groups.size() > 1 ? fmt::format("replica {} group {}", i, group) : fmt::format("replica {}", i);
      tracks_.push_back(timeline_->add_track(timeline_->add_process(name), "steps"));
    }
    member.replica.for_each_rank([&](const EngineRank& rank) {
      kv_capacity_bytes_ += static_cast<double>(rank.kv().blocks()) *
                            static_cast<double>(member.block_bytes) * static_cast<double>(member.tp);
    });
  }
  steps_.resize(tracks_.size());
}

void StepTrace::count(const SystemState& held) {
  timeline_->count(running_, since_, static_cast<double>(held.running));
  timeline_->count(waiting_, since_, static_cast<double>(held.waiting));
  const double share = kv_capacity_bytes_ > 0 ? static_cast<double>(held.kv_bytes) / kv_capacity_bytes_ : 0.0;
  timeline_->count(kv_use_, since_, 100.0 * share);
}

void StepTrace::begin_step(std::size_t index, core::Time now, const StepGroup& group) {
  if (timeline_ == nullptr) return;
  Step step;
  step.begin = now;
  step.tokens = group.step_tokens();
  for (const EngineRank& rank : group.ranks()) step.sequences += rank.sequences_in_step();
  const std::int64_t decodes = group.step_decode_tokens();
  step.name = decodes == step.tokens ? decode_ : decodes == 0 ? prefill_ : mixed_;
  steps_[index] = step;
}

void StepTrace::add(std::size_t index, const Step& step, execution::Timeline::Name name, core::Time end) {
  const std::array<execution::Timeline::Argument, 2> arguments = {
      {{tokens_, step.tokens}, {sequences_, step.sequences}}};
  timeline_->slice(tracks_[index], name, category_, step.begin, end, {}, arguments);
}

void StepTrace::end_step(std::size_t index, core::Time now) {
  if (timeline_ == nullptr || !steps_[index]) return;
  add(index, *steps_[index], steps_[index]->name, now);
  steps_[index].reset();
}

void StepTrace::finish(core::Time now, const SystemState& held) {
  if (timeline_ == nullptr) return;
  count(held);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    if (!steps_[i]) continue;
    const std::string name = timeline_->names()[steps_[i]->name.index];
    add(i, *steps_[i], timeline_->name(name + " (not finished)"), now);
  }
}

}  // namespace moesim::serving
