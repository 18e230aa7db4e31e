// What attention kernels take and give: heads of rows, masks, and where keys and values are read from.
//
// A query at position p (from 0) sees the keys that its mask leaves it. Positions are those of the sequence:
// keys may be given from any position on (a context-parallel rank, one range of split keys), and tiles of
// keys start at positions that are multiples of the tile, whatever part of the sequence a call works on. So a
// prompt in chunks, behind a cached prefix or in one piece gives the same bits.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <utility>

#include "models/reference/float16.hpp"
#include "models/reference/probe.hpp"
#include "models/reference/storage.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

// A view of rows of several heads.
template <class Value>
struct HeadRows {
  Value* data = nullptr;
  std::int64_t heads = 0;
  std::int64_t rows = 0;
  std::int64_t width = 0;
  std::int64_t head_stride = 0;  // elements from a head to the next
  std::int64_t row_stride = 0;   // elements from a row to the next of the same head

  [[nodiscard]] std::int64_t index(std::int64_t head, std::int64_t row) const {
    return head * head_stride + row * row_stride;
  }
  [[nodiscard]] Value* row(std::int64_t head, std::int64_t r) const { return data + index(head, r); }
};

// [heads, rows, width]. Throws core::InvariantError if the number of values is another.
template <class Value>
[[nodiscard]] HeadRows<Value> heads_first(std::span<Value> values, std::int64_t heads, std::int64_t rows,
                                          std::int64_t width) {
  core::check(std::cmp_equal(values.size(), heads * rows * width), "rows of heads need heads x rows x width");
  return {values.data(), heads, rows, width, rows * width, width};
}

// [rows, heads, width]. Throws core::InvariantError if the number of values is another.
template <class Value>
[[nodiscard]] HeadRows<Value> rows_first(std::span<Value> values, std::int64_t heads, std::int64_t rows,
                                         std::int64_t width) {
  core::check(std::cmp_equal(values.size(), heads * rows * width), "rows of heads need heads x rows x width");
  return {values.data(), heads, rows, width, width, heads * width};
}

// Positions begin, ..., end - 1; empty if end <= begin.
struct KeyRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Keys that a query may see: all conditions that are set must hold (numerics.md 1.4, golden/README.md).
struct AttentionMask {
  bool causal = true;       // key <= position
  std::int64_t window = 0;  // key > position - window: so many keys, the query's own included; 0: no limit
  std::int64_t chunk = 0;   // key / chunk == position / chunk; 0: no chunks
  // One byte per query and key position, query-major, nonzero where visible; empty: all.
  std::span<const std::uint8_t> custom = {};
  std::int64_t custom_keys = 0;  // bytes per query
};

// The range that causality, window and chunk leave the query at `position` (negative: before all keys).
template <class P = NoProbe>
[[nodiscard]] KeyRange visible_range(const AttentionMask& mask, std::int64_t position, KeyRange keys) {
  std::int64_t window = mask.window;
  std::int64_t chunk_position = position;
  std::int64_t last = position;
  if constexpr (P::has(Fault::causal_off_by_one)) ++last;
  if constexpr (P::has(Fault::window_off_by_one)) ++window;
  if constexpr (P::has(Fault::chunk_off_by_one)) ++chunk_position;
  if (mask.causal) keys.end = std::min(keys.end, last + 1);
  if (mask.window > 0) keys.begin = std::max(keys.begin, position - window + 1);
  if (mask.chunk > 0) {
    if (position < 0) return {keys.begin, keys.begin};
    const std::int64_t first = chunk_position / mask.chunk * mask.chunk;
    keys.begin = std::max(keys.begin, first);
    keys.end = std::min(keys.end, first + mask.chunk);
  }
  keys.end = std::max(keys.begin, keys.end);
  return keys;
}

// True if `custom` leaves `key` to query `query` (its index, not its position).
[[nodiscard]] inline bool custom_allows(const AttentionMask& mask, std::int64_t query, std::int64_t key) {
  return mask.custom.empty() || mask.custom[static_cast<std::size_t>(query * mask.custom_keys + key)] != 0;
}

// Tiles of a kernel: rows of queries and keys. The results depend on `keys` only.
struct TileShape {
  std::int64_t queries = 64;
  std::int64_t keys = 64;
};

struct AttentionOptions {
  double scale = 1.0;     // of the products of queries and keys
  double soft_cap = 0.0;  // scores become cap x tanh(score / cap); 0: none
  AttentionMask mask;
  std::int64_t first_query = 0;  // position of query 0; the golden cases: keys - queries
  KeyRange only = {0, std::numeric_limits<std::int64_t>::max()};  // keys that this call works on (split keys)
  bool bf16_probabilities = false;  // as FlashAttention: rounded for the product with values, not for the sum
  TileShape tile;
};

// Queries [query heads, queries, key_dim], and what belongs to them.
template <class Value>
struct QueryRows {
  HeadRows<const Value> rows;
  std::span<const Value> sinks = {};  // a score per query head that joins the sum with value 0; or empty
  std::span<const float> temperature = {};  // a factor per query (Llama 4); or empty
};

// Results: [query heads, queries, value_dim], and per head and query the natural logarithm of the sum of
// exponentials, sink included ([query heads, queries], or empty where nobody wants it). A query that sees no
// key has result 0 and -infinity there (with a sink: the sink).
template <class Out, class Lse = float>
struct AttentionOutput {
  HeadRows<Out> rows;
  std::span<Lse> lse = {};
};

// Where a kernel reads keys and values: key(head, position, out) and value(head, position, out) write one row
// as f32 and tell the probe.
template <class S>
concept KeyValueSource = requires(const S& source, float* out, NoProbe& probe) {
  { S::shared_values } -> std::convertible_to<bool>;
  { source.heads() } -> std::convertible_to<std::int64_t>;
  { source.positions().begin } -> std::convertible_to<std::int64_t>;
  { source.key_dim() } -> std::convertible_to<std::int64_t>;
  { source.value_dim() } -> std::convertible_to<std::int64_t>;
  source.key(std::int64_t{}, std::int64_t{}, out, probe);
  source.value(std::int64_t{}, std::int64_t{}, out, probe);
};

// Tensors of an attention kernel, as probes tell them apart.
enum class AttentionTensor : int { queries, keys, values, sinks, result, lse, page_table, scratch };
[[nodiscard]] constexpr int tensor_of(AttentionTensor tensor) { return static_cast<int>(tensor); }

// Stored values that need no scale: bf16 and f32.
struct PlainDecode {
  template <class Value>
  [[nodiscard]] float operator()(Value value, std::int64_t /*head*/) const {
    return to_float(value);
  }
};

// 8-bit codes: table[code] x scale of the head (one scale: of the whole tensor), rounded once.
struct TableDecode {
  std::span<const float> table;   // 256 values, by code
  std::span<const float> scales;  // one, or one per KV head

  [[nodiscard]] float operator()(std::uint8_t code, std::int64_t head) const {
    return table[code] * scales[scales.size() == 1 ? 0 : static_cast<std::size_t>(head)];
  }
};

// Signed 8-bit integers x scale of the head (one scale: of the whole tensor), rounded once.
struct IntegerDecode {
  std::span<const float> scales;

  [[nodiscard]] float operator()(std::int8_t code, std::int64_t head) const {
    return static_cast<float>(code) * scales[scales.size() == 1 ? 0 : static_cast<std::size_t>(head)];
  }
};

// Keys and values in memory, from position `first` on.
template <class Value, class Decode = PlainDecode>
struct ContiguousKeyValues {
  HeadRows<const Value> key_rows;
  HeadRows<const Value> value_rows;
  std::int64_t first = 0;
  Decode key_decode = {};
  Decode value_decode = {};
  Operand operand = Operand::keys_values;  // activations where they were expanded for this step only

  static constexpr bool shared_values = false;
  [[nodiscard]] std::int64_t heads() const { return key_rows.heads; }
  [[nodiscard]] KeyRange positions() const { return {first, first + key_rows.rows}; }
  [[nodiscard]] std::int64_t key_dim() const { return key_rows.width; }
  [[nodiscard]] std::int64_t value_dim() const { return value_rows.width; }
  template <class P>
  void key(std::int64_t head, std::int64_t position, float* out, P& probe) const {
    read(key_rows, key_decode, AttentionTensor::keys, head, position, out, probe);
  }
  template <class P>
  void value(std::int64_t head, std::int64_t position, float* out, P& probe) const {
    read(value_rows, value_decode, AttentionTensor::values, head, position, out, probe);
  }

 private:
  template <class P>
  void read(const HeadRows<const Value>& rows, const Decode& decode, AttentionTensor tensor,
            std::int64_t head, std::int64_t position, float* out, P& probe) const {
    const Value* row = rows.row(head, position - first);
    for (std::int64_t i = 0; i < rows.width; ++i) out[i] = decode(row[i], head);
    probe.touch(operand, tensor_of(tensor), rows.index(head, position - first), rows.width, kBitsOf<Value>);
  }
};

// Keys and values of one sequence in pages of a pool: pool[page, row of the page, head, width], as engines
// with paged caches keep them; `pages` lists the sequence's pages by position.
template <class Value, class Decode = PlainDecode>
struct PagedKeyValues {
  std::span<const Value> key_pool;
  std::span<const Value> value_pool;
  std::span<const std::int32_t> pages;
  std::int64_t page_rows = 0;
  std::int64_t keys = 0;  // rows of the sequence
  std::int64_t kv_heads = 0;
  std::int64_t key_width = 0;
  std::int64_t value_width = 0;
  Decode key_decode = {};
  Decode value_decode = {};

  static constexpr bool shared_values = false;
  [[nodiscard]] std::int64_t heads() const { return kv_heads; }
  [[nodiscard]] KeyRange positions() const { return {0, keys}; }
  [[nodiscard]] std::int64_t key_dim() const { return key_width; }
  [[nodiscard]] std::int64_t value_dim() const { return value_width; }
  template <class P>
  void key(std::int64_t head, std::int64_t position, float* out, P& probe) const {
    read(key_pool, key_width, key_decode, AttentionTensor::keys, head, position, out, probe);
  }
  template <class P>
  void value(std::int64_t head, std::int64_t position, float* out, P& probe) const {
    read(value_pool, value_width, value_decode, AttentionTensor::values, head, position, out, probe);
  }

 private:
  template <class P>
  void read(std::span<const Value> pool, std::int64_t width, const Decode& decode, AttentionTensor tensor,
            std::int64_t head, std::int64_t position, float* out, P& probe) const {
    std::int64_t page = position / page_rows;
    const std::int64_t row = position % page_rows;
    if constexpr (P::has(Fault::page_off_by_one)) {
      if (row == page_rows - 1 && page + 1 < std::ssize(pages)) ++page;
    }
    const std::int64_t at = (pages[static_cast<std::size_t>(page)] * page_rows + row) * kv_heads + head;
    core::check(at >= 0 && std::cmp_less_equal((at + 1) * width, pool.size()),
                "a page lies outside its pool");
    const Value* from = pool.data() + at * width;
    for (std::int64_t i = 0; i < width; ++i) out[i] = decode(from[i], head);
    probe.touch(Operand::keys_values, tensor_of(tensor), at * width, width, kBitsOf<Value>);
  }
};

}  // namespace moesim::reference
