// Routers: from the logits of a token to its experts and their weights.
//
// The one implementation: the reference kernels and the simulator both call it. Formulas and their sources
// are those of numerics.md 1.2; families.hpp has the parameters of published models.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace moesim::gate {

// How logits become scores.
enum class Score : std::uint8_t {
  softmax,
  sigmoid,
  sqrt_softplus,  // sqrt(ln(1 + e^l)), DeepSeek-V4
  identity,
  sparsemixer,  // Phi-3.5: see `jitter`
};

enum class Order : std::uint8_t {
  score_then_choose,
  choose_then_score,  // the best logits; softmax is over the chosen ones only (gpt-oss, Mistral's Mixtral)
};

enum class Renormalise : std::uint8_t {
  none,
  sum,   // weights are divided by their sum + epsilon
  norm,  // by their `power`-norm + epsilon (DBRX)
};

// Where a bias of one value per expert enters.
enum class Bias : std::uint8_t {
  none,
  logits,  // a part of the logits (gpt-oss)
  choice,  // added to the scores to choose; never in the weights (DeepSeek-V3)
};

enum class GroupScore : std::uint8_t { maximum, top_two_sum };

// What takes the place of scores outside the kept groups.
enum class GroupFill : std::uint8_t {
  minus_infinity,
  zero,  // an expert outside wins against a kept one with a negative score + bias
};

// In which type a value is rounded. f32: every operation is rounded to f32, sums once, so that saturated
// sigmoids and probabilities that underflow tie as they do in a model. Exponentials, logarithms and roots are
// the f32 nearest to the true value; those of f32 libraries may lie beside it, so which neighbours in the
// last bit merge is not theirs. bf16: computed in f32, and each value that is kept is rounded; ties are
// common. f64: nothing is rounded, for comparison with exact arithmetic.
enum class Precision : std::uint8_t { f32, bf16, f64 };

struct GateSpec {
  Score score = Score::softmax;
  Order order = Order::score_then_choose;
  std::int64_t top_k = 1;
  Renormalise renormalise = Renormalise::none;
  double epsilon = 0.0;
  double power = 1.0;  // of the norm
  Bias bias = Bias::none;
  // Experts lie in `groups` equal groups; only those of the best `kept_groups` can be chosen.
  std::int64_t groups = 1;
  std::int64_t kept_groups = 1;
  GroupScore group_score = GroupScore::maximum;
  GroupFill group_fill = GroupFill::minus_infinity;
  double scale = 1.0;  // of the weights, after all else
  // sparsemixer: experts whose logit is more than 2 x jitter below the largest, relative to the larger of
  // |logit| and the largest, get no weight.
  double jitter = 0.01;
  Precision logits = Precision::f32;
  Precision scores = Precision::f32;
  Precision weights = Precision::f32;  // at most f32, as Choice holds them
  // The weight multiplies the input of the expert and not its output (Llama 4). The gate does not look at it.
  bool weight_on_input = false;
  bool operator==(const GateSpec&) const = default;
};

// A logit, bias or sum of weights with which nothing can be chosen.
class LogitError : public std::runtime_error {
 public:
  LogitError(const std::string& what, std::int64_t token, std::int64_t expert)
      : std::runtime_error(what), token_(token), expert_(expert) {}
  [[nodiscard]] std::int64_t token() const { return token_; }
  [[nodiscard]] std::int64_t expert() const { return expert_; }

 private:
  std::int64_t token_;
  std::int64_t expert_;
};

// The experts of each token, best first, and their weights: [tokens, top_k], row-major.
struct Choice {
  std::int64_t tokens = 0;
  std::int64_t top_k = 0;
  std::vector<std::int32_t> experts;
  std::vector<float> weights;
};

// What was computed: `flops` additions, multiplications, divisions and comparisons (one a candidate of a
// choice); `specials` exponentials, logarithms and square roots.
struct Operations {
  std::int64_t flops = 0;
  std::int64_t specials = 0;
};

// Chooses for `tokens` rows of `experts` logits. `bias`: one value per expert unless spec.bias is none.
// Candidates with equal scores: the lower expert wins and comes first, for groups too. A token's choice
// depends on its own row only. Throws LogitError for NaN and infinite logits and biases, for sums with a
// bias that overflow, and for weights that cannot be renormalised (their sum is 0); core::InvariantError for
// sizes that do not fit and for a spec that cannot be (top_k > experts, groups that do not divide the
// experts).
[[nodiscard]] Choice choose(const GateSpec& spec, std::span<const float> logits, std::int64_t tokens,
                            std::int64_t experts, std::span<const float> bias = {},
                            Operations* operations = nullptr);

// The experts are given: `experts_of_token` [tokens, top_k]; weights as spec says, from the logits at them
// (hash layers of DeepSeek-V4). Without logits every weight is 1 (Roller et al., arXiv 2106.04426).
// `experts` is their number. Throws as choose(); also core::InvariantError for an expert that does not exist.
[[nodiscard]] Choice weigh(const GateSpec& spec, std::span<const std::int32_t> experts_of_token,
                           std::span<const float> logits, std::int64_t tokens, std::int64_t experts,
                           Operations* operations = nullptr);

// Row token_ids[t] of a frozen table [vocabulary, top_k] for each token. Throws core::InvariantError for a
// token outside the table.
[[nodiscard]] std::vector<std::int32_t> look_up(std::span<const std::int32_t> table, std::int64_t top_k,
                                                std::span<const std::int32_t> token_ids);

}  // namespace moesim::gate
