// Tournament trees against a sorted set.
#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "rapidcheck.h"
#include "sim/core/finish_tree.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

constexpr std::uint32_t kIds = 40;

TEST_CASE("trees give the ends of their members in order, ties by id, whatever comes and goes") {
  REQUIRE(rc::check([] {
    FinishTable table;
    std::array<FinishTree, 2> trees;
    std::array<std::set<std::pair<Int128, std::uint32_t>>, 2> expected;
    const int steps = *rc::gen::inRange(1, 200);
    for (int s = 0; s < steps; ++s) {
      const auto id = *rc::gen::inRange<std::uint32_t>(0, kIds);
      const std::size_t which = id % 2;  // one table, each tree its own members
      table.reserve_id(id);
      if (!table.in_tree(id)) {
        // Few high parts, so that many ends differ below them or not at all, and the largest ones.
        const auto high = *rc::gen::element<std::int64_t>(0, 0, 1, 2, 77, (std::int64_t{1} << 62) - 1);
        const auto low = *rc::gen::element<std::uint64_t>(0, 1, UINT64_MAX);
        table.finish[id] = static_cast<Int128>((static_cast<UInt128>(high) << 64) | low);
        if (*rc::gen::inRange(0, 20) == 0) table.finish[id] = static_cast<Int128>(1) << 126;
        trees[which].push(table, id);
        expected[which].emplace(table.finish[id], id);
      } else if (*rc::gen::inRange(0, 3) == 0) {
        expected[which].erase({table.finish[id], id});
        trees[which].remove(table, id);
      } else {
        const std::uint32_t first = trees[which].first();
        RC_ASSERT(expected[which].begin()->second == first);
        expected[which].erase(expected[which].begin());
        trees[which].remove(table, first);
        RC_ASSERT(!table.in_tree(first));
      }
      for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
        RC_ASSERT(trees[i].size() == expected[i].size());
        RC_ASSERT(trees[i].empty() == expected[i].empty());
        if (!expected[i].empty()) RC_ASSERT(trees[i].first() == expected[i].begin()->second);
      }
    }
  }));
}

TEST_CASE("a tree follows a shift of all its ends and visits each member once") {
  REQUIRE(rc::check([] {
    FinishTable table;
    FinishTree tree;
    table.reserve_id(kIds);
    const auto ids = *rc::gen::unique<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(0, kIds));
    for (const std::uint32_t id : ids) {
      table.finish[id] = (static_cast<Int128>(1) << 70) + *rc::gen::inRange<std::int64_t>(0, INT64_MAX);
      if (id == 7) table.finish[id] = static_cast<Int128>(1) << 126;  // the latest there may be
      tree.push(table, id);
    }
    if (!ids.empty()) tree.remove(table, ids.front());
    // Across a multiple of 2^64, so that equal high parts come apart.
    const auto shift = (static_cast<Int128>(1) << 69) + *rc::gen::inRange<std::int64_t>(0, INT64_MAX);
    std::vector<std::uint32_t> visited;
    tree.for_each([&](std::uint32_t id) {
      table.finish[id] -= shift;
      visited.push_back(id);
    });
    tree.refresh(table);
    RC_ASSERT(std::set<std::uint32_t>(visited.begin(), visited.end()).size() == visited.size());
    RC_ASSERT(visited.size() == (ids.empty() ? 0 : ids.size() - 1));
    for (std::uint32_t id = 0; id < kIds; ++id) {  // later ones know only the shifted time
      if (table.in_tree(id) || *rc::gen::arbitrary<bool>()) continue;
      table.finish[id] = (static_cast<Int128>(1) << 69) + *rc::gen::inRange<std::int64_t>(0, INT64_MAX);
      tree.push(table, id);
      visited.push_back(id);
    }
    std::vector<std::pair<Int128, std::uint32_t>> expected;
    for (const std::uint32_t id : visited) expected.emplace_back(table.finish[id], id);
    std::sort(expected.begin(), expected.end());
    for (const auto& [finish, id] : expected) {
      RC_ASSERT(tree.first() == id);
      tree.remove(table, id);
    }
    RC_ASSERT(tree.empty());
  }));
}

}  // namespace
}  // namespace moesim::core
