// Routers against slow and obvious versions, and what must hold for any logits.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "models/routing/gate/balanced.hpp"
#include "models/routing/gate/capacity.hpp"
#include "models/routing/gate/families.hpp"
#include "models/routing/gate/gate.hpp"
#include "models/routing/gate/permutation.hpp"
#include "models/routing/gate/top_k.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::gate {
namespace {

using Indices = std::vector<std::int32_t>;

std::int64_t number(std::int64_t low, std::int64_t high) {
  return *rc::gen::inRange<std::int64_t>(low, high + 1);
}

// Quarters from a small range: ties are common.
std::vector<float> coarse(std::int64_t n) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<float>(number(-12, 12)) * 0.25F);
  return values;
}

// k times the first of the largest that is left.
Indices slow_top_k(std::vector<double> values, std::int64_t k) {
  Indices places;
  std::vector<bool> taken(values.size(), false);
  for (std::int64_t round = 0; round < k; ++round) {
    std::size_t best = values.size();
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!taken[i] && (best == values.size() || values[i] > values[best])) best = i;
    }
    taken[best] = true;
    places.push_back(static_cast<std::int32_t>(best));
  }
  return places;
}

GateSpec arbitrary_spec(std::int64_t experts) {
  GateSpec spec;
  spec.score = *rc::gen::element(Score::softmax, Score::sigmoid, Score::sqrt_softplus);
  spec.order = *rc::gen::element(Order::score_then_choose, Order::choose_then_score);
  spec.top_k = number(1, experts);
  spec.renormalise = *rc::gen::element(Renormalise::none, Renormalise::sum, Renormalise::norm);
  spec.epsilon = *rc::gen::element(0.0, 1e-20);
  spec.bias = *rc::gen::element(Bias::none, Bias::logits, Bias::choice);
  spec.groups = experts % 4 == 0 ? *rc::gen::element<std::int64_t>(1, 2, 4) : 1;
  spec.kept_groups = number(1, spec.groups);
  spec.group_score = *rc::gen::element(GroupScore::maximum, GroupScore::top_two_sum);
  spec.group_fill = *rc::gen::element(GroupFill::minus_infinity, GroupFill::zero);
  spec.scale = *rc::gen::element(1.0, 2.5);
  spec.scores = spec.logits = Precision::f64;
  return spec;
}

struct SlowChoice {
  Indices experts;
  std::vector<double> weights;
};

// The formulas of numerics.md 1.2 one after another on one token, with softmax written out.
SlowChoice slow_choose(const GateSpec& spec, std::vector<double> l, const std::vector<float>& bias) {
  const std::size_t n = l.size();
  if (spec.bias == Bias::logits) {
    for (std::size_t e = 0; e < n; ++e) l[e] += static_cast<double>(bias[e]);
  }
  const auto score = [&](double x) {
    if (spec.score == Score::sigmoid) return 1.0 / (1.0 + std::exp(-x));
    return std::sqrt(std::log(1.0 + std::exp(x)));
  };
  const auto soft = [](std::vector<double> x) {
    double sum = 0.0;
    for (double& v : x) sum += v = std::exp(v);
    for (double& v : x) v /= sum;
    return x;
  };
  std::vector<double> s = l;
  if (spec.order == Order::score_then_choose) {
    if (spec.score == Score::softmax) {
      s = soft(l);
    } else {
      std::transform(l.begin(), l.end(), s.begin(), score);
    }
  }
  std::vector<double> c = s;
  if (spec.bias == Bias::choice) {
    for (std::size_t e = 0; e < n; ++e) c[e] += static_cast<double>(bias[e]);
  }
  if (spec.groups > 1) {
    const std::size_t size = n / static_cast<std::size_t>(spec.groups);
    std::vector<double> of_group;
    for (std::size_t first = 0; first < n; first += size) {
      std::vector<double> group(c.begin() + static_cast<std::ptrdiff_t>(first),
                                c.begin() + static_cast<std::ptrdiff_t>(first + size));
      std::sort(group.rbegin(), group.rend());
      const bool pair = spec.group_score == GroupScore::top_two_sum && size > 1;
      of_group.push_back(pair ? group[0] + group[1] : group[0]);
    }
    const Indices kept = slow_top_k(of_group, spec.kept_groups);
    for (std::size_t e = 0; e < n; ++e) {
      if (std::count(kept.begin(), kept.end(), static_cast<std::int32_t>(e / size)) > 0) continue;
      c[e] = spec.group_fill == GroupFill::zero ? 0.0 : -std::numeric_limits<double>::infinity();
    }
  }
  SlowChoice choice{slow_top_k(c, spec.top_k), {}};
  const bool masked = spec.group_fill == GroupFill::zero && spec.bias != Bias::choice;
  for (const std::int32_t e : choice.experts) {
    choice.weights.push_back((masked ? c : s)[static_cast<std::size_t>(e)]);
  }
  if (spec.order == Order::choose_then_score) {
    if (spec.score == Score::softmax) {
      choice.weights = soft(choice.weights);
    } else {
      for (double& w : choice.weights) w = score(w);
    }
  }
  if (spec.renormalise != Renormalise::none) {
    const double sum = std::accumulate(choice.weights.begin(), choice.weights.end(), spec.epsilon);
    for (double& w : choice.weights) w /= sum;
  }
  for (double& w : choice.weights) w *= spec.scale;
  return choice;
}

struct FloatChoice {
  Indices experts;
  std::vector<float> weights;
};

// Softmax or sigmoid scores, a correction, groups and renormalisation in float variables. Exponentials are
// the nearest floats, sums are rounded once.
FloatChoice float_choose(const GateSpec& spec, std::vector<float> s, const std::vector<float>& bias) {
  const auto power = [](float x) { return static_cast<float>(std::exp(static_cast<double>(x))); };
  if (spec.score == Score::softmax) {
    const float largest = *std::max_element(s.begin(), s.end());
    for (float& v : s) v = power(v - largest);
    const auto total = static_cast<float>(std::accumulate(s.begin(), s.end(), 0.0));
    for (float& v : s) v = v / total;
  } else {
    for (float& v : s) v = 1.0F / (1.0F + power(-v));
  }
  std::vector<float> c = s;
  for (std::size_t e = 0; e < c.size(); ++e) c[e] = c[e] + bias[e];
  const std::size_t size = c.size() / static_cast<std::size_t>(spec.groups);
  std::vector<double> of_group;
  for (std::size_t first = 0; first < c.size(); first += size) {
    std::vector<float> group(c.begin() + static_cast<std::ptrdiff_t>(first),
                             c.begin() + static_cast<std::ptrdiff_t>(first + size));
    std::sort(group.rbegin(), group.rend());
    const float pair =
        spec.group_score == GroupScore::top_two_sum && size > 1 ? group[0] + group[1] : group[0];
    of_group.push_back(static_cast<double>(pair));
  }
  const Indices kept = slow_top_k(of_group, spec.kept_groups);
  std::vector<double> masked;
  for (std::size_t e = 0; e < c.size(); ++e) {
    const bool inside = std::count(kept.begin(), kept.end(), static_cast<std::int32_t>(e / size)) > 0;
    masked.push_back(inside ? static_cast<double>(c[e]) : -std::numeric_limits<double>::infinity());
  }
  FloatChoice choice{slow_top_k(masked, spec.top_k), {}};
  double sum = 0.0;
  for (const std::int32_t e : choice.experts) {
    choice.weights.push_back(s[static_cast<std::size_t>(e)]);
    sum += static_cast<double>(choice.weights.back());
  }
  for (float& w : choice.weights) {
    if (spec.renormalise == Renormalise::sum)
      w = w / (static_cast<float>(sum) + static_cast<float>(spec.epsilon));
    w = w * static_cast<float>(spec.scale);
  }
  return choice;
}

bool finite_weights(const SlowChoice& choice) {
  return std::all_of(choice.weights.begin(), choice.weights.end(), [](double w) { return std::isfinite(w); });
}

}  // namespace

TEST_CASE("top-k equals k rounds of looking for the first largest") {
  CHECK(rc::check([] {
    std::vector<double> values;
    for (const float v : coarse(number(0, 40))) values.push_back(static_cast<double>(v));
    const std::int64_t k = number(0, static_cast<std::int64_t>(values.size()));
    RC_ASSERT(top_k(values, k) == slow_top_k(values, k));
  }));
}

TEST_CASE("the gate equals the formulas written out") {
  CHECK(rc::check([] {
    for (int round = 0; round < 5; ++round) {
      const std::int64_t experts = number(1, 24);
      const GateSpec spec = arbitrary_spec(experts);
      const auto logits = coarse(experts);
      const auto bias = coarse(experts);
      const SlowChoice want = slow_choose(spec, {logits.begin(), logits.end()}, bias);
      if (!finite_weights(want)) continue;
      const Choice got = choose(spec, logits, 1, experts, bias);
      // Ties of sums of scores hang on the last bit of f64, which only the sigmoid has in common with the
      // gate.
      if ((spec.bias != Bias::choice && spec.groups == 1) || spec.score == Score::sigmoid) {
        RC_ASSERT(got.experts == want.experts);
      }
      if (got.experts != want.experts) continue;
      for (std::size_t j = 0; j < got.weights.size(); ++j) {
        const double w = want.weights[j];
        RC_ASSERT(std::fabs(static_cast<double>(got.weights[j]) - w) <= 1e-7 * std::fabs(w) + 1e-30);
      }
    }
  }));
}

TEST_CASE("f32 routers equal arithmetic on floats, bit by bit") {
  CHECK(rc::check([] {
    for (int round = 0; round < 5; ++round) {
      const std::int64_t experts = 4 * number(1, 12);
      GateSpec spec = arbitrary_spec(experts);
      spec.scores = spec.logits = Precision::f32;
      spec.score = *rc::gen::element(Score::softmax, Score::sigmoid);
      spec.order = Order::score_then_choose;
      spec.renormalise = *rc::gen::element(Renormalise::none, Renormalise::sum);
      spec.bias = Bias::choice;
      spec.group_fill = GroupFill::minus_infinity;
      // Far from 0, where sigmoids saturate, and with corrections that swallow bits.
      std::vector<float> logits = coarse(experts);
      for (float& l : logits) l *= 8.0F;
      std::vector<float> bias = coarse(experts);
      for (float& b : bias) b *= *rc::gen::element(0.0F, 1.0F, 1024.0F);
      const FloatChoice want = float_choose(spec, logits, bias);
      if (!std::isfinite(want.weights.front())) continue;
      const Choice got = choose(spec, logits, 1, experts, bias);
      RC_ASSERT(got.experts == want.experts);
      RC_ASSERT(got.weights == want.weights);
    }
  }));
}

TEST_CASE("a token's choice does not depend on the other tokens or their order") {
  CHECK(rc::check([] {
    const std::int64_t experts = number(1, 16);
    const std::int64_t tokens = number(1, 12);
    GateSpec spec = arbitrary_spec(experts);
    spec.epsilon = 1e-20;
    const auto logits = coarse(tokens * experts);
    const auto bias = coarse(experts);
    const Choice all = choose(spec, logits, tokens, experts, bias);
    const auto width = static_cast<std::size_t>(experts);
    const auto k = static_cast<std::ptrdiff_t>(spec.top_k);
    for (std::int64_t t = 0; t < tokens; ++t) {
      const auto row = std::span<const float>(logits).subspan(static_cast<std::size_t>(t) * width, width);
      const Choice alone = choose(spec, row, 1, experts, bias);
      RC_ASSERT(std::equal(alone.experts.begin(), alone.experts.end(), all.experts.begin() + t * k));
      RC_ASSERT(std::equal(alone.weights.begin(), alone.weights.end(), all.weights.begin() + t * k));
    }
  }));
}

TEST_CASE(
    "choices are different experts; renormalised weights sum to the scale; none lies outside kept groups") {
  CHECK(rc::check([] {
    const std::int64_t experts = 8 * number(1, 4);
    GateSpec spec = arbitrary_spec(experts);
    spec.renormalise = Renormalise::sum;
    spec.epsilon = 0.0;
    spec.group_fill = GroupFill::minus_infinity;
    spec.top_k = number(1, experts / spec.groups * spec.kept_groups);
    const Choice choice = choose(spec, coarse(experts), 1, experts, coarse(experts));
    Indices sorted = choice.experts;
    std::sort(sorted.begin(), sorted.end());
    RC_ASSERT(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
    const double sum = std::accumulate(choice.weights.begin(), choice.weights.end(), 0.0);
    RC_ASSERT(std::fabs(sum - spec.scale) <= 1e-6 * spec.scale);
    Indices groups;
    for (const std::int32_t e : choice.experts) {
      groups.push_back(static_cast<std::int32_t>(e / (experts / spec.groups)));
    }
    std::sort(groups.begin(), groups.end());
    const auto distinct = std::unique(groups.begin(), groups.end()) - groups.begin();
    RC_ASSERT(distinct <= spec.kept_groups);
  }));
}

TEST_CASE(
    "softmax routers do not see a shift of all logits, and a permutation of experts permutes the choice") {
  CHECK(rc::check([] {
    const std::int64_t experts = number(2, 24);
    GateSpec spec;
    spec.top_k = number(1, experts);
    spec.order = *rc::gen::element(Order::score_then_choose, Order::choose_then_score);
    spec.renormalise = *rc::gen::element(Renormalise::none, Renormalise::sum);
    const auto logits = coarse(experts);
    auto shifted = logits;
    for (float& l : shifted) l += 16.0F;
    const Choice a = choose(spec, logits, 1, experts);
    const Choice b = choose(spec, shifted, 1, experts);
    RC_ASSERT(a.experts == b.experts);
    RC_ASSERT(a.weights == b.weights);
    // Distinct logits in reverse: the same experts under their new numbers.
    std::vector<float> distinct(static_cast<std::size_t>(experts));
    for (std::size_t e = 0; e < distinct.size(); ++e) distinct[e] = static_cast<float>((e * 7) % 31) * 0.1F;
    std::vector<float> reversed(distinct.rbegin(), distinct.rend());
    const Choice forward = choose(spec, distinct, 1, experts);
    const Choice backward = choose(spec, reversed, 1, experts);
    for (std::size_t j = 0; j < forward.experts.size(); ++j) {
      RC_ASSERT(backward.experts[j] == experts - 1 - forward.experts[j]);
    }
  }));
}

TEST_CASE("softmax then choose and renormalise is choose then softmax") {
  CHECK(rc::check([] {
    const std::int64_t experts = number(1, 32);
    GateSpec first;
    first.top_k = number(1, experts);
    first.renormalise = Renormalise::sum;
    first.scores = Precision::f64;
    GateSpec second = first;
    second.order = Order::choose_then_score;
    second.renormalise = Renormalise::none;
    const auto logits = coarse(experts);
    const Choice a = choose(first, logits, 1, experts);
    const Choice b = choose(second, logits, 1, experts);
    RC_ASSERT(a.experts == b.experts);
    for (std::size_t j = 0; j < a.weights.size(); ++j) {
      RC_ASSERT(std::fabs(a.weights[j] - b.weights[j]) <= 1.2e-7F * b.weights[j]);
    }
  }));
}

TEST_CASE(
    "the permutation is a stable bijection on the kept pairs, and its counts are those of the experts") {
  CHECK(rc::check([] {
    const std::int64_t experts = number(1, 12);
    const std::int64_t pairs = number(0, 60);
    Indices of_pair;
    std::vector<std::uint8_t> keep;
    for (std::int64_t p = 0; p < pairs; ++p) {
      of_pair.push_back(static_cast<std::int32_t>(number(0, experts - 1)));
      keep.push_back(static_cast<std::uint8_t>(number(0, 3) > 0));
    }
    const Permutation result = permute(of_pair, experts, keep);
    std::vector<std::int64_t> slow;
    std::vector<std::int64_t> rows(static_cast<std::size_t>(experts), 0);
    for (std::int32_t e = 0; e < experts; ++e) {
      for (std::size_t p = 0; p < of_pair.size(); ++p) {
        if (of_pair[p] != e || keep[p] == 0) continue;
        slow.push_back(static_cast<std::int64_t>(p));
        ++rows[static_cast<std::size_t>(e)];
      }
      RC_ASSERT(result.offsets[static_cast<std::size_t>(e) + 1] == static_cast<std::int64_t>(slow.size()));
    }
    RC_ASSERT(result.pair_of_row == slow);
    RC_ASSERT(rows_by_expert(of_pair, experts, keep) == rows);
    for (std::size_t p = 0; p < of_pair.size(); ++p) {
      const std::int64_t row = result.row_of_pair[p];
      RC_ASSERT((row >= 0) == (keep[p] == 1));
      if (row >= 0) RC_ASSERT(slow[static_cast<std::size_t>(row)] == static_cast<std::int64_t>(p));
    }
  }));
}

TEST_CASE("capacity keeps min(rows, capacity) of each expert in slots 0, 1, ..., whatever the order") {
  CHECK(rc::check([] {
    const std::int64_t experts = number(1, 6);
    const std::int64_t top_k = number(1, 3);
    const std::int64_t tokens = number(0, 20);
    const std::int64_t capacity = number(0, 8);
    Indices of_pair;
    std::vector<double> weights;
    for (std::int64_t p = 0; p < tokens * top_k; ++p) {
      of_pair.push_back(static_cast<std::int32_t>(number(0, experts - 1)));
      weights.push_back(static_cast<double>(number(0, 4)) / 4.0);
    }
    const DropOrder order =
        *rc::gen::element(DropOrder::token_major, DropOrder::choice_major, DropOrder::batch_priority,
                          DropOrder::weights, DropOrder::position);
    const Kept kept = apply_capacity(of_pair, weights, top_k, experts, capacity, order);
    const auto all = rows_by_expert(of_pair, experts);
    const auto left = rows_by_expert(of_pair, experts, kept.keep);
    for (std::size_t e = 0; e < all.size(); ++e) {
      RC_ASSERT(left[e] == std::min(all[e], capacity));
      std::vector<bool> used(static_cast<std::size_t>(left[e]), false);
      for (std::size_t p = 0; p < of_pair.size(); ++p) {
        if (of_pair[p] != static_cast<std::int32_t>(e)) continue;
        RC_ASSERT((kept.slot[p] >= 0) == (kept.keep[p] == 1));
        if (kept.slot[p] < 0) continue;
        RC_ASSERT(!used.at(static_cast<std::size_t>(kept.slot[p])));
        used[static_cast<std::size_t>(kept.slot[p])] = true;
        // By weight: nothing that was dropped weighs more than what was kept.
        if (order != DropOrder::weights) continue;
        for (std::size_t q = 0; q < of_pair.size(); ++q) {
          if (of_pair[q] == of_pair[p] && kept.keep[q] == 0) RC_ASSERT(weights[q] <= weights[p]);
        }
      }
    }
  }));
}

TEST_CASE("balanced assignments are balanced and as good as the best of all permutations") {
  CHECK(rc::check([] {
    const std::int64_t experts = number(1, 4);
    const std::int64_t share = number(1, experts < 3 ? 4 : 2);
    const std::int64_t tokens = experts * share;
    const auto affinities = coarse(tokens * experts);
    const Assignment result = balanced_assignment(affinities, tokens, experts);
    const auto total = [&](const Indices& expert_of) {
      double sum = 0.0;
      for (std::size_t t = 0; t < expert_of.size(); ++t) {
        const auto e = static_cast<std::size_t>(expert_of[t]);
        sum += static_cast<double>(affinities[t * static_cast<std::size_t>(experts) + e]);
      }
      return sum;
    };
    for (const std::int64_t rows : rows_by_expert(result.expert_of_token, experts)) RC_ASSERT(rows == share);
    RC_ASSERT(total(result.expert_of_token) == result.total_affinity);
    Indices places;
    for (std::int64_t t = 0; t < tokens; ++t) places.push_back(static_cast<std::int32_t>(t / share));
    double best = total(places);
    while (std::next_permutation(places.begin(), places.end())) best = std::max(best, total(places));
    RC_ASSERT(result.total_affinity == best);
  }));
}

TEST_CASE("expert choice: each expert's weights fall, and no token left out has a larger one") {
  CHECK(rc::check([] {
    const std::int64_t experts = number(1, 6);
    const std::int64_t tokens = number(1, 12);
    const std::int64_t capacity = number(0, tokens);
    const auto logits = coarse(tokens * experts);
    const ExpertChoice choice = choose_tokens(logits, tokens, experts, capacity);
    RC_ASSERT(choice.tokens.size() == static_cast<std::size_t>(experts * capacity));
    GateSpec all;  // a softmax of every expert
    all.top_k = experts;
    all.scores = Precision::f64;
    const Choice scores = choose(all, logits, tokens, experts);
    std::vector<double> p(logits.size());
    for (std::size_t i = 0; i < p.size(); ++i) {
      const std::size_t t = i / static_cast<std::size_t>(experts);
      p[t * static_cast<std::size_t>(experts) + static_cast<std::size_t>(scores.experts[i])] =
          static_cast<double>(scores.weights[i]);
    }
    for (std::int64_t e = 0; e < experts; ++e) {
      double least = 1.0;
      std::vector<bool> chosen(static_cast<std::size_t>(tokens), false);
      for (std::int64_t c = 0; c < capacity; ++c) {
        const auto at = static_cast<std::size_t>(e * capacity + c);
        const auto w = static_cast<double>(choice.weights[at]);
        RC_ASSERT(w <= least);
        least = w;
        chosen[static_cast<std::size_t>(choice.tokens[at])] = true;
      }
      for (std::int64_t t = 0; t < tokens && capacity > 0; ++t) {
        if (chosen[static_cast<std::size_t>(t)]) continue;
        RC_ASSERT(p[static_cast<std::size_t>(t * experts + e)] <= least);
      }
    }
  }));
}

}  // namespace moesim::gate
