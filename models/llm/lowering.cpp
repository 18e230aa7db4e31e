#include "models/llm/lowering.hpp"

#include <algorithm>

#include "models/llm/lowering_parts.hpp"
#include "sim/core/check.hpp"
#include "sim/core/integers.hpp"

namespace moesim::llm {

namespace lowering {

std::int64_t Emitter::stream_tokens() const {
  return layout.sequence_parallel ? core::divide_up(tokens(), layout.tp) : tokens();
}

const AttentionLoads& Emitter::loads(const KeyRule& rule) const {
  const auto found = std::find(rules.begin(), rules.end(), rule);
  core::check(found != rules.end(), "the batch was not counted by the rules of this model");
  return batch.loads[static_cast<std::size_t>(found - rules.begin())];
}

void Emitter::linear(const WeightMatrix& matrix, std::int64_t rows, bool bias) const {
  const LinearFormats own = formats.of(weight_kind(matrix.role));
  out.push_back(
      Gemm{matrix.role, 1, rows, matrix.outputs, matrix.inputs, own.weights, own.activations, bias});
}

void Emitter::all_reduce(Group group, std::int64_t bytes) const {
  const std::int64_t ranks = group_size(layout, group);
  if (ranks > 1) out.push_back(AllReduce{bytes, group, ranks});
}

void Emitter::all_gather(Group group, std::int64_t bytes) const {
  const std::int64_t ranks = group_size(layout, group);
  if (ranks > 1 && bytes > 0) out.push_back(AllGather{bytes, group, ranks});
}

void Emitter::reduce_scatter(Group group, std::int64_t bytes) const {
  const std::int64_t ranks = group_size(layout, group);
  if (ranks > 1) out.push_back(ReduceScatter{bytes, group, ranks});
}

void Emitter::add_partial_results(std::int64_t width) const {
  if (layout.sequence_parallel) {
    reduce_scatter(Group::tensor, stream_tokens() * layout.tp * width * kStreamBytes);
  } else {
    all_reduce(Group::tensor, tokens() * width * kStreamBytes);
  }
}

void Emitter::gather_stream() const {
  if (layout.sequence_parallel)
    all_gather(Group::tensor, stream_tokens() * layout.tp * hidden() * kStreamBytes);
}

void Emitter::norm(ElementwiseRole role, std::int64_t rows, std::int64_t width, bool residual) const {
  const std::int64_t elements = rows * width;
  const std::int64_t tensors = residual ? 2 : 1;
  const std::int64_t bytes = tensors * elements * kStreamBytes;
  out.push_back(Elementwise{role, elements, bytes, bytes, 0, (2 + tensors) * elements, rows});
}

void Emitter::stream_norm(ElementwiseRole role, bool residual) const {
  norm(role, stream_tokens(), hidden(), residual);
  const std::int64_t more = (architecture.layer_norm ? 2 : 0) + (architecture.norm_bias ? 1 : 0);
  std::get<Elementwise>(out.back()).other_flops += more * stream_tokens() * hidden();
}

void Emitter::activation(ElementwiseRole role, bool gated, std::int64_t rows, std::int64_t width) const {
  const std::int64_t elements = rows * width;
  out.push_back(Elementwise{role, elements, (gated ? 2 : 1) * elements * kStreamBytes,
                            elements * kStreamBytes, 0, (gated ? 4 : 1) * elements, gated ? elements : 0});
}

void Emitter::output_gate(std::int64_t elements) const {
  out.push_back(Elementwise{ElementwiseRole::attention_gate, elements, 2 * elements * kStreamBytes,
                            elements * kStreamBytes, 0, 3 * elements, elements});
}

void Emitter::ffn(GemmRole up, ElementwiseRole role, GemmRole down, bool gated, std::int64_t rows,
                  std::int64_t width) const {
  const MatrixList list = ffn_matrices(up, down, gated, hidden(), width);
  linear(list.of(up), rows);
  activation(role, gated, rows, width);
  linear(list.of(down), rows);
}

}  // namespace lowering

namespace {

using lowering::Emitter;

// Reading, mixing and writing n residual streams around one part of a layer: factors from the streams by a
// projection (with a sigmoid each), n^2 of which are made doubly stochastic by alternating normalisation of
// rows and columns; then n, n^2 and n multiply-accumulates per element of a stream.
void emit_hyper_connection(const Emitter& emit) {
  const std::int64_t streams = emit.architecture.residual_streams;
  if (streams == 1) return;
  constexpr std::int64_t kNormalisations = 20;  // hc_sinkhorn_iters of DeepSeek-V4
  const std::int64_t tokens = emit.stream_tokens();
  const std::int64_t factors = streams * (streams + 2);
  const std::int64_t elements = tokens * streams * emit.hidden();
  emit.out.push_back(Gemm{GemmRole::hyper_connection, 1, tokens, factors, streams * emit.hidden(),
                          NumberFormat::fp32, NumberFormat::fp32});
  emit.out.push_back(Elementwise{
      ElementwiseRole::hyper_connection, elements, (elements + tokens * emit.hidden()) * kStreamBytes,
      (elements + tokens * emit.hidden()) * kStreamBytes, 0,
      2 * factors * tokens * emit.hidden() + tokens * (kNormalisations * 4 * streams * streams + 4 * factors),
      tokens * factors});
}

void emit_layer(const LayerGroup& group, const Emitter& emit) {
  const bool post_norms = emit.architecture.post_norms;
  if (!std::holds_alternative<NoAttention>(group.attention)) {
    emit_hyper_connection(emit);
    emit.stream_norm(ElementwiseRole::input_norm, true);
    emit.gather_stream();
    lowering::emit_attention(group.attention, emit);
    emit.add_partial_results();
    if (post_norms) emit.stream_norm(ElementwiseRole::attention_output_norm, false);
  }
  if (!std::holds_alternative<NoFfn>(group.ffn)) {
    emit_hyper_connection(emit);
    emit.stream_norm(ElementwiseRole::post_attention_norm, true);
    lowering::emit_ffn(group.ffn, emit);
    if (post_norms) emit.stream_norm(ElementwiseRole::ffn_output_norm, false);
  }
}

void emit_head(const Emitter& emit) {
  emit.stream_norm(ElementwiseRole::final_norm, false);
  emit.gather_stream();
  const std::int64_t sequences = emit.batch.logit_sequences;
  if (sequences == 0) return;
  const std::int64_t vocab = padded_vocab(emit.architecture, emit.layout);
  emit.out.push_back(Gemm{GemmRole::head, 1, sequences, vocab / emit.layout.tp, emit.hidden(),
                          NumberFormat::bf16, NumberFormat::bf16, emit.architecture.head_bias});
  emit.all_gather(Group::tensor, sequences * vocab * kStreamBytes);
  emit.out.push_back(Sampling{sequences, emit.architecture.vocab_size});
}

}  // namespace

void lower_stage(const Architecture& architecture, const Layout& layout, const Formats& formats,
                 const RankBatch& batch, std::int64_t group_tokens, std::int64_t stage, StepOperators& out) {
  core::check(batch.tokens >= 1, "an empty batch has no operators (an idle rank runs one dummy token)");
  core::check(group_tokens >= batch.tokens, "the ranks together have fewer tokens than one of them");
  core::check(stage >= 0 && stage < layout.pp, "there is no such pipeline stage");
  const std::vector<KeyRule> rules = key_rules(architecture);
  const auto emitter = [&](std::vector<Operator>& to) {
    to.clear();
    return Emitter{architecture, layout, formats, batch, rules, group_tokens, to};
  };
  const Emitter embedding = emitter(out.embedding);
  if (stage == 0) {
    embedding.out.push_back(Embedding{batch.tokens, architecture.hidden_size});
    embedding.add_partial_results();
  }
  out.layers.resize(architecture.layers.size());
  const std::vector<std::int64_t> counts =
      layout.pp > 1 ? stage_layers(architecture, layout.pp, stage) : std::vector<std::int64_t>{};
  for (std::size_t i = 0; i < out.layers.size(); ++i) {
    out.layers[i].group = i;
    out.layers[i].count = counts.empty() ? architecture.layers[i].count : counts[i];
    const Emitter layer = emitter(out.layers[i].operators);
    if (out.layers[i].count > 0) emit_layer(architecture.layers[i], layer);
  }
  const Emitter head = emitter(out.head);
  const Emitter send = emitter(out.send);
  if (stage + 1 == layout.pp) {
    emit_head(head);
  } else {
    send.out.push_back(StageSend{send.stream_tokens() * architecture.residual_streams *
                                 architecture.hidden_size * kStreamBytes});
  }
}

void lower(const Architecture& architecture, const Layout& layout, const Formats& formats,
           const RankBatch& batch, std::int64_t group_tokens, StepOperators& out) {
  core::check(layout.pp == 1, "a layout of several pipeline stages is lowered stage by stage");
  lower_stage(architecture, layout, formats, batch, group_tokens, 0, out);
}

void lower_prediction(const Architecture& architecture, const Layout& layout, const Formats& formats,
                      const RankBatch& batch, std::int64_t group_tokens, StepOperators& out) {
  core::check(architecture.prediction.has_value(), "the model has no prediction layers");
  core::check(batch.tokens >= 1 && group_tokens >= batch.tokens, "an empty batch has no operators");
  const std::vector<KeyRule> rules = key_rules(architecture);
  const auto emitter = [&](std::vector<Operator>& to) {
    to.clear();
    return Emitter{architecture, layout, formats, batch, rules, group_tokens, to};
  };
  const Emitter embedding = emitter(out.embedding);
  embedding.out.push_back(Embedding{batch.tokens, architecture.hidden_size});
  embedding.add_partial_results();
  out.layers.resize(1);
  out.layers[0].group = 0;
  out.layers[0].count = 1;
  const Emitter layer = emitter(out.layers[0].operators);
  layer.stream_norm(ElementwiseRole::input_norm, false);  // of the state
  layer.stream_norm(ElementwiseRole::input_norm, false);  // of the embedding
  layer.linear({GemmRole::prediction_join, architecture.hidden_size, 2 * architecture.hidden_size},
               layer.stream_tokens());
  emit_layer({1, architecture.prediction->attention, architecture.prediction->ffn}, layer);
  emit_head(emitter(out.head));
  out.send.clear();
}

void set_expert_rows(std::span<Operator> operators, std::span<const std::int64_t> rows_by_expert) {
  for (Operator& op : operators) {
    if (auto* gemm = std::get_if<GroupedGemm>(&op)) {
      core::check(static_cast<std::int64_t>(rows_by_expert.size()) == gemm->experts,
                  "one number of rows per expert on the rank");
      gemm->rows_by_expert = rows_by_expert;
    } else if (auto* routed = std::get_if<RoutedElementwise>(&op)) {
      routed->rows_by_expert = rows_by_expert;
    }
  }
}

}  // namespace moesim::llm
