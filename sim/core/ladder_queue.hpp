// The pending set of the simulator: a ladder queue (W. T. Tang, R. S. M. Goh and I. L.-J. Thng, "Ladder
// queue: an O(1) priority queue structure for large-scale discrete event simulation", ACM TOMACS 15(3), 2005)
// on 16-byte keys.
//
// Where a key lies, from the earliest to the latest:
//   bottom   a sorted vector, the next key last; it holds everything while there are few keys
//   rungs    arrays of unsorted buckets of equal width, the innermost rung first; a bucket that is too full
//   to
//            sort becomes a rung of its own
//   top      unsorted; when all else is empty its near part becomes the outermost rung
// A key is thus moved about twice, whatever the number of pending events. Widths are powers of two of the
// whole 128-bit key, so that events at one instant spread by phase and sequence as others do by time.
//
// Keys outside the bottom sit in a pool of 20-byte nodes that buckets and the top link by index: no
// allocation per event, and at most 24 bytes for each pending event once the pool has grown.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "sim/core/event_queue.hpp"

namespace moesim::core {

class LadderQueue {
 public:
  // Adds a key. Callers guarantee what PendingEvents asks for. Throws InvariantError beyond 2^31 - 1 keys.
  void push(EventKey key) {
    if (size_ == 0) {
      start_anew();
    }
    ++size_;
    if (key.bits() < horizon_) {
      insert_in_bottom(key);
      if (bottom_.size() > kBottomLimit) {
        relieve_bottom();
      }
    } else if (key.bits() >= top_start_) {
      add_to_top(key);
    } else {
      add_to_rung(key);
    }
  }

  // The smallest key; the set must not be empty.
  [[nodiscard]] EventKey top() const { return bottom_.back(); }

  // Takes out the smallest key; the set must not be empty.
  EventKey pop() {
    const EventKey key = bottom_.back();
    bottom_.pop_back();
    --size_;
    ++popped_;
    if (bottom_.empty() && size_ != 0) {
      refill_bottom();
    }
    return key;
  }

  [[nodiscard]] std::size_t size() const { return size_; }

  // Bytes of memory held, all parts together.
  [[nodiscard]] std::size_t memory_bytes() const;

 private:
  // A sorted vector serves up to this many keys faster than buckets do (measured; see tests/bench).
  static constexpr std::size_t kBottomLimit = 64;
  // Deeper than full buckets need: each rung that one becomes resolves at least 6 of the 128 bits.
  static constexpr std::size_t kMaximumRungs = 24;
  static constexpr std::size_t kLookAhead = 16;  // buckets; a power of two
  static constexpr UInt128 kEndOfKeys = ~UInt128{0};

  static constexpr std::uint32_t kFreeBit = std::uint32_t{1} << 31;  // in Node::next of a free node
  static constexpr std::uint32_t kNone = kFreeBit - 1;               // the end of a list

  // A key and the index of the next node of its list, without padding.
  class Node {
   public:
    [[nodiscard]] EventKey key() const {
      EventKey key;
      std::memcpy(static_cast<void*>(&key), words_.data(), sizeof key);
      return key;
    }
    [[nodiscard]] std::uint32_t next() const { return words_[4]; }
    void set(EventKey key, std::uint32_t next) {
      std::memcpy(words_.data(), &key, sizeof key);
      words_[4] = next;
    }
    void link(std::uint32_t next) { words_[4] = next; }

   private:
    std::array<std::uint32_t, 5> words_{};
  };
  static_assert(sizeof(Node) == 20);

  // Buckets of width 2^shift from `start` on; keys at or beyond `end` do not belong here. Buckets before
  // `current` are used up.
  struct Rung {
    UInt128 start = 0;
    UInt128 end = 0;
    int shift = 0;
    std::size_t current = 0;
    std::size_t keys = 0;
    std::vector<std::uint32_t> heads;

    [[nodiscard]] std::size_t bucket_of(EventKey key) const {
      return static_cast<std::size_t>((key.bits() - start) >> shift);
    }
  };

  // The keys are in descending order; new ones tend to be late, and few.
  void insert_in_bottom(EventKey key) {
    bottom_.push_back(key);
    std::size_t place = bottom_.size() - 1;
    while (place > 0 && bottom_[place - 1] < key) {
      bottom_[place] = bottom_[place - 1];
      --place;
    }
    bottom_[place] = key;
  }

  void add_to_top(EventKey key) {
    const std::uint32_t node = take_node();
    pool_[node].set(key, top_head_);
    top_head_ = node;
    count_in_top(key);
  }

  void count_in_top(EventKey key) {
    ++top_keys_;
    top_time_sum_ += static_cast<UInt128>(key.time().ps);
    if (key < top_first_) top_first_ = key;
    if (top_last_ < key) top_last_ = key;
  }

  void add_to_rung(EventKey key) {
    std::size_t i = rungs_in_use_ - 1;
    while (key.bits() >= rungs_[i].end) {
      --i;
    }
    add_to_bucket(rungs_[i], key);
  }

  void add_to_bucket(Rung& rung, EventKey key) {
    const std::uint32_t node = take_node();
    std::uint32_t& head = rung.heads[rung.bucket_of(key)];
    pool_[node].set(key, head);
    head = node;
    ++rung.keys;
  }

  std::uint32_t take_node() {
    if (free_head_ == kNone) [[unlikely]] {
      grow_pool();
    }
    const std::uint32_t node = free_head_;
    free_head_ = pool_[node].next() & ~kFreeBit;
    return node;
  }
  void free_node(std::uint32_t node) {
    pool_[node].link(free_head_ | kFreeBit);
    free_head_ = node;
  }

  // The first key of an empty set goes to the bottom, wherever the last one came from.
  void start_anew() {
    rungs_in_use_ = 0;
    horizon_ = kEndOfKeys;
    top_start_ = kEndOfKeys;
  }

  void grow_pool();
  void relieve_bottom();
  void merge_inner_rungs();
  void refill_bottom();
  void sort_bottom();
  void sort_bucket(UInt128 start, int shift);
  void take_top();
  void forget_top();
  [[nodiscard]] bool top_to_bottom();
  void set_up_first_rung();
  [[nodiscard]] UInt128 first_rung_width();
  void put_top_in_first_rung(std::uint32_t node);
  [[nodiscard]] bool take_bucket();
  Rung& add_rung(UInt128 start, UInt128 end, int shift, std::size_t buckets);
  void keys_to_rung(Rung& rung, std::size_t keys);
  void prefetch_buckets_after(const Rung& rung);

  std::size_t size_ = 0;
  UInt128 horizon_ = kEndOfKeys;                 // keys below belong to the bottom
  UInt128 top_start_ = kEndOfKeys;               // keys from here on belong to the top
  std::vector<EventKey> bottom_;                 // descending
  std::array<EventKey, kBottomLimit> unsorted_;  // a bucket while it is sorted

  std::vector<Rung> rungs_;  // the outermost first; those beyond rungs_in_use_ only keep their memory
  std::size_t rungs_in_use_ = 0;

  std::vector<Node> pool_;
  std::uint32_t free_head_ = kNone;
  std::array<std::uint32_t, kLookAhead> ahead_{};  // by bucket modulo kLookAhead: the node fetched last

  // Since the outermost rung was last set up, for the width of the next one.
  std::uint64_t popped_ = 0;
  Time set_up_at_;

  std::uint32_t top_head_ = kNone;
  std::size_t top_keys_ = 0;
  UInt128 top_time_sum_ = 0;  // picoseconds
  EventKey top_first_ = kLastKey;
  EventKey top_last_;

  static constexpr EventKey kLastKey{Time{INT64_MAX}, Phase::statistics, kEventSequences - 1, kEventKinds - 1,
                                     kEventTargets - 1};
};

}  // namespace moesim::core
