// What the first rank of a layer counts while it computes its part of a feed-forward network.
#include <numeric>

#include "models/reference/moe_layer.hpp"
#include "sim/core/integers.hpp"
#include "sim/execution/operator_names.hpp"
#include "sim/studies/numerics_experts.hpp"

namespace moesim::studies {

using reference::Bf16;
using reference::CountingProbe;
using reference::Counts;
using reference::Operand;

namespace {

std::string_view routed_key(llm::RoutedRole role) {
  llm::RoutedElementwise op;
  op.role = role;
  return execution::name_of(op);
}
std::string_view grouped_key(llm::GemmRole role) {
  llm::GroupedGemm op;
  op.role = role;
  return execution::name_of(op);
}

class ExpertCounter {
 public:
  ExpertCounter(const llm::Architecture& model, const llm::Layout& layout, const llm::Formats& formats,
                std::int64_t tokens, std::uint64_t seed, std::span<llm::Operator> operators)
      : model_(model),
        layout_(layout),
        formats_(formats),
        tokens_(tokens),
        hidden_(model.hidden_size),
        stream_tokens_(layout.sequence_parallel ? core::divide_up(tokens, layout.tp) : tokens),
        operators_(operators),
        draws_(seed, kEntity) {}

  void run(serving::LayerCheck& check) {
    stream_norm(llm::ElementwiseRole::post_attention_norm, true);
    const llm::FfnShape& ffn = model_.layers.front().ffn;
    if (const auto* moe = std::get_if<llm::MoeFfn>(&ffn)) {
      count(*moe);
    } else if (const auto* dense = std::get_if<llm::DenseFfn>(&ffn)) {
      two_products(llm::GemmRole::gate_up, llm::ElementwiseRole::activation, llm::GemmRole::down,
                   dense->gated, tokens_, dense->width / layout_.tp);
    }
    if (model_.post_norms) stream_norm(llm::ElementwiseRole::ffn_output_norm, false);
    ledger_.model(operators_);
    ledger_.write(check);
  }

 private:
  static constexpr std::uint64_t kEntity = 1000;

  void stream_norm(llm::ElementwiseRole role, bool residual) {
    const CountedNorm kind = !model_.layer_norm ? CountedNorm::rms
                             : model_.norm_bias ? CountedNorm::layer_with_bias
                                                : CountedNorm::layer;
    count_norm(ledger_, role, stream_tokens_, hidden_, residual, kind, draws_);
  }

  // Two linear layers with an activation between them.
  void two_products(llm::GemmRole up, llm::ElementwiseRole role, llm::GemmRole down, bool gated,
                    std::int64_t rows, std::int64_t width) {
    const llm::LinearFormats own = formats_.of(llm::WeightKind::dense);
    const std::vector<Bf16> x = draws_.values(rows * hidden_, 2.0);
    const std::vector<Bf16> h =
        count_linear(ledger_, up, x, rows, hidden_, (gated ? 2 : 1) * width, own, false, draws_);
    std::vector<Bf16> a(static_cast<std::size_t>(rows * width));
    CountingProbe probe;
    reference::activate_rows(std::span<const Bf16>(h), width, activation(gated),
                             reference::GateUpLayout::halves, std::span(a), probe);
    ledger_.kernel(execution::name_of(llm::Elementwise{role}), probe.result());
    count_linear(ledger_, down, a, rows, width, hidden_, own, false, draws_);
  }

  static reference::ExpertActivation activation(bool gated) {
    return {gated ? reference::ExpertFunction::swiglu : reference::ExpertFunction::relu};
  }

  void count(const llm::MoeFfn& moe) {
    const llm::MoeExchange exchange = llm::moe_exchange(layout_);
    const bool dispatched = exchange == llm::MoeExchange::dispatch;
    const std::int64_t group = tokens_ * layout_.token_groups();
    const std::int64_t here = dispatched ? core::divide_up(tokens_, layout_.tp)
                              : exchange == llm::MoeExchange::gather_scatter ? group
                                                                             : tokens_;
    const std::int64_t routed = dispatched ? group : here;
    const gate::Choice choice = choose(moe, routed, here);
    const std::int64_t own = moe.experts / layout_.ep;
    const std::vector<std::int64_t> all = gate::rows_by_expert(choice.experts, moe.experts);
    rows_.assign(all.begin(), all.begin() + own);
    llm::set_expert_rows(operators_, rows_);
    if (moe.shared_experts > 0) count_shared(moe, here);
    if (moe.latent_width > 0) {
      count_linear(ledger_, llm::GemmRole::expert_latent_down, draws_.values(here * hidden_, 2.0), here,
                   hidden_, moe.latent_width, formats_.of(llm::WeightKind::dense), false, draws_);
    }
    count_rows(moe, choice, own, dispatched);
    if (dispatched) count_combine(moe, choice, here);
    const bool latent = moe.latent_width > 0;
    const std::int64_t after = !latent || dispatched ? here : moe.latent_norm ? stream_tokens_ : tokens_;
    if (latent) {
      if (moe.latent_norm) {
        count_norm(ledger_, llm::ElementwiseRole::latent_expert_norm, after, moe.latent_width, false,
                   CountedNorm::rms, draws_);
      }
      count_linear(ledger_, llm::GemmRole::expert_latent_up, draws_.values(after * moe.latent_width, 2.0),
                   after, moe.latent_width, hidden_, formats_.of(llm::WeightKind::dense), false, draws_);
    }
    if (moe.shared_experts > 0) count_shared_add(moe, after);
  }

  // The choices of `routed` tokens; the kernels of the router are counted on the rank's `here`.
  gate::Choice choose(const llm::MoeFfn& moe, std::int64_t routed, std::int64_t here) {
    const ExpertRouter router(moe, hidden_, draws_);
    const std::vector<Bf16> x = draws_.values(routed * hidden_, 2.0);
    const auto own = std::span<const Bf16>(x).first(static_cast<std::size_t>(here * hidden_));
    const CountedChoice counted = router.choose(own, here);
    if (moe.has_router()) ledger_.kernel(execution::name_of(llm::Router{}), counted.router.result());
    ledger_.kernel(execution::name_of(llm::TopK{}), counted.top_k.result());
    return routed == here ? counted.choice : router.choose(x, routed).choice;
  }

  void count_shared(const llm::MoeFfn& moe, std::int64_t rows) {
    two_products(llm::GemmRole::shared_gate_up, llm::ElementwiseRole::shared_activation,
                 llm::GemmRole::shared_down, moe.gated, rows,
                 moe.total_shared_width() / llm::shared_expert_shards(layout_));
    if (!moe.shared_gate) return;
    count_linear(ledger_, llm::GemmRole::shared_gate, draws_.values(rows * hidden_, 2.0), rows, hidden_, 1,
                 {}, false, draws_);
  }

  // The rank's experts on their rows.
  void count_rows(const llm::MoeFfn& moe, const gate::Choice& choice, std::int64_t own, bool dispatched) {
    const std::int64_t inputs = moe.row_width(hidden_), width = moe.expert_width / layout_.moe_tp();
    std::vector<std::uint8_t> keep(choice.experts.size());
    for (std::size_t i = 0; i < keep.size(); ++i) keep[i] = choice.experts[i] < own ? 1 : 0;
    const gate::Permutation permutation = gate::permute(choice.experts, moe.experts, keep);
    const std::vector<Bf16> x = draws_.values(choice.tokens * inputs, 2.0);
    std::vector<Bf16> rows(static_cast<std::size_t>(permutation.rows() * inputs));
    CountingProbe gathered;
    reference::gather_rows(reference::matrix(std::span<const Bf16>(x), choice.tokens, inputs), permutation,
                           choice.top_k, {}, std::span(rows), gathered);
    if (!dispatched) count_permute(rows, permutation.rows(), inputs, gathered.result());
    const std::int64_t columns = (moe.gated ? 2 : 1) * width;
    const std::vector<Bf16> h =
        grouped(llm::GemmRole::expert_gate_up, rows, inputs, columns, moe.expert_bias);
    std::vector<Bf16> a(static_cast<std::size_t>(permutation.rows() * width));
    CountingProbe activated;
    reference::activate_rows(std::span<const Bf16>(h), width, activation(moe.gated),
                             reference::GateUpLayout::halves, std::span(a), activated);
    ledger_.kernel(routed_key(llm::RoutedRole::expert_activation), activated.result());
    const std::vector<Bf16> y = grouped(llm::GemmRole::expert_down, a, width, inputs, moe.expert_bias);
    if (dispatched) return;
    std::vector<Bf16> out(x.size());
    CountingProbe combined;
    reference::combine_rows(std::span<const Bf16>(y), inputs, permutation, choice.top_k, choice.weights,
                            reference::CombineOrder::expert_ascending, reference::Accumulator::bf16,
                            std::span(out), combined);
    ledger_.kernel(routed_key(llm::RoutedRole::unpermute), combined.result());
  }

  // Rows are written in the format in which they are multiplied.
  void count_permute(std::span<const Bf16> rows, std::int64_t count, std::int64_t inputs, Counts counts) {
    const llm::NumberFormat format = formats_.linear_activations();
    const QuantisedMatrix written = QuantisedMatrix::activations(as_floats(rows), count, inputs, format);
    CountingProbe probe;
    for (std::int64_t r = 0; r < count; ++r) {
      probe.touch(Operand::result, 0, r * inputs, inputs, written.bits());
      written.touch_scales(r, 0, inputs, Operand::result, 1, probe);
    }
    counts.compulsory_bytes[static_cast<std::size_t>(Operand::result)] =
        probe.result().compulsory(Operand::result);
    ledger_.kernel(routed_key(llm::RoutedRole::permute), counts, true);
  }

  // One product for each expert that has rows; rows lie by expert.
  std::vector<Bf16> grouped(llm::GemmRole role, std::span<const Bf16> rows, std::int64_t depth,
                            std::int64_t columns, bool bias) {
    const llm::LinearFormats own = formats_.of(llm::WeightKind::experts);
    std::vector<Bf16> results;
    Counts counts;
    std::int64_t first = 0;
    for (const std::int64_t n : rows_) {
      const std::vector<float> drawn = draws_.floats(columns * depth, 0.2);
      const std::vector<Bf16> biases = draws_.values(bias ? columns : 0, 0.5);
      if (n == 0) continue;
      const auto part =
          rows.subspan(static_cast<std::size_t>(first * depth), static_cast<std::size_t>(n * depth));
      const CountedProduct one =
          counted_product(QuantisedMatrix::activations(as_floats(part), n, depth, own.activations),
                          QuantisedMatrix::weights(drawn, columns, depth, own.weights), biases);
      results.insert(results.end(), one.result.begin(), one.result.end());
      counts = counts + one.counts;
      first += n;
    }
    ledger_.kernel(grouped_key(role), counts);
    return results;
  }

  // The rank's own tokens get the rows of all their experts back.
  void count_combine(const llm::MoeFfn& moe, const gate::Choice& choice, std::int64_t own) {
    const std::int64_t width = moe.row_width(hidden_);
    const auto pairs = static_cast<std::size_t>(own * choice.top_k);
    const gate::Permutation permutation =
        gate::permute(std::span<const std::int32_t>(choice.experts).first(pairs), moe.experts);
    const std::vector<Bf16> rows = draws_.values(permutation.rows() * width, 1.0);
    std::vector<Bf16> out(static_cast<std::size_t>(own * width));
    CountingProbe probe;
    reference::combine_rows(std::span<const Bf16>(rows), width, permutation, choice.top_k,
                            std::span<const float>(choice.weights).first(pairs),
                            reference::CombineOrder::choice, reference::Accumulator::bf16, std::span(out),
                            probe);
    ledger_.kernel(execution::name_of(llm::Elementwise{llm::ElementwiseRole::combine_sum}), probe.result());
  }

  // The addition alone: its kernel computes narrow shared experts, which nobody counts.
  void count_shared_add(const llm::MoeFfn& moe, std::int64_t rows) {
    const std::vector<Bf16> x = draws_.values(rows * hidden_, 1.0),
                            routed = draws_.values(rows * hidden_, 1.0);
    const std::vector<Bf16> up = draws_.values((moe.gated ? 2 : 1) * hidden_, 0.2);
    const std::vector<Bf16> down = draws_.values(hidden_, 0.2);
    const std::vector<Bf16> score = draws_.values(moe.shared_gate ? hidden_ : 0, 0.2);
    const reference::SharedWeights<Bf16> narrow{1, up, down, score};
    const reference::MoeSpec spec{activation(moe.gated), reference::CombineOrder::choice,
                                  reference::Accumulator::bf16, false};
    reference::MoeProbes<CountingProbe> probes;
    std::vector<Bf16> out(x.size());
    reference::detail::add_shared(reference::matrix(std::span<const Bf16>(x), rows, hidden_),
                                  std::span<const Bf16>(routed), narrow, spec, probes, std::span(out));
    ledger_.kernel(execution::name_of(llm::Elementwise{llm::ElementwiseRole::shared_add}),
                   probes.shared_add.result());
  }

  const llm::Architecture& model_;
  const llm::Layout& layout_;
  const llm::Formats& formats_;
  std::int64_t tokens_;
  std::int64_t hidden_;
  std::int64_t stream_tokens_;  // whose part of the residual stream is on the rank
  std::span<llm::Operator> operators_;
  NumericsDraws draws_;
  CountLedger ledger_;
  std::vector<std::int64_t> rows_;  // of the rank's experts
};

}  // namespace

void count_experts(const llm::Architecture& model, const llm::Layout& layout, const llm::Formats& formats,
                   std::int64_t tokens, std::uint64_t seed, std::span<llm::Operator> operators,
                   serving::LayerCheck& check) {
  ExpertCounter(model, layout, formats, tokens, seed, operators).run(check);
}

}  // namespace moesim::studies
