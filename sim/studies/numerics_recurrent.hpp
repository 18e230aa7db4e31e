// Bounds and properties of delta rules on the scaled layer of a model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/reference/bounds_delta.hpp"
#include "models/reference/delta_chunk.hpp"
#include "sim/serving/numerics.hpp"
#include "sim/studies/numerics_attention.hpp"

namespace moesim::studies {

// One prompt from a state that is not empty; all as f32.
struct DeltaProblem {
  reference::DeltaSizes sizes;
  reference::DeltaOptions options;
  std::vector<float> queries, keys, values, log_decay, beta, state;

  [[nodiscard]] bool by_channel() const { return log_decay.size() != beta.size(); }
  [[nodiscard]] reference::DeltaInputs<float> inputs() const {
    return {queries, keys, values, log_decay, beta};
  }
  // Tokens [first, first + n) of value heads [head, head + heads) and their key heads.
  [[nodiscard]] DeltaProblem part(std::int64_t first, std::int64_t n, std::int64_t rank,
                                  std::int64_t ranks) const;
};

struct DeltaResult {
  std::vector<float> out, state;
  bool operator==(const DeltaResult&) const = default;
};
template <reference::Probe P>
[[nodiscard]] DeltaResult run_delta(const DeltaProblem& p, bool chunked) {
  P probe;
  DeltaResult result{std::vector<float>(p.values.size()), p.state};
  if (chunked) {
    reference::delta_rule_chunked<float>(p.inputs(), p.sizes, p.options, std::span<float>(result.state),
                                         std::span<float>(result.out), probe);
  } else {
    reference::delta_rule_recurrent<float>(p.inputs(), p.sizes, p.options, std::span<float>(result.state),
                                           std::span<float>(result.out), probe);
  }
  return result;
}

// The recurrence (and its chunked form where it has one) against the oracle, the prompt in two parts, heads
// over `ranks`. The probe's fault is planted in the runs over the whole prompt.
template <reference::Probe P>
void check_delta_claims(const DeltaProblem& p, std::int64_t ranks, serving::LayerCheck& check) {
  std::vector<double> exact(p.values.size()), state(p.state.begin(), p.state.end());
  reference::delta_rule_recurrent<double>(p.inputs(), p.sizes, p.options, std::span<double>(state),
                                          std::span<double>(exact));
  const auto compare = [&](std::string name, const DeltaResult& got, const reference::DeltaBounds& bounds) {
    add_bound_claim(check, std::move(name),
                    std::max(worst_share<float>(got.out, exact, bounds.o),
                             worst_share<float>(got.state, state, bounds.state)));
  };
  const DeltaResult all = run_delta<P>(p, false);
  compare("recurrence within its bound of the f64 oracle", all,
          reference::delta_bounds(p.inputs(), p.sizes, p.options, p.state));
  if (!p.by_channel()) {
    compare("chunked form within its bound of the f64 oracle", run_delta<P>(p, true),
            reference::delta_chunk_bounds(p.inputs(), p.sizes, p.options, p.state));
  }
  const std::int64_t middle = p.sizes.tokens / 2;
  DeltaProblem rest = p.part(middle, p.sizes.tokens - middle, 0, 1);
  DeltaResult first = run_delta<reference::NoProbe>(p.part(0, middle, 0, 1), false);
  rest.state = first.state;
  const DeltaResult second = run_delta<reference::NoProbe>(rest, false);
  first.out.insert(first.out.end(), second.out.begin(), second.out.end());
  first.state = second.state;
  add_exact_claim(check, "prompt in two parts = in one", first == all);
  bool same = true;
  const std::int64_t heads = p.sizes.value_heads / ranks, width = p.sizes.value_dim;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const DeltaResult own = run_delta<reference::NoProbe>(p.part(0, p.sizes.tokens, rank, ranks), false);
    for (std::int64_t t = 0; t < p.sizes.tokens; ++t) {
      same =
          same && std::equal(own.out.begin() + t * heads * width, own.out.begin() + (t + 1) * heads * width,
                             all.out.begin() + (t * p.sizes.value_heads + rank * heads) * width);
    }
  }
  add_exact_claim(check, "heads over " + std::to_string(ranks) + " tensor ranks = all heads", same);
}

}  // namespace moesim::studies
