#include "models/llm/tile_work.hpp"

#include <algorithm>

#include "sim/core/check.hpp"
#include "sim/core/integers.hpp"

namespace moesim::llm {

namespace {

std::int64_t whole_tiles(std::int64_t value, std::int64_t tile) {
  return core::divide_up(value, tile) * tile;
}

std::int64_t padded_macs(std::int64_t rows, std::int64_t columns, std::int64_t depth) {
  return whole_tiles(rows, kGemmTile.rows) * whole_tiles(columns, kGemmTile.columns) *
         whole_tiles(depth, kGemmTile.depth);
}

// The first key that a query at `position` sees, where keys lie in a row.
std::int64_t first_key(const KeyRule& rule, std::int64_t position) {
  if (rule.chunk > 0) return position / rule.chunk * rule.chunk;
  return (position + 1) / rule.ratio - keys_of_query(rule, position);
}

std::int64_t key_end(const KeyRule& rule, std::int64_t position) {
  return rule.chunk > 0 ? position + 1 : (position + 1) / rule.ratio;
}

// Keys in the tiles that queries first, ..., last touch. Without chunks both ends of a query's keys only
// grow, so the keys of all of them lie in a row; a tile of queries over several chunks sees the keys from the
// first chunk on.
std::int64_t touched_keys(const KeyRule& rule, std::int64_t first, std::int64_t last,
                          const AttentionTile& tile) {
  const std::int64_t begin = first_key(rule, first) / tile.keys;
  return std::max<std::int64_t>(core::divide_up(key_end(rule, last), tile.keys) - begin, 0) * tile.keys;
}

}  // namespace

Macs macs_of(const Gemm& op) {
  return {op.batch * op.rows * op.columns * op.depth, op.batch * padded_macs(op.rows, op.columns, op.depth)};
}

Macs macs_of(const GroupedGemm& op) {
  core::check(!op.rows_by_expert.empty(),
              "the rows of the experts were not filled in before work was counted");
  Macs macs;
  for (const std::int64_t rows : op.rows_by_expert) {
    macs.useful += rows * op.columns * op.depth;
    macs.executed += padded_macs(rows, op.columns, op.depth);
  }
  return macs;
}

Macs macs_of(const Router& op) {
  return {op.tokens * op.experts * op.hidden, padded_macs(op.tokens, op.experts, op.hidden)};
}

std::int64_t executed_pairs(const KeyRule& rule, std::int64_t first, std::int64_t queries,
                            const AttentionTile& tile) {
  std::int64_t pairs = 0;
  const std::int64_t end = first + queries;
  if (rule.limit > 0 && !rule.latest && rule.chunk == 0) {
    for (std::int64_t position = first; position < end; ++position)
      pairs += whole_tiles(keys_of_query(rule, position), tile.keys);
    return pairs;
  }
  for (std::int64_t at = first; at < end; at += tile.queries) {
    const std::int64_t last = std::min(at + tile.queries, end) - 1;
    pairs += tile.queries * touched_keys(rule, at, last, tile);
  }
  return pairs;
}

// In decode the rows of a tile are the heads that share a KV head, times the queries.
Macs macs_of(const SequenceAttention& attention) {
  const std::int64_t width = attention.qk_dim + attention.v_dim;
  Macs macs;
  macs.useful =
      visible_pairs(attention.rule, attention.first, attention.queries) * attention.query_heads * width;
  if (attention.phase == Phase::prefill) {
    macs.executed = executed_pairs(attention.rule, attention.first, attention.queries, kPrefillTile) *
                    attention.query_heads * width;
    return macs;
  }
  const std::int64_t rows = attention.query_heads / attention.kv_heads * attention.queries;
  const std::int64_t keys = visible_keys(attention.rule, attention.first, attention.queries);
  macs.executed = attention.kv_heads * whole_tiles(rows, kDecodeTile.queries) *
                  whole_tiles(keys, kDecodeTile.keys) * width;
  return macs;
}

}  // namespace moesim::llm
