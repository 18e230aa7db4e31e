// Attention: a naive form (the oracle in double), tiles with an online softmax, decode over contiguous or
// paged keys, and attention over chosen keys. Results of the tiled kernels are the same bits for the same
// `tile.keys`, whichever kernel, tile of queries, source of keys or part of a prompt computes them.
//
// Sources: numerics.md 1.4 and 2.1; FlashAttention (arXiv 2205.14135) for the online softmax,
// FlashAttention-2 (arXiv 2307.08691) for the order of its loops, vLLM's paged attention (arXiv 2309.06180).
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "models/reference/attention.hpp"
#include "models/reference/attention_tile.hpp"

namespace moesim::reference {

namespace detail {

// KV head of a query head.
template <class P>
[[nodiscard]] std::int64_t group_head(std::int64_t head, std::int64_t heads, std::int64_t kv_heads) {
  const std::int64_t own = head / (heads / kv_heads);
  if constexpr (P::has(Fault::wrong_group_head)) return (own + 1) % kv_heads;
  return own;
}

// Calls body(tile's keys) for all tiles over `keys`; tiles start at multiples of `tile`.
template <class P, class Body>
void for_tiles(KeyRange keys, std::int64_t tile, const Body& body) {
  if (keys.begin >= keys.end) return;
  std::int64_t last = core::divide_up(keys.end, tile);
  if constexpr (P::has(Fault::last_tile_dropped)) --last;
  for (std::int64_t i = keys.begin / tile; i < last; ++i) body(common(keys, {i * tile, (i + 1) * tile}));
}

// One row of scores in the naive kernel.
template <class Real, class Query, class P>
void naive_row(const QueryRows<Query>& queries, std::int64_t head, std::int64_t index, const KeyTile& all,
               const AttentionOptions& options, const AttentionOutput<Real, Real>& output, P& probe) {
  const ScoreRule<Real> rule(options);
  const KeyRange range = visible_range<P>(options.mask, options.first_query + index, {all.begin, all.end});
  const Real temperature = queries.temperature.empty()
                               ? Real{1}
                               : static_cast<Real>(queries.temperature[static_cast<std::size_t>(index)]);
  const Query* from = queries.rows.row(head, index);
  std::vector<Real> query, scores;
  for (std::int64_t i = 0; i < all.key_dim; ++i)
    query.push_back(static_cast<Real>(to_float(from[i])) * temperature);
  std::vector<std::int64_t> seen;
  Real maximum = kMinusInfinity<Real>;
  if (!queries.sinks.empty())
    maximum = static_cast<Real>(to_float(queries.sinks[static_cast<std::size_t>(head)]));
  for (std::int64_t position = range.begin; position < range.end; ++position) {
    if (!custom_allows(options.mask, index, position)) continue;
    const Real product = dot(query.data(), all.key(position), all.key_dim);
    const Real score = rule.template score<P>(product);
    if (score > maximum || std::isnan(score)) maximum = score;
    scores.push_back(score);
    seen.push_back(position);
    probe.macs(all.key_dim, 0);
    probe.flops(2);
    rule.count_cap(probe);
  }
  // No exponential is defined where all scores overflowed to -infinity.
  if (maximum == kMinusInfinity<Real>) scores.clear();
  std::vector<Real> values(static_cast<std::size_t>(all.value_dim));
  Real sum = 0;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    Real probability = exponential(scores[j] - maximum);
    sum += probability;
    probe.flops(2);
    probe.specials(1);
    if (rule.bf16_probabilities) {
      probability = static_cast<Real>(rounded_to_bf16(static_cast<float>(probability)));
    }
    const float* value = all.value(seen[j]);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += probability * static_cast<Real>(value[i]);
    probe.macs(all.value_dim, 0);
  }
  if (!queries.sinks.empty() && maximum != kMinusInfinity<Real>) {
    sum += exponential(static_cast<Real>(to_float(queries.sinks[static_cast<std::size_t>(head)])) - maximum);
  }
  Real* out = output.rows.row(head, index);
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = sum == Real{0} ? Real{0} : values[i] / sum;
  if (sum != Real{0}) probe.flops(all.value_dim);
  if (!output.lse.empty()) {
    output.lse[static_cast<std::size_t>(head * output.rows.rows + index)] = log_sum(maximum, sum);
  }
}

// The query rows of one KV head: its group of query heads, each with all queries.
template <class Query, class P>
[[nodiscard]] std::vector<QueryRow> group_rows(const QueryRows<Query>& queries, std::int64_t kv_head,
                                               std::int64_t group, KeyRange keys,
                                               const AttentionOptions& options, std::int64_t value_dim,
                                               P& probe) {
  std::vector<QueryRow> rows;
  for (std::int64_t member = 0; member < group; ++member) {
    for (std::int64_t i = 0; i < queries.rows.rows; ++i)
      rows.push_back(start(queries, kv_head * group + member, i, keys, options, value_dim, probe));
  }
  return rows;
}

}  // namespace detail

// Scores of all keys, their maximum, then exponentials and sums in ascending order of keys, all in Real:
// double is the oracle of the other kernels. Same shapes as attention_tiled. bf16_probabilities rounds in
// double, too. Counts scores, exponentials and products where it does them; `executed_macs` are those of the
// full square, which it does not multiply.
template <class Real, class Query, KeyValueSource Source, class P = NoProbe>
void attention_naive(const QueryRows<Query>& queries, const Source& source, const AttentionOptions& options,
                     const AttentionOutput<Real, Real>& output, P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  detail::check_shapes(queries, source, options, output);
  const KeyRange keys = detail::common(source.positions(), options.only);
  const std::int64_t heads = queries.rows.heads;
  detail::TileStorage storage;
  for (std::int64_t head = 0; head < heads; ++head) {
    const std::int64_t kv_head = detail::group_head<Plain>(head, heads, source.heads());
    const detail::KeyTile all = storage.read(source, kv_head, keys, probe);
    for (std::int64_t i = 0; i < queries.rows.rows; ++i)
      detail::naive_row<Real>(queries, head, i, all, options, output, probe);
    probe.macs(0, queries.rows.rows * (keys.end - keys.begin) * (source.key_dim() + source.value_dim()));
  }
}

// o = softmax(cap(scale x q k^T), masked, with sinks) v, and its log-sum-exps. Prefill order: for each head
// and tile of queries over the tiles of keys that at least one of its queries may see.
//  - queries [Hq, nq, d], keys [Hkv, nk, d] and values [Hkv, nk, dv] of `source`, Hq a multiple of Hkv: query
//    head h reads KV head h / (Hq / Hkv);
//  - the result is rounded once where it is stored as bf16.
// Counts: by pair the operations of llm::work_of(Attention), each in the loop that does it; `executed_macs`
// are the scheduled ones, of whole tiles, whose padding this plain code does not multiply; rescaling is
// `extra`. Throws core::InvariantError for shapes that do not fit. Error: attention_bounds().
template <class Query, KeyValueSource Source, class Out, class P = NoProbe>
void attention_tiled(const QueryRows<Query>& queries, const Source& source, const AttentionOptions& options,
                     const AttentionOutput<Out>& output, P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  detail::check_shapes(queries, source, options, output);
  const detail::ScoreRule<float> rule(options);
  const KeyRange keys = detail::common(source.positions(), options.only);
  const std::int64_t heads = queries.rows.heads, width = source.key_dim() + source.value_dim();
  detail::TileStorage storage;
  detail::TileScratch scratch;
  for (std::int64_t head = 0; head < heads; ++head) {
    const std::int64_t kv_head = detail::group_head<Plain>(head, heads, source.heads());
    for (std::int64_t at = 0; at < queries.rows.rows; at += options.tile.queries) {
      const std::int64_t end = std::min(at + options.tile.queries, queries.rows.rows);
      std::vector<detail::QueryRow> rows;
      for (std::int64_t i = at; i < end; ++i)
        rows.push_back(detail::start(queries, head, i, keys, options, source.value_dim(), probe));
      detail::for_tiles<Plain>(detail::united(rows), options.tile.keys, [&](KeyRange part) {
        const detail::KeyTile tile = storage.read(source, kv_head, part, probe);
        for (detail::QueryRow& row : rows) detail::attend(row, tile, options.mask, rule, scratch, probe);
        probe.macs(0, options.tile.queries * options.tile.keys * width);
      });
      for (detail::QueryRow& row : rows) detail::finish(row, queries, output, probe);
    }
  }
}

// The same result in decode order: each row of keys and values is read once for all query heads that share it
// and all queries. Query heads x queries are the rows of a tile.
template <class Query, KeyValueSource Source, class Out, class P = NoProbe>
void attention_decode(const QueryRows<Query>& queries, const Source& source, const AttentionOptions& options,
                      const AttentionOutput<Out>& output, P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  detail::check_shapes(queries, source, options, output);
  const detail::ScoreRule<float> rule(options);
  const KeyRange keys = detail::common(source.positions(), options.only);
  const std::int64_t kv_heads = source.heads(), group = queries.rows.heads / kv_heads;
  const std::int64_t width = source.key_dim() + source.value_dim();
  const std::int64_t padded_rows =
      core::divide_up(group * queries.rows.rows, options.tile.queries) * options.tile.queries;
  detail::TileStorage storage;
  detail::TileScratch scratch;
  for (std::int64_t kv_head = 0; kv_head < kv_heads; ++kv_head) {
    std::vector<detail::QueryRow> rows =
        detail::group_rows(queries, kv_head, group, keys, options, source.value_dim(), probe);
    const std::int64_t read_head = detail::group_head<Plain>(kv_head, kv_heads, kv_heads);
    detail::for_tiles<Plain>(detail::united(rows), options.tile.keys, [&](KeyRange part) {
      const detail::KeyTile tile = storage.read(source, read_head, part, probe);
      for (detail::QueryRow& row : rows) detail::attend(row, tile, options.mask, rule, scratch, probe);
      probe.macs(0, padded_rows * options.tile.keys * width);
    });
    for (detail::QueryRow& row : rows) detail::finish(row, queries, output, probe);
  }
}

// Attention over chosen keys (DeepSeek sparse attention): query i reads the keys at chosen[i x top_k], ...,
// in that order, up to the first negative entry. Keys are gathered query by query into tiles of `tile.keys`;
// `options.mask` and `options.only` are not used. Scheduled rows: the heads of a group, in whole tiles of
// `tile.queries`. Throws core::InvariantError for a chosen key that the source does not have.
template <class Query, KeyValueSource Source, class Out, class P = NoProbe>
void attention_chosen(const QueryRows<Query>& queries, const Source& source,
                      std::span<const std::int32_t> chosen, std::int64_t top_k,
                      const AttentionOptions& options, const AttentionOutput<Out>& output, P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  detail::check_shapes(queries, source, options, output);
  core::check(top_k >= 0 && std::cmp_equal(chosen.size(), queries.rows.rows * top_k),
              "there must be top_k chosen keys per query");
  const detail::ScoreRule<float> rule(options);
  const KeyRange keys = source.positions();
  const std::int64_t kv_heads = source.heads(), group = queries.rows.heads / kv_heads;
  const std::int64_t padded_rows = core::divide_up(group, options.tile.queries) * options.tile.queries;
  const AttentionMask all{false};
  AttentionOptions unmasked = options;
  unmasked.mask = all;
  detail::TileStorage storage;
  detail::TileScratch scratch;
  for (std::int64_t i = 0; i < queries.rows.rows; ++i) {
    const std::span<const std::int32_t> own =
        chosen.subspan(static_cast<std::size_t>(i * top_k), static_cast<std::size_t>(top_k));
    const auto count = std::distance(
        own.begin(), std::find_if(own.begin(), own.end(), [](std::int32_t key) { return key < 0; }));
    for (const std::int32_t key : own.first(static_cast<std::size_t>(count)))
      core::check(key >= keys.begin && key < keys.end, "a chosen key is not there");
    for (std::int64_t kv_head = 0; kv_head < kv_heads; ++kv_head) {
      std::vector<detail::QueryRow> rows;
      for (std::int64_t member = 0; member < group; ++member)
        rows.push_back(detail::start(queries, kv_head * group + member, i, {0, count}, unmasked,
                                     source.value_dim(), probe));
      detail::for_tiles<Plain>({0, count}, options.tile.keys, [&](KeyRange part) {
        const detail::KeyTile tile = storage.gather(
            source, kv_head, part, [&](std::int64_t at) { return own[static_cast<std::size_t>(at)]; }, probe);
        for (detail::QueryRow& row : rows) detail::attend(row, tile, all, rule, scratch, probe);
        probe.macs(0, padded_rows * options.tile.keys * (source.key_dim() + source.value_dim()));
      });
      for (detail::QueryRow& row : rows) detail::finish(row, queries, output, probe);
    }
  }
}

// Decode of a batch over one pool of pages (attention_decode for each sequence). Sequence b has `lengths[b]`
// keys in the pages `tables[b x pages_per_sequence]`, ...; its queries are rows b x queries_per_sequence, ...
// of `queries`, the last of which stands at its last key. Bit for bit what contiguous keys give.
// `options.first_query` and `options.only` are not used.
template <class Query, class Value, class Out, class Decode = PlainDecode, class P = NoProbe>
void attention_decode_paged(const QueryRows<Query>& queries, const PagedKeyValues<Value, Decode>& pool,
                            std::span<const std::int32_t> tables, std::span<const std::int64_t> lengths,
                            const AttentionOptions& options, const AttentionOutput<Out>& output,
                            P&& probe = P{}) {
  const std::int64_t sequences = std::ssize(lengths);
  core::check(sequences > 0 && queries.rows.rows % sequences == 0 && std::ssize(tables) % sequences == 0,
              "each sequence needs as many queries and pages as the others");
  core::check(queries.temperature.empty() && output.lse.empty() && options.mask.custom.empty(),
              "paged decode of a batch knows no temperatures, log-sum-exps and custom masks");
  const std::int64_t each = queries.rows.rows / sequences, pages = std::ssize(tables) / sequences;
  for (std::int64_t b = 0; b < sequences; ++b) {
    PagedKeyValues<Value, Decode> own = pool;
    own.pages = tables.subspan(static_cast<std::size_t>(b * pages), static_cast<std::size_t>(pages));
    own.keys = lengths[static_cast<std::size_t>(b)];
    core::check(own.keys >= 0 && own.keys <= pages * own.page_rows, "a sequence has more keys than pages");
    QueryRows<Query> own_queries = queries;
    own_queries.rows.data = queries.rows.row(0, b * each);
    own_queries.rows.rows = each;
    AttentionOutput<Out> own_output = output;
    own_output.rows.data = output.rows.row(0, b * each);
    own_output.rows.rows = each;
    AttentionOptions own_options = options;
    own_options.first_query = own.keys - each;
    own_options.only = AttentionOptions{}.only;
    attention_decode(own_queries, own, own_options, own_output, probe);
  }
}

}  // namespace moesim::reference
