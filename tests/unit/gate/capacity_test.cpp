// Capacity, permutation, and routers that look at the whole batch, by hand.
#include "models/routing/gate/capacity.hpp"

#include <cmath>
#include <limits>

#include "models/routing/gate/balanced.hpp"
#include "models/routing/gate/permutation.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::gate {
namespace {

using Flags = std::vector<std::uint8_t>;
using Slots = std::vector<std::int32_t>;

}  // namespace

TEST_CASE("capacity is rounded up from doubles and has a minimum") {
  CHECK(capacity_of(48, 2, 8, 1.25) == 15);
  CHECK(capacity_of(48, 2, 8, 1.0) == 12);
  CHECK(capacity_of(49, 2, 8, 1.0) == 13);
  CHECK(capacity_of(10, 1, 10, 1.1) == 2);
  CHECK(capacity_of(1, 1, 8, 1.0, 4) == 4);
  CHECK(capacity_of(0, 1, 8, 1.0) == 0);
  CHECK_THROWS_AS(capacity_of(1, 1, 0, 1.0), core::InvariantError);
}

TEST_CASE("five orders of drops on one small batch") {
  // Three tokens, two choices each; room for one row of each expert.
  const Slots experts = {0, 1, 0, 2, 1, 0};
  const std::vector<double> weights = {0.6, 0.4, 0.9, 0.1, 0.7, 0.3};
  const auto keep = [&](DropOrder order, std::int64_t capacity = 1) {
    return apply_capacity(experts, weights, 2, 3, capacity, order).keep;
  };
  CHECK(keep(DropOrder::token_major) == Flags{1, 1, 0, 1, 0, 0});
  CHECK(keep(DropOrder::choice_major) == Flags{1, 0, 0, 1, 1, 0});
  CHECK(keep(DropOrder::batch_priority) == Flags{0, 0, 1, 1, 1, 0});
  CHECK(keep(DropOrder::weights) == Flags{0, 0, 1, 1, 1, 0});
  CHECK(keep(DropOrder::position) == Flags{1, 1, 0, 1, 0, 0});
  for (const DropOrder order : {DropOrder::token_major, DropOrder::choice_major, DropOrder::batch_priority,
                                DropOrder::weights, DropOrder::position}) {
    CHECK(keep(order, 0) == Flags(6, 0));
    CHECK(keep(order, 3) == Flags(6, 1));
  }
  CHECK(apply_capacity(experts, weights, 2, 3, 2, DropOrder::batch_priority).slot ==
        Slots{1, 1, 0, 0, 0, -1});
  // Equal weights: the earlier token stays.
  const std::vector<double> equal(6, 0.5);
  CHECK(apply_capacity(experts, equal, 2, 3, 1, DropOrder::weights).keep == Flags{1, 1, 0, 1, 0, 0});
  // Second choices stand in the order of the first weights too.
  CHECK(apply_capacity(Slots{0, 2, 1, 2}, std::vector<double>{0.6, 0.4, 0.9, 0.1}, 2, 3, 1,
                       DropOrder::batch_priority)
            .keep == Flags{1, 0, 1, 1});
  CHECK_THROWS_AS(apply_capacity(experts, {}, 2, 3, 1, DropOrder::weights), core::InvariantError);
  CHECK_THROWS_AS(apply_capacity(experts, weights, 2, 2, 1, DropOrder::position), core::InvariantError);
  CHECK(apply_capacity({}, {}, 2, 3, 1, DropOrder::position).keep.empty());
}

TEST_CASE("rows lie by expert, then by pair; dropped pairs have none") {
  const Slots experts = {2, 0, 2, 2, 0, 3};
  const Permutation all = permute(experts, 5);
  CHECK(all.pair_of_row == std::vector<std::int64_t>{1, 4, 0, 2, 3, 5});
  CHECK(all.row_of_pair == std::vector<std::int64_t>{2, 0, 3, 4, 1, 5});
  CHECK(all.offsets == std::vector<std::int64_t>{0, 2, 2, 5, 6, 6});
  const Permutation kept = permute(experts, 5, Flags{1, 0, 0, 1, 1, 1});
  CHECK(kept.pair_of_row == std::vector<std::int64_t>{4, 0, 3, 5});
  CHECK(kept.row_of_pair == std::vector<std::int64_t>{1, -1, -1, 2, 0, 3});
  CHECK(rows_by_expert(experts, 5) == std::vector<std::int64_t>{2, 0, 3, 1, 0});
  CHECK(permute({}, 2).offsets == std::vector<std::int64_t>{0, 0, 0});
  CHECK_THROWS_AS(rows_by_expert(experts, 3), core::InvariantError);
  CHECK_THROWS_AS(rows_by_expert(Slots{-1}, 3), core::InvariantError);
}

TEST_CASE("expert choice: the earlier token on ties, no room, all tokens") {
  const std::vector<float> logits = {1, 0, 1, 0, 0, 1};
  const ExpertChoice one = choose_tokens(logits, 3, 2, 1);
  CHECK(one.tokens == Slots{0, 2});
  CHECK(choose_tokens(logits, 3, 2, 3).tokens == Slots{0, 1, 2, 2, 0, 1});
  CHECK(choose_tokens(logits, 3, 2, 0).tokens.empty());
  CHECK_THROWS_AS(choose_tokens(logits, 3, 2, 4), core::InvariantError);
}

TEST_CASE("Sinkhorn: sums of the plan, logits beyond f32's exponential, overflow") {
  const std::vector<float> logits = {0, 1, 2, -1, 100, 99, 0.5F, 0.25F};
  const SinkhornPlan result = sinkhorn(logits, 4, 2, 1e-7);
  for (std::size_t t = 0; t < 4; ++t) {
    CHECK(result.plan[2 * t] + result.plan[2 * t + 1] == Approx(0.25).epsilon(1e-6));
  }
  CHECK(result.plan[0] + result.plan[2] + result.plan[4] + result.plan[6] == Approx(0.5).epsilon(1e-6));
  // One round with epsilon 1: d0 = 1 / (1 + 1), d1 = 1 / (1 / 2 + 1).
  CHECK(sinkhorn(std::vector<float>{0}, 1, 1, 1e9, 1.0).plan[0] == Approx(1.0 / 3.0));
  CHECK_THROWS_AS(sinkhorn(std::vector<float>{0, 800}, 1, 2), LogitError);
  CHECK_THROWS_AS(sinkhorn(logits, 4, 2, 0.0, 1e-8, 2), core::InvariantError);
  // One choice is weighed by a sigmoid, several by a softmax over all experts.
  const Choice one = choose_by_sinkhorn(logits, 4, 2, 1);
  // The last token prefers expert 0 by little, and the plan balances.
  CHECK(one.experts == Slots{1, 0, 0, 1});
  CHECK(one.weights[3] == Approx(1.0 / (1.0 + std::exp(-0.25))));
  CHECK(choose_by_sinkhorn(logits, 4, 2, 2).weights[6] == Approx(1.0 / (1.0 + std::exp(0.25))));
}

TEST_CASE("balanced assignment gives up a token's best expert where that helps the sum") {
  // Both tokens prefer expert 0; token 1 loses less by leaving it.
  const Assignment result = balanced_assignment(std::vector<float>{5, 1, 4, 3}, 2, 2);
  CHECK(result.expert_of_token == Slots{0, 1});
  CHECK(result.total_affinity == 8.0);
  // NaN and infinities count as the smallest finite affinity.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(balanced_assignment(std::vector<float>{nan, -1, 4, 3}, 2, 2).total_affinity == 3.0);
  CHECK_THROWS_AS(balanced_assignment(std::vector<float>{nan, nan}, 1, 2), core::InvariantError);
  CHECK_THROWS_AS(balanced_assignment(std::vector<float>{nan, nan, nan, nan}, 2, 2), LogitError);
  CHECK(balanced_assignment({}, 0, 2).total_affinity == 0.0);
}

}  // namespace moesim::gate
