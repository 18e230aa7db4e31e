#include "models/routing/gate/balanced.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "models/routing/gate/scores.hpp"
#include "models/routing/gate/top_k.hpp"
#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::gate {

namespace {

void check_batch(std::span<const float> logits, std::int64_t tokens, std::int64_t experts) {
  core::check(tokens >= 0 && experts >= 1 && std::cmp_equal(logits.size(), tokens * experts),
              "a router needs tokens x experts logits");
  for (std::int64_t t = 0; t < tokens; ++t) {
    detail::check_logits(
        logits.subspan(static_cast<std::size_t>(t * experts), static_cast<std::size_t>(experts)), t);
  }
}

}  // namespace

ExpertChoice choose_tokens(std::span<const float> logits, std::int64_t tokens, std::int64_t experts,
                           std::int64_t capacity) {
  check_batch(logits, tokens, experts);
  core::check(capacity >= 0 && capacity <= tokens, "an expert cannot choose more tokens than there are");
  const auto width = static_cast<std::size_t>(experts);
  std::vector<double> p(logits.begin(), logits.end());
  for (std::size_t first = 0; first < p.size(); first += width) {
    detail::softmax(std::span<double>(p).subspan(first, width), Precision::f64);
  }
  ExpertChoice choice;
  std::vector<double> column(static_cast<std::size_t>(tokens));
  std::vector<std::int32_t> best;
  for (std::size_t e = 0; e < width; ++e) {
    for (std::size_t t = 0; t < column.size(); ++t) column[t] = p[t * width + e];
    top_k(column, capacity, best);
    for (const std::int32_t t : best) {
      choice.tokens.push_back(t);
      choice.weights.push_back(static_cast<float>(column[static_cast<std::size_t>(t)]));
    }
  }
  return choice;
}

SinkhornPlan sinkhorn(std::span<const float> logits, std::int64_t tokens, std::int64_t experts,
                      double tolerance, double epsilon, std::int64_t limit) {
  check_batch(logits, tokens, experts);
  core::check(tokens >= 1, "Sinkhorn needs a token");
  const auto rows = static_cast<std::size_t>(tokens);
  const auto width = static_cast<std::size_t>(experts);
  SinkhornPlan result;
  std::vector<double>& cost = result.plan;
  cost.assign(logits.begin(), logits.end());
  for (std::size_t i = 0; i < cost.size(); ++i) {
    cost[i] = core::math::exp(cost[i]);
    if (!std::isfinite(cost[i])) {
      throw LogitError("exp(logit) of Sinkhorn overflows", static_cast<std::int64_t>(i / width),
                       static_cast<std::int64_t>(i % width));
    }
  }
  std::vector<double> d0(rows, 1.0);
  std::vector<double> d1(width, 1.0);
  std::vector<double> sums(width);
  double change = 0.0;
  do {
    core::check(result.iterations < limit, "Sinkhorn did not converge");
    ++result.iterations;
    std::fill(sums.begin(), sums.end(), 0.0);
    for (std::size_t t = 0; t < rows; ++t) {
      double sum = 0.0;
      for (std::size_t e = 0; e < width; ++e) sum += d1[e] * cost[t * width + e];
      d0[t] = 1.0 / static_cast<double>(tokens) / (sum + epsilon);
      for (std::size_t e = 0; e < width; ++e) sums[e] += d0[t] * cost[t * width + e];
    }
    change = 0.0;
    for (std::size_t e = 0; e < width; ++e) {
      const double next = 1.0 / static_cast<double>(experts) / (sums[e] + epsilon);
      change += std::fabs(next - d1[e]);
      d1[e] = next;
    }
    change /= static_cast<double>(experts);
  } while (!(change <= tolerance));
  for (std::size_t t = 0; t < rows; ++t) {
    for (std::size_t e = 0; e < width; ++e) cost[t * width + e] = d1[e] * cost[t * width + e] * d0[t];
  }
  return result;
}

Choice choose_by_sinkhorn(std::span<const float> logits, std::int64_t tokens, std::int64_t experts,
                          std::int64_t top) {
  const SinkhornPlan plan = sinkhorn(logits, tokens, experts);
  const auto width = static_cast<std::size_t>(experts);
  Choice choice{tokens, top, {}, {}};
  for (std::size_t first = 0; first < plan.plan.size(); first += width) {
    const auto row = logits.subspan(first, width);
    std::vector<double> scores(row.begin(), row.end());
    if (top == 1) {
      for (double& score : scores) score = detail::sigmoid(score, Precision::f64);
    } else {
      detail::softmax(scores, Precision::f64);
    }
    for (const std::int32_t e : top_k(std::span<const double>(plan.plan).subspan(first, width), top)) {
      choice.experts.push_back(e);
      choice.weights.push_back(static_cast<float>(scores[static_cast<std::size_t>(e)]));
    }
  }
  return choice;
}

}  // namespace moesim::gate
