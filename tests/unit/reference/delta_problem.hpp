// Random problems of the gated delta rule for tests.
#pragma once

#include <vector>

#include "models/reference/bounds_delta.hpp"
#include "models/reference/delta_chunk.hpp"
#include "tests/unit/reference/attention_problem.hpp"

namespace moesim::reference::test {

struct DeltaProblem {
  DeltaSizes sizes;
  DeltaOptions options;
  std::vector<float> q, k, v, g, beta, state;

  // `decay` is the size of the log decays: 0.1 forgets slowly, 30 at once.
  DeltaProblem(const DeltaSizes& shape, std::uint64_t seed, float decay, bool by_channel = false)
      : sizes(shape) {
    Numbers numbers(seed);
    const std::int64_t heads = sizes.tokens * sizes.value_heads;
    q = random_values<float>(numbers, sizes.tokens * sizes.key_heads * sizes.key_dim, 2.0F);
    k = random_values<float>(numbers, sizes.tokens * sizes.key_heads * sizes.key_dim, 2.0F);
    v = random_values<float>(numbers, heads * sizes.value_dim, 1.0F);
    g = random_values<float>(numbers, heads * (by_channel ? sizes.key_dim : 1), decay);
    for (float& element : g) element = -std::fabs(element);
    beta = random_values<float>(numbers, heads, 0.5F);
    for (float& element : beta) element += 0.5F;
    state = random_values<float>(numbers, sizes.value_heads * sizes.key_dim * sizes.value_dim, 1.0F);
  }
  [[nodiscard]] DeltaInputs<float> inputs() const { return {q, k, v, g, beta}; }
};

// Results and the state after the last token.
template <class Real>
struct DeltaAnswer {
  std::vector<Real> o;
  std::vector<Real> state;

  template <class P = NoProbe>
  DeltaAnswer(const DeltaProblem& problem, bool chunked, P&& probe = P{})
      : o(static_cast<std::size_t>(problem.sizes.tokens * problem.sizes.value_heads *
                                   problem.sizes.value_dim)),
        state(problem.state.begin(), problem.state.end()) {
    if (chunked) {
      delta_rule_chunked<Real>(problem.inputs(), problem.sizes, problem.options, std::span<Real>(state),
                               std::span<Real>(o), probe);
    } else {
      delta_rule_recurrent<Real>(problem.inputs(), problem.sizes, problem.options, std::span<Real>(state),
                                 std::span<Real>(o), probe);
    }
  }
};

// One form in f32 against the recurrent one in double.
template <class P = NoProbe>
double delta_share(const DeltaProblem& problem, bool chunked, P&& probe = P{}) {
  const DeltaAnswer<double> exact(problem, false);
  const DeltaAnswer<float> got(problem, chunked, probe);
  const DeltaBounds bounds =
      chunked ? delta_chunk_bounds(problem.inputs(), problem.sizes, problem.options, problem.state)
              : delta_bounds(problem.inputs(), problem.sizes, problem.options, problem.state);
  return std::max(worst_share<float>(got.o, exact.o, bounds.o),
                  worst_share<float>(got.state, exact.state, bounds.state));
}

}  // namespace moesim::reference::test
