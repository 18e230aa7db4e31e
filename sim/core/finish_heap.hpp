// A heap of the ends of activities in virtual time: the earliest first, ties by id, any one removable. Four
// children to a node and 16 bytes an entry, so that the children of a node share a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/core/time.hpp"

namespace moesim::core {

// What a heap needs to know of its members, by id. One table may serve several heaps with members of their
// own.
struct FinishTable {
  static constexpr std::uint32_t kNowhere = UINT32_MAX;
  std::vector<Int128> finish;           // virtual time
  std::vector<std::uint32_t> position;  // in its heap, or kNowhere

  void reserve_id(std::uint32_t id) {
    if (id < position.size()) return;
    finish.resize(id + std::size_t{1});
    position.resize(id + std::size_t{1}, kNowhere);
  }
  [[nodiscard]] bool in_heap(std::uint32_t id) const {
    return id < position.size() && position[id] != kNowhere;
  }
};

class FinishHeap {
 public:
  [[nodiscard]] bool empty() const { return entries_.empty(); }
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  // The id of the earliest end; the heap must not be empty.
  [[nodiscard]] std::uint32_t first() const { return entries_.front().id; }

  // Adds an id whose end is in the table and that is in no heap.
  void push(FinishTable& table, std::uint32_t id) {
    entries_.push_back({high_part(table.finish[id]), id});
    rise(table, entries_.size() - 1);
  }

  // Takes out an id of this heap. The hole sinks along the earliest children, and the last entry rises from
  // there: it belongs far down nearly always, so that asking at every level whether it may stay costs more.
  void remove(FinishTable& table, std::uint32_t id) {
    std::size_t hole = table.position[id];
    table.position[id] = FinishTable::kNowhere;
    const Entry last = entries_.back();
    entries_.pop_back();
    if (hole == entries_.size()) return;
    for (std::size_t child = kChildren * hole + 1; child < entries_.size(); child = kChildren * hole + 1) {
      const std::size_t earliest = earliest_child(table, child);
      place(table, hole, entries_[earliest]);
      hole = earliest;
    }
    entries_[hole] = last;
    rise(table, hole);
  }

  // Follows a change of all ends in the table by the same amount.
  void refresh(const FinishTable& table) {
    for (Entry& entry : entries_) entry.high = high_part(table.finish[entry.id]);
  }
  // The ids, in no order that means anything.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Entry& entry : entries_) visit(entry.id);
  }

 private:
  static constexpr std::size_t kChildren = 4;
  struct Entry {
    std::int64_t high = 0;  // of the end: decides nearly always
    std::uint32_t id = 0;
  };

  static std::int64_t high_part(Int128 finish) { return static_cast<std::int64_t>(finish >> 64); }

  static bool before(const FinishTable& table, const Entry& a, const Entry& b) {
    if (a.high != b.high) return a.high < b.high;
    const Int128 finish_a = table.finish[a.id];
    const Int128 finish_b = table.finish[b.id];
    return finish_a != finish_b ? finish_a < finish_b : a.id < b.id;
  }

  // The earliest of the up to four entries from `child` on. Which one it is no predictor knows, so that four
  // are compared without a branch; equal high parts, which are rare, are left to the slow way.
  [[nodiscard]] std::size_t earliest_child(const FinishTable& table, std::size_t child) const {
    if (child + kChildren <= entries_.size()) [[likely]] {
      const Entry* const four = &entries_[child];
      const std::size_t left = four[1].high < four[0].high ? 1U : 0U;
      const std::size_t right = four[3].high < four[2].high ? 3U : 2U;
      const std::size_t earliest = four[right].high < four[left].high ? right : left;
      const std::int64_t high = four[earliest].high;
      const int equal = (four[0].high == high ? 1 : 0) + (four[1].high == high ? 1 : 0) +
                        (four[2].high == high ? 1 : 0) + (four[3].high == high ? 1 : 0);
      if (equal == 1) [[likely]]
        return child + earliest;
    }
    const std::size_t end = child + kChildren < entries_.size() ? child + kChildren : entries_.size();
    std::size_t earliest = child;
    for (std::size_t other = child + 1; other < end; ++other) {
      if (before(table, entries_[other], entries_[earliest])) earliest = other;
    }
    return earliest;
  }

  void place(FinishTable& table, std::size_t position, const Entry& entry) {
    entries_[position].high = entry.high;
    entries_[position].id = entry.id;
    table.position[entry.id] = static_cast<std::uint32_t>(position);
  }

  void rise(FinishTable& table, std::size_t position) {
    const Entry entry = entries_[position];
    while (position > 0) {
      const std::size_t parent = (position - 1) / kChildren;
      if (!before(table, entry, entries_[parent])) break;
      place(table, position, entries_[parent]);
      position = parent;
    }
    place(table, position, entry);
  }

  std::vector<Entry> entries_;
};

}  // namespace moesim::core
