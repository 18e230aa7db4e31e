// The lightning indexer of DeepSeek sparse attention (DeepSeek-V3.2; numerics.md 1.4) and the choice of keys,
// and the temperature of Llama 4's position-free layers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "models/reference/attention.hpp"
#include "models/reference/attention_tile.hpp"

namespace moesim::reference {

struct IndexSizes {
  std::int64_t queries = 0;
  std::int64_t keys = 0;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t first_query = 0;  // position of query 0
};

// Tensors of an indexer, as probes tell them apart.
enum class IndexTensor : int { queries, keys, weights, scores, chosen };

// scores[t, s] = sum_h w[t, h] heads^-1/2 x max(q[t, h] . k[s] x head_dim^-1/2, 0), heads ascending, for the
// keys s <= position of t; -infinity for the others. Queries [queries, heads, head_dim], keys [keys,
// head_dim], head weights [queries, heads], scores [queries, keys]. Both roots are multiplied into the heads'
// weights. Counts as llm::work_of(IndexScores). Error: index_bounds().
template <class Real = float, class Value, class P = NoProbe>
void index_scores(std::span<const Value> queries, std::span<const Value> keys,
                  std::span<const Value> head_weights, const IndexSizes& sizes, std::span<Real> scores,
                  P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  const std::int64_t heads = sizes.heads, dim = sizes.head_dim;
  core::check(heads > 0 && dim > 0 && std::ssize(queries) == sizes.queries * heads * dim &&
                  std::ssize(keys) == sizes.keys * dim && std::ssize(head_weights) == sizes.queries * heads &&
                  std::ssize(scores) == sizes.queries * sizes.keys,
              "an indexer needs queries, keys, head weights and scores that fit");
  const Real scale =
      static_cast<Real>(1.0 / core::math::sqrt(static_cast<double>(heads) * static_cast<double>(dim)));
  std::fill(scores.begin(), scores.end(), detail::kMinusInfinity<Real>);
  std::vector<Real> weights(static_cast<std::size_t>(heads));
  for (std::int64_t t = 0; t < sizes.queries; ++t) {
    const KeyRange visible = visible_range<Plain>({}, sizes.first_query + t, {0, sizes.keys});
    for (std::int64_t h = 0; h < heads; ++h) {
      weights[static_cast<std::size_t>(h)] =
          static_cast<Real>(to_float(head_weights[static_cast<std::size_t>(t * heads + h)])) * scale;
    }
    const Value* query = queries.data() + t * heads * dim;
    probe.extra(heads, 0);
    probe.touch(Operand::activations, static_cast<int>(IndexTensor::queries), t * heads * dim, heads * dim,
                kBitsOf<Value>);
    probe.touch(Operand::activations, static_cast<int>(IndexTensor::weights), t * heads, heads,
                kBitsOf<Value>);
    for (std::int64_t s = visible.begin; s < visible.end; ++s) {
      const Value* key = keys.data() + s * dim;
      Real sum = 0;
      for (std::int64_t h = 0; h < heads; ++h) {
        Real product = 0;
        for (std::int64_t i = 0; i < dim; ++i)
          product += static_cast<Real>(to_float(query[h * dim + i])) * static_cast<Real>(to_float(key[i]));
        if constexpr (!Plain::has(Fault::index_relu_dropped)) product = std::max(product, Real{0});
        sum += weights[static_cast<std::size_t>(h)] * product;
      }
      scores[static_cast<std::size_t>(t * sizes.keys + s)] = sum;
      probe.macs(heads * dim, heads * dim);
      // Rectification, product with the head's weight and sum.
      probe.flops(3 * heads);
      probe.touch(Operand::keys_values, static_cast<int>(IndexTensor::keys), s * dim, dim, kBitsOf<Value>);
      probe.touch(Operand::result, static_cast<int>(IndexTensor::scores), t * sizes.keys + s, 1,
                  kBitsOf<float>);
    }
  }
}

// The `top_k` keys with the best scores of each query among its candidates (scores that are not -infinity;
// NaN counts as -infinity), in ascending order, -1 where there are fewer; of equal scores the lower key wins.
// scores [queries, keys], chosen [queries, top_k]. Counts as llm::work_of(KeyChoice): one comparison with the
// worst chosen score per candidate; finding that score is `extra`.
template <class P = NoProbe>
void choose_keys(std::span<const float> scores, std::int64_t queries, std::int64_t keys, std::int64_t top_k,
                 std::span<std::int32_t> chosen, P&& probe = P{}) {
  using Plain = std::remove_reference_t<P>;
  core::check(top_k >= 0 && std::ssize(scores) == queries * keys && std::ssize(chosen) == queries * top_k,
              "a choice needs a score per key and top_k places per query");
  std::vector<float> sorted;
  for (std::int64_t t = 0; t < queries; ++t) {
    const std::span<const float> own =
        scores.subspan(static_cast<std::size_t>(t * keys), static_cast<std::size_t>(keys));
    const std::span<std::int32_t> places =
        chosen.subspan(static_cast<std::size_t>(t * top_k), static_cast<std::size_t>(top_k));
    std::fill(places.begin(), places.end(), -1);
    sorted.clear();
    for (const float score : own) {
      if (score > detail::kMinusInfinity<float>) sorted.push_back(score);
    }
    const std::size_t count = std::min(sorted.size(), static_cast<std::size_t>(top_k));
    if (count == 0) continue;
    const auto worst = sorted.begin() + static_cast<std::ptrdiff_t>(count) - 1;
    std::nth_element(sorted.begin(), worst, sorted.end(), std::greater<>());
    const float threshold = *worst;
    probe.extra(std::ssize(sorted), 0);
    // Of the keys with the worst chosen score so many have a place.
    std::int64_t ties =
        static_cast<std::int64_t>(count) -
        std::count_if(sorted.begin(), sorted.end(), [&](float score) { return score > threshold; });
    if constexpr (Plain::has(Fault::index_tie_highest)) {
      ties -= std::count(sorted.begin(), sorted.end(), threshold);
    }
    std::size_t place = 0;
    for (std::int64_t s = 0; s < keys; ++s) {
      const float score = own[static_cast<std::size_t>(s)];
      if (!(score > detail::kMinusInfinity<float>)) continue;
      probe.flops(1);
      probe.touch(Operand::activations, static_cast<int>(IndexTensor::scores), t * keys + s, 1,
                  kBitsOf<float>);
      if (score < threshold) continue;
      if (score == threshold) {
        const bool takes = Plain::has(Fault::index_tie_highest) ? ties++ >= 0 : ties-- > 0;
        if (!takes) continue;
      }
      places[place] = static_cast<std::int32_t>(s);
      probe.touch(Operand::result, static_cast<int>(IndexTensor::chosen),
                  t * top_k + static_cast<std::int64_t>(place), 1, kBitsOf<std::int32_t>);
      ++place;
    }
  }
}

// Llama 4, layers without positions: queries at `position` are multiplied by
// ln(floor((position + 1) / floor_scale) + 1) x scale + 1 (llama-models models/llama4/model.py).
[[nodiscard]] double attention_temperature(std::int64_t position, double floor_scale, double scale);

}  // namespace moesim::reference
