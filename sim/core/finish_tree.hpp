// The ends of activities in virtual time, the earliest first, ties by id, any one removable: a tournament
// tree (D. E. Knuth, "The Art of Computer Programming", volume 3, section 5.4.1). An activity has a leaf, and
// each node above holds the earlier of its two children.
//
// A change replays the path from one leaf to the root. Where that path leads is known before the first
// comparison, and no comparison decides what is read next, so that the processor need not wait or guess: a
// removal takes a third of the time of a heap with four children to a node, where each level tells where the
// next one is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "sim/core/time.hpp"

namespace moesim::core {

// What a tree needs to know of its members, by id. One table may serve several trees with members of their
// own. Ends are at most 2^126.
struct FinishTable {
  static constexpr std::uint32_t kNowhere = UINT32_MAX;
  std::vector<Int128> finish;       // virtual time
  std::vector<std::uint32_t> leaf;  // in its tree, or kNowhere

  void reserve_id(std::uint32_t id) {
    if (id < leaf.size()) return;
    finish.resize(id + std::size_t{1});
    leaf.resize(id + std::size_t{1}, kNowhere);
  }
  [[nodiscard]] bool in_tree(std::uint32_t id) const { return id < leaf.size() && leaf[id] != kNowhere; }
};

class FinishTree {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  // The id of the earliest end; the tree must not be empty.
  [[nodiscard]] std::uint32_t first() const { return static_cast<std::uint32_t>(nodes_[1].id); }

  // Adds an id whose end is in the table and that is in no tree.
  void push(FinishTable& table, std::uint32_t id) {
    if (size_ == leaves_) grow(table);
    ++size_;
    const std::size_t leaf = free_;
    free_ = nodes_[leaves_ + leaf].id;
    table.leaf[id] = static_cast<std::uint32_t>(leaf);
    const Node added{high_part(table.finish[id]), id};
    std::size_t at = leaves_ + leaf;
    nodes_[at] = added;
    // A node that is earlier came from the other child and stays, and so do those above it.
    while (at > 1 && before(table, added, nodes_[at / 2])) nodes_[at /= 2] = added;
  }

  // Takes out an id of this tree.
  void remove(FinishTable& table, std::uint32_t id) {
    const std::size_t leaf = table.leaf[id];
    table.leaf[id] = FinishTable::kNowhere;
    --size_;
    std::size_t at = leaves_ + leaf;
    Node earlier = free_leaf(leaf);
    nodes_[at] = {earlier.high, free_};
    free_ = leaf;
    for (; at > 1 && nodes_[at / 2].id == id; at /= 2) {
      const Node other = nodes_[at ^ 1];
      // Both selections are free of branches: which child is earlier no predictor knows.
      const bool other_first = other.high < earlier.high;
      if (other.high == earlier.high) [[unlikely]] {
        if (before(table, other, earlier)) earlier = other;
      } else {
        earlier.high = other_first ? other.high : earlier.high;
        earlier.id = other_first ? other.id : earlier.id;
      }
      nodes_[at / 2] = earlier;
    }
  }

  // Follows a change of all ends in the table by the same amount.
  void refresh(const FinishTable& table) {
    for (std::size_t at = leaves_; at < nodes_.size(); ++at) {
      Node& node = nodes_[at];
      if (!is_free(node)) node.high = high_part(table.finish[node.id]);
    }
    replay_all(table);
  }
  // The ids, in no order that means anything.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t at = leaves_; at < nodes_.size(); ++at) {
      if (!is_free(nodes_[at])) visit(static_cast<std::uint32_t>(nodes_[at].id));
    }
  }

 private:
  struct Node {
    std::int64_t high = 0;  // of the end: decides nearly always
    std::uint64_t id = 0;   // in a free leaf the next free one
  };
  static std::int64_t high_part(Int128 finish) { return static_cast<std::int64_t>(finish >> 64); }

  // Later than all ends, and no two alike: free leaves never tie.
  static Node free_leaf(std::size_t leaf) {
    return {std::numeric_limits<std::int64_t>::max() - static_cast<std::int64_t>(leaf), 0};
  }
  static bool is_free(const Node& node) { return node.high > std::int64_t{1} << 62; }

  static bool before(const FinishTable& table, const Node& a, const Node& b) {
    if (a.high != b.high) return a.high < b.high;
    const Int128 finish_a = table.finish[a.id];
    const Int128 finish_b = table.finish[b.id];
    return finish_a != finish_b ? finish_a < finish_b : a.id < b.id;
  }

  // Twice the leaves; all of the old ones are taken.
  void grow(const FinishTable& table) {
    const std::size_t taken = leaves_;
    leaves_ = taken == 0 ? 1 : 2 * taken;
    std::vector<Node> nodes(2 * leaves_);
    for (std::size_t leaf = 0; leaf < taken; ++leaf) nodes[leaves_ + leaf] = nodes_[taken + leaf];
    for (std::size_t leaf = taken; leaf < leaves_; ++leaf) {
      nodes[leaves_ + leaf] = {free_leaf(leaf).high, leaf + 1};
    }
    free_ = taken;
    nodes_ = std::move(nodes);
    replay_all(table);
  }

  void replay_all(const FinishTable& table) {
    for (std::size_t at = leaves_; at-- > 1;) {
      const Node& a = nodes_[2 * at];
      const Node& b = nodes_[2 * at + 1];
      nodes_[at] = before(table, a, b) ? a : b;
    }
  }

  std::vector<Node> nodes_;  // the root is 1, the children of n are 2 n and 2 n + 1, the leaves come last
  std::size_t leaves_ = 0;   // a power of two, or none
  std::size_t free_ = 0;     // the first free leaf, if size_ < leaves_
  std::size_t size_ = 0;
};

}  // namespace moesim::core
