// Lowering of feed-forward networks.
#include "models/llm/lowering_parts.hpp"
#include "sim/core/integers.hpp"

namespace moesim::llm::lowering {

namespace {

void emit(const DenseFfn& ffn, const Emitter& emit) {
  emit.gather_stream();
  emit.ffn(GemmRole::gate_up, ElementwiseRole::activation, GemmRole::down, ffn.gated, emit.tokens(),
           ffn.width / emit.layout.tp);
  emit.add_partial_results();
}

void emit(const NoFfn&, const Emitter&) {}

// The rank's experts on their rows. Where `gathered` tokens lie on the rank in token order, rows are copied
// out before and summed back after; dispatch delivers rows in expert order and combine returns them (DeepEP's
// low-latency layout).
void emit_experts(const MoeFfn& ffn, const Emitter& emit, std::int64_t gathered) {
  const std::int64_t inputs = ffn.row_width(emit.hidden());
  const std::int64_t width = ffn.expert_width / emit.layout.moe_tp();
  const std::int64_t experts = ffn.experts / emit.layout.ep;
  const NumberFormat weights = emit.formats.weights;
  const NumberFormat activations = emit.formats.linear_activations();
  const std::int64_t row = inputs * kStreamBytes;
  const auto grouped = [&](const WeightMatrix& matrix) {
    emit.out.push_back(GroupedGemm{
        matrix.role, experts, matrix.outputs, matrix.inputs, weights, activations, {}, ffn.expert_bias});
  };
  const MatrixList list =
      ffn_matrices(GemmRole::expert_gate_up, GemmRole::expert_down, ffn.gated, inputs, width);
  if (gathered > 0) {
    emit.out.push_back(
        RoutedElementwise{RoutedRole::permute, row, row_bytes(inputs, activations), 0, 0, 0, 0, {}});
  }
  grouped(list.of(GemmRole::expert_gate_up));
  emit.out.push_back(RoutedElementwise{RoutedRole::expert_activation,
                                       (ffn.gated ? 2 : 1) * width * kStreamBytes,
                                       width * kStreamBytes,
                                       (ffn.gated ? 4 : 1) * width,
                                       ffn.gated ? width : 0,
                                       0,
                                       0,
                                       {}});
  grouped(list.of(GemmRole::expert_down));
  if (gathered > 0) {
    emit.out.push_back(
        RoutedElementwise{RoutedRole::unpermute, row, 0, 2 * inputs, 0, 0, gathered * row, {}});
  }
}

void emit_router(const MoeFfn& ffn, const Emitter& emit, std::int64_t tokens) {
  if (ffn.has_router()) emit.out.push_back(Router{tokens, ffn.choices(), emit.hidden()});
  emit.out.push_back(TopK{tokens, ffn.choices(), ffn.top_k, ffn.selection != ExpertSelection::learned});
}

void emit_shared(const MoeFfn& ffn, const Emitter& emit, std::int64_t tokens) {
  if (ffn.shared_experts == 0) return;
  emit.ffn(GemmRole::shared_gate_up, ElementwiseRole::shared_activation, GemmRole::shared_down, ffn.gated,
           tokens, ffn.total_shared_width() / shared_expert_shards(emit.layout));
  if (ffn.shared_gate) {
    emit.out.push_back(
        Gemm{GemmRole::shared_gate, 1, tokens, 1, emit.hidden(), NumberFormat::bf16, NumberFormat::bf16});
  }
}

void emit_shared_add(const MoeFfn& ffn, const Emitter& emit, std::int64_t tokens) {
  if (ffn.shared_experts == 0) return;
  const std::int64_t elements = tokens * emit.hidden();
  Elementwise add{ElementwiseRole::shared_add,
                  elements,
                  2 * elements * kStreamBytes,
                  elements * kStreamBytes,
                  0,
                  elements,
                  0};
  if (ffn.shared_gate) {  // the sigmoid of one score per token (add, divide, exponential) times its row
    add.read_bytes += tokens * kStreamBytes;
    add.other_flops += elements + 2 * tokens;
    add.specials += tokens;
  }
  emit.out.push_back(add);
}

// `tokens` rows into the space of the experts, and the sums of their results out of it.
void emit_latent_down(const MoeFfn& ffn, const Emitter& emit, std::int64_t tokens) {
  if (ffn.latent_width == 0) return;
  emit.linear(latent_expert_matrices(ffn, emit.hidden()).of(GemmRole::expert_latent_down), tokens);
}
void emit_latent_up(const MoeFfn& ffn, const Emitter& emit, std::int64_t tokens) {
  if (ffn.latent_width == 0) return;
  if (ffn.latent_norm) emit.norm(ElementwiseRole::latent_expert_norm, tokens, ffn.latent_width, false);
  emit.linear(latent_expert_matrices(ffn, emit.hidden()).of(GemmRole::expert_latent_up), tokens);
}

void emit_dispatched(const MoeFfn& ffn, const Emitter& emit) {
  const std::int64_t width = ffn.row_width(emit.hidden());
  const std::int64_t own = core::divide_up(emit.tokens(), emit.layout.tp);
  const std::int64_t row = width * kStreamBytes;
  emit_router(ffn, emit, own);
  emit_shared(ffn, emit, own);
  emit_latent_down(ffn, emit, own);
  emit.out.push_back(Dispatch{own, ffn.top_k, row_bytes(width, emit.formats.linear_activations()),
                              Group::expert, emit.layout.ep});
  emit_experts(ffn, emit, 0);
  emit.out.push_back(Combine{own, ffn.top_k, row, Group::expert, emit.layout.ep});
  emit.out.push_back(Elementwise{ElementwiseRole::combine_sum, own * width, own * ffn.top_k * row, own * row,
                                 0, 2 * own * ffn.top_k * width, 0});
  emit_latent_up(ffn, emit, own);
  emit_shared_add(ffn, emit, own);
  if (!emit.layout.sequence_parallel)
    emit.all_gather(Group::tensor, own * emit.layout.tp * emit.hidden() * kStreamBytes);
}

// Experts in a space of their own, without dispatch: their partial results lie on all ranks. A norm needs
// their sum, which is made in the narrow space, and every rank projects what it then has; without a norm the
// projection is linear, so the partial results are projected and added up with those of the shared experts.
void emit_latent_results(const MoeFfn& ffn, const Emitter& emit) {
  const bool shared = ffn.shared_experts > 0;
  if (!ffn.latent_norm) {
    emit_latent_up(ffn, emit, emit.tokens());
    emit_shared_add(ffn, emit, emit.tokens());
    emit.add_partial_results();
    return;
  }
  emit.add_partial_results(ffn.latent_width);
  emit_latent_up(ffn, emit, emit.stream_tokens());
  if (!shared) return;
  emit.add_partial_results();
  emit_shared_add(ffn, emit, emit.stream_tokens());
}

void emit(const MoeFfn& ffn, const Emitter& emit) {
  const MoeExchange exchange = moe_exchange(emit.layout);
  if (exchange == MoeExchange::dispatch) {
    emit_dispatched(ffn, emit);
    return;
  }
  emit.gather_stream();
  const bool gather = exchange == MoeExchange::gather_scatter;
  const std::int64_t tokens = gather ? emit.group_tokens : emit.tokens();
  const auto bytes = [&](std::int64_t width) { return tokens * width * kStreamBytes; };
  if (gather) emit.all_gather(Group::data, bytes(emit.hidden()));
  emit_router(ffn, emit, tokens);
  emit_shared(ffn, emit, tokens);
  emit_latent_down(ffn, emit, tokens);
  emit_experts(ffn, emit, tokens);
  if (ffn.latent_width > 0) {
    // The token groups take back their own rows, in the space where they are.
    if (gather) emit.reduce_scatter(Group::data, bytes(ffn.latent_width));
    if (gather && ffn.shared_experts > 0) emit.reduce_scatter(Group::data, bytes(emit.hidden()));
    emit_latent_results(ffn, emit);
    return;
  }
  emit_shared_add(ffn, emit, tokens);
  if (gather) emit.reduce_scatter(Group::data, bytes(emit.hidden()));
  emit.add_partial_results();
}

}  // namespace

void emit_ffn(const FfnShape& shape, const Emitter& emitter) {
  std::visit([&](const auto& ffn) { emit(ffn, emitter); }, shape);
}

}  // namespace moesim::llm::lowering
