// Routers count what a slow and obvious router does, operation by operation.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "models/llm/operator.hpp"
#include "models/reference/router.hpp"
#include "models/routing/gate/families.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"
#include "tests/support/expert_rig.hpp"

namespace moesim::reference {
namespace {

using Values = std::vector<double>;
using Places = std::vector<std::size_t>;

constexpr int kRouterShapesPerRound = 2;  // of 100 rounds

std::int64_t between(std::int64_t low, std::int64_t high) {
  return *rc::gen::inRange<std::int64_t>(low, high + 1);
}

// Arithmetic that counts itself. A choice compares each candidate once with what it keeps.
struct Tally {
  std::int64_t flops = 0;
  std::int64_t specials = 0;

  double flop(double result) {
    ++flops;
    return result;
  }
  double special(double result) {
    ++specials;
    return result;
  }
  Places best(const Values& values, std::int64_t k) {
    Places places;
    for (std::size_t i = 0; i < values.size(); ++i) {
      ++flops;
      std::size_t at = places.size();
      while (at > 0 && values[places[at - 1]] < values[i]) --at;
      places.insert(places.begin() + static_cast<std::ptrdiff_t>(at), i);
      if (places.size() > static_cast<std::size_t>(k)) places.pop_back();
    }
    return places;
  }
};

// exp(value - maximum), and their sum.
double powers(Tally& tally, Values& values) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const double v : values) largest = tally.flop(std::max(largest, v));
  double sum = 0.0;
  for (double& v : values) {
    v = tally.special(std::exp(tally.flop(v - largest)));
    sum = tally.flop(sum + v);
  }
  return sum;
}

void divide(Tally& tally, Values& values, double divisor) {
  for (double& v : values) v = tally.flop(v / divisor);
}

void score_each(Tally& tally, gate::Score score, Values& values) {
  for (double& v : values) {
    if (score == gate::Score::sigmoid) {
      v = tally.flop(1.0 / tally.flop(1.0 + tally.special(std::exp(-v))));
    } else if (score == gate::Score::sqrt_softplus) {
      const double tail = tally.special(std::log1p(tally.special(std::exp(-std::fabs(v)))));
      v = tally.special(std::sqrt(tally.flop(tally.flop(std::max(v, 0.0)) + tail)));
    }
  }
}

// Leaves only the best groups among the candidates.
void limit_groups(Tally& tally, const gate::GateSpec& spec, Values& candidates) {
  if (spec.groups == 1) return;
  const std::size_t size = candidates.size() / static_cast<std::size_t>(spec.groups);
  Values groups;
  for (std::size_t first = 0; first < candidates.size(); first += size) {
    const Values group(candidates.begin() + static_cast<std::ptrdiff_t>(first),
                       candidates.begin() + static_cast<std::ptrdiff_t>(first + size));
    const bool pair = spec.group_score == gate::GroupScore::top_two_sum && size > 1;
    const Places places = tally.best(group, pair ? 2 : 1);
    groups.push_back(pair ? tally.flop(group[places[0]] + group[places[1]]) : group[places[0]]);
  }
  const Places kept = tally.best(groups, spec.kept_groups);
  for (std::size_t e = 0; e < candidates.size(); ++e) {
    if (std::count(kept.begin(), kept.end(), e / size) > 0) continue;
    candidates[e] = spec.group_fill == gate::GroupFill::zero ? 0.0 : -std::numeric_limits<double>::infinity();
  }
}

// One token, step by step as numerics.md 1.2 has them. Softmax scores are divided by their sum only where
// something is added to them, and weights that are renormalised not at all.
Places slow_route(Tally& tally, const gate::GateSpec& spec, Values scores, const std::vector<float>& bias) {
  const bool early = spec.order == gate::Order::score_then_choose;
  if (spec.bias == gate::Bias::logits) {
    for (std::size_t e = 0; e < scores.size(); ++e)
      scores[e] = tally.flop(scores[e] + static_cast<double>(bias[e]));
  }
  double undivided = 0.0;
  if (early && spec.score == gate::Score::softmax) {
    undivided = powers(tally, scores);
    if (spec.bias == gate::Bias::choice || spec.epsilon != 0.0) {
      divide(tally, scores, undivided);
      undivided = 0.0;
    }
  } else if (early) {
    score_each(tally, spec.score, scores);
  }
  Values candidates = scores;
  if (spec.bias == gate::Bias::choice) {
    for (std::size_t e = 0; e < candidates.size(); ++e)
      candidates[e] = tally.flop(candidates[e] + static_cast<double>(bias[e]));
  }
  limit_groups(tally, spec, candidates);
  const Places chosen = tally.best(candidates, spec.top_k);
  Values weights;
  for (const std::size_t e : chosen) weights.push_back(scores[e]);
  if (!early && spec.score == gate::Score::softmax) {
    divide(tally, weights, powers(tally, weights));
  } else if (!early) {
    score_each(tally, spec.score, weights);
  }
  if (spec.renormalise == gate::Renormalise::sum) {
    double sum = spec.epsilon;
    for (const double w : weights) sum = tally.flop(sum + w);
    divide(tally, weights, sum);
  } else if (undivided > 0.0) {
    divide(tally, weights, undivided);
  }
  if (spec.scale != 1.0) {
    for (double& w : weights) w = tally.flop(w * spec.scale);
  }
  return chosen;
}

void check_counts(gate::GateSpec spec, std::int64_t tokens, std::int64_t experts) {
  spec.logits = spec.scores = gate::Precision::f64;
  test::Numbers numbers(static_cast<std::uint64_t>(tokens * 1000 + experts));
  const auto logits = numbers.values<float>(tokens * experts, 4.0F);
  const auto bias = numbers.values<float>(experts);
  CountingProbe probe;
  const gate::Choice choice = choose_experts(spec, logits, tokens, experts, bias, probe);
  Tally tally;
  std::vector<std::int32_t> slow;
  for (std::int64_t t = 0; t < tokens; ++t) {
    const auto row = logits.begin() + t * experts;
    for (const std::size_t e : slow_route(tally, spec, Values(row, row + experts), bias)) {
      slow.push_back(static_cast<std::int32_t>(e));
    }
  }
  RC_ASSERT(choice.experts == slow);
  const Counts counts = probe.result();
  RC_ASSERT(counts.other_flops == tally.flops);
  RC_ASSERT(counts.specials == tally.specials);
  // What is read and written is that of the operator, whatever is computed.
  const llm::Work work = llm::work_of(llm::TopK{tokens, experts, spec.top_k});
  RC_ASSERT(counts.compulsory(Operand::activations) == work.activation_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::result) == work.activation_write_bytes);
}

gate::GateSpec arbitrary_weights(std::int64_t top_k) {
  gate::GateSpec spec;
  spec.top_k = top_k;
  spec.renormalise = *rc::gen::element(gate::Renormalise::none, gate::Renormalise::sum);
  spec.epsilon = *rc::gen::element(0.0, 1e-20);
  spec.scale = *rc::gen::element(1.0, 2.5);
  return spec;
}

}  // namespace

TEST_CASE("group-limited routers count as a slow router") {
  CHECK(rc::check([] {
    for (int i = 0; i < kRouterShapesPerRound; ++i) {
      const std::int64_t groups = between(2, 8), size = between(1, 9), kept = between(1, groups);
      gate::GateSpec spec = arbitrary_weights(between(1, kept * size));
      spec.groups = groups;
      spec.kept_groups = kept;
      spec.score = *rc::gen::element(gate::Score::sigmoid, gate::Score::softmax);
      spec.bias = *rc::gen::element(gate::Bias::none, gate::Bias::choice);
      spec.group_score = *rc::gen::element(gate::GroupScore::maximum, gate::GroupScore::top_two_sum);
      check_counts(spec, between(1, 9), groups * size);
    }
  }));
}

TEST_CASE("routers with roots of softplus count as a slow router") {
  CHECK(rc::check([] {
    for (int i = 0; i < kRouterShapesPerRound; ++i) {
      const std::int64_t experts = between(1, 60);
      gate::GateSpec spec = arbitrary_weights(between(1, experts));
      spec.score = gate::Score::sqrt_softplus;
      spec.bias = *rc::gen::element(gate::Bias::none, gate::Bias::choice);
      check_counts(spec, between(1, 9), experts);
    }
  }));
}

TEST_CASE("routers that choose before they score count as a slow router") {
  CHECK(rc::check([] {
    for (int i = 0; i < kRouterShapesPerRound; ++i) {
      const std::int64_t experts = between(1, 60);
      gate::GateSpec spec = arbitrary_weights(between(1, experts));
      spec.order = gate::Order::choose_then_score;
      spec.score = *rc::gen::element(gate::Score::softmax, gate::Score::sigmoid, gate::Score::sqrt_softplus);
      spec.bias = *rc::gen::element(gate::Bias::none, gate::Bias::logits);
      check_counts(spec, between(1, 9), experts);
    }
  }));
}

TEST_CASE("softmax routers count as a slow router, with one expert too") {
  CHECK(rc::check([] {
    for (int i = 0; i < kRouterShapesPerRound; ++i) {
      const std::int64_t experts = between(1, 4);
      check_counts(arbitrary_weights(between(1, experts)), between(1, 9), experts);
    }
  }));
}

TEST_CASE("routers of published models count as a slow router") {
  CHECK(rc::check([] {
    for (const gate::Family& family : gate::families()) {
      const bool slow =
          family.spec.score != gate::Score::sparsemixer && family.spec.renormalise != gate::Renormalise::norm;
      if (slow && family.selection == gate::Selection::scores) {
        check_counts(family.spec, between(1, 3), family.experts);
      }
    }
  }));
}

}  // namespace moesim::reference
