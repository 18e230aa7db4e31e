#include "sim/core/flow_network.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::core {
namespace {

constexpr int kRateFractionBits = 20;
// Beyond this a class's virtual time starts anew: the end of a further flow, at most 2^122 later, and the
// progress that reaches it must fit in 127 bits.
constexpr Int128 kLatestProgress = static_cast<Int128>(1) << 125;

// Units of work in virtual time.
Int128 virtual_work(std::int64_t work) {
  return (static_cast<Int128>(work) * kPicosecondsPerSecond) << kRateFractionBits;
}

// Units per second, rounded down to the fixed point.
Int128 fixed_rate(double rate) {
  check(rate <= FlowNetwork::kMaximumRate, "the rate of a flow is out of range");
  return static_cast<Int128>(std::ldexp(rate, kRateFractionBits));
}

// growth / rate, rounded up. Most quotients fit the processor's own division.
Int128 ticks_for(Int128 growth, Int128 rate) { return (growth + rate - 1) / rate; }

}  // namespace

std::uint32_t FlowNetwork::add_resource(double capacity) { return network_.add_resource(capacity); }

std::uint32_t FlowNetwork::add_class(std::span<const ResourceUse> uses, double bound, double weight) {
  const std::uint32_t id = network_.add_class(uses, bound, weight);
  classes_.emplace_back();
  completion_.push_back(kEndOfTime);
  if (completion_.size() > block_first_.size() * kBlock) {
    block_first_.push_back(kEndOfTime);
    block_stale_.push_back(0);
  }
  return id;
}

void FlowNetwork::redefine_class(std::uint32_t flow_class, std::span<const ResourceUse> uses, double bound,
                                 double weight) {
  check(flow_class < classes_.size(), "a class of flows that does not exist");
  Class& one = classes_[flow_class];
  check(one.tree.empty(), "a class that has flows is redefined");
  network_.set_flows(flow_class, 0);  // its last flow may have gone since rates were solved
  network_.redefine_class(flow_class, uses, bound, weight);
  one.rate = 0;
}

void FlowNetwork::set_capacity(Time now, std::uint32_t resource, double capacity) {
  move_clock(now);
  network_.set_capacity(resource, capacity);
  unsettled_ = true;
}

void FlowNetwork::add(Time now, std::uint32_t flow_class, std::uint32_t id, std::int64_t work) {
  check(flow_class < classes_.size(), "a class of flows that does not exist");
  check(id < kMaximumFlows, "the id of a flow passes 20 bits");
  check(work >= 0 && work <= kMaximumWork, "the work of a flow is out of range");
  check(!active(id), "a flow with this id is active");
  move_clock(now);
  if (id >= flows_.size()) {
    flows_.resize(id + std::size_t{1});
    ends_.reserve_id(id);
  }
  Class& one = classes_[flow_class];
  if (one.tree.empty()) {
    one.progress = 0;
    one.since = now;
  } else if (progress_at(one, now) > kLatestProgress) {
    start_virtual_time_anew(one, now);
  }
  flows_[id] = {work, flow_class};
  ends_.finish[id] = progress_at(one, now) + virtual_work(work);
  one.tree.push(ends_, id);
  ++size_;
  touch(flow_class);
}

std::int64_t FlowNetwork::remove(Time now, std::uint32_t id) {
  check(active(id), "a flow that is not active is removed");
  move_clock(now);
  const std::int64_t left = work_left(id, now);
  take_out(id);
  served_ += flows_[id].work - left;
  return left;
}

Time FlowNetwork::next_completion() {
  settle();
  return first_completion();
}

const std::vector<std::uint32_t>& FlowNetwork::complete(Time now) {
  ended_.clear();
  move_clock(now);
  settle();
  if (first_completion() > now) return ended_;
  for (std::size_t block = 0; block < block_first_.size(); ++block) {
    if (block_first_[block] > now) continue;
    const std::size_t last = std::min(classes_.size(), (block + 1) * kBlock);
    for (std::size_t i = block * kBlock; i < last; ++i) {
      if (completion_[i] > now) continue;
      Class& one = classes_[i];
      const Int128 progress = progress_at(one, now);
      while (!one.tree.empty() && ends_.finish[one.tree.first()] <= progress) {
        const std::uint32_t id = one.tree.first();
        served_ += flows_[id].work;
        ended_.push_back(id);
        take_out(id);
      }
    }
  }
  return ended_;
}

std::int64_t FlowNetwork::remaining(Time now, std::uint32_t id) {
  check(active(id), "the remainder of a flow that is not active");
  settle();
  check(now >= clock_ && now <= first_completion(), "the remainder of a flow at an instant out of order");
  return work_left(id, now);
}

bool FlowNetwork::active(std::uint32_t id) const { return ends_.in_tree(id); }

// Shifts the virtual times of a class that never empties so that its progress reads 0: differences, and so
// all results, stay as they are.
void FlowNetwork::start_virtual_time_anew(Class& one, Time now) {
  const Int128 progress = progress_at(one, now);
  one.tree.for_each([&](std::uint32_t id) { ends_.finish[id] -= progress; });
  one.tree.refresh(ends_);
  one.progress = 0;
  one.since = now;
}

// Rates hold from one instant of changes to the next: before the clock moves on, they are solved.
void FlowNetwork::move_clock(Time now) {
  check(now >= clock_, "a flow network is changed in its past");
  if (now == clock_) return;
  settle();
  check(now <= first_completion(), "a completion of a flow network was missed");
  clock_ = now;
}

void FlowNetwork::touch(std::uint32_t flow_class) {
  unsettled_ = true;
  Class& one = classes_[flow_class];
  if (one.touched) return;
  one.touched = true;
  touched_.push_back(flow_class);
}

// Solves the rates for what changed at clock_.
void FlowNetwork::settle() {
  if (!unsettled_) return;
  unsettled_ = false;
  for (const std::uint32_t id : touched_) {
    network_.set_flows(id, static_cast<std::int64_t>(classes_[id].tree.size()));
  }
  for (const std::uint32_t id : network_.solve()) rerate(id);
  for (const std::uint32_t id : touched_) {
    classes_[id].touched = false;
    predict(id);
  }
  if (verify_every_ > 0 && ++unverified_ >= verify_every_) verify();
  touched_.clear();
}

void FlowNetwork::verify_every(std::uint32_t n) {
  verify_every_ = n;
  unverified_ = n > 0 ? n - 1 : 0;
}

// Also that a class whose flows changed goes on at the rate that was solved.
void FlowNetwork::verify() {
  unverified_ = 0;
  network_.verify(touched_);
  for (const std::uint32_t id : touched_) {
    const Class& one = classes_[id];
    check(one.tree.empty() || one.rate == fixed_rate(network_.rate(id)),
          "flows go on at another rate than the one solved");
  }
  ++verified_;
}

void FlowNetwork::rerate(std::uint32_t flow_class) {
  Class& one = classes_[flow_class];
  one.progress = progress_at(one, clock_);
  one.since = clock_;
  one.rate = fixed_rate(network_.rate(flow_class));
  predict(flow_class);
}

// When the first flow of a class ends at the present rate.
void FlowNetwork::predict(std::uint32_t flow_class) {
  const Class& one = classes_[flow_class];
  Time at = kEndOfTime;
  if (!one.tree.empty()) {
    const Int128 growth = ends_.finish[one.tree.first()] - one.progress;
    if (growth <= 0) {
      at = std::max(one.since, clock_);
    } else if (one.rate > 0) {
      const Int128 ticks = ticks_for(growth, one.rate);
      if (ticks < kEndOfTime.ps - one.since.ps) at = {one.since.ps + static_cast<std::int64_t>(ticks)};
    }
  }
  if (completion_[flow_class] == at) return;
  completion_[flow_class] = at;
  block_stale_[flow_class / kBlock] = 1;
}

Int128 FlowNetwork::progress_at(const Class& one, Time now) const {
  return one.progress + one.rate * (now - one.since).ps;
}

std::int64_t FlowNetwork::work_left(std::uint32_t id, Time now) const {
  const Int128 growth = ends_.finish[id] - progress_at(classes_[flows_[id].flow_class], now);
  if (growth <= 0) return 0;
  return static_cast<std::int64_t>(ticks_for(growth, virtual_work(1)));
}

Time FlowNetwork::first_completion() {
  Time first = kEndOfTime;
  for (std::size_t block = 0; block < block_first_.size(); ++block) {
    if (block_stale_[block] != 0) {
      block_stale_[block] = 0;
      const auto begin = completion_.begin() + static_cast<std::ptrdiff_t>(block * kBlock);
      const auto end = completion_.begin() +
                       static_cast<std::ptrdiff_t>(std::min(completion_.size(), (block + 1) * kBlock));
      block_first_[block] = *std::min_element(begin, end);
    }
    first = std::min(first, block_first_[block]);
  }
  return first;
}

void FlowNetwork::take_out(std::uint32_t id) {
  const std::uint32_t flow_class = flows_[id].flow_class;
  classes_[flow_class].tree.remove(ends_, id);
  --size_;
  touch(flow_class);
}

}  // namespace moesim::core
