// Random problems of latent attention for tests, and their oracle in double.
#pragma once

#include <cmath>
#include <vector>

#include "models/reference/bounds_latent.hpp"
#include "tests/unit/reference/attention_problem.hpp"

namespace moesim::reference::test {

template <class Value>
struct LatentProblem {
  LatentSizes sizes;
  std::int64_t count = 0;  // queries
  std::int64_t keys = 0;
  std::vector<Value> q, latent, rope, up;
  AttentionOptions options;

  explicit LatentProblem(std::uint64_t seed) {
    Numbers numbers(seed);
    sizes.heads = numbers.between(1, 4);
    sizes.latent = numbers.between(2, 24);
    sizes.nope = numbers.between(1, 16);
    sizes.rope = 2 * numbers.between(1, 4);
    sizes.value = numbers.between(1, 12);
    count = numbers.between(1, 6);
    keys = count + numbers.between(0, 60);
    const float size = seed % 3 == 0 ? 6.0F : 1.0F;
    q = random_values<Value>(numbers, sizes.heads * count * sizes.query_dim(), size);
    latent = random_values<Value>(numbers, keys * sizes.latent, size);
    rope = random_values<Value>(numbers, keys * sizes.rope, size);
    up = random_values<Value>(numbers, sizes.heads * (sizes.nope + sizes.value) * sizes.latent, 1.0F);
    options.scale = 1.0 / std::sqrt(static_cast<double>(sizes.query_dim()));
    options.first_query = keys - count;
    options.tile = {4, 16};
  }
  [[nodiscard]] QueryRows<Value> queries() const {
    return {heads_first(std::span<const Value>(q), sizes.heads, count, sizes.query_dim()), {}, {}};
  }
  [[nodiscard]] LatentKeyValues<Value> cache() const {
    return latent_cache(std::span<const Value>(latent), std::span<const Value>(rope), sizes);
  }
};

// The naive form in double: results [heads, queries, value] and log-sum-exps.
template <class Value>
struct LatentOracle {
  std::vector<double> o, lse;

  explicit LatentOracle(const LatentProblem<Value>& problem) {
    for (std::int64_t h = 0; h < problem.sizes.heads; ++h) {
      for (std::int64_t i = 0; i < problem.count; ++i) add_row(problem, h, i);
    }
  }

 private:
  static double element(const std::vector<Value>& values, std::int64_t at) {
    return as_double(values[static_cast<std::size_t>(at)]);
  }
  static double expanded(const LatentProblem<Value>& problem, std::int64_t h, std::int64_t j,
                         std::int64_t n) {
    const LatentSizes& sizes = problem.sizes;
    double sum = 0.0;
    for (std::int64_t c = 0; c < sizes.latent; ++c) {
      sum += element(problem.up, (h * (sizes.nope + sizes.value) + n) * sizes.latent + c) *
             element(problem.latent, j * sizes.latent + c);
    }
    return sum;
  }
  void add_row(const LatentProblem<Value>& problem, std::int64_t h, std::int64_t i) {
    const LatentSizes& sizes = problem.sizes;
    std::vector<double> scores;
    double largest = -1e300, sum = 0.0;
    for (std::int64_t j = 0; j <= problem.options.first_query + i; ++j) {
      const std::int64_t query = (h * problem.count + i) * sizes.query_dim();
      double score = 0.0;
      for (std::int64_t n = 0; n < sizes.nope; ++n)
        score += element(problem.q, query + n) * expanded(problem, h, j, n);
      for (std::int64_t c = 0; c < sizes.rope; ++c)
        score += element(problem.q, query + sizes.nope + c) * element(problem.rope, j * sizes.rope + c);
      scores.push_back(score * problem.options.scale);
      largest = std::max(largest, scores.back());
    }
    for (const double score : scores) sum += std::exp(score - largest);
    for (std::int64_t v = 0; v < sizes.value; ++v) {
      double result = 0.0;
      for (std::size_t j = 0; j < scores.size(); ++j) {
        result += std::exp(scores[j] - largest) / sum *
                  expanded(problem, h, static_cast<std::int64_t>(j), sizes.nope + v);
      }
      o.push_back(result);
    }
    lse.push_back(largest + std::log(sum));
  }
};

// One form against the oracle; results stored as f32.
template <class Value, class P = NoProbe>
double latent_share(const LatentProblem<Value>& problem, bool absorbed, P&& probe = P{}) {
  const LatentOracle<Value> exact(problem);
  std::vector<float> o(exact.o.size()), lse(exact.lse.size());
  const AttentionOutput<float> output{
      heads_first(std::span<float>(o), problem.sizes.heads, problem.count, problem.sizes.value), lse};
  const std::span<const Value> up(problem.up);
  if (absorbed) {
    latent_attention_absorbed(problem.queries(), problem.cache(), up, problem.sizes, problem.options, output,
                              probe);
  } else {
    latent_attention_naive(problem.queries(), problem.cache(), up, problem.sizes, problem.options, output,
                           probe);
  }
  const AttentionBounds bounds =
      latent_bounds<float>(problem.queries(), problem.cache(), up, problem.sizes, problem.options, absorbed);
  return std::max(worst_share<float>(o, exact.o, bounds.o), worst_share<float>(lse, exact.lse, bounds.lse));
}

}  // namespace moesim::reference::test
