// Bounds and properties of attention on the scaled layer of a model.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "models/reference/attention_kernels.hpp"
#include "models/reference/attention_merge.hpp"
#include "models/reference/bounds_attention.hpp"
#include "sim/serving/numerics.hpp"

namespace moesim::studies {

// Grouped attention of one prompt over its cached keys, stored as Value. Queries [heads, queries, key_dim],
// keys and values [KV heads, keys, ...].
template <class Value, class Decode>
struct GroupedProblem {
  std::int64_t heads = 0, kv_heads = 0, queries = 0, keys = 0, key_dim = 0, value_dim = 0;
  std::vector<reference::Bf16> q, sinks;
  std::vector<Value> k, v;
  Decode decode;
  reference::AttentionOptions options;

  [[nodiscard]] reference::QueryRows<reference::Bf16> query_rows() const {
    return {reference::heads_first(std::span<const reference::Bf16>(q), heads, queries, key_dim), sinks, {}};
  }
  // Keys up to `end`.
  [[nodiscard]] reference::ContiguousKeyValues<Value, Decode> source(std::int64_t end) const {
    reference::ContiguousKeyValues<Value, Decode> from;
    from.key_rows = reference::heads_first(std::span<const Value>(k), kv_heads, keys, key_dim);
    from.value_rows = reference::heads_first(std::span<const Value>(v), kv_heads, keys, value_dim);
    from.key_rows.rows = from.value_rows.rows = end;
    from.key_decode = from.value_decode = decode;
    return from;
  }
};

// Worst |error| / bound over all elements; infinite for what is not a number or off where the bound is 0.
template <class Value>
[[nodiscard]] double worst_share(std::span<const Value> got, std::span<const double> exact,
                                 std::span<const double> bounds) {
  double worst = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double off = std::fabs(static_cast<double>(reference::to_float(got[i])) - exact[i]);
    if (!std::isfinite(off)) return std::numeric_limits<double>::infinity();
    if (off > 0.0) worst = std::max(worst, off / bounds[i]);
  }
  return worst;
}

inline void add_bound_claim(serving::LayerCheck& check, std::string name, double share) {
  check.claims.push_back({std::move(name), share <= 1.0, share});
}
inline void add_exact_claim(serving::LayerCheck& check, std::string name, bool held) {
  check.claims.push_back({std::move(name), held, std::nullopt});
}

// Rows [first, first + n) of the queries of heads [head, head + heads).
template <class Value>
[[nodiscard]] reference::HeadRows<Value> part_of(reference::HeadRows<Value> rows, std::int64_t head,
                                                 std::int64_t heads, std::int64_t first, std::int64_t n) {
  rows.data = rows.row(head, first);
  rows.heads = heads;
  rows.rows = n;
  return rows;
}

template <class Value, class Decode>
class GroupedClaims {
 public:
  GroupedClaims(const GroupedProblem<Value, Decode>& problem, serving::LayerCheck& check)
      : p_(problem),
        check_(check),
        result_(static_cast<std::size_t>(p_.heads * p_.queries * p_.value_dim)),
        exact_(result_.size()) {}

  // All claims; `ranks` of tensor parallelism, `parts` of split keys. The probe's fault is planted in the
  // kernel of the whole prompt.
  template <reference::Probe P>
  void run(std::int64_t ranks, std::int64_t parts) {
    P probe;
    const auto source = p_.source(p_.keys);
    reference::attention_tiled(p_.query_rows(), source, p_.options, output(result_), probe);
    const reference::AttentionOutput<double, double> exact{
        reference::heads_first(std::span<double>(exact_), p_.heads, p_.queries, p_.value_dim), {}};
    reference::attention_naive<double>(p_.query_rows(), source, p_.options, exact);
    const auto bounds = reference::attention_bounds<reference::Bf16>(p_.query_rows(), source, p_.options);
    add_bound_claim(check_, "prompt within its bound of the f64 oracle",
                    worst_share<reference::Bf16>(result_, exact_, bounds.o));
    chunked();
    decode();
    tensor_parallel(ranks);
    split(parts);
  }

 private:
  using Output = reference::AttentionOutput<reference::Bf16>;

  [[nodiscard]] Output output(std::vector<reference::Bf16>& values) const {
    return {reference::heads_first(std::span<reference::Bf16>(values), p_.heads, p_.queries, p_.value_dim),
            {}};
  }
  [[nodiscard]] std::span<const reference::Bf16> row_of(std::int64_t head, std::int64_t query) const {
    return std::span<const reference::Bf16>(result_).subspan(
        static_cast<std::size_t>((head * p_.queries + query) * p_.value_dim),
        static_cast<std::size_t>(p_.value_dim));
  }

  // The first part of the prompt without the keys behind it, then the rest.
  void chunked() {
    std::vector<reference::Bf16> own(result_.size());
    const std::int64_t middle = p_.queries / 2;
    for (const auto& [first, n] :
         {std::pair(std::int64_t{0}, middle), std::pair(middle, p_.queries - middle)}) {
      if (n == 0) continue;
      auto queries = p_.query_rows();
      queries.rows = part_of(queries.rows, 0, p_.heads, first, n);
      Output to = output(own);
      to.rows = part_of(to.rows, 0, p_.heads, first, n);
      reference::AttentionOptions options = p_.options;
      options.first_query += first;
      reference::attention_tiled(queries, p_.source(options.first_query + n), options, to);
    }
    add_exact_claim(check_, "prompt in two chunks = in one", own == result_);
  }

  // The last query as a decode step, from contiguous keys and from pages.
  void decode() {
    auto queries = p_.query_rows();
    queries.rows = part_of(queries.rows, 0, p_.heads, p_.queries - 1, 1);
    reference::AttentionOptions options = p_.options;
    options.first_query = p_.keys - 1;
    std::vector<reference::Bf16> one(static_cast<std::size_t>(p_.heads * p_.value_dim)), paged(one.size());
    const auto to = [&](std::vector<reference::Bf16>& values) {
      return Output{reference::heads_first(std::span<reference::Bf16>(values), p_.heads, 1, p_.value_dim),
                    {}};
    };
    reference::attention_decode(queries, p_.source(p_.keys), options, to(one));
    bool same = true;
    for (std::int64_t h = 0; h < p_.heads; ++h) {
      const auto want = row_of(h, p_.queries - 1);
      same = same && std::equal(want.begin(), want.end(), one.begin() + h * p_.value_dim);
    }
    add_exact_claim(check_, "decode step = last row of the prompt", same);
    const Pages pages(p_);
    reference::attention_decode(queries, pages.source(p_), options, to(paged));
    add_exact_claim(check_, "paged cache = contiguous cache", paged == one);
  }

  // The sequence's rows in pages that lie in falling order.
  struct Pages {
    static constexpr std::int64_t kRows = 16;
    std::vector<Value> k, v;
    std::vector<std::int32_t> table;

    explicit Pages(const GroupedProblem<Value, Decode>& p) {
      const std::int64_t pages = (p.keys + kRows - 1) / kRows;
      k.resize(static_cast<std::size_t>(pages * kRows * p.kv_heads * p.key_dim));
      v.resize(static_cast<std::size_t>(pages * kRows * p.kv_heads * p.value_dim));
      for (std::int64_t i = 0; i < pages; ++i) table.push_back(static_cast<std::int32_t>(pages - 1 - i));
      for (std::int64_t j = 0; j < p.keys; ++j) {
        for (std::int64_t h = 0; h < p.kv_heads; ++h) {
          const std::int64_t at =
              (table[static_cast<std::size_t>(j / kRows)] * kRows + j % kRows) * p.kv_heads + h;
          std::copy_n(p.k.begin() + (h * p.keys + j) * p.key_dim, p.key_dim, k.begin() + at * p.key_dim);
          std::copy_n(p.v.begin() + (h * p.keys + j) * p.value_dim, p.value_dim,
                      v.begin() + at * p.value_dim);
        }
      }
    }
    [[nodiscard]] reference::PagedKeyValues<Value, Decode> source(
        const GroupedProblem<Value, Decode>& p) const {
      return {k, v, table, kRows, p.keys, p.kv_heads, p.key_dim, p.value_dim, p.decode, p.decode};
    }
  };

  // Each rank's heads by themselves; KV heads are copied where there are more ranks.
  void tensor_parallel(std::int64_t ranks) {
    std::vector<reference::Bf16> own(result_.size());
    const std::int64_t heads = p_.heads / ranks, kv_heads = std::max<std::int64_t>(1, p_.kv_heads / ranks);
    for (std::int64_t rank = 0; rank < ranks; ++rank) {
      auto queries = p_.query_rows();
      queries.rows = part_of(queries.rows, rank * heads, heads, 0, p_.queries);
      if (!queries.sinks.empty())
        queries.sinks =
            queries.sinks.subspan(static_cast<std::size_t>(rank * heads), static_cast<std::size_t>(heads));
      auto source = p_.source(p_.keys);
      const std::int64_t first = rank * p_.kv_heads / ranks;
      source.key_rows = part_of(source.key_rows, first, kv_heads, 0, p_.keys);
      source.value_rows = part_of(source.value_rows, first, kv_heads, 0, p_.keys);
      Output to = output(own);
      to.rows = part_of(to.rows, rank * heads, heads, 0, p_.queries);
      reference::attention_tiled(queries, source, p_.options, to);
    }
    add_exact_claim(check_, "heads over " + std::to_string(ranks) + " tensor ranks = all heads",
                    own == result_);
  }

  // The last query over keys that lie on several ranks, whose partial results are merged.
  void split(std::int64_t parts) {
    auto queries = p_.query_rows();
    queries.rows = part_of(queries.rows, 0, p_.heads, p_.queries - 1, 1);
    reference::AttentionOptions options = p_.options;
    options.first_query = p_.keys - 1;
    const auto source = p_.source(p_.keys);
    const auto ranges = reference::split_keys({0, p_.keys}, parts);
    const reference::SplitResult got = reference::attention_split(queries, source, options, ranges);
    auto without_sinks = queries;
    without_sinks.sinks = {};
    const auto rows = static_cast<std::size_t>(p_.heads), width = static_cast<std::size_t>(p_.value_dim);
    std::vector<double> o(ranges.size() * rows * width), lse(ranges.size() * rows), o_bounds, lse_bounds;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      reference::AttentionOptions own = options;
      own.only = ranges[i];
      const reference::AttentionOutput<double, double> to{
          reference::heads_first(std::span(o).subspan(i * rows * width, rows * width), p_.heads, 1,
                                 p_.value_dim),
          std::span(lse).subspan(i * rows, rows)};
      reference::attention_naive<double>(without_sinks, source, own, to);
      const auto bounds = reference::attention_bounds<float>(without_sinks, source, own);
      o_bounds.insert(o_bounds.end(), bounds.o.begin(), bounds.o.end());
      lse_bounds.insert(lse_bounds.end(), bounds.lse.begin(), bounds.lse.end());
    }
    std::vector<double> sinks, exact;
    for (const reference::Bf16 sink : p_.sinks)
      sinks.push_back(static_cast<double>(reference::to_float(sink)));
    for (std::int64_t h = 0; h < p_.heads; ++h) {
      const auto from = exact_.begin() + ((h + 1) * p_.queries - 1) * p_.value_dim;
      exact.insert(exact.end(), from, from + p_.value_dim);
    }
    const auto bounds = reference::merge_bounds(
        {static_cast<std::int64_t>(ranges.size()), o, lse, o_bounds, lse_bounds, sinks});
    add_bound_claim(check_, "decode over keys in " + std::to_string(parts) + " parts within its bound",
                    worst_share<float>(got.o, exact, bounds.o));
  }

  const GroupedProblem<Value, Decode>& p_;
  serving::LayerCheck& check_;
  std::vector<reference::Bf16> result_;
  std::vector<double> exact_;
};

}  // namespace moesim::studies
