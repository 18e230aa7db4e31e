// Multiply-accumulates that kernels execute: whole tiles, padding included.
//
// A run is priced by useful work and by measured or stated efficiencies, in which padding is contained, so
// nothing here enters a price. It serves comparisons with counters of real kernels, which count whole tiles.
// One tile per family of kernels, in the shapes that are tuned for large batches:
//  - GEMM: 128 x 128 results, 64 deep (CUTLASS, bf16 on Hopper);
//  - grouped GEMM: the same, each expert's rows padded on their own (DeepGEMM aligns them to 128);
//  - attention: 128 queries x 128 keys of one head (FlashAttention-3, causal, heads of 128). In decode all
//    queries that share a KV head are packed into rows of 64, against 64 keys (FlashMLA, FlashDecoding with
//    packed groups).
#pragma once

#include <cstdint>

#include "models/llm/key_rule.hpp"
#include "models/llm/operator.hpp"

namespace moesim::llm {

struct GemmTile {
  std::int64_t rows = 128;
  std::int64_t columns = 128;
  std::int64_t depth = 64;
};
inline constexpr GemmTile kGemmTile{};

struct AttentionTile {
  std::int64_t queries = 128;
  std::int64_t keys = 128;
};
inline constexpr AttentionTile kPrefillTile{128, 128};
inline constexpr AttentionTile kDecodeTile{64, 64};

// Multiply-accumulates; two FLOP each.
struct Macs {
  std::int64_t useful = 0;
  std::int64_t executed = 0;
  bool operator==(const Macs&) const = default;
};

// `useful` is work_of(op).matmul_flops / 2. Grouped: throws core::InvariantError if rows_by_expert was not
// filled.
[[nodiscard]] Macs macs_of(const Gemm& op);
[[nodiscard]] Macs macs_of(const GroupedGemm& op);
[[nodiscard]] Macs macs_of(const Router& op);

// Pairs of the queries at positions first, ..., first + queries - 1 in all tiles that hold an unmasked pair.
// Query tiles start at the first query, key tiles at key 0. Keys that are chosen by score are gathered for
// each query, so that only their number is rounded up to whole tiles.
[[nodiscard]] std::int64_t executed_pairs(const KeyRule& rule, std::int64_t first, std::int64_t queries,
                                          const AttentionTile& tile);

// Attention of one sequence. An operator of a step holds the sums over its sequences, from which the padding
// of each cannot be told.
struct SequenceAttention {
  Phase phase = Phase::prefill;
  KeyRule rule;
  std::int64_t first = 0;  // position of the first query
  std::int64_t queries = 0;
  std::int64_t query_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t qk_dim = 0;
  std::int64_t v_dim = 0;
};
[[nodiscard]] Macs macs_of(const SequenceAttention& attention);

}  // namespace moesim::llm
