#include "models/llm/tile_work.hpp"

#include <set>
#include <utility>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::llm {
namespace {

TEST_CASE("a GEMM executes whole tiles") {
  // 130 x 200 results need 2 x 2 tiles of 128 x 128, 65 deep two steps of 64.
  CHECK(macs_of(Gemm{GemmRole::down, 1, 130, 200, 65}) == Macs{130 * 200 * 65, 256 * 256 * 128});
  CHECK(macs_of(Gemm{GemmRole::query_absorb, 3, 1, 128, 64}) == Macs{3 * 128 * 64, 3 * 128 * 128 * 64});
  CHECK(macs_of(Gemm{GemmRole::down, 1, 256, 256, 128}) == Macs{256 * 256 * 128, 256 * 256 * 128});
  CHECK(macs_of(Router{5, 8, 64}) == Macs{5 * 8 * 64, 128 * 128 * 64});
  CHECK(macs_of(Gemm{GemmRole::down, 2, 7, 9, 11}).useful * 2 ==
        work_of(Gemm{GemmRole::down, 2, 7, 9, 11}).matmul_flops);
}

TEST_CASE("each expert's rows are padded on their own") {
  const std::vector<std::int64_t> rows{0, 1, 128, 129};
  GroupedGemm op;
  op.experts = 4;
  op.columns = 128;
  op.depth = 64;
  CHECK_THROWS_AS(macs_of(op), core::InvariantError);
  op.rows_by_expert = rows;
  CHECK(macs_of(op) == Macs{258 * 128 * 64, (128 + 128 + 256) * 128 * 64});
  CHECK(macs_of(op).useful * 2 == work_of(op).matmul_flops);
}

// Tiles with an unmasked pair, one pair after another.
std::int64_t by_hand(const KeyRule& rule, std::int64_t first, std::int64_t queries,
                     const AttentionTile& tile) {
  std::set<std::pair<std::int64_t, std::int64_t>> tiles;
  for (std::int64_t i = 0; i < queries; ++i) {
    const std::int64_t position = first + i;
    const std::int64_t end = rule.chunk > 0 ? position + 1 : (position + 1) / rule.ratio;
    for (std::int64_t key = end - keys_of_query(rule, position); key < end; ++key)
      tiles.emplace(i / tile.queries, key / tile.keys);
  }
  return static_cast<std::int64_t>(tiles.size()) * tile.queries * tile.keys;
}

TEST_CASE("attention executes the tiles that hold a pair") {
  const AttentionTile tile{8, 4};
  KeyRule causal, window, chunk, pooled;
  window.limit = 5;
  window.latest = true;
  chunk.chunk = 13;
  pooled.ratio = 3;
  for (const KeyRule& rule : {causal, window, chunk, pooled}) {
    for (const std::int64_t first : {0, 8, 3, 40}) {
      for (const std::int64_t queries : {1, 7, 8, 9, 33}) {
        INFO(rule.chunk << " " << rule.limit << " " << rule.ratio << ": " << first << " " << queries);
        CHECK(executed_pairs(rule, first, queries, tile) == by_hand(rule, first, queries, tile));
        CHECK(executed_pairs(rule, first, queries, tile) >= visible_pairs(rule, first, queries));
      }
    }
  }
  CHECK(executed_pairs(causal, 0, 256, kPrefillTile) == 3 * 128 * 128);
  // Chosen keys are gathered for each query: 1, 2, 3, 3 keys in tiles of 4.
  KeyRule sparse;
  sparse.limit = 3;
  CHECK(executed_pairs(sparse, 0, 4, tile) == 4 * 4);
}

TEST_CASE("decode packs the heads of a KV head into rows") {
  SequenceAttention one{Phase::decode, KeyRule{}, 99, 1, 32, 4, 128, 64};
  CHECK(macs_of(one) == Macs{100 * 32 * 192, 4 * 64 * 128 * 192});
  one.phase = Phase::prefill;
  CHECK(macs_of(one) == Macs{100 * 32 * 192, 128 * 128 * 32 * 192});
}

}  // namespace
}  // namespace moesim::llm
