#include "workloads/spread_ties.hpp"

#include <algorithm>
#include <utility>

#include "sim/core/random.hpp"
#include "workloads/streams.hpp"
#include "workloads/time_limit.hpp"

namespace moesim::workloads {

bool SpreadTies::next(TraceRecord& record) {
  if (given_ == group_.size()) read_group();
  if (given_ == group_.size()) return false;
  record = std::move(group_[given_++]);
  return true;
}

config::InputError SpreadTies::error_at_arrival(std::string code, std::string message,
                                                std::string suggestion) const {
  config::Diagnostic problem;
  problem.code = std::move(code);
  problem.pointer = "/workload/trace";
  problem.message = std::move(message);
  problem.suggestion = std::move(suggestion);
  config::Diagnostics all;
  all.add(std::move(problem));
  return {config::SourceSet{}, std::move(all)};
}

void SpreadTies::read_group() {
  if (!started_) {
    started_ = true;
    has_ahead_ = reader_->next(ahead_);
  }
  number_ += group_.size();
  group_.clear();
  given_ = 0;
  if (!has_ahead_) return;
  const core::Time tick = ahead_.arrival;
  while (has_ahead_ && ahead_.arrival == tick) {
    group_.push_back(std::move(ahead_));
    has_ahead_ = reader_->next(ahead_);
  }
  if (has_ahead_) last_gap_ = ahead_.arrival - tick;
  // Of a group at the very last instant nothing can come later.
  const core::Duration gap = std::min(last_gap_, kLatestArrival - tick);
  if (group_.size() > 1 && gap.ps > 0) spread(gap);
}

void SpreadTies::spread(core::Duration gap) {
  std::vector<std::int64_t> offsets;
  for (std::size_t i = 0; i < group_.size(); ++i) {
    core::Draws draws(seed_, kSpreadTiesStream, number_ + i);
    offsets.push_back(core::draw_integer(draws, 0, gap.ps - 1));
  }
  std::sort(offsets.begin(), offsets.end());
  for (std::size_t i = 0; i < group_.size(); ++i) group_[i].arrival += core::Duration{offsets[i]};
}

}  // namespace moesim::workloads
