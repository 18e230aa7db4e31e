#include "sim/studies/numerics_experts.hpp"

#include <fmt/format.h>

#include <numeric>

#include "models/reference/moe_layer.hpp"
#include "sim/core/integers.hpp"
#include "sim/core/math.hpp"
#include "sim/execution/operator_names.hpp"

namespace moesim::studies {

using reference::Bf16;
using reference::CountingProbe;
using reference::Counts;
using reference::Operand;

namespace {

double weight_scale(std::int64_t inputs) { return core::math::sqrt(3.0 / static_cast<double>(inputs)); }

// Each of `matrices` equal parts of the values quantised by itself and widened to bf16.
std::vector<Bf16> stored_matrices(std::span<const float> values, std::int64_t matrices, std::int64_t rows,
                                  std::int64_t columns, llm::NumberFormat format) {
  std::vector<Bf16> stored;
  for (std::int64_t m = 0; m < matrices; ++m) {
    const auto own = values.subspan(static_cast<std::size_t>(m * rows * columns),
                                    static_cast<std::size_t>(rows * columns));
    const std::vector<Bf16> one = as_bf16(QuantisedMatrix::weights(own, rows, columns, format).values());
    stored.insert(stored.end(), one.begin(), one.end());
  }
  return stored;
}

void draw_experts(ExpertTensors& t, bool bias, const llm::Formats& formats, NumericsDraws& draws,
                  std::vector<serving::FormatError>& errors) {
  const llm::NumberFormat own = t.experts > 1 || t.shared_width > 0
                                    ? formats.of(llm::WeightKind::experts).weights
                                    : formats.of(llm::WeightKind::dense).weights;
  t.gate_up = draws.floats(t.experts * t.columns() * t.inputs, weight_scale(t.inputs));
  t.down = draws.floats(t.experts * t.inputs * t.width, weight_scale(t.width));
  t.gate_up_bias = draws.values(bias ? t.experts * t.columns() : 0, 0.5);
  t.down_bias = draws.values(bias ? t.experts * t.inputs : 0, 0.5);
  t.gate_up_stored = stored_matrices(t.gate_up, t.experts, t.columns(), t.inputs, own);
  t.down_stored = stored_matrices(t.down, t.experts, t.inputs, t.width, own);
  const auto first =
      std::span<const float>(t.gate_up).first(static_cast<std::size_t>(t.columns() * t.inputs));
  errors.push_back(
      QuantisedMatrix::weights(first, t.columns(), t.inputs, own).error(first, "experts gate and up", own));
}

void draw_shared(ExpertTensors& t, bool score, const llm::Formats& formats, NumericsDraws& draws) {
  if (t.shared_width == 0) return;
  const std::int64_t columns = (t.gated ? 2 : 1) * t.shared_width;
  const llm::NumberFormat own = formats.of(llm::WeightKind::dense).weights;
  t.shared_gate_up = draws.floats(columns * t.hidden, weight_scale(t.hidden));
  t.shared_down = draws.floats(t.hidden * t.shared_width, weight_scale(t.shared_width));
  t.shared_score = draws.values(score ? t.hidden : 0, weight_scale(t.hidden));
  t.shared_gate_up_stored = stored_matrices(t.shared_gate_up, 1, columns, t.hidden, own);
  t.shared_down_stored = stored_matrices(t.shared_down, 1, t.hidden, t.shared_width, own);
}

// As much of a router as the description of a model has: softmax over all experts and the chosen weights
// divided by their sum, or with a correction that chooses, sigmoid scores.
gate::GateSpec gate_of(const llm::MoeFfn& moe) {
  gate::GateSpec spec;
  spec.top_k = moe.top_k;
  spec.renormalise = gate::Renormalise::sum;
  if (moe.router_score_bias) {
    spec.score = gate::Score::sigmoid;
    spec.bias = gate::Bias::choice;
    spec.epsilon = 1e-20;
  }
  return spec;
}

}  // namespace

ExpertRouter::ExpertRouter(const llm::MoeFfn& moe, std::int64_t hidden, NumericsDraws& draws)
    : moe_(moe),
      hidden_(hidden),
      weights_(draws.values(moe.has_router() ? moe.experts * hidden : 0, weight_scale(hidden))),
      bias_(draws.floats(moe.router_score_bias ? moe.experts : 0, 0.25)) {}

CountedChoice ExpertRouter::choose(std::span<const Bf16> x, std::int64_t tokens) const {
  CountedChoice result;
  if (moe_.has_router()) {
    result.logits.resize(static_cast<std::size_t>(tokens * moe_.experts));
    reference::router_logits(reference::matrix(x, tokens, hidden_),
                             reference::matrix(std::span<const Bf16>(weights_), moe_.experts, hidden_),
                             std::span(result.logits), result.router);
  }
  if (moe_.selection == llm::ExpertSelection::learned) {
    result.choice =
        reference::choose_experts(gate_of(moe_), result.logits, tokens, moe_.experts, bias_, result.top_k);
    return result;
  }
  // A table by token id; the tokens have different ids.
  std::vector<std::int32_t> table, ids(static_cast<std::size_t>(tokens));
  std::iota(ids.begin(), ids.end(), 0);
  for (const std::int64_t id : ids) {
    for (std::int64_t j = 0; j < moe_.top_k; ++j)
      table.push_back(static_cast<std::int32_t>((7 * id + j) % moe_.experts));
  }
  result.choice = reference::look_up_experts(table, moe_.experts, moe_.top_k, ids, result.top_k);
  if (moe_.selection == llm::ExpertSelection::weighted_hash) {
    result.choice = gate::weigh(gate_of(moe_), result.choice.experts, result.logits, tokens, moe_.experts);
  }
  return result;
}

ExpertTensors expert_tensors(const llm::FfnShape& ffn, std::int64_t hidden, const llm::Formats& formats,
                             std::int64_t tokens, std::uint64_t seed, std::uint64_t entity,
                             std::vector<serving::FormatError>& errors) {
  NumericsDraws draws(seed, entity);
  ExpertTensors t;
  t.tokens = tokens;
  t.hidden = t.inputs = hidden;
  if (const auto* dense = std::get_if<llm::DenseFfn>(&ffn)) {
    t.width = dense->width;
    t.gated = dense->gated;
    t.x = draws.values(tokens * hidden, 2.0);
    draw_experts(t, false, formats, draws, errors);
    t.choice = {tokens, 1, std::vector<std::int32_t>(static_cast<std::size_t>(tokens), 0),
                std::vector<float>(static_cast<std::size_t>(tokens), 1.0F)};
    return t;
  }
  const auto& moe = std::get<llm::MoeFfn>(ffn);
  t.inputs = moe.row_width(hidden);
  t.experts = moe.experts;
  t.top_k = moe.top_k;
  t.width = moe.expert_width;
  t.shared_width = moe.total_shared_width();
  t.gated = moe.gated;
  t.x = draws.values(tokens * t.inputs, 2.0);
  const ExpertRouter router(moe, hidden, draws);
  draw_experts(t, moe.expert_bias, formats, draws, errors);
  draw_shared(t, moe.shared_gate, formats, draws);
  const std::vector<Bf16> stream = t.inputs == hidden ? t.x : draws.values(tokens * hidden, 2.0);
  CountedChoice chosen = router.choose(stream, tokens);
  t.router = router.weights();
  t.logits = std::move(chosen.logits);
  t.choice = std::move(chosen.choice);
  return t;
}

double worst_share(std::span<const Bf16> got, std::span<const reference::Bounded> want) {
  double worst = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double off = std::fabs(static_cast<double>(reference::to_float(got[i])) - want[i].value);
    if (!std::isfinite(off)) return std::numeric_limits<double>::infinity();
    if (off > 0.0) worst = std::max(worst, off / want[i].error);
  }
  return worst;
}

PropertyRanks property_ranks(const ExpertTensors& tensors, const llm::Layout& layout) {
  PropertyRanks ranks{layout.ep, layout.moe_tp()};
  const auto few = [](std::int64_t size) { return size % 4 == 0 ? 4 : size % 2 == 0 ? 2 : 1; };
  if (ranks.expert == 1) ranks.expert = few(tensors.experts);
  if (ranks.tensor == 1) ranks.tensor = few(tensors.width);
  return ranks;
}

void check_router_claims(const ExpertTensors& t, serving::LayerCheck& check) {
  if (!t.router.empty() && t.inputs == t.hidden) {
    const auto bounds = reference::bounded_gemm<float>(
        t.input(), reference::matrix(std::span<const Bf16>(t.router), t.experts, t.hidden),
        std::span<const Bf16>{});
    double share = 0.0;
    for (std::size_t i = 0; i < bounds.size(); ++i) {
      share =
          std::max(share, std::fabs(static_cast<double>(t.logits[i]) - bounds[i].value) / bounds[i].error);
    }
    check.claims.push_back({"router logits within their bound of the f64 oracle", share <= 1.0, share});
  }
  // What the operators are told, and the rows that the kernels compute.
  const std::vector<std::int64_t> told = gate::rows_by_expert(t.choice.experts, t.experts);
  const gate::Permutation permutation = gate::permute(t.choice.experts, t.experts);
  bool same = std::accumulate(told.begin(), told.end(), std::int64_t{0}) == t.tokens * t.top_k;
  for (std::size_t e = 0; e < told.size(); ++e)
    same = same && told[e] == permutation.offsets[e + 1] - permutation.offsets[e];
  check.claims.push_back({"tokens per expert = those of the router", same, std::nullopt});
}

}  // namespace moesim::studies
