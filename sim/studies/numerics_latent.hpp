// Bounds and properties of latent attention on the scaled layer of a model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/reference/bounds_latent.hpp"
#include "models/reference/indexer.hpp"
#include "sim/serving/numerics.hpp"
#include "sim/studies/numerics_attention.hpp"

namespace moesim::studies {

// Latent attention of one prompt. Queries [heads, queries, nope + rope]; `chosen` [queries, top_k] keys,
// empty where all are read.
struct LatentProblem {
  reference::LatentSizes sizes;
  std::int64_t queries = 0, keys = 0;
  std::vector<reference::Bf16> q, latent, rope, up;
  reference::AttentionOptions options;
  reference::IndexSizes index;
  std::vector<reference::Bf16> index_queries, index_keys, index_weights;
  std::int64_t top_k = 0;

  [[nodiscard]] reference::QueryRows<reference::Bf16> query_rows() const {
    return {
        reference::heads_first(std::span<const reference::Bf16>(q), sizes.heads, queries, sizes.query_dim()),
        {},
        {}};
  }
  [[nodiscard]] reference::LatentKeyValues<reference::Bf16> cache() const {
    return reference::latent_cache(std::span<const reference::Bf16>(latent),
                                   std::span<const reference::Bf16>(rope), sizes);
  }
};

// The naive form in double over the keys that options.mask leaves; [heads, queries, value].
[[nodiscard]] std::vector<double> latent_oracle(const LatentProblem& problem,
                                                const reference::AttentionMask& mask);

// Scores of the indexer, and the keys that it chooses.
struct IndexChoice {
  std::vector<float> scores;          // [queries, keys]
  std::vector<std::int32_t> chosen;   // [queries, top_k]
  std::vector<std::uint8_t> visible;  // [queries, keys]: those chosen
};
template <reference::Probe P>
[[nodiscard]] IndexChoice index_choice(const LatentProblem& p) {
  P probe;
  IndexChoice choice;
  choice.scores.resize(static_cast<std::size_t>(p.queries * p.keys));
  choice.chosen.resize(static_cast<std::size_t>(p.queries * p.top_k));
  choice.visible.resize(choice.scores.size());
  reference::index_scores<float, reference::Bf16>(p.index_queries, p.index_keys, p.index_weights, p.index,
                                                  choice.scores, probe);
  reference::choose_keys(choice.scores, p.queries, p.keys, p.top_k, choice.chosen, probe);
  for (std::size_t i = 0; i < choice.chosen.size(); ++i) {
    if (choice.chosen[i] < 0) continue;
    const std::int64_t query = static_cast<std::int64_t>(i) / p.top_k;
    choice.visible[static_cast<std::size_t>(query * p.keys + choice.chosen[i])] = 1;
  }
  return choice;
}

// Scores against their bound, and the choice against a sort of all scores.
void check_index_claims(const LatentProblem& problem, const IndexChoice& choice, serving::LayerCheck& check);

[[nodiscard]] inline reference::AttentionOutput<reference::Bf16> latent_output_of(
    const LatentProblem& p, std::vector<reference::Bf16>& values) {
  values.resize(static_cast<std::size_t>(p.sizes.heads * p.queries * p.sizes.value));
  return {reference::heads_first(std::span<reference::Bf16>(values), p.sizes.heads, p.queries, p.sizes.value),
          {}};
}

// The indexer, and the absorbed form over the keys that it chooses.
template <reference::Probe P>
void check_chosen_claims(const LatentProblem& p, serving::LayerCheck& check) {
  P probe;
  const std::span<const reference::Bf16> up(p.up);
  std::vector<reference::Bf16> result;
  const IndexChoice choice = index_choice<P>(p);
  check_index_claims(p, choice, check);
  reference::latent_attention_absorbed(p.query_rows(), p.cache(), up, p.sizes, p.options,
                                       latent_output_of(p, result), probe, choice.chosen, p.top_k);
  reference::AttentionOptions kept = p.options;
  kept.mask.custom = choice.visible;
  kept.mask.custom_keys = p.keys;
  const auto bounds =
      reference::latent_bounds<reference::Bf16>(p.query_rows(), p.cache(), up, p.sizes, kept, true);
  add_bound_claim(check, "absorbed form over the chosen keys within its bound of the f64 oracle",
                  worst_share<reference::Bf16>(result, latent_oracle(p, kept.mask), bounds.o));
}

// Both forms against the oracle, heads over `ranks`, a prompt in two chunks; with an indexer the absorbed
// form over the chosen keys. The probe's fault is planted in the kernels of the whole prompt.
template <reference::Probe P>
void check_latent_claims(const LatentProblem& p, std::int64_t ranks, serving::LayerCheck& check) {
  using reference::Bf16;
  if (p.top_k > 0) return check_chosen_claims<P>(p, check);
  P probe;
  const std::span<const Bf16> up(p.up);
  std::vector<Bf16> absorbed, naive, own;
  const auto output = [&](std::vector<Bf16>& values) { return latent_output_of(p, values); };
  const std::vector<double> exact = latent_oracle(p, p.options.mask);
  reference::latent_attention_naive(p.query_rows(), p.cache(), up, p.sizes, p.options, output(naive), probe);
  reference::latent_attention_absorbed(p.query_rows(), p.cache(), up, p.sizes, p.options, output(absorbed),
                                       probe);
  for (const bool form : {false, true}) {
    const auto bounds =
        reference::latent_bounds<Bf16>(p.query_rows(), p.cache(), up, p.sizes, p.options, form);
    add_bound_claim(check,
                    std::string(form ? "absorbed" : "expanded") + " form within its bound of the f64 oracle",
                    worst_share<Bf16>(form ? absorbed : naive, exact, bounds.o));
  }
  const std::int64_t middle = p.queries / 2;
  for (const std::int64_t first : {std::int64_t{0}, middle}) {
    auto queries = p.query_rows();
    queries.rows = part_of(queries.rows, 0, p.sizes.heads, first, first == 0 ? middle : p.queries - middle);
    auto to = output(own);
    to.rows = part_of(to.rows, 0, p.sizes.heads, first, queries.rows.rows);
    reference::AttentionOptions options = p.options;
    options.first_query += first;
    auto cache = p.cache();
    cache.keys = options.first_query + queries.rows.rows;
    reference::latent_attention_naive(queries, cache, up, p.sizes, options, to);
  }
  add_exact_claim(check, "prompt in two chunks = in one", own == naive);
  reference::LatentSizes part = p.sizes;
  part.heads = p.sizes.heads / ranks;
  const std::int64_t rows = part.heads * (part.nope + part.value) * part.latent;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    auto queries = p.query_rows();
    queries.rows = part_of(queries.rows, rank * part.heads, part.heads, 0, p.queries);
    auto to = output(own);
    to.rows = part_of(to.rows, rank * part.heads, part.heads, 0, p.queries);
    reference::latent_attention_absorbed(
        queries, p.cache(), up.subspan(static_cast<std::size_t>(rank * rows), static_cast<std::size_t>(rows)),
        part, p.options, to);
  }
  add_exact_claim(check, "heads over " + std::to_string(ranks) + " tensor ranks = all heads",
                  own == absorbed);
}

}  // namespace moesim::studies
