#include "sim/studies/numerics_latent.hpp"

#include <algorithm>
#include <numeric>

#include "sim/core/math.hpp"

namespace moesim::studies {

namespace {

double wide(reference::Bf16 value) { return static_cast<double>(reference::to_float(value)); }

// Keys and values of one head from the latent rows: [keys, nope + value].
std::vector<double> expanded_rows(const LatentProblem& p, std::int64_t head) {
  const std::int64_t width = p.sizes.nope + p.sizes.value;
  std::vector<double> rows;
  for (std::int64_t j = 0; j < p.keys; ++j) {
    for (std::int64_t n = 0; n < width; ++n) {
      const auto* weights = p.up.data() + (head * width + n) * p.sizes.latent;
      const auto* latent = p.latent.data() + j * p.sizes.latent;
      double sum = 0.0;
      for (std::int64_t c = 0; c < p.sizes.latent; ++c) sum += wide(weights[c]) * wide(latent[c]);
      rows.push_back(sum);
    }
  }
  return rows;
}

}  // namespace

std::vector<double> latent_oracle(const LatentProblem& p, const reference::AttentionMask& mask) {
  const auto& s = p.sizes;
  const std::int64_t width = s.nope + s.value;
  std::vector<double> results;
  for (std::int64_t h = 0; h < s.heads; ++h) {
    const std::vector<double> rows = expanded_rows(p, h);
    for (std::int64_t i = 0; i < p.queries; ++i) {
      const auto* query = p.q.data() + (h * p.queries + i) * s.query_dim();
      std::vector<double> scores;
      std::vector<std::int64_t> seen;
      for (std::int64_t j = 0; j <= p.options.first_query + i; ++j) {
        if (!reference::custom_allows(mask, i, j)) continue;
        double score = 0.0;
        for (std::int64_t n = 0; n < s.nope; ++n)
          score += wide(query[n]) * rows[static_cast<std::size_t>(j * width + n)];
        for (std::int64_t c = 0; c < s.rope; ++c)
          score += wide(query[s.nope + c]) * wide(p.rope[static_cast<std::size_t>(j * s.rope + c)]);
        scores.push_back(score * p.options.scale);
        seen.push_back(j);
      }
      const double largest = *std::max_element(scores.begin(), scores.end());
      double sum = 0.0;
      for (double& score : scores) {
        score = core::math::exp(score - largest);
        sum += score;
      }
      for (std::int64_t v = 0; v < s.value; ++v) {
        double result = 0.0;
        for (std::size_t j = 0; j < scores.size(); ++j)
          result += scores[j] / sum * rows[static_cast<std::size_t>(seen[j] * width + s.nope + v)];
        results.push_back(result);
      }
    }
  }
  return results;
}

void check_index_claims(const LatentProblem& p, const IndexChoice& choice, serving::LayerCheck& check) {
  std::vector<double> exact(choice.scores.size());
  reference::index_scores<double, reference::Bf16>(p.index_queries, p.index_keys, p.index_weights, p.index,
                                                   exact);
  const std::vector<double> bounds =
      reference::index_bounds<reference::Bf16>(p.index_queries, p.index_keys, p.index_weights, p.index);
  double share = 0.0;
  bool same = true;
  for (std::int64_t t = 0; t < p.queries; ++t) {
    std::vector<std::int32_t> order;
    for (std::int64_t j = 0; j <= p.index.first_query + t; ++j) {
      const auto at = static_cast<std::size_t>(t * p.keys + j);
      const double off = std::fabs(static_cast<double>(choice.scores[at]) - exact[at]);
      if (off > 0.0) share = std::max(share, off / bounds[at]);
      order.push_back(static_cast<std::int32_t>(j));
    }
    const float* scores = choice.scores.data() + t * p.keys;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int32_t a, std::int32_t b) { return scores[a] > scores[b]; });
    order.resize(std::min(order.size(), static_cast<std::size_t>(p.top_k)));
    std::sort(order.begin(), order.end());
    same = same && std::equal(order.begin(), order.end(), choice.chosen.begin() + t * p.top_k);
  }
  add_bound_claim(check, "scores of the indexer within their bound of the f64 oracle", share);
  add_exact_claim(check, "chosen keys = the best of all scores, lower keys first", same);
}

}  // namespace moesim::studies
