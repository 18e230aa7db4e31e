#include "models/routing/gate/gate.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "models/routing/gate/rounding.hpp"
#include "models/routing/gate/scores.hpp"
#include "models/routing/gate/top_k.hpp"
#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::gate {

namespace {

void check_spec(const GateSpec& spec, std::int64_t experts) {
  core::check(spec.top_k >= 1 && spec.top_k <= experts, "a router needs 1 <= top_k <= experts");
  core::check(spec.groups >= 1 && experts % spec.groups == 0, "groups of a router must divide its experts");
  core::check(spec.kept_groups >= 1 && spec.kept_groups <= spec.groups,
              "a router needs 1 <= kept groups <= groups");
  core::check(spec.power > 0.0, "a norm needs a positive power");
}

// The work on one token after another; the vectors are kept between tokens.
class Gate {
 public:
  Gate(const GateSpec& spec, std::int64_t experts, std::span<const float> bias, Operations& operations)
      : spec_(spec), experts_(experts), bias_(bias), operations_(operations) {}

  // Appends the token's experts and weights to `choice`.
  void choose(std::span<const float> logits, std::int64_t token, Choice& choice) {
    read_logits(logits, token);
    if (spec_.score == Score::sparsemixer) {
      chosen_.clear();
      weights_.clear();
      detail::sparsemix(spec_, scores_, chosen_, weights_, operations_);
    } else {
      if (spec_.order == Order::score_then_choose) score_all();
      candidates_ = scores_;
      add_choice_bias(token);
      keep_groups();
      top_k(candidates_, spec_.top_k, chosen_);
      operations_.flops += experts_;
      take_weights();
    }
    finish(token, choice);
  }

  // The same with given experts. All scores are computed, as the models do.
  void weigh(std::span<const float> logits, std::span<const std::int32_t> experts, std::int64_t token,
             Choice& choice) {
    read_logits(logits, token);
    chosen_.assign(experts.begin(), experts.end());
    if (spec_.order == Order::score_then_choose) score_all();
    candidates_ = scores_;
    take_weights();
    finish(token, choice);
  }

 private:
  void read_logits(std::span<const float> logits, std::int64_t token) {
    detail::check_logits(logits, token);
    scores_.assign(logits.begin(), logits.end());
    total_ = 1.0;
    divide_ = false;
    if (spec_.bias == Bias::logits) {
      for (std::size_t e = 0; e < scores_.size(); ++e) scores_[e] += static_cast<double>(bias_[e]);
      operations_.flops += experts_;
    }
    for (double& logit : scores_) logit = rounded(logit, spec_.logits);
    check_sums(scores_, token);
  }

  // A sum that overflows is infinite, and differences of two such ones could not be ordered.
  static void check_sums(std::span<const double> sums, std::int64_t token) {
    for (std::size_t e = 0; e < sums.size(); ++e) {
      if (std::isfinite(sums[e])) continue;
      throw LogitError("the router's value of token " + std::to_string(token) + " for expert " +
                           std::to_string(e) + " overflows",
                       token, static_cast<std::int64_t>(e));
    }
  }

  // The result of one operation on scores or weights.
  [[nodiscard]] double computed(double value) const { return gate::computed(value, spec_.scores); }

  void score_all() {
    if (spec_.score == Score::softmax) {
      score_softmax();
    } else {
      for (double& score : scores_) score = score_of(score);
      count_scores(experts_);
    }
    for (double& score : scores_) score = rounded(score, spec_.scores);
  }

  // Where only the order and the quotients of scores matter, they stay undivided by their sum `total_`.
  void score_softmax() {
    total_ = detail::exponentials(scores_, spec_.scores);
    operations_.flops += 3 * experts_;  // maximum, difference, sum
    operations_.specials += experts_;
    divide_ = true;
    if (spec_.bias == Bias::choice || spec_.scores == Precision::bf16 || spec_.epsilon != 0.0) {
      for (double& score : scores_) score = computed(score / total_);
      operations_.flops += experts_;
      total_ = 1.0;
      divide_ = false;
    }
  }

  [[nodiscard]] double score_of(double logit) const {
    switch (spec_.score) {
      case Score::sigmoid:
        return detail::sigmoid(logit, spec_.scores);
      case Score::sqrt_softplus:
        return detail::sqrt_softplus(logit, spec_.scores);
      default:
        return logit;
    }
  }

  void count_scores(std::int64_t n) {
    if (spec_.score == Score::sigmoid) {
      operations_.flops += 2 * n;  // sum and quotient
      operations_.specials += n;
    } else if (spec_.score == Score::sqrt_softplus) {
      operations_.flops += 2 * n;  // maximum and sum
      operations_.specials += 3 * n;
    }
  }

  void add_choice_bias(std::int64_t token) {
    if (spec_.bias != Bias::choice) return;
    for (std::size_t e = 0; e < candidates_.size(); ++e) {
      candidates_[e] = rounded(candidates_[e] + static_cast<double>(bias_[e]), spec_.scores);
    }
    check_sums(candidates_, token);
    operations_.flops += experts_;
  }

  [[nodiscard]] double group_score(std::span<const double> group) const {
    double first = group[0];
    double second = -std::numeric_limits<double>::infinity();
    for (const double value : group.subspan(1)) {
      second = std::max(second, std::min(first, value));
      first = std::max(first, value);
    }
    if (spec_.group_score == GroupScore::maximum || group.size() == 1) return first;
    return rounded(first + second, spec_.scores);
  }

  void keep_groups() {
    if (spec_.groups == 1) return;
    const auto size = static_cast<std::size_t>(experts_ / spec_.groups);
    group_scores_.clear();
    for (std::size_t first = 0; first < candidates_.size(); first += size) {
      group_scores_.push_back(group_score(std::span<const double>(candidates_).subspan(first, size)));
    }
    operations_.flops += experts_ + spec_.groups;
    if (spec_.group_score == GroupScore::top_two_sum && size > 1) operations_.flops += spec_.groups;
    top_k(group_scores_, spec_.kept_groups, kept_);
    const double fill = spec_.group_fill == GroupFill::zero ? 0.0 : -std::numeric_limits<double>::infinity();
    for (std::size_t e = 0; e < candidates_.size(); ++e) {
      const auto group = static_cast<std::int32_t>(e / size);
      if (std::find(kept_.begin(), kept_.end(), group) == kept_.end()) candidates_[e] = fill;
    }
  }

  // Scores at the chosen experts. DeepSeek-V2 reads its weights from the masked scores: an expert outside the
  // kept groups that is chosen all the same weighs 0.
  void take_weights() {
    const bool masked = spec_.group_fill == GroupFill::zero && spec_.bias != Bias::choice;
    weights_.clear();
    for (const std::int32_t e : chosen_) {
      const auto at = static_cast<std::size_t>(e);
      weights_.push_back(masked ? candidates_[at] : scores_[at]);
    }
    const auto k = static_cast<std::int64_t>(weights_.size());
    if (spec_.order == Order::choose_then_score) {
      if (spec_.score == Score::softmax) {
        detail::softmax(weights_, spec_.scores);
        operations_.flops += 4 * k;
        operations_.specials += k;
      } else {
        for (double& weight : weights_) weight = score_of(weight);
        count_scores(k);
      }
      for (double& weight : weights_) weight = rounded(weight, spec_.scores);
    }
    renormalise(k);
  }

  // Sum or norm of the weights.
  [[nodiscard]] double size_of_weights() const {
    double size = 0.0;
    for (const double w : weights_) {
      if (spec_.renormalise == Renormalise::sum) {
        size += w;
      } else {
        size += spec_.power == 1.0 ? std::fabs(w) : computed(core::math::pow(std::fabs(w), spec_.power));
      }
    }
    if (spec_.renormalise == Renormalise::norm && spec_.power != 1.0) {
      size = computed(core::math::pow(computed(size), 1.0 / spec_.power));
    }
    return computed(size);
  }

  void renormalise(std::int64_t k) {
    double divisor = total_;
    if (spec_.renormalise != Renormalise::none) {
      divisor = computed(size_of_weights() + computed(spec_.epsilon));
      operations_.flops += 2 * k;
      if (spec_.renormalise == Renormalise::norm && spec_.power != 1.0) operations_.specials += k + 1;
    } else if (divide_) {
      operations_.flops += k;
    }
    for (double& weight : weights_) weight = computed(weight / divisor);
  }

  void finish(std::int64_t token, Choice& choice) {
    if (spec_.scale != 1.0) {
      operations_.flops += static_cast<std::int64_t>(weights_.size());
      for (double& weight : weights_) weight = computed(weight * computed(spec_.scale));
    }
    for (std::size_t j = 0; j < weights_.size(); ++j) {
      if (!std::isfinite(weights_[j])) {
        throw LogitError("the weights of token " + std::to_string(token) + " cannot be renormalised", token,
                         chosen_[j]);
      }
      choice.experts.push_back(chosen_[j]);
      choice.weights.push_back(static_cast<float>(rounded(weights_[j], spec_.weights)));
    }
  }

  const GateSpec& spec_;
  std::int64_t experts_;
  std::span<const float> bias_;
  Operations& operations_;
  std::vector<double> scores_;
  std::vector<double> candidates_;
  std::vector<double> group_scores_;
  std::vector<double> weights_;
  std::vector<std::int32_t> chosen_;
  std::vector<std::int32_t> kept_;
  double total_ = 1.0;
  bool divide_ = false;  // scores are still to be divided by total_
};

Choice empty_choice(std::int64_t tokens, std::int64_t top_k) {
  Choice choice{tokens, top_k, {}, {}};
  choice.experts.reserve(static_cast<std::size_t>(tokens * top_k));
  choice.weights.reserve(static_cast<std::size_t>(tokens * top_k));
  return choice;
}

void check_bias(const GateSpec& spec, std::span<const float> bias, std::int64_t experts) {
  if (spec.bias == Bias::none) return;
  core::check(std::cmp_equal(bias.size(), experts), "a router's bias needs one value per expert");
  for (std::size_t e = 0; e < bias.size(); ++e) {
    if (!std::isfinite(bias[e])) {
      throw LogitError("the router's bias of expert " + std::to_string(e) + " is not finite", 0,
                       static_cast<std::int64_t>(e));
    }
  }
}

}  // namespace

Choice choose(const GateSpec& spec, std::span<const float> logits, std::int64_t tokens, std::int64_t experts,
              std::span<const float> bias, Operations* operations) {
  check_spec(spec, experts);
  core::check(tokens >= 0 && std::cmp_equal(logits.size(), tokens * experts),
              "a router needs tokens x experts logits");
  check_bias(spec, bias, experts);
  Operations ignored;
  Gate gate(spec, experts, bias, operations != nullptr ? *operations : ignored);
  Choice choice = empty_choice(tokens, spec.top_k);
  const auto width = static_cast<std::size_t>(experts);
  for (std::int64_t t = 0; t < tokens; ++t) {
    gate.choose(logits.subspan(static_cast<std::size_t>(t) * width, width), t, choice);
  }
  return choice;
}

Choice weigh(const GateSpec& spec, std::span<const std::int32_t> experts_of_token,
             std::span<const float> logits, std::int64_t tokens, std::int64_t experts,
             Operations* operations) {
  check_spec(spec, experts);
  core::check(spec.bias == Bias::none && spec.groups == 1 && spec.score != Score::sparsemixer,
              "given experts have no bias, groups or thresholds");
  core::check(tokens >= 0 && std::cmp_equal(experts_of_token.size(), tokens * spec.top_k),
              "given experts need tokens x top_k entries");
  for (const std::int32_t e : experts_of_token) {
    core::check(e >= 0 && e < experts, "a given expert does not exist");
  }
  Choice choice = empty_choice(tokens, spec.top_k);
  if (logits.empty()) {
    choice.experts.assign(experts_of_token.begin(), experts_of_token.end());
    choice.weights.assign(experts_of_token.size(), 1.0F);
    return choice;
  }
  core::check(std::cmp_equal(logits.size(), tokens * experts), "a router needs tokens x experts logits");
  Operations ignored;
  Gate gate(spec, experts, {}, operations != nullptr ? *operations : ignored);
  const auto width = static_cast<std::size_t>(experts);
  const auto k = static_cast<std::size_t>(spec.top_k);
  for (std::int64_t t = 0; t < tokens; ++t) {
    const auto at = static_cast<std::size_t>(t);
    gate.weigh(logits.subspan(at * width, width), experts_of_token.subspan(at * k, k), t, choice);
  }
  return choice;
}

std::vector<std::int32_t> look_up(std::span<const std::int32_t> table, std::int64_t top_k,
                                  std::span<const std::int32_t> token_ids) {
  core::check(top_k >= 1 && table.size() % static_cast<std::size_t>(top_k) == 0,
              "a table of experts needs whole rows of top_k");
  const auto k = static_cast<std::size_t>(top_k);
  std::vector<std::int32_t> experts;
  experts.reserve(token_ids.size() * k);
  for (const std::int32_t id : token_ids) {
    core::check(id >= 0 && std::cmp_less(static_cast<std::size_t>(id), table.size() / k),
                "a token is outside the table of experts");
    const auto row = table.subspan(static_cast<std::size_t>(id) * k, k);
    experts.insert(experts.end(), row.begin(), row.end());
  }
  return experts;
}

}  // namespace moesim::gate
