// Faults of routers: each changes the experts or moves a weight beyond what rounding can do.
#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "models/routing/gate/gate.hpp"
#include "tests/support/catch.hpp"

namespace moesim::gate {
namespace {

struct Inputs {
  std::vector<float> logits;
  std::vector<float> bias;
};

using Router = std::function<Choice(const GateSpec&, const Inputs&)>;

struct Mutation {
  const char* name;
  GateSpec right;
  Inputs inputs;
  Router wrong;
  bool exact = true;  // f64 arithmetic chooses the same
};

Choice route(const GateSpec& spec, const Inputs& inputs) {
  return choose(spec, inputs.logits, 1, static_cast<std::int64_t>(inputs.logits.size()), inputs.bias);
}

// A-priori bound of the relative error of a weight of a router in f32, with u = 2^-24 and all terms of second
// order in the last 1 %. Softmax with logits that lie within R: the differences are rounded (R u in the
// exponential), and so are the exponential, the sum (its terms too) and the quotient: at most (2 R + 4) u.
// Sigmoid 3 u, root of softplus 4 u. Renormalising adds the error of the scores once more through the sum,
// and u for the sum, for epsilon and for the quotient; the scale adds 2 u.
double bound(const GateSpec& spec, const Inputs& inputs) {
  double range = 0.0;
  if (spec.score == Score::softmax || spec.score == Score::sparsemixer) {
    std::vector<float> logits = inputs.logits;
    for (std::size_t e = 0; e < logits.size() && spec.bias == Bias::logits; ++e) logits[e] += inputs.bias[e];
    const auto ends = std::minmax_element(logits.begin(), logits.end());
    range = static_cast<double>(*ends.second) - static_cast<double>(*ends.first);
  }
  const double score = 2.0 * range + 4.0;
  return 1.01 * 0x1p-24 * (2.0 * score + 3.0 + 2.0);
}

bool differs(const Choice& right, const Choice& other, double relative) {
  if (right.experts != other.experts) return true;
  for (std::size_t j = 0; j < right.weights.size(); ++j) {
    const auto want = static_cast<double>(right.weights[j]);
    const double distance = std::fabs(static_cast<double>(other.weights[j]) - want);
    if (!(distance <= relative * std::fabs(want))) return true;
  }
  return false;
}

Router with(const std::function<void(GateSpec&)>& change) {
  return [change](const GateSpec& right, const Inputs& inputs) {
    GateSpec wrong = right;
    change(wrong);
    return route(wrong, inputs);
  };
}

// The weights are read from the scores with the correction.
Choice bias_in_weights(const GateSpec& right, const Inputs& inputs) {
  Inputs corrected;
  for (std::size_t e = 0; e < inputs.logits.size(); ++e) {
    corrected.logits.push_back(1.0F / (1.0F + std::exp(-inputs.logits[e])) + inputs.bias[e]);
  }
  GateSpec spec = right;
  spec.score = Score::identity;
  spec.bias = Bias::none;
  return route(spec, corrected);
}

// Among equal scores the last expert wins: the lowest one of the experts in reverse.
Choice higher_expert_on_ties(const GateSpec& right, const Inputs& inputs) {
  const Inputs reversed{{inputs.logits.rbegin(), inputs.logits.rend()},
                        {inputs.bias.rbegin(), inputs.bias.rend()}};
  Choice choice = route(right, reversed);
  for (std::int32_t& e : choice.experts) e = static_cast<std::int32_t>(inputs.logits.size()) - 1 - e;
  return choice;
}

GateSpec plain(Score score, std::int64_t top_k, Renormalise renormalise = Renormalise::none) {
  GateSpec spec;
  spec.score = score;
  spec.top_k = top_k;
  spec.renormalise = renormalise;
  return spec;
}

GateSpec late(Score score, std::int64_t top_k, Bias bias = Bias::none) {
  GateSpec spec = plain(score, top_k);
  spec.order = Order::choose_then_score;
  spec.bias = bias;
  return spec;
}

GateSpec corrected(Score score, std::int64_t groups = 1, std::int64_t kept = 1) {
  GateSpec spec = plain(score, 2, Renormalise::sum);
  spec.epsilon = 1e-20;
  spec.bias = Bias::choice;
  spec.scale = 2.5;
  spec.groups = groups;
  spec.kept_groups = kept;
  spec.group_score = GroupScore::top_two_sum;
  return spec;
}

GateSpec masked_by_zero() {
  GateSpec spec = plain(Score::softmax, 3);
  spec.groups = 4;
  spec.kept_groups = 1;
  spec.group_fill = GroupFill::zero;
  return spec;
}

GateSpec two_norm() {
  GateSpec spec = plain(Score::softmax, 3, Renormalise::norm);
  spec.power = 2.0;
  return spec;
}

// Group 1 has the best expert, group 2 the best pair.
const Inputs kSpread{{-0.5F, -1, 3, -4, 1, 1.25F, 0.5F, -3}, std::vector<float>(8, 0.0F)};
const Inputs kBiased{kSpread.logits, {0.25F, 0.75F, -0.5F, 0, 0.125F, 0, 0.5F, 0}};
const Inputs kNegative{kSpread.logits, std::vector<float>(8, -2.0F)};
const Inputs kTied{{0, 2, 1, 2, 0, 1, 2, 0}, std::vector<float>(8, 0.0F)};
const Inputs kSaturated{{-1, 18, 20, 0, 0, 0, 0, 0}, std::vector<float>(8, 0.0F)};
// Not bf16 numbers, but far apart.
const Inputs kFine{{-1.3F, 0.1F, 1.7F, 0.9F, -0.7F, 0.3F, -2.1F, -3.3F}, std::vector<float>(8, 0.0F)};
// Neighbours that bf16 merges: as logits, and as scores.
const Inputs kClose{{0, 1, 1.001F, 0.5F, 0, 0, 0, 0}, std::vector<float>(8, 0.0F)};
const Inputs kCloseScores{{0, 4, 4.015625F, 0, 0, 0, 0, 0}, std::vector<float>(8, 0.0F)};

std::vector<Mutation> mutations() {
  const GateSpec soft = plain(Score::softmax, 3), summed = plain(Score::softmax, 3, Renormalise::sum);
  const GateSpec sigmoid = corrected(Score::sigmoid), grouped = corrected(Score::sigmoid, 4, 1);
  using S = GateSpec;
  return {
      {"renormalisation forgotten", summed, kSpread, with([](S& s) { s.renormalise = Renormalise::none; })},
      {"renormalisation added", soft, kSpread, with([](S& s) { s.renormalise = Renormalise::sum; })},
      {"sum for a norm", two_norm(), kSpread, with([](S& s) { s.renormalise = Renormalise::sum; })},
      {"power of the norm", two_norm(), kSpread, with([](S& s) { s.power = 3.0; })},
      {"epsilon too large", sigmoid, kSpread, with([](S& s) { s.epsilon = 1e-3; })},
      {"fill 0 for -inf", grouped, kNegative, with([](S& s) { s.group_fill = GroupFill::zero; })},
      {"fill -inf for 0", masked_by_zero(), kSpread,
       with([](S& s) { s.group_fill = GroupFill::minus_infinity; })},
      {"groups forgotten", grouped, kSpread, with([](S& s) { s.groups = s.kept_groups = 1; })},
      {"a group too many", grouped, kSpread, with([](S& s) { s.kept_groups = 2; })},
      {"groups by maximum", grouped, kSpread, with([](S& s) { s.group_score = GroupScore::maximum; })},
      {"bf16 logits", summed, kFine, with([](S& s) { s.logits = Precision::bf16; })},
      {"bf16 logits that tie", summed, kClose, with([](S& s) { s.logits = Precision::bf16; })},
      {"bf16 scores", sigmoid, kSpread, with([](S& s) { s.scores = Precision::bf16; })},
      {"bf16 scores that tie", sigmoid, kCloseScores, with([](S& s) { s.scores = Precision::bf16; })},
      {"bf16 weights", summed, kSpread, with([](S& s) { s.weights = Precision::bf16; })},
      {"f64 scores", sigmoid, kSaturated, with([](S& s) { s.scores = Precision::f64; }), false},
      {"bias in the weights", sigmoid, kBiased, bias_in_weights},
      {"bias in the logits", sigmoid, kBiased, with([](S& s) { s.bias = Bias::logits; })},
      {"correction forgotten", sigmoid, kBiased, with([](S& s) { s.bias = Bias::none; })},
      {"bias of the logits forgotten", late(Score::softmax, 2, Bias::logits), kBiased,
       with([](S& s) { s.bias = Bias::none; })},
      {"ties to the higher expert", summed, kTied, higher_expert_on_ties},
      {"ties of corrected scores to the higher expert", sigmoid, kTied, higher_expert_on_ties},
      {"scale forgotten", sigmoid, kSpread, with([](S& s) { s.scale = 1.0; })},
      {"softmax after the choice", soft, kSpread, with([](S& s) { s.order = Order::choose_then_score; })},
      {"softmax before the choice", late(Score::softmax, 3), kSpread,
       with([](S& s) { s.order = Order::score_then_choose; })},
      {"sigmoid for softmax", soft, kSpread, with([](S& s) { s.score = Score::sigmoid; })},
      {"softmax for sigmoid", late(Score::sigmoid, 2), kSpread, with([](S& s) { s.score = Score::softmax; })},
      {"sigmoid for the root of softplus", corrected(Score::sqrt_softplus), kSpread,
       with([](S& s) { s.score = Score::sigmoid; })},
      {"softmax for sparsemixer", plain(Score::sparsemixer, 2), kSpread,
       with([](S& s) { s.score = Score::softmax; })},
      {"jitter of sparsemixer", plain(Score::sparsemixer, 2), kSpread, with([](S& s) { s.jitter = 0.5; })},
  };
}

}  // namespace

TEST_CASE("each fault of a router changes its experts or moves a weight beyond the bound of the right one") {
  std::set<std::string> names;
  for (const Mutation& mutation : mutations()) {
    INFO(mutation.name);
    CHECK(names.insert(mutation.name).second);
    const double relative = bound(mutation.right, mutation.inputs);
    const Choice right = route(mutation.right, mutation.inputs);
    CHECK(differs(right, mutation.wrong(mutation.right, mutation.inputs), relative));
    // The right router itself lies within the bound of exact arithmetic.
    GateSpec exact = mutation.right;
    exact.logits = exact.scores = Precision::f64;
    CHECK(differs(right, route(exact, mutation.inputs), relative) != mutation.exact);
  }
  // What is wrong in routers that were written after a description; none may leave the table.
  for (const char* name :
       {"renormalisation forgotten", "renormalisation added", "fill 0 for -inf", "bf16 logits", "bf16 scores",
        "bf16 weights", "f64 scores", "bias in the weights", "ties to the higher expert", "scale forgotten",
        "softmax after the choice", "softmax before the choice"}) {
    INFO(name);
    CHECK(names.count(name) == 1);
  }
  CHECK(names.size() >= 30);
}

}  // namespace moesim::gate
