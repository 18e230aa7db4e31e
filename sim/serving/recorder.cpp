#include "sim/serving/recorder.hpp"

#include <algorithm>

#include "sim/core/check.hpp"

namespace moesim::serving {

void Recorder::Integrals::add(const SystemState& state, core::Duration time) {
  running += core::Int128{state.running} * time.ps;
  waiting += core::Int128{state.waiting} * time.ps;
  kv_bytes += core::Int128{state.kv_bytes} * time.ps;
  kv_waste_bytes += core::Int128{state.kv_waste_bytes} * time.ps;
  busy += core::Int128{state.busy_groups} * time.ps;
  if (kv.size() < state.kv.size()) kv.resize(state.kv.size());
  for (std::size_t i = 0; i < state.kv.size(); ++i) {
    kv[i].used += core::Int128{state.kv[i].used} * time.ps;
    kv[i].held += core::Int128{state.kv[i].held} * time.ps;
  }
}

void Recorder::Integrals::add(const Integrals& other) {
  running += other.running;
  waiting += other.waiting;
  kv_bytes += other.kv_bytes;
  kv_waste_bytes += other.kv_waste_bytes;
  busy += other.busy;
  if (kv.size() < other.kv.size()) kv.resize(other.kv.size());
  for (std::size_t i = 0; i < other.kv.size(); ++i) {
    kv[i].used += other.kv[i].used;
    kv[i].held += other.kv[i].held;
  }
}

// Keeps the fullest device of each pool, the first of equals.
void Recorder::Interval::see(const std::vector<KvMoment>& later) {
  if (fullest.size() < later.size()) fullest.resize(later.size());
  for (std::size_t pool = 0; pool < later.size(); ++pool) {
    if (later[pool].used > fullest[pool].used) fullest[pool] = later[pool];
  }
}

void Recorder::Interval::see(const std::vector<KvMoment>& held, core::Time from) {
  if (fullest.size() < held.size()) fullest.resize(held.size());
  for (std::size_t pool = 0; pool < held.size(); ++pool) {
    if (held[pool].used <= fullest[pool].used) continue;
    fullest[pool] = held[pool];
    fullest[pool].at = from;
  }
}

void Recorder::join_neighbours() {
  length_ = length_ * 2;
  std::vector<Interval> joined((intervals_.size() + 1) / 2);
  for (std::size_t i = 0; i < intervals_.size(); ++i) {
    Interval& into = joined[i / 2];
    const Interval& from = intervals_[i];
    into.integrals.add(from.integrals);
    into.see(from.fullest);
    into.counts.arrivals += from.counts.arrivals;
    into.counts.finished += from.counts.finished;
    into.counts.prefill_tokens += from.counts.prefill_tokens;
    into.counts.decode_tokens += from.counts.decode_tokens;
    into.counts.steps += from.counts.steps;
    into.counts.preemptions += from.counts.preemptions;
    into.counts.admission_stops += from.counts.admission_stops;
  }
  intervals_ = std::move(joined);
}

Recorder::Interval& Recorder::interval_at(core::Time time) {
  auto index = static_cast<std::size_t>(time.ps / length_.ps);
  while (index >= kMaxRows) {
    join_neighbours();
    index = static_cast<std::size_t>(time.ps / length_.ps);
  }
  if (index >= intervals_.size()) intervals_.resize(index + 1);
  return intervals_[index];
}

void Recorder::advance(core::Time now, const SystemState& held) {
  core::check(now >= now_, "the recorder goes back in time");
  while (now_ < now) {
    Interval& interval = interval_at(now_);
    const core::Time end{(now_.ps / length_.ps + 1) * length_.ps};
    const core::Duration piece = std::min(now, end) - now_;
    interval.integrals.add(held, piece);
    interval.see(held.fullest, now_);
    total_.add(held, piece);
    now_ += piece;
  }
}

void Recorder::open_window() {
  if (window_open_) return;
  window_open_ = true;
  window_begin_ = {now_, total_};
  window_end_ = window_begin_;
}

void Recorder::close_window() {
  window_end_.at = now_;
  window_end_.sums = total_;  // in the room that it has
}

Recorder::Load Recorder::load() const {
  const auto time = static_cast<double>((window_end_.at - window_begin_.at).ps);
  if (time <= 0) return {};
  const auto mean = [&](core::Int128 Integrals::*sum) {
    return static_cast<double>(window_end_.sums.*sum - window_begin_.sums.*sum) / time;
  };
  Load load{mean(&Integrals::running), mean(&Integrals::waiting),
            mean(&Integrals::busy) / static_cast<double>(groups_), mean(&Integrals::kv_bytes),
            mean(&Integrals::kv_waste_bytes)};
  load.picoseconds = time;
  load.kv = window_end_.sums.kv;
  for (std::size_t i = 0; i < window_begin_.sums.kv.size(); ++i) {
    load.kv[i].used -= window_begin_.sums.kv[i].used;
    load.kv[i].held -= window_begin_.sums.kv[i].held;
  }
  return load;
}

void Recorder::count_step(std::int64_t prefill_tokens, std::int64_t decode_tokens) {
  TimeseriesRow& row = at_end();
  ++row.steps;
  row.prefill_tokens += prefill_tokens;
  row.decode_tokens += decode_tokens;
}

core::Time Recorder::end_of(core::Time begin) const {
  return std::min(core::Time{begin.ps + length_.ps}, std::max(now_, begin));
}

std::vector<Recorder::MemoryInterval> Recorder::memory() const {
  std::vector<MemoryInterval> memory;
  for (std::size_t i = 0; i < intervals_.size(); ++i) {
    const core::Time begin{static_cast<std::int64_t>(i) * length_.ps};
    memory.push_back({begin, end_of(begin), &intervals_[i].integrals.kv, &intervals_[i].fullest});
  }
  return memory;
}

std::vector<TimeseriesRow> Recorder::rows() const {
  std::vector<TimeseriesRow> rows;
  for (std::size_t i = 0; i < intervals_.size(); ++i) {
    TimeseriesRow row = intervals_[i].counts;
    row.begin = {static_cast<std::int64_t>(i) * length_.ps};
    row.end = end_of(row.begin);
    const auto length = static_cast<double>((row.end - row.begin).ps);
    if (length > 0) {
      const Integrals& sums = intervals_[i].integrals;
      row.mean_running = static_cast<double>(sums.running) / length;
      row.mean_waiting = static_cast<double>(sums.waiting) / length;
      row.mean_kv_bytes = static_cast<double>(sums.kv_bytes) / length;
      row.mean_kv_waste_bytes = static_cast<double>(sums.kv_waste_bytes) / length;
      row.busy_fraction = static_cast<double>(sums.busy) / length / static_cast<double>(groups_);
    }
    rows.push_back(row);
  }
  return rows;
}

}  // namespace moesim::serving
