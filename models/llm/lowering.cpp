#include "models/llm/lowering.hpp"

#include "models/llm/weights.hpp"
#include "sim/core/check.hpp"
#include "sim/core/integers.hpp"

namespace moesim::llm {

namespace {

// What every part of the lowering needs, and where it writes.
struct Emitter {
  const Architecture& architecture;
  const Layout& layout;
  const Formats& formats;
  const RankBatch& batch;
  std::int64_t group_tokens;
  std::vector<Operator>& out;

  [[nodiscard]] std::int64_t hidden() const { return architecture.hidden_size; }
  [[nodiscard]] std::int64_t tokens() const { return batch.tokens; }

  void linear(const WeightMatrix& matrix, std::int64_t rows, bool bias = false) const {
    out.push_back(Gemm{matrix.role, 1, rows, matrix.outputs, matrix.inputs, formats.weights,
                       formats.linear_activations(), bias});
  }
  void all_reduce(Group group, std::int64_t token_rows) const {
    const std::int64_t ranks = group_size(layout, group);
    if (ranks > 1) out.push_back(AllReduce{token_rows * hidden() * kStreamBytes, group, ranks});
  }
  void all_gather(Group group, std::int64_t bytes) const {
    const std::int64_t ranks = group_size(layout, group);
    if (ranks > 1) out.push_back(AllGather{bytes, group, ranks});
  }
  // RMSNorm of `rows` rows: two products and a sum per element and one reciprocal root per row; with a
  // residual also one addition, one more tensor read and one more written.
  void norm(ElementwiseRole role, std::int64_t rows, std::int64_t width, bool residual) const {
    const std::int64_t elements = rows * width;
    const std::int64_t tensors = residual ? 2 : 1;
    const std::int64_t bytes = tensors * elements * kStreamBytes;
    out.push_back(Elementwise{role, elements, bytes, bytes, 0, (2 + tensors) * elements, rows});
  }
  // A norm over the residual stream. LayerNorm also sums and subtracts the mean, and adds a bias if it has
  // one.
  void stream_norm(ElementwiseRole role, bool residual) const {
    norm(role, tokens(), hidden(), residual);
    const std::int64_t more = (architecture.layer_norm ? 2 : 0) + (architecture.norm_bias ? 1 : 0);
    std::get<Elementwise>(out.back()).other_flops += more * tokens() * hidden();
  }
  // silu(gate) * up: negation-free sigmoid (add, divide), two products and one exponential per element.
  void activation(ElementwiseRole role, std::int64_t rows, std::int64_t width) const {
    const std::int64_t elements = rows * width;
    out.push_back(Elementwise{role, elements, 2 * elements * kStreamBytes, elements * kStreamBytes, 0,
                              4 * elements, elements});
  }
  void gated(GemmRole gate_up, ElementwiseRole silu, GemmRole down, std::int64_t rows,
             std::int64_t width) const {
    const MatrixList list = gated_matrices(gate_up, down, hidden(), width);
    linear(list.of(gate_up), rows);
    activation(silu, rows, width);
    linear(list.of(down), rows);
  }
};

// The format of the attention products: kernels for an 8-bit floating-point cache convert the queries
// (FlashAttention-3 and TensorRT-LLM); integers are widened.
NumberFormat attention_compute(NumberFormat kv) { return kv == NumberFormat::int8 ? NumberFormat::bf16 : kv; }

// Rotation: 4 products and 2 sums per pair of elements.
constexpr std::int64_t kRopeFlopsPerElement = 3;

// RMSNorm of q and k. Over all heads at once there is one reciprocal root per token for each, and the ranks
// add up their f32 sums of squares first (MiniMaxText01RMSNormTP of vLLM).
void emit_query_key_norm(const GroupedQueryAttention& shape, const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t heads = shape.query_heads / emit.layout.tp + kv_heads_per_rank(shape, emit.layout.tp);
  emit.norm(ElementwiseRole::query_key_norm, tokens * heads, shape.head_dim, false);
  if (!shape.query_key_norm_over_heads) return;
  std::get<Elementwise>(emit.out.back()).specials = 2 * tokens;
  constexpr std::int64_t kSumBytes = 4;
  const std::int64_t ranks = group_size(emit.layout, Group::tensor);
  if (ranks > 1) emit.out.push_back(AllReduce{2 * tokens * kSumBytes, Group::tensor, ranks});
}

void emit_attention(const GroupedQueryAttention& shape, const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t query_heads = shape.query_heads / emit.layout.tp;
  const std::int64_t kv_heads = kv_heads_per_rank(shape, emit.layout.tp);
  const NumberFormat kv = emit.formats.kv;
  const MatrixList matrices = attention_matrices(shape, emit.hidden(), emit.layout.tp);
  emit.linear(matrices.of(GemmRole::query_key_value), tokens, shape.qkv_bias);
  if (shape.query_key_norm) emit_query_key_norm(shape, emit);
  // Queries are rotated in place; keys and values are read whole and written to the cache.
  const std::int64_t query_elements = tokens * query_heads * shape.rotation();
  const std::int64_t kv_elements = 2 * tokens * kv_heads * shape.head_dim;
  const std::int64_t rotated = query_elements + tokens * kv_heads * shape.rotation();
  emit.out.push_back(Elementwise{ElementwiseRole::rope_and_cache, rotated,
                                 (query_elements + kv_elements) * kStreamBytes, query_elements * kStreamBytes,
                                 2 * tokens * kv_heads * row_bytes(shape.head_dim, kv),
                                 kRopeFlopsPerElement * rotated, 0});
  const auto kernel = [&](Phase phase, const AttentionLoad& load) {
    if (load.sequences == 0) return;
    emit.out.push_back(Attention{AttentionForm::grouped, phase, load.sequences, load.query_tokens, load.pairs,
                                 load.kv_tokens, query_heads, kv_heads, shape.head_dim, shape.head_dim, kv,
                                 attention_compute(kv), shape.score_cap});
  };
  kernel(Phase::prefill, emit.batch.prefill);
  kernel(Phase::decode, emit.batch.decode);
  emit.linear(matrices.of(GemmRole::attention_output), tokens, shape.output_bias);
}

// Prefill sequences: keys and values of all their tokens are expanded per head, then ordinary attention.
void emit_naive(const LatentAttention& shape, const MatrixList& matrices, const Emitter& emit) {
  const AttentionLoad& load = emit.batch.prefill;
  if (load.sequences == 0) return;
  const std::int64_t heads = shape.heads / emit.layout.tp;
  emit.linear(matrices.of(GemmRole::key_value_up), load.kv_tokens);
  emit.out.push_back(Attention{AttentionForm::latent_naive, Phase::prefill, load.sequences, load.query_tokens,
                               load.pairs, load.kv_tokens, heads, heads, shape.naive_key_dim(),
                               shape.v_head_dim, NumberFormat::bf16, NumberFormat::bf16});
}

// Decode sequences: queries are moved into the latent space, where the cached row is key and value of every
// head.
void emit_absorbed(const LatentAttention& shape, const Emitter& emit) {
  const AttentionLoad& load = emit.batch.decode;
  if (load.sequences == 0) return;
  const std::int64_t heads = shape.heads / emit.layout.tp;
  const NumberFormat weights = emit.formats.weights;
  const NumberFormat activations = emit.formats.linear_activations();
  const NumberFormat kv = emit.formats.kv;
  emit.out.push_back(Gemm{GemmRole::query_absorb, heads, load.query_tokens, shape.kv_lora_rank,
                          shape.nope_head_dim, weights, activations});
  emit.out.push_back(Attention{AttentionForm::latent_absorbed, Phase::decode, load.sequences,
                               load.query_tokens, load.pairs, load.kv_tokens, heads, 1, shape.cached_dim(),
                               shape.kv_lora_rank, kv, attention_compute(kv)});
  emit.out.push_back(Gemm{GemmRole::value_absorb, heads, load.query_tokens, shape.v_head_dim,
                          shape.kv_lora_rank, weights, activations});
}

void emit_attention(const LatentAttention& shape, const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t heads = shape.heads / emit.layout.tp;
  const MatrixList matrices = attention_matrices(shape, emit.hidden(), emit.layout.tp);
  emit.linear(matrices.of(GemmRole::latent_down), tokens);
  if (shape.q_lora_rank > 0) emit.norm(ElementwiseRole::latent_norm, tokens, shape.q_lora_rank, false);
  emit.norm(ElementwiseRole::latent_norm, tokens, shape.kv_lora_rank, false);
  emit.linear(matrices.of(GemmRole::query_up), tokens);
  const std::int64_t queries = tokens * heads * shape.rope_head_dim;
  const std::int64_t rotated = queries + tokens * shape.rope_head_dim;
  const std::int64_t read = queries + tokens * shape.cached_dim();
  emit.out.push_back(Elementwise{
      ElementwiseRole::rope_and_cache, rotated, read * kStreamBytes, queries * kStreamBytes,
      tokens * row_bytes(shape.cached_dim(), emit.formats.kv), kRopeFlopsPerElement * rotated, 0});
  emit_naive(shape, matrices, emit);
  emit_absorbed(shape, emit);
  emit.linear(matrices.of(GemmRole::attention_output), tokens);
}

void emit_ffn(const DenseFfn& ffn, const Emitter& emit) {
  emit.gated(GemmRole::gate_up, ElementwiseRole::activation, GemmRole::down, emit.tokens(),
             ffn.width / emit.layout.tp);
  emit.all_reduce(Group::tensor, emit.tokens());
}

// The rank's experts on their rows. Where `gathered` tokens lie on the rank in token order, rows are copied
// out before and summed back after; dispatch delivers rows in expert order and combine returns them (DeepEP's
// low-latency layout).
void emit_experts(const MoeFfn& ffn, const Emitter& emit, std::int64_t gathered) {
  const std::int64_t hidden = emit.hidden();
  const std::int64_t width = ffn.expert_width / emit.layout.moe_tp();
  const std::int64_t experts = ffn.experts / emit.layout.ep;
  const NumberFormat weights = emit.formats.weights;
  const NumberFormat activations = emit.formats.linear_activations();
  const std::int64_t row = hidden * kStreamBytes;
  const auto grouped = [&](const WeightMatrix& matrix) {
    emit.out.push_back(
        GroupedGemm{matrix.role, experts, matrix.outputs, matrix.inputs, weights, activations, {}});
  };
  const MatrixList list = gated_matrices(GemmRole::expert_gate_up, GemmRole::expert_down, hidden, width);
  if (gathered > 0) {
    emit.out.push_back(
        RoutedElementwise{RoutedRole::permute, row, row_bytes(hidden, activations), 0, 0, 0, 0, {}});
  }
  grouped(list.of(GemmRole::expert_gate_up));
  emit.out.push_back(RoutedElementwise{RoutedRole::expert_activation,
                                       2 * width * kStreamBytes,
                                       width * kStreamBytes,
                                       4 * width,
                                       width,
                                       0,
                                       0,
                                       {}});
  grouped(list.of(GemmRole::expert_down));
  if (gathered > 0) {
    emit.out.push_back(
        RoutedElementwise{RoutedRole::unpermute, row, 0, 2 * hidden, 0, 0, gathered * row, {}});
  }
}

void emit_router(const MoeFfn& ffn, const Emitter& emit, std::int64_t tokens) {
  emit.out.push_back(Router{tokens, ffn.experts, emit.hidden()});
  emit.out.push_back(TopK{tokens, ffn.experts, ffn.top_k});
}

void emit_shared(const MoeFfn& ffn, const Emitter& emit, std::int64_t tokens) {
  if (ffn.shared_experts == 0) return;
  emit.gated(GemmRole::shared_gate_up, ElementwiseRole::shared_activation, GemmRole::shared_down, tokens,
             ffn.total_shared_width() / shared_expert_shards(emit.layout));
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

void emit_dispatched(const MoeFfn& ffn, const Emitter& emit) {
  const std::int64_t hidden = emit.hidden();
  const std::int64_t own = core::divide_up(emit.tokens(), emit.layout.tp);
  const std::int64_t row = hidden * kStreamBytes;
  emit_router(ffn, emit, own);
  emit_shared(ffn, emit, own);
  emit.out.push_back(Dispatch{own, ffn.top_k, row_bytes(hidden, emit.formats.linear_activations()),
                              Group::expert, emit.layout.ep});
  emit_experts(ffn, emit, 0);
  emit.out.push_back(Combine{own, ffn.top_k, row, Group::expert, emit.layout.ep});
  emit.out.push_back(Elementwise{ElementwiseRole::combine_sum, own * hidden, own * ffn.top_k * row, own * row,
                                 0, 2 * own * ffn.top_k * hidden, 0});
  emit_shared_add(ffn, emit, own);
  emit.all_gather(Group::tensor, own * emit.layout.tp * row);
}

void emit_ffn(const MoeFfn& ffn, const Emitter& emit) {
  const MoeExchange exchange = moe_exchange(emit.layout);
  if (exchange == MoeExchange::dispatch) {
    emit_dispatched(ffn, emit);
    return;
  }
  const bool gather = exchange == MoeExchange::gather_scatter;
  const std::int64_t tokens = gather ? emit.group_tokens : emit.tokens();
  const std::int64_t bytes = tokens * emit.hidden() * kStreamBytes;
  if (gather) emit.all_gather(Group::data, bytes);
  emit_router(ffn, emit, tokens);
  emit_shared(ffn, emit, tokens);
  emit_experts(ffn, emit, tokens);
  emit_shared_add(ffn, emit, tokens);
  if (gather) emit.out.push_back(ReduceScatter{bytes, Group::data, emit.layout.dp});
  emit.all_reduce(Group::tensor, emit.tokens());
}

void emit_layer(const LayerGroup& group, const Emitter& emit) {
  const bool post_norms = emit.architecture.post_norms;
  emit.stream_norm(ElementwiseRole::input_norm, true);
  std::visit([&](const auto& attention) { emit_attention(attention, emit); }, group.attention);
  emit.all_reduce(Group::tensor, emit.tokens());
  if (post_norms) emit.stream_norm(ElementwiseRole::attention_output_norm, false);
  emit.stream_norm(ElementwiseRole::post_attention_norm, true);
  std::visit([&](const auto& ffn) { emit_ffn(ffn, emit); }, group.ffn);
  if (post_norms) emit.stream_norm(ElementwiseRole::ffn_output_norm, false);
}

void emit_head(const Emitter& emit) {
  emit.stream_norm(ElementwiseRole::final_norm, false);
  const std::int64_t sequences = emit.batch.logit_sequences;
  if (sequences == 0) return;
  const std::int64_t vocab = padded_vocab(emit.architecture, emit.layout);
  emit.out.push_back(Gemm{GemmRole::head, 1, sequences, vocab / emit.layout.tp, emit.hidden(),
                          NumberFormat::bf16, NumberFormat::bf16, emit.architecture.head_bias});
  emit.all_gather(Group::tensor, sequences * vocab * kStreamBytes);
  emit.out.push_back(Sampling{sequences, emit.architecture.vocab_size});
}

}  // namespace

void lower(const Architecture& architecture, const Layout& layout, const Formats& formats,
           const RankBatch& batch, std::int64_t group_tokens, StepOperators& out) {
  core::check(batch.tokens >= 1, "an empty batch has no operators (an idle rank runs one dummy token)");
  core::check(group_tokens >= batch.tokens, "the ranks together have fewer tokens than one of them");
  const auto emitter = [&](std::vector<Operator>& to) {
    to.clear();
    return Emitter{architecture, layout, formats, batch, group_tokens, to};
  };
  const Emitter embedding = emitter(out.embedding);
  embedding.out.push_back(Embedding{batch.tokens, architecture.hidden_size});
  embedding.all_reduce(Group::tensor, batch.tokens);
  out.layers.resize(architecture.layers.size());
  for (std::size_t i = 0; i < out.layers.size(); ++i) {
    out.layers[i].group = i;
    out.layers[i].count = architecture.layers[i].count;
    emit_layer(architecture.layers[i], emitter(out.layers[i].operators));
  }
  emit_head(emitter(out.head));
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
