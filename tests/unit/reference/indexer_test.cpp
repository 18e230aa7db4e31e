// The lightning indexer, the choice of keys and the temperature.
#include "models/reference/indexer.hpp"

#include "models/reference/bounds_attention.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/reference/attention_problem.hpp"
#include "tests/unit/reference/latent_problem.hpp"

namespace moesim::reference {
namespace {

using test::Numbers;

const float kHidden = -std::numeric_limits<float>::infinity();

std::vector<std::int32_t> chosen_of(const std::vector<float>& scores, std::int64_t queries,
                                    std::int64_t top_k) {
  std::vector<std::int32_t> chosen(static_cast<std::size_t>(queries * top_k));
  choose_keys(scores, queries, std::ssize(scores) / queries, top_k, chosen);
  return chosen;
}

TEST_CASE("the best keys are chosen, of equal scores the lower ones, in ascending order") {
  const std::vector<float> scores = {1, 3, 3, 2, 3, kHidden, 0, 0, 0, 0, 0, 0};
  CHECK(chosen_of(scores, 2, 2) == std::vector<std::int32_t>{1, 2, 0, 1});
  CHECK(chosen_of(scores, 2, 4) == std::vector<std::int32_t>{1, 2, 3, 4, 0, 1, 2, 3});
  CHECK(chosen_of(scores, 2, 6) == std::vector<std::int32_t>{0, 1, 2, 3, 4, -1, 0, 1, 2, 3, 4, 5});
  CHECK(chosen_of(scores, 2, 7) == std::vector<std::int32_t>{0, 1, 2, 3, 4, -1, -1, 0, 1, 2, 3, 4, 5, -1});
  CHECK(chosen_of({kHidden, kHidden}, 1, 1) == std::vector<std::int32_t>{-1});
  CHECK(chosen_of({0.0F, -0.0F, 0.0F}, 1, 2) == std::vector<std::int32_t>{0, 1});
  CHECK(chosen_of({kHidden, std::numeric_limits<float>::quiet_NaN(), -5.0F}, 1, 2) ==
        std::vector<std::int32_t>{2, -1});
  CHECK(chosen_of({1, 2}, 1, 0).empty());
}

TEST_CASE("a choice is what a full sort gives") {
  Numbers numbers(5);
  for (int round = 0; round < 200; ++round) {
    const std::int64_t keys = numbers.between(1, 50), top_k = numbers.between(1, 60);
    std::vector<float> scores;
    for (std::int64_t s = 0; s < keys; ++s) scores.push_back(static_cast<float>(numbers.between(-3, 3)));
    std::vector<std::int32_t> order;
    for (std::int64_t s = 0; s < keys; ++s) order.push_back(static_cast<std::int32_t>(s));
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
    });
    order.resize(static_cast<std::size_t>(std::min(keys, top_k)));
    std::sort(order.begin(), order.end());
    order.resize(static_cast<std::size_t>(top_k), -1);
    REQUIRE(chosen_of(scores, 1, top_k) == order);
  }
}

// Scores in double.
template <class P = NoProbe>
double index_share(std::uint64_t seed, P&& probe = P{}) {
  Numbers numbers(seed);
  const IndexSizes sizes{numbers.between(1, 6), numbers.between(6, 40), numbers.between(1, 8),
                         numbers.between(1, 32), numbers.between(0, 40)};
  const auto q = test::random_values<float>(numbers, sizes.queries * sizes.heads * sizes.head_dim, 2.0F);
  const auto k = test::random_values<float>(numbers, sizes.keys * sizes.head_dim, 2.0F);
  const auto w = test::random_values<float>(numbers, sizes.queries * sizes.heads, 2.0F);
  const std::span<const float> queries(q), keys(k), weights(w);
  std::vector<float> got(static_cast<std::size_t>(sizes.queries * sizes.keys));
  std::vector<double> want(got.size());
  index_scores<float>(queries, keys, weights, sizes, std::span(got), probe);
  index_scores<double>(queries, keys, weights, sizes, std::span(want));
  return test::worst_share<float>(got, want, index_bounds(queries, keys, weights, sizes));
}

TEST_CASE("index scores stay within their bound and notice a missing rectification") {
  double worst = 0.0, wrong = 0.0, mask = 0.0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const double share = index_share(seed);
    REQUIRE(share <= 1.0);
    worst = std::max(worst, share);
    wrong = std::max(wrong, index_share(seed, FaultProbe<Fault::index_relu_dropped>{}));
    mask = std::max(mask, index_share(seed, FaultProbe<Fault::causal_off_by_one>{}));
  }
  CHECK(worst > 0.02);
  CHECK(wrong > 1.0);
  CHECK(mask > 1.0);
}

TEST_CASE("a wrong rule for ties shows") {
  const std::vector<float> scores = {2, 1, 1, 1, 3};
  std::vector<std::int32_t> chosen(3);
  FaultProbe<Fault::index_tie_highest> fault;
  choose_keys(scores, 1, 5, 3, chosen, fault);
  CHECK(chosen == std::vector<std::int32_t>{0, 3, 4});
  CHECK(chosen_of(scores, 1, 3) == std::vector<std::int32_t>{0, 1, 4});
}

TEST_CASE("sparse latent attention over all keys is dense latent attention, and layers may share a choice") {
  const test::LatentProblem<float> problem(8);
  const std::int64_t top_k = problem.keys;
  std::vector<std::int32_t> chosen;
  for (std::int64_t i = 0; i < problem.count; ++i) {
    for (std::int64_t s = 0; s < top_k; ++s)
      chosen.push_back(s <= problem.options.first_query + i ? static_cast<std::int32_t>(s) : -1);
  }
  const std::size_t rows = static_cast<std::size_t>(problem.sizes.heads * problem.count);
  std::vector<float> dense(rows * static_cast<std::size_t>(problem.sizes.value)), sparse(dense.size());
  const auto output = [&](std::vector<float>& o) {
    return AttentionOutput<float>{
        heads_first(std::span<float>(o), problem.sizes.heads, problem.count, problem.sizes.value), {}};
  };
  const std::span<const float> up(problem.up);
  latent_attention_absorbed(problem.queries(), problem.cache(), up, problem.sizes, problem.options,
                            output(dense));
  latent_attention_absorbed(problem.queries(), problem.cache(), up, problem.sizes, problem.options,
                            output(sparse), NoProbe{}, chosen, top_k);
  CHECK(dense == sparse);
  // GLM-5.2: another layer, with other weights and rows, over the same choice.
  test::LatentProblem<float> other = problem;
  Numbers numbers(99);
  other.up = test::random_values<float>(numbers, std::ssize(other.up), 1.0F);
  other.latent = test::random_values<float>(numbers, std::ssize(other.latent), 1.0F);
  const std::span<const float> other_up(other.up);
  latent_attention_absorbed(other.queries(), other.cache(), other_up, other.sizes, other.options,
                            output(dense));
  latent_attention_absorbed(other.queries(), other.cache(), other_up, other.sizes, other.options,
                            output(sparse), NoProbe{}, chosen, top_k);
  CHECK(dense == sparse);
}

TEST_CASE("the temperature of Llama 4 rises in steps") {
  CHECK(attention_temperature(0, 8192.0, 0.1) == 1.0);
  CHECK(attention_temperature(8190, 8192.0, 0.1) == 1.0);
  CHECK(attention_temperature(8191, 8192.0, 0.1) == Approx(1.0 + 0.1 * std::log(2.0)).epsilon(1e-15));
  CHECK(attention_temperature(10485759, 8192.0, 0.1) == Approx(1.0 + 0.1 * std::log(1281.0)).epsilon(1e-15));
}

}  // namespace
}  // namespace moesim::reference
