#include "sim/core/ladder_queue.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::core {
namespace {

// Four numbers in one register, on every processor (an extension of g++ and clang++). A comparison gives -1
// where it holds.
using Four = std::int32_t __attribute__((vector_size(16)));
constexpr std::size_t kLanes = 16;  // numbers whose ranks are counted side by side

// Buckets of a rung, at the least. Each rung that a bucket becomes thus resolves 6 further bits.
constexpr std::size_t kMinimumBuckets = 64;
// Up to so many nodes (320 KiB) the pool is near enough to the processor without prefetching.
constexpr std::size_t kNodesInCache = std::size_t{1} << 14;
// Keys that a bucket of the outermost rung holds on average near its start, before rounding to a power of
// two. Long buckets are sorted faster than new ones are opened; but the list of one in a large pool must not
// reach beyond what is prefetched (kLookAhead).
constexpr UInt128 kKeysPerBucketInCache = 20;
constexpr UInt128 kKeysPerBucket = 12;

int bit_width(UInt128 value) {
  const auto high = static_cast<std::uint64_t>(value >> 64);
  return high != 0 ? 128 - __builtin_clzll(high)
                   : (value != 0 ? 64 - __builtin_clzll(static_cast<std::uint64_t>(value)) : 0);
}

// The power of two nearest to the width, as its exponent; at most 126, so that a bucket always has an end.
int shift_for(UInt128 width) {
  if (width <= 1) {
    return 0;
  }
  const int exponent = bit_width(width) - 1;
  const bool nearer_above = (width >> (exponent - 1)) == 3;
  return std::min(exponent + (nearer_above ? 1 : 0), 126);
}

// For each of the kLanes numbers from `lanes` on, how many of `all` are greater.
std::array<std::int32_t, kLanes> count_greater(const std::int32_t* all, std::size_t size,
                                               const std::int32_t* lanes) {
  std::array<Four, kLanes / 4> numbers;
  std::memcpy(numbers.data(), lanes, sizeof numbers);
  std::array<Four, kLanes / 4> ranks{};
  for (std::size_t j = 0; j < size; ++j) {
    const Four other = {all[j], all[j], all[j], all[j]};
    for (std::size_t k = 0; k < numbers.size(); ++k) ranks[k] -= other > numbers[k];
  }
  std::array<std::int32_t, kLanes> result;
  std::memcpy(result.data(), ranks.data(), sizeof result);
  return result;
}

// The smallest shift with which `buckets` buckets cover `range`.
int covering_shift(UInt128 range, std::size_t buckets) {
  int shift = std::max(0, bit_width(range) - bit_width(buckets));
  while (((range - 1) >> shift) >= buckets) {
    ++shift;
  }
  return shift;
}

}  // namespace

std::size_t LadderQueue::memory_bytes() const {
  std::size_t bytes = sizeof *this + bottom_.capacity() * sizeof(EventKey) + pool_.capacity() * sizeof(Node) +
                      rungs_.capacity() * sizeof(Rung);
  for (const Rung& rung : rungs_) {
    bytes += rung.heads.capacity() * sizeof(std::uint32_t);
  }
  return bytes;
}

// By a sixteenth: memory stays near what is needed, and each node is moved about 16 times while the pool
// grows.
void LadderQueue::grow_pool() {
  const std::size_t old = pool_.size();
  const std::size_t grown = old + old / 16 + 16;
  check(grown < kNone, "too many pending events for one simulation");
  pool_.reserve(grown);
  pool_.resize(grown);
  for (std::size_t i = grown; i > old; --i) {
    free_node(static_cast<std::uint32_t>(i - 1));
  }
}

// The bottom has grown by keys below the horizon: its later half moves out, as a new innermost rung or, where
// there is none yet, to the top.
void LadderQueue::relieve_bottom() {
  if (rungs_in_use_ == kMaximumRungs) {
    merge_inner_rungs();
  }
  const std::size_t moved = bottom_.size() / 2;
  const UInt128 start = bottom_[moved - 1].bits();
  if (rungs_in_use_ == 0) {
    top_start_ = start;
    for (std::size_t i = 0; i < moved; ++i) {
      add_to_top(bottom_[i]);
    }
  } else {
    Rung& rung =
        add_rung(start, horizon_, covering_shift(horizon_ - start, kMinimumBuckets), kMinimumBuckets);
    keys_to_rung(rung, moved);
  }
  horizon_ = start;
  bottom_.erase(bottom_.begin(), bottom_.begin() + static_cast<std::ptrdiff_t>(moved));
}

// Moves the first `keys` of the bottom to the rung; they stay in the bottom as well.
void LadderQueue::keys_to_rung(Rung& rung, std::size_t keys) {
  for (std::size_t i = 0; i < keys; ++i) {
    add_to_bucket(rung, bottom_[i]);
  }
}

// Keys that arrive ever earlier leave a rung of a few keys at each relief. The inner half of the rungs
// becomes one.
void LadderQueue::merge_inner_rungs() {
  const std::size_t first = rungs_in_use_ / 2;
  const UInt128 end = rungs_[first].end;
  std::vector<EventKey> keys;
  for (std::size_t i = first; i < rungs_in_use_; ++i) {
    for (std::uint32_t& head : rungs_[i].heads) {
      for (std::uint32_t node = std::exchange(head, kNone); node != kNone;) {
        const std::uint32_t next = pool_[node].next();
        keys.push_back(pool_[node].key());
        free_node(node);
        node = next;
      }
    }
  }
  rungs_in_use_ = first;
  const std::size_t buckets = std::max(kMinimumBuckets, keys.size() / 4);
  Rung& merged = add_rung(horizon_, end, covering_shift(end - horizon_, buckets), buckets);
  for (const EventKey key : keys) {
    add_to_bucket(merged, key);
  }
}

LadderQueue::Rung& LadderQueue::add_rung(UInt128 start, UInt128 end, int shift, std::size_t buckets) {
  if (rungs_in_use_ == rungs_.size()) {
    rungs_.emplace_back();
  }
  Rung& rung = rungs_[rungs_in_use_++];
  rung.start = start;
  rung.end = end;
  rung.shift = shift;
  rung.current = 0;
  rung.keys = 0;
  if (buckets > rung.heads.capacity()) {
    rung.heads.reserve(buckets + buckets / 16);
  }
  rung.heads.assign(buckets, kNone);
  return rung;
}

void LadderQueue::refill_bottom() {
  while (bottom_.empty()) {
    if (rungs_in_use_ == 0) {
      if (top_to_bottom()) {
        return;
      }
      set_up_first_rung();
    } else if (rungs_[rungs_in_use_ - 1].keys == 0) {
      --rungs_in_use_;
    } else if (take_bucket()) {
      return;
    }
  }
}

// With few keys in all, the bottom takes them and everything that will come. Returns whether it did.
bool LadderQueue::top_to_bottom() {
  if (top_keys_ > kBottomLimit / 2) {
    return false;
  }
  for (std::uint32_t node = top_head_; node != kNone;) {
    const std::uint32_t next = pool_[node].next();
    bottom_.push_back(pool_[node].key());
    free_node(node);
    node = next;
  }
  forget_top();
  sort_bottom();
  horizon_ = kEndOfKeys;
  top_start_ = kEndOfKeys;
  return true;
}

void LadderQueue::forget_top() {
  top_head_ = kNone;
  top_keys_ = 0;
  top_time_sum_ = 0;
  top_first_ = kLastKey;
  top_last_ = EventKey();
}

void LadderQueue::sort_bottom() { std::sort(bottom_.begin(), bottom_.end(), std::greater<>()); }

// The same for the keys of one bucket, of width 2^shift from `start` on. They go straight to their ranks,
// which are counted without a branch on the outcome of a comparison: a processor mispredicts about one branch
// a key otherwise. The 31 bits that follow those of the bucket nearly always tell keys apart, and four of
// them are compared at once. Where they do not (many events at one instant), two keys have one rank, and all
// are sorted.
void LadderQueue::sort_bucket(UInt128 start, int shift) {
  const std::size_t keys = bottom_.size();
  if (keys > kBottomLimit) {
    sort_bottom();
    return;
  }
  std::array<std::int32_t, kBottomLimit> digits;
  const int dropped = std::max(0, shift - 31);
  for (std::size_t i = 0; i < keys; ++i) {
    unsorted_[i] = bottom_[i];
    digits[i] = static_cast<std::int32_t>((unsorted_[i].bits() - start) >> dropped);
  }
  for (std::size_t i = keys; i % kLanes != 0; ++i) digits[i] = 0;
  std::uint64_t ranks_taken = 0;
  for (std::size_t i = 0; i < keys; i += kLanes) {
    const std::size_t count = std::min(keys - i, kLanes);
    const std::array<std::int32_t, kLanes> ranks = count_greater(digits.data(), keys, &digits[i]);
    for (std::size_t lane = 0; lane < count; ++lane) {
      const auto rank = static_cast<std::size_t>(ranks[lane]);
      bottom_[rank] = unsorted_[i + lane];
      ranks_taken |= std::uint64_t{1} << rank;
    }
  }
  if (ranks_taken == ~std::uint64_t{0} >> (64 - keys)) return;
  std::copy_n(unsorted_.begin(), keys, bottom_.begin());
  sort_bottom();
}

// The width of a bucket of the outermost rung. Buckets should hold the same number of keys when their turn
// comes, which is what was taken out per time of late; the mean distance of the pending keys from the first
// bounds it, for times at which the rate has risen. Neither is spoiled by a few far events.
UInt128 LadderQueue::first_rung_width() {
  const UInt128 keys = top_keys_;
  const UInt128 keys_per_bucket = pool_.size() > kNodesInCache ? kKeysPerBucket : kKeysPerBucketInCache;
  const Time first = top_first_.time();
  if (first == top_last_.time()) {
    return (top_last_.bits() - top_first_.bits()) / keys * keys_per_bucket + 1;
  }
  const UInt128 mean_distance = top_time_sum_ / keys - static_cast<UInt128>(first.ps);
  UInt128 width = ((mean_distance + 1) << 64) / keys * keys_per_bucket;
  const Duration elapsed = first - set_up_at_;
  if (popped_ >= kMinimumBuckets && elapsed > Duration{}) {
    width = std::min(width, (static_cast<UInt128>(elapsed.ps) << 64) / popped_ * keys_per_bucket);
  }
  popped_ = 0;
  set_up_at_ = first;
  return width;
}

// The outermost rung covers the near part of the top; what is farther than its buckets reach stays there.
void LadderQueue::set_up_first_rung() {
  const std::size_t keys = top_keys_;
  const int shift = shift_for(first_rung_width());
  const std::size_t buckets = std::max(kMinimumBuckets, keys / 4);
  const UInt128 start = top_first_.bits();
  // Without an end in 128 bits, the last bucket reaches beyond every key.
  const bool has_end = bit_width(buckets) + shift <= 127;
  const UInt128 end = has_end ? start + (static_cast<UInt128>(buckets) << shift) : kEndOfKeys;
  add_rung(start, end, shift, buckets);
  take_top();
  top_start_ = end;
}

// Nothing is pending but the top, so that every node that is not free belongs to it: where it fills most of
// the pool, one pass in memory order is faster than following its list.
void LadderQueue::take_top() {
  const std::uint32_t head = top_head_;
  const bool dense = top_keys_ >= pool_.size() / 8;
  forget_top();
  if (dense) {
    for (std::size_t node = 0; node < pool_.size(); ++node) {
      if ((pool_[node].next() & kFreeBit) == 0) {
        put_top_in_first_rung(static_cast<std::uint32_t>(node));
      }
    }
    return;
  }
  for (std::uint32_t node = head; node != kNone;) {
    const std::uint32_t next = pool_[node].next();
    put_top_in_first_rung(node);
    node = next;
  }
}

void LadderQueue::put_top_in_first_rung(std::uint32_t node) {
  Rung& rung = rungs_.front();
  const EventKey key = pool_[node].key();
  if (key.bits() < rung.end) {
    std::uint32_t& head = rung.heads[rung.bucket_of(key)];
    pool_[node].link(head);
    head = node;
    ++rung.keys;
  } else {
    pool_[node].link(top_head_);
    top_head_ = node;
    count_in_top(key);
  }
}

// The lists of a large pool are scattered over memory, and following one waits for each node in turn. So the
// lists of the next buckets are followed side by side, a node each time, and arrive before they are needed.
// The cursors are only hints: after a change of rung they may point anywhere in the pool.
void LadderQueue::prefetch_buckets_after(const Rung& rung) {
  const auto fetch = [this](std::size_t bucket, std::uint32_t node) {
    ahead_[bucket % kLookAhead] = node;
    if (node < pool_.size()) {
      __builtin_prefetch(&pool_[node]);
    }
  };
  for (std::size_t distance = 1; distance < kLookAhead; ++distance) {
    const std::size_t bucket = rung.current + distance;
    const std::uint32_t last = ahead_[bucket % kLookAhead];
    fetch(bucket, last < pool_.size() ? pool_[last].next() : kNone);
  }
  const std::size_t newest = rung.current + kLookAhead;
  fetch(newest, newest < rung.heads.size() ? rung.heads[newest] : kNone);
}

// Takes the next bucket of the innermost rung into the bottom; one that is too full to sort becomes a rung.
// Returns whether the bottom is filled.
bool LadderQueue::take_bucket() {
  Rung& rung = rungs_[rungs_in_use_ - 1];
  while (rung.heads[rung.current] == kNone) {
    ++rung.current;
  }
  if (pool_.size() > kNodesInCache) {
    prefetch_buckets_after(rung);
  }
  std::uint32_t node = std::exchange(rung.heads[rung.current], kNone);
  while (node != kNone) {
    const std::uint32_t next = pool_[node].next();
    bottom_.push_back(pool_[node].key());
    free_node(node);
    node = next;
  }
  const std::size_t taken = bottom_.size();
  rung.keys -= taken;
  const UInt128 start = rung.start + (static_cast<UInt128>(rung.current) << rung.shift);
  const int rung_shift = rung.shift;
  const UInt128 width = UInt128{1} << rung.shift;
  const UInt128 end = rung.end - start > width ? start + width : rung.end;
  ++rung.current;
  if (taken > kBottomLimit && rung.shift > 0 && rungs_in_use_ < kMaximumRungs) {
    const std::size_t buckets = std::max(kMinimumBuckets, taken / 4);
    Rung& inner = add_rung(start, end, covering_shift(end - start, buckets), buckets);
    keys_to_rung(inner, taken);
    bottom_.clear();
    return false;
  }
  sort_bucket(start, rung_shift);
  horizon_ = end;
  return true;
}

}  // namespace moesim::core
