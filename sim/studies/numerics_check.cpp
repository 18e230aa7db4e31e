#include "sim/studies/numerics_check.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/llm/lowering.hpp"
#include "sim/studies/numerics_experts.hpp"
#include "sim/studies/numerics_problems.hpp"
#include "sim/studies/numerics_scale.hpp"

namespace moesim::studies {

using serving::LayerCheck;
using serving::NumericsCheck;

namespace {

std::string layout_text(const llm::Layout& layout) {
  std::string text = fmt::format("tp {}, dp {}, ep {}", layout.tp, layout.dp, layout.ep);
  if (layout.cp > 1) text += fmt::format(", cp {}", layout.cp);
  if (layout.dcp > 1) text += fmt::format(", dcp {}", layout.dcp);
  if (layout.sequence_parallel) text += ", sequence parallel";
  return text;
}

std::string formats_text(const llm::LinearFormats& formats) {
  return fmt::format("weights {}, activations {}", config::enum_name(formats.weights),
                     config::enum_name(formats.activations));
}

std::string form_of(const llm::GroupedQueryAttention& a) {
  std::string text = fmt::format("grouped-query, {} heads on {}", a.query_heads, a.kv_heads);
  if (a.window_tokens > 0) text += fmt::format(", window {}", a.window_tokens);
  if (a.chunk_tokens > 0) text += fmt::format(", chunks of {}", a.chunk_tokens);
  if (a.sinks) text += ", sinks";
  if (a.score_cap) text += ", capped scores";
  if (a.block_indexer) text += ", chosen blocks";
  return text;
}
std::string form_of(const llm::LatentAttention& a) {
  std::string text = fmt::format("latent, {} heads", a.heads);
  if (a.indexer) text += fmt::format(", best {} keys", a.indexer->top_k);
  return text;
}
std::string form_of(const llm::CompressedAttention& a) {
  return a.ratio > 0 ? fmt::format("compressed, ratio {}", a.ratio) : "compressed, window only";
}
std::string form_of(const llm::RecurrentAttention& a) {
  return fmt::format("recurrent, {}", config::enum_name(a.recurrence));
}
std::string form_of(const llm::NoAttention&) { return "none"; }

std::string form_of(const llm::FfnShape& shape) {
  if (const auto* dense = std::get_if<llm::DenseFfn>(&shape))
    return fmt::format("dense, width {}", dense->width);
  const auto& moe = std::get<llm::MoeFfn>(shape);
  std::string text = fmt::format("{} of {} experts", moe.top_k, moe.experts);
  if (moe.shared_experts > 0) text += fmt::format(" and {} shared", moe.shared_experts);
  if (moe.latent_width > 0) text += ", latent";
  if (moe.selection != llm::ExpertSelection::learned)
    text += fmt::format(", {}", config::enum_name(moe.selection));
  return text;
}

class Checker {
 public:
  explicit Checker(const NumericsRequest& request)
      : request_(request), scaled_(scale_model(request.model, request.layout, request.formats)) {}

  NumericsCheck run() {
    NumericsCheck check;
    const std::vector<llm::LayerGroup>& layers = request_.model.layers;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto earlier = layers.begin() + static_cast<std::ptrdiff_t>(i);
      const auto same_ffn = [&](const llm::LayerGroup& g) { return g.ffn == layers[i].ffn; };
      const auto same_attention = [&](const llm::LayerGroup& g) {
        return g.attention == layers[i].attention;
      };
      if (!std::holds_alternative<llm::NoFfn>(layers[i].ffn) &&
          std::none_of(layers.begin(), earlier, same_ffn))
        check.layers.push_back(ffn(i));
      if (!std::holds_alternative<llm::NoAttention>(layers[i].attention) &&
          std::none_of(layers.begin(), earlier, same_attention))
        check.layers.push_back(attention(i));
    }
    return check;
  }

 private:
  // The scaled model with one part of one layer.
  [[nodiscard]] llm::Architecture part(const llm::AttentionShape& attention, const llm::FfnShape& ffn) const {
    llm::Architecture model = scaled_.model;
    model.layers = {{1, attention, ffn}};
    return model;
  }

  // The operators that the simulator prices for this part.
  [[nodiscard]] std::vector<llm::Operator> lowered(const llm::Architecture& model,
                                                   std::span<const NumericsSequence> sequences) const {
    llm::RankBatch batch;
    for (const NumericsSequence& sequence : sequences)
      llm::add_chunk(batch, {sequence.tokens, sequence.context, true}, llm::batch_rule(model, 1));
    llm::StepOperators step;
    llm::lower(model, scaled_.layout, request_.formats, batch, batch.tokens * scaled_.layout.token_groups(),
               step);
    std::vector<llm::Operator> operators = std::move(step.layers.front().operators);
    if (request_.operators) request_.operators(operators);
    return operators;
  }

  LayerCheck ffn(std::size_t group) const {
    const llm::FfnShape& shape = scaled_.model.layers[group].ffn;
    const auto* moe = std::get_if<llm::MoeFfn>(&shape);
    LayerCheck check;
    check.name = moe ? "moe" : "dense";
    check.form = form_of(request_.model.layers[group].ffn);
    check.layout = layout_text(request_.layout);
    check.formats =
        formats_text(request_.formats.of(moe ? llm::WeightKind::experts : llm::WeightKind::dense));
    check.sizes = scaled_.ffn[group].sizes;
    check.not_checked = scaled_.ffn[group].not_checked;
    const ExpertTensors tensors =
        expert_tensors(shape, scaled_.model.hidden_size, request_.formats, request_.tokens, request_.seed,
                       2 * group, check.format_errors);
    if (moe) check_router_claims(tensors, check);
    check_expert_claims<reference::NoProbe>(tensors, property_ranks(tensors, scaled_.layout), check);
    if (moe && moe->router_bias) check.not_checked.emplace_back("bias of the router: its operator has none");
    if (moe && moe->latent_width > 0 && moe->shared_experts > 0)
      check.not_checked.emplace_back("shared experts beside latent ones: counted, but held against no bound");
    const llm::Architecture model = part(llm::NoAttention{}, shape);
    const NumericsSequence sequences[] = {{request_.tokens, request_.context}};
    std::vector<llm::Operator> operators = lowered(model, sequences);
    count_experts(model, scaled_.layout, request_.formats, request_.tokens, request_.seed, operators, check);
    return check;
  }

  LayerCheck attention(std::size_t group) const {
    const llm::AttentionShape& shape = scaled_.model.layers[group].attention;
    LayerCheck check;
    check.name = "attention";
    check.form = std::visit([](const auto& a) { return form_of(a); }, request_.model.layers[group].attention);
    check.layout = layout_text(request_.layout);
    check.formats = fmt::format("{}, KV {}", formats_text(request_.formats.of(llm::WeightKind::attention)),
                                config::enum_name(request_.formats.kv));
    check.sizes = scaled_.attention[group].sizes;
    check.not_checked = scaled_.attention[group].not_checked;
    if (std::holds_alternative<llm::NoAttention>(shape)) return check;
    NumericsDraws draws(request_.seed, 2 * group + 1);
    std::visit([&](const auto& a) { claims(a, draws, check); }, shape);
    const llm::Architecture model = part(shape, llm::NoFfn{});
    // A prompt, and a decode step behind it.
    const NumericsSequence sequences[] = {{request_.tokens, request_.context},
                                          {1, request_.context + request_.tokens}};
    count_attention(model, scaled_.layout, request_.formats, sequences, request_.seed,
                    lowered(model, sequences), check);
    return check;
  }

  // The ranks of the layout, or a few where it has one.
  [[nodiscard]] std::int64_t few_ranks(std::int64_t heads) const {
    if (scaled_.layout.tp > 1) return scaled_.layout.tp;
    return heads % 2 == 0 ? 2 : 1;
  }

  void claims(const llm::GroupedQueryAttention& a, NumericsDraws& draws, LayerCheck& check) const {
    const std::int64_t parts = std::max<std::int64_t>(2, request_.layout.dcp);
    with_cache_format(request_.formats.kv, [&](auto stored, const auto& decode) {
      const auto problem = grouped_problem<decltype(stored)>(
          a, a.query_heads, a.kv_heads, {request_.tokens, request_.context}, decode, draws);
      GroupedClaims(problem, check).template run<reference::NoProbe>(few_ranks(a.kv_heads), parts);
    });
  }
  void claims(const llm::LatentAttention& a, NumericsDraws& draws, LayerCheck& check) const {
    const LatentProblem problem = latent_problem(a, a.heads, {request_.tokens, request_.context}, draws);
    check_latent_claims<reference::NoProbe>(problem, few_ranks(a.heads), check);
  }
  void claims(const llm::RecurrentAttention& a, NumericsDraws& draws, LayerCheck& check) const {
    check_delta_claims<reference::NoProbe>(delta_problem(a, 1, request_.tokens, draws),
                                           few_ranks(a.key_heads), check);
  }
  template <class Other>
  void claims(const Other&, NumericsDraws&, LayerCheck&) const {}

  const NumericsRequest& request_;
  ScaledModel scaled_;
};

}  // namespace

NumericsCheck check_numerics(const NumericsRequest& request) { return Checker(request).run(); }

NumericsCheck check_numerics(const serving::Scenario& scenario) {
  NumericsCheck all;
  std::vector<llm::Layout> done;
  for (const auto& [name, pool] : scenario.deployment.pools) {
    const llm::Layout layout = pool.layout();
    if (std::find(done.begin(), done.end(), layout) != done.end()) continue;
    done.push_back(layout);
    NumericsRequest request{scenario.model,
                            layout,
                            scenario.formats(),
                            scenario.numerics.tokens,
                            scenario.numerics.context,
                            static_cast<std::uint64_t>(scenario.seed),
                            {}};
    NumericsCheck one = check_numerics(request);
    std::move(one.layers.begin(), one.layers.end(), std::back_inserter(all.layers));
  }
  return all;
}

ModelNumerics check_model_numerics(const config::Catalogue& catalogue, const std::string& name,
                                   std::int64_t tp, std::int64_t ep) {
  NumericsRequest request;
  request.model = config::load_entry<llm::Architecture>(name, catalogue).value;
  request.formats = request.model.published_formats();
  request.layout.tp = tp;
  request.layout.ep = ep;
  // The encoder of a model takes no part.
  llm::Architecture decoder = request.model;
  decoder.encoder.clear();
  for (llm::LayerGroup& group : decoder.layers) group.cross_attention.reset();
  std::vector<std::string> problems = llm::layout_problems(decoder, request.layout);
  if (!problems.empty())
    throw config::InputError("illegal_layout", fmt::format("{}: {}", name, problems.front()));
  return {name, check_numerics(request)};
}

}  // namespace moesim::studies
