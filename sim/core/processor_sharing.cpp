#include "sim/core/processor_sharing.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::core {
namespace {

constexpr int kFractionBits = 64;
constexpr UInt128 kLimbMask = UINT64_MAX;

// A whole number of 192 bits in limbs, the highest first: the exact intermediate of a product and a quotient.
using Wide = std::array<std::uint64_t, 3>;

// value / divisor, rounded up; the quotient must fit in 127 bits.
UInt128 divide_up(const Wide& value, std::uint64_t divisor) {
  UInt128 remainder = 0;
  Wide quotient{};
  for (std::size_t i = 0; i < value.size(); ++i) {
    const UInt128 part = (remainder << 64) | value[i];
    if (part < divisor) {  // a division takes some 20 ns, and the first one or two are often of this kind
      remainder = part;
      continue;
    }
    const UInt128 digit = part / divisor;
    quotient[i] = static_cast<std::uint64_t>(digit);
    remainder = part - digit * divisor;
  }
  check(quotient[0] == 0 && (quotient[1] >> 63) == 0, "a quotient in virtual time passes 127 bits");
  const UInt128 result = (static_cast<UInt128>(quotient[1]) << 64) | quotient[2];
  return remainder == 0 ? result : result + 1;
}

// Weight times picoseconds per second: fits in 64 bits because the weight is at most 2^24.
std::uint64_t weight_ticks(std::int64_t weight) {
  return static_cast<std::uint64_t>(weight) * static_cast<std::uint64_t>(kPicosecondsPerSecond);
}

}  // namespace

ProcessorSharing::ProcessorSharing(std::int64_t capacity) : capacity_(capacity) {
  check(capacity > 0, "the capacity of a shared resource must be positive");
}

void ProcessorSharing::add(Time now, std::uint32_t id, std::int64_t weight, std::int64_t work) {
  check(id < kMaximumActivities, "the id of an activity passes 20 bits");
  check(work >= 0 && work <= kMaximumWork, "the work of an activity is out of range");
  check(weight > 0 && weight <= kMaximumWeight - total_weight_, "the weight of an activity is out of range");
  check(!active(id), "an activity with this id is active");
  move_clock(now);
  const auto growth =
      static_cast<Int128>((static_cast<UInt128>(work) << kFractionBits) / static_cast<UInt128>(weight));
  constexpr Int128 kHalfRange = static_cast<Int128>(1) << 126;
  if (virtual_clock_ >= kHalfRange - growth) {
    start_virtual_time_anew();
  }
  if (id >= activities_.size()) {
    activities_.resize(id + std::size_t{1});
    ends_.reserve_id(id);
  }
  activities_[id] = {work, weight};
  ends_.finish[id] = virtual_clock_ + growth;
  tree_.push(ends_, id);
  total_weight_ += weight;
}

std::int64_t ProcessorSharing::remove(Time now, std::uint32_t id) {
  check(active(id), "an activity that is not active is removed");
  move_clock(now);
  const std::int64_t left = work_left(id, virtual_clock_);
  take_out(id);
  served_ += activities_[id].work - left;
  return left;
}

Time ProcessorSharing::next_completion() const {
  if (!next_known_) {
    next_ = predict();
    next_known_ = true;
  }
  return next_;
}

Time ProcessorSharing::predict() const {
  if (tree_.empty()) {
    return kEndOfTime;
  }
  const Int128 growth = ends_.finish[tree_.first()] - virtual_clock_;
  if (growth <= 0) {
    return clock_;
  }
  // ceil(growth * W * 10^12 / (capacity * 2^64)): the low limb of the product only matters as "more than
  // nothing".
  const UInt128 factor = weight_ticks(total_weight_);
  const UInt128 low = (static_cast<UInt128>(growth) & kLimbMask) * factor;
  const UInt128 high = (static_cast<UInt128>(growth) >> 64) * factor + (low >> 64);
  const UInt128 numerator = high + ((low & kLimbMask) != 0 ? 1U : 0U);
  const auto divisor = static_cast<UInt128>(capacity_);
  const UInt128 whole = numerator / divisor;
  const UInt128 ticks = whole + (whole * divisor != numerator ? 1U : 0U);
  check(ticks <= static_cast<UInt128>(INT64_MAX - clock_.ps), "a completion passes 2^63 picoseconds");
  return {clock_.ps + static_cast<std::int64_t>(ticks)};
}

const std::vector<std::uint32_t>& ProcessorSharing::complete(Time now) {
  ended_.clear();
  check_clock(now);
  // Without an end nothing changes: virtual time must not be rounded here.
  if (tree_.empty() || now < next_completion()) {
    return ended_;
  }
  move_clock(now);
  while (!tree_.empty() && ends_.finish[tree_.first()] <= virtual_clock_) {
    const std::uint32_t id = tree_.first();
    served_ += activities_[id].work;
    ended_.push_back(id);
    take_out(id);
  }
  return ended_;
}

std::int64_t ProcessorSharing::remaining(Time now, std::uint32_t id) const {
  check(active(id), "the remainder of an activity that is not active");
  check_clock(now);
  return work_left(id, virtual_at(now));
}

bool ProcessorSharing::active(std::uint32_t id) const { return ends_.in_tree(id); }

void ProcessorSharing::move_clock(Time now) {
  check_clock(now);
  next_known_ = false;  // whoever moves the clock changes the set
  if (now == clock_ && !tree_.empty()) {
    return;
  }
  virtual_clock_ = virtual_at(now);
  if (!tree_.empty()) {
    busy_ += now - clock_;
  }
  clock_ = now;
}

void ProcessorSharing::check_clock(Time now) const {
  check(now >= clock_, "a shared resource is changed in its past");
  check(now == clock_ || tree_.empty() || now <= next_completion(),
        "a completion of a shared resource was missed");
}

// Virtual time at `now`, rounded up, if the set has not changed since the last change; 0 on an idle resource.
Int128 ProcessorSharing::virtual_at(Time now) const {
  if (tree_.empty()) {
    return 0;
  }
  const UInt128 served = static_cast<UInt128>((now - clock_).ps) * static_cast<UInt128>(capacity_);
  const Wide scaled = {static_cast<std::uint64_t>(served >> 64), static_cast<std::uint64_t>(served), 0};
  return virtual_clock_ + static_cast<Int128>(divide_up(scaled, weight_ticks(total_weight_)));
}

std::int64_t ProcessorSharing::work_left(std::uint32_t id, Int128 virtual_now) const {
  const Int128 growth = ends_.finish[id] - virtual_now;
  if (growth <= 0) {
    return 0;
  }
  const auto weight = static_cast<UInt128>(activities_[id].weight);
  const UInt128 low = (static_cast<UInt128>(growth) & kLimbMask) * weight;
  const UInt128 whole = (static_cast<UInt128>(growth) >> 64) * weight + (low >> 64);
  return static_cast<std::int64_t>(whole) + ((low & kLimbMask) != 0 ? 1 : 0);
}

void ProcessorSharing::take_out(std::uint32_t id) {
  total_weight_ -= activities_[id].weight;
  tree_.remove(ends_, id);
}

// Shifts all virtual times so that the clock reads 0: differences, and so all results, stay as they are.
void ProcessorSharing::start_virtual_time_anew() {
  tree_.for_each([this](std::uint32_t id) { ends_.finish[id] -= virtual_clock_; });
  tree_.refresh(ends_);
  virtual_clock_ = 0;
}

}  // namespace moesim::core
