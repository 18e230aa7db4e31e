// Routers by hand: ties, groups, where bias and epsilon enter, broken logits, sparsemixer's corners.
#include "models/routing/gate/gate.hpp"

#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "models/routing/gate/families.hpp"
#include "models/routing/gate/top_k.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::gate {
namespace {

using Indices = std::vector<std::int32_t>;

Choice one_token(const GateSpec& spec, const std::vector<float>& logits,
                 const std::vector<float>& bias = {}) {
  return choose(spec, logits, 1, static_cast<std::int64_t>(logits.size()), bias);
}

GateSpec best(std::int64_t top_k, Score score = Score::softmax) {
  GateSpec spec;
  spec.top_k = top_k;
  spec.score = score;
  return spec;
}

GateSpec grouped(std::int64_t top_k, std::int64_t groups, std::int64_t kept) {
  GateSpec spec = best(top_k, Score::sigmoid);
  spec.bias = Bias::choice;
  spec.groups = groups;
  spec.kept_groups = kept;
  spec.group_score = GroupScore::top_two_sum;
  return spec;
}

float sigmoid(double x) { return static_cast<float>(1.0 / (1.0 + std::exp(-x))); }

}  // namespace

TEST_CASE("equal scores go to the lowest expert first, also under a bias and with all experts chosen") {
  CHECK(one_token(best(3), {1, 2, 2, 1, 2}).experts == Indices{1, 2, 4});
  CHECK(one_token(best(5), {1, 2, 2, 1, 2}).experts == Indices{1, 2, 4, 0, 3});
  CHECK(one_token(best(2), {0.0F, -0.0F, 0.0F}).experts == Indices{0, 1});
  GateSpec biased = best(2, Score::sigmoid);
  biased.bias = Bias::choice;
  // Scores 0.5 and corrections of whole quarters: 0.75 three times.
  CHECK(one_token(biased, {0, 0, 0, 0}, {0.0F, 0.25F, 0.25F, 0.25F}).experts == Indices{1, 2});
  CHECK(top_k(std::vector<double>{1, 1, 1}, 0).empty());
  CHECK_THROWS_AS(top_k(std::vector<double>{1}, 2), core::InvariantError);
}

TEST_CASE("probabilities that underflow tie in f32, and do not in f64 or where logits are chosen") {
  // exp(-200) is 0 in f32: the lower expert wins.
  GateSpec spec = best(2);
  const Choice choice = one_token(spec, {0, -300, -200});
  CHECK(choice.experts == Indices{0, 1});
  CHECK(choice.weights[1] == 0.0F);
  spec.scores = Precision::f64;
  CHECK(one_token(spec, {0, -300, -200}).experts == Indices{0, 2});
  spec.scores = Precision::f32;
  spec.order = Order::choose_then_score;
  CHECK(one_token(spec, {0, -300, -200}).experts == Indices{0, 2});
}

TEST_CASE("saturated sigmoids, corrected scores, group sums and square roots tie as f32 numbers do") {
  // 1 + exp(-18) is 1 in f32. At 17 it is too; the quotient rounded once would be 1 - 2^-24.
  GateSpec spec = best(1, Score::sigmoid);
  const auto chosen = [&](const std::vector<float>& logits, const std::vector<float>& bias = {}) {
    return one_token(spec, logits, bias).experts.front();
  };
  CHECK(chosen({18, 20, 0, 0}) == 0);
  CHECK(chosen({17, 20, 0, 0}) == 0);
  CHECK(chosen({16, 20, 0, 0}) == 1);
  CHECK(chosen({-120, -100}) == 0);  // exp(100) overflows, the quotient is 0
  spec.scores = Precision::f64;
  CHECK(chosen({18, 20, 0, 0}) == 1);
  CHECK(chosen({-120, -100}) == 1);
  // Scores that differ by 2e-7 are one number beside a correction of 64.
  spec = best(1, Score::sigmoid);
  CHECK(chosen({0, 8e-7F}) == 1);
  spec.bias = Bias::choice;
  CHECK(chosen({0, 8e-7F}, {64, 64}) == 0);
  spec.scores = Precision::f64;
  CHECK(chosen({0, 8e-7F}, {64, 64}) == 1);
  // Group sums: 1 + 2^-24 is 1.
  spec = best(1, Score::identity);
  spec.groups = 2;
  spec.group_score = GroupScore::top_two_sum;
  CHECK(chosen({0.5F, 0.5F, 1, 0x1p-24F}) == 0);
  spec.scores = Precision::f64;
  CHECK(chosen({0.5F, 0.5F, 1, 0x1p-24F}) == 2);
  // The root halves a relative difference: neighbours merge.
  spec = best(1, Score::sqrt_softplus);
  CHECK(chosen({100, std::nextafter(100.0F, 101.0F)}) == 0);
  spec.scores = Precision::f64;
  CHECK(chosen({100, std::nextafter(100.0F, 101.0F)}) == 1);
  // The published router.
  const GateSpec deepseek = find_family("deepseek-v3")->spec;
  std::vector<float> logits(256, -1.0F);
  logits[7] = 18.0F;
  logits[9] = 20.0F;
  CHECK(one_token(deepseek, logits, std::vector<float>(256, 0.0F)).experts[0] == 7);
}

TEST_CASE("a sum with a bias that overflows is an error") {
  GateSpec spec = best(1);
  spec.bias = Bias::logits;
  CHECK_THROWS_AS(one_token(spec, {3e38F, 3e38F}, {3e38F, 0}), LogitError);
  spec.bias = Bias::choice;
  spec.score = Score::identity;
  CHECK_THROWS_AS(one_token(spec, {0, -3e38F}, {0, -3e38F}), LogitError);
}

TEST_CASE("bf16 logits and scores make ties that f32 ones do not") {
  GateSpec spec = best(1);
  CHECK(one_token(spec, {1.0F, 1.001F}).experts == Indices{1});
  spec.logits = Precision::bf16;
  CHECK(one_token(spec, {1.0F, 1.001F}).experts == Indices{0});
  GateSpec scores = best(1, Score::sigmoid);
  CHECK(one_token(scores, {4.0F, 4.015625F}).experts == Indices{1});
  scores.scores = Precision::bf16;  // 0.98201 and 0.98228 are one bf16 number
  CHECK(one_token(scores, {4.0F, 4.015625F}).experts == Indices{0});
}

TEST_CASE("renormalisation: none, sum with epsilon, norm, scale") {
  const std::vector<float> logits = {0.0F, std::log(3.0F), -1000.0F};
  GateSpec spec = best(1);
  CHECK(one_token(spec, logits).weights[0] == Approx(0.75));
  spec.renormalise = Renormalise::sum;
  CHECK(one_token(spec, logits).weights[0] == 1.0F);
  spec.epsilon = 0.25;
  CHECK(one_token(spec, logits).weights[0] == Approx(0.75));  // 0.75 / (0.75 + 0.25)
  spec.scale = 2.5;
  CHECK(one_token(spec, logits).weights[0] == Approx(1.875));
  GateSpec norm = best(2, Score::identity);
  norm.renormalise = Renormalise::norm;
  CHECK(one_token(norm, {-1.0F, 3.0F}).weights == std::vector<float>{0.75F, -0.25F});
  norm.power = 2.0;
  CHECK(one_token(norm, {-4.0F, 3.0F}).weights == std::vector<float>{0.6F, -0.8F});
}

TEST_CASE("choosing before scoring: softmax over the chosen ones, sigmoid, and a bias inside the logits") {
  GateSpec spec = best(2);
  spec.order = Order::choose_then_score;
  spec.bias = Bias::logits;
  const Choice choice = one_token(spec, {0, 5, 1, 1}, {0, -10, 1, 1});
  CHECK(choice.experts == Indices{2, 3});
  CHECK(choice.weights == std::vector<float>{0.5F, 0.5F});
  GateSpec llama = best(1, Score::sigmoid);
  llama.order = Order::choose_then_score;
  CHECK(one_token(llama, {-2.0F, -1.0F}).weights[0] == sigmoid(-1.0));
}

TEST_CASE("a correction chooses and does not weigh") {
  GateSpec spec = best(1, Score::sigmoid);
  spec.bias = Bias::choice;
  const Choice choice = one_token(spec, {0, 2}, {1, 0});
  CHECK(choice.experts == Indices{0});
  CHECK(choice.weights[0] == 0.5F);
}

TEST_CASE("groups: the sum of the two best chooses them, and the fill decides about negative scores") {
  // Four groups of two. Group 1 has the best expert, group 2 the best pair.
  const std::vector<float> logits = {-9, -9, 3, -9, 1, 1, -9, -9};
  const std::vector<float> zero(8, 0.0F);
  GateSpec spec = grouped(2, 4, 1);
  CHECK(one_token(spec, logits, zero).experts == Indices{4, 5});
  spec.group_score = GroupScore::maximum;
  CHECK(one_token(spec, logits, zero).experts == Indices{2, 3});
  // All corrected scores are negative: with -inf the kept group wins, with 0 the experts outside do.
  const std::vector<float> low(8, -2.0F);
  spec = grouped(2, 4, 1);
  CHECK(one_token(spec, logits, low).experts == Indices{4, 5});
  spec.group_fill = GroupFill::zero;
  CHECK(one_token(spec, logits, low).experts == Indices{0, 1});
  // More choices than the kept groups have: what is left is taken by number.
  spec = grouped(4, 4, 1);
  CHECK(one_token(spec, logits, zero).experts == Indices{4, 5, 0, 1});
  // Equal groups: the first ones. Groups of one expert have one score.
  CHECK(one_token(grouped(2, 4, 1), std::vector<float>(8, 0.0F), zero).experts == Indices{0, 1});
  CHECK(one_token(grouped(1, 8, 1), logits, zero).experts == Indices{2});
  CHECK(one_token(grouped(2, 1, 1), logits, zero).experts == Indices{2, 4});
}

TEST_CASE("DeepSeek-V2 reads weights from the masked scores") {
  GateSpec spec = best(3);
  spec.groups = 2;
  spec.kept_groups = 1;
  spec.group_fill = GroupFill::zero;
  const Choice choice = one_token(spec, {0, 0, 1, 1});
  CHECK(choice.experts == Indices{2, 3, 0});
  CHECK(choice.weights[2] == 0.0F);
}

TEST_CASE("sparsemixer: threshold by the larger of |logit| and the maximum, first expert removed") {
  const GateSpec spec = best(2, Score::sparsemixer);
  // 0.99 is within 2 % of 1, 0.97 is not.
  const Choice near = one_token(spec, {0.97F, 1.0F, 0.99F});
  CHECK(near.experts == Indices{1, 2});
  CHECK(near.weights[0] == Approx(1.0 / (1.0 + std::exp(-0.01))).epsilon(1e-6));
  // In the second round 0.97 is the neighbour of 0.99: (0.99 - 0.97) / 0.99 > 0.02 by a hair.
  CHECK(near.weights[1] == 1.0F);
  // Negative maximum: distances are over |logit|, so -1.01 is within 2 % of -1.
  const Choice negative = one_token(spec, {-1.0F, -1.01F, -5.0F});
  CHECK(negative.weights[0] == Approx(1.0 / (1.0 + std::exp(-0.01))).epsilon(1e-6));
  CHECK(negative.weights[1] == 1.0F);
  // All zero: 0 / 0 keeps every expert.
  const Choice zero = one_token(spec, {0, 0, 0, 0});
  CHECK(zero.experts == Indices{0, 1});
  CHECK(zero.weights[0] == 0.25F);
  CHECK(zero.weights[1] == Approx(1.0 / 3.0));
  // Two experts: the second stands alone.
  CHECK(one_token(spec, {5, 5}).weights == std::vector<float>{0.5F, 1.0F});
}

TEST_CASE("given experts: weights from the logits at them, or 1") {
  const std::vector<std::int32_t> table = {2, 0, 1, 2};
  const std::vector<std::int32_t> ids = {1, 0};
  const auto experts = look_up(table, 2, ids);
  CHECK(experts == Indices{1, 2, 2, 0});
  GateSpec spec = best(2, Score::sqrt_softplus);
  spec.renormalise = Renormalise::sum;
  const Choice choice = weigh(spec, experts, std::vector<float>{0, 0, 3, 1, 1, 1}, 2, 3);
  const double low = std::sqrt(std::log(2.0));
  const double high = std::sqrt(std::log1p(std::exp(3.0)));
  CHECK(choice.experts == experts);
  CHECK(choice.weights[0] == Approx(low / (low + high)));
  CHECK(choice.weights[3] == 0.5F);
  CHECK(weigh(best(2), experts, {}, 2, 3).weights == std::vector<float>(4, 1.0F));
  CHECK_THROWS_AS(look_up(table, 2, std::vector<std::int32_t>{2}), core::InvariantError);
  CHECK_THROWS_AS(weigh(spec, Indices{0, 3}, {}, 1, 3), core::InvariantError);
}

TEST_CASE("a broken logit names its token and expert") {
  for (const float broken : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                             -std::numeric_limits<float>::infinity()}) {
    for (const Score score : {Score::softmax, Score::sigmoid, Score::sparsemixer}) {
      try {
        (void)choose(best(1, score), std::vector<float>{0, 1, 2, 3, broken, 5}, 2, 3);
        FAIL("no error");
      } catch (const LogitError& error) {
        CHECK(error.token() == 1);
        CHECK(error.expert() == 1);
        CHECK(std::string(error.what()).find("token 1 for expert 1") != std::string::npos);
      }
    }
  }
  GateSpec biased = best(1);
  biased.bias = Bias::logits;
  CHECK_THROWS_AS(one_token(biased, {0, 0}, {0, std::numeric_limits<float>::infinity()}), LogitError);
  // Every score underflows and nothing is added to the sum (MiniMax-M2's trap).
  GateSpec empty = best(2, Score::sigmoid);
  empty.renormalise = Renormalise::sum;
  CHECK_THROWS_AS(one_token(empty, {-1000, -2000}), LogitError);
  empty.epsilon = 1e-20;
  CHECK(one_token(empty, {-1000, -2000}).weights == std::vector<float>{0, 0});
}

TEST_CASE("specs that cannot be are refused") {
  CHECK_THROWS_AS(one_token(best(3), {0, 1}), core::InvariantError);
  CHECK_THROWS_AS(one_token(best(0), {0, 1}), core::InvariantError);
  CHECK_THROWS_AS(one_token(grouped(1, 3, 1), {0, 1, 2, 3}, {0, 0, 0, 0}), core::InvariantError);
  CHECK_THROWS_AS(one_token(grouped(1, 2, 3), {0, 1, 2, 3}, {0, 0, 0, 0}), core::InvariantError);
  CHECK_THROWS_AS(one_token(grouped(1, 2, 1), {0, 1, 2, 3}, {0}), core::InvariantError);
  CHECK_THROWS_AS(choose(best(1), std::vector<float>{1, 2, 3}, 2, 2), core::InvariantError);
  CHECK(choose(best(1), {}, 0, 4).experts.empty());
}

TEST_CASE("every family has a name of its own and a router that works") {
  std::set<std::string_view> names;
  for (const Family& family : families()) {
    INFO(family.name);
    CHECK(names.insert(family.name).second);
    CHECK(find_family(family.name) == &family);
    CHECK_FALSE(family.source.empty());
    if (family.selection == Selection::table) continue;
    std::vector<float> logits;
    for (std::int64_t e = 0; e < family.experts; ++e) logits.push_back(static_cast<float>(e % 7) * 0.5F);
    const std::vector<float> bias(logits.size(), 0.0F);
    const Choice choice = choose(family.spec, logits, 1, family.experts, bias);
    CHECK(choice.experts.size() == static_cast<std::size_t>(family.spec.top_k));
    CHECK(choice.experts[0] == 6);
    CHECK(choice.weights[0] > 0.0F);
  }
  for (const char* name : {"mixtral", "qwen3", "olmoe", "deepseek-v2", "deepseek-v3", "gpt-oss", "llama4"}) {
    CHECK(find_family(name) != nullptr);
  }
  CHECK(find_family("Mixtral") == nullptr);
}

}  // namespace moesim::gate
