// Golden cases of routers, capacity and permutation.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <string>
#include <vector>

#include "models/reference/gemm.hpp"
#include "models/reference/golden.hpp"
#include "models/routing/gate/balanced.hpp"
#include "models/routing/gate/capacity.hpp"
#include "models/routing/gate/gate.hpp"
#include "models/routing/gate/permutation.hpp"

namespace moesim::reference {

namespace {

// A size from a file, small enough that products of three do not overflow.
std::int64_t router_size(std::int64_t value) {
  if (value < 1 || value > std::int64_t{1} << 20) {
    throw GoldenError("a router's size " + std::to_string(value) + " is not from 1 to 2^20");
  }
  return value;
}

// f32 logits x w^T, [tokens, experts].
struct CaseLogits {
  std::int64_t tokens = 0;
  std::int64_t experts = 0;
  std::vector<float> values;
};

CaseLogits case_logits(const GoldenCase& golden) {
  const auto& x = golden.tensor("x").shape;
  const auto& w = golden.tensor("w").shape;
  if (x.size() != 2 || w.size() != 2) throw GoldenError("x and w of a router are matrices");
  (void)router_size(x[0]);
  (void)router_size(w[0]);
  CaseLogits logits{x[0], w[0], std::vector<float>(static_cast<std::size_t>(x[0] * w[0]))};
  NoProbe probe;
  router_logits(matrix(golden.f32("x"), x[0], x[1]), matrix(golden.f32("w"), w[0], w[1]), logits.values,
                probe);
  return logits;
}

void set_score(gate::GateSpec& spec, const std::string& score) {
  if (score == "softmax") {
    spec.score = gate::Score::softmax;
  } else if (score == "sigmoid") {
    spec.score = gate::Score::sigmoid;
  } else if (score == "sqrtsoftplus") {
    spec.score = gate::Score::sqrt_softplus;
  } else if (score == "identity") {
    spec.score = gate::Score::identity;
  } else if (score == "sparsemixer") {
    spec.score = gate::Score::sparsemixer;
  } else if (score == "topk_then_softmax") {
    spec.score = gate::Score::softmax;
    spec.order = gate::Order::choose_then_score;
  } else if (score == "sigmoid_of_topk") {
    spec.score = gate::Score::sigmoid;
    spec.order = gate::Order::choose_then_score;
  } else {
    throw GoldenError("a router's score \"" + score + "\" is not known");
  }
}

gate::GateSpec case_spec(const GoldenCase& golden) {
  gate::GateSpec spec;
  // The vectors are those of exact arithmetic.
  spec.logits = spec.scores = gate::Precision::f64;
  set_score(spec, golden.text("score"));
  const std::string order = golden.text_or("order", "softmax_then_topk");
  if (order == "topk_then_softmax") {
    spec.order = gate::Order::choose_then_score;
  } else if (order != "softmax_then_topk") {
    throw GoldenError("a router's order \"" + order + "\" is not known");
  }
  spec.top_k = router_size(golden.integer("topk"));
  spec.groups = golden.integer_or("n_group", 1);
  spec.kept_groups = golden.integer_or("topk_group", 1);
  const std::string group_score = golden.text_or("group_score", "max");
  if (group_score != "max" && group_score != "top2sum") {
    throw GoldenError("a group's score \"" + group_score + "\" is not known");
  }
  if (group_score == "top2sum") spec.group_score = gate::GroupScore::top_two_sum;
  if (golden.flag_or("renorm", false)) spec.renormalise = gate::Renormalise::sum;
  if (golden.has("p_norm")) {
    spec.power = golden.number("p_norm");
    spec.renormalise = gate::Renormalise::norm;
  }
  spec.epsilon = golden.number_or("renorm_eps", 0.0);
  spec.scale = golden.number_or("routed_scaling_factor", 1.0);
  spec.jitter = golden.number_or("jitter_eps", 0.01);
  if (golden.has_tensor("bias")) spec.bias = gate::Bias::logits;
  if (golden.has_tensor("e_score_correction_bias")) spec.bias = gate::Bias::choice;
  // Softmax scores without a correction are masked with 0 (DeepSeek-V2), others with -inf.
  if (spec.score == gate::Score::softmax && spec.bias != gate::Bias::choice) {
    spec.group_fill = gate::GroupFill::zero;
  }
  return spec;
}

void give_choice(GoldenCase& golden, const gate::Choice& choice) {
  golden.give("weights", std::span<const float>(choice.weights));
  golden.give_integers("indices", std::span<const std::int32_t>(choice.experts));
}

void run_router(GoldenCase& golden) {
  const CaseLogits logits = case_logits(golden);
  gate::GateSpec spec = case_spec(golden);
  if (golden.has_tensor("tid2eid")) {
    // Weights at given experts are always divided by their sum.
    if (!golden.has("renorm")) spec.renormalise = gate::Renormalise::sum;
    const auto experts = gate::look_up(golden.i32("tid2eid"), spec.top_k, golden.i32("token_ids"));
    give_choice(golden, gate::weigh(spec, experts, logits.values, logits.tokens, logits.experts));
    return;
  }
  std::span<const float> bias;
  if (spec.bias == gate::Bias::logits) bias = golden.f32("bias");
  if (spec.bias == gate::Bias::choice) bias = golden.f32("e_score_correction_bias");
  give_choice(golden, gate::choose(spec, logits.values, logits.tokens, logits.experts, bias));
}

void run_expert_choice(GoldenCase& golden) {
  const CaseLogits logits = case_logits(golden);
  const gate::ExpertChoice choice =
      gate::choose_tokens(logits.values, logits.tokens, logits.experts, golden.integer("capacity"));
  golden.give("weights", std::span<const float>(choice.weights));
  golden.give_integers("token_indices", std::span<const std::int32_t>(choice.tokens));
}

void run_sinkhorn(GoldenCase& golden) {
  const CaseLogits logits = case_logits(golden);
  // Small plans may take long to converge.
  const std::int64_t limit = std::clamp<std::int64_t>(
      (std::int64_t{1} << 30) / std::max<std::int64_t>(std::ssize(logits.values), 1), 1, 1'000'000);
  const gate::SinkhornPlan result =
      gate::sinkhorn(logits.values, logits.tokens, logits.experts, golden.number_or("tol", 1e-4),
                     golden.number_or("eps", 1e-8), limit);
  std::vector<double> rows(static_cast<std::size_t>(logits.tokens), 0.0);
  std::vector<double> columns(static_cast<std::size_t>(logits.experts), 0.0);
  for (std::size_t i = 0; i < result.plan.size(); ++i) {
    rows[i / columns.size()] += result.plan[i];
    columns[i % columns.size()] += result.plan[i];
  }
  golden.give("plan", std::span<const double>(result.plan));
  golden.give("row_sums", std::span<const double>(rows));
  golden.give("col_sums", std::span<const double>(columns));
  golden.give_integers("iterations", std::span<const std::int64_t>(&result.iterations, 1));
}

// Whether another assignment is as good: balanced, and with the same sum of affinities but for rounding.
bool as_good(const gate::Assignment& best, std::span<const std::int32_t> other, const CaseLogits& logits) {
  if (other.size() != best.expert_of_token.size()) return false;
  std::vector<std::int64_t> taken(static_cast<std::size_t>(logits.experts), 0);
  double total = 0.0;
  double magnitude = 0.0;
  for (std::size_t t = 0; t < other.size(); ++t) {
    if (other[t] < 0 || other[t] >= logits.experts) return false;
    const auto expert = static_cast<std::size_t>(other[t]);
    ++taken[expert];
    const auto affinity = static_cast<double>(logits.values[t * taken.size() + expert]);
    total += affinity;
    magnitude += std::fabs(affinity);
  }
  const bool balanced = std::all_of(
      taken.begin(), taken.end(), [&](std::int64_t rows) { return rows == logits.tokens / logits.experts; });
  return balanced && std::fabs(total - best.total_affinity) <= 1e-12 * magnitude;
}

void run_base(GoldenCase& golden) {
  const CaseLogits logits = case_logits(golden);
  const gate::Assignment result = gate::balanced_assignment(logits.values, logits.tokens, logits.experts);
  const double total[] = {result.total_affinity};
  golden.give("total_affinity", std::span<const double>(total));
  if (!golden.has_tensor("assignment")) return;
  // Of several best assignments the file may hold another one.
  const auto held = golden.i32("assignment");
  golden.give_integers("assignment", as_good(result, held, logits)
                                         ? held
                                         : std::span<const std::int32_t>(result.expert_of_token));
}

void run_capacity(GoldenCase& golden) {
  const auto experts_of_token = golden.i32("indices");
  const auto weights = golden.has_tensor("weights") ? golden.f64("weights") : std::span<const double>{};
  const std::int64_t top_k = router_size(golden.integer_or("topk", golden.dimension("indices", 1)));
  const std::int64_t experts = router_size(golden.integer("experts"));
  const std::int64_t capacity =
      golden.has("capacity_factor")
          ? gate::capacity_of(std::ssize(experts_of_token) / top_k, top_k, experts,
                              golden.number("capacity_factor"), golden.integer_or("min_capacity", 0))
          : golden.integer("capacity");
  golden.give_count("capacity", capacity);
  struct Named {
    const char* name;
    gate::DropOrder order;
  };
  constexpr Named kOrders[] = {{"token_major", gate::DropOrder::token_major},
                               {"choice_major", gate::DropOrder::choice_major},
                               {"bpr", gate::DropOrder::batch_priority},
                               {"probs", gate::DropOrder::weights},
                               {"position", gate::DropOrder::position}};
  for (const Named& named : kOrders) {
    const std::string keep = "keep_" + std::string(named.name);
    const std::string slot = "slot_" + std::string(named.name);
    if (!golden.has_tensor(keep) && !golden.has_tensor(slot)) continue;
    const gate::Kept kept =
        gate::apply_capacity(experts_of_token, weights, top_k, experts, capacity, named.order);
    if (golden.has_tensor(keep)) golden.give_integers(keep, std::span<const std::uint8_t>(kept.keep));
    if (golden.has_tensor(slot)) golden.give_integers(slot, std::span<const std::int32_t>(kept.slot));
  }
}

void run_permutation(GoldenCase& golden) {
  const auto keep = golden.has_tensor("keep") ? golden.u8("keep") : std::span<const std::uint8_t>{};
  const gate::Permutation result =
      gate::permute(golden.i32("indices"), router_size(golden.integer("experts")), keep);
  golden.give("perm", std::span<const std::int64_t>(result.pair_of_row));
  golden.give("inverse", std::span<const std::int64_t>(result.row_of_pair));
  golden.give("offsets", std::span<const std::int64_t>(result.offsets));
}

constexpr GoldenKind kRouterKinds[] = {{"router", run_router},     {"router_ec", run_expert_choice},
                                       {"sinkhorn", run_sinkhorn}, {"base", run_base},
                                       {"capacity", run_capacity}, {"permutation", run_permutation}};

}  // namespace

std::span<const GoldenKind> golden_router_kinds() { return kRouterKinds; }

}  // namespace moesim::reference
