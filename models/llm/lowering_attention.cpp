// Lowering of attention.
#include <algorithm>

#include "models/llm/lowering_parts.hpp"
#include "models/llm/memory.hpp"
#include "sim/core/check.hpp"
#include "sim/core/integers.hpp"

namespace moesim::llm::lowering {

namespace {

// RMSNorm of q and k. Over all heads at once there is one reciprocal root per token for each, and the ranks
// add up their f32 sums of squares first (MiniMaxText01RMSNormTP of vLLM).
void emit_query_key_norm(const GroupedQueryAttention& shape, const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t heads = shape.query_heads / emit.layout.tp + kv_heads_per_rank(shape, emit.layout.tp);
  emit.norm(ElementwiseRole::query_key_norm, tokens * heads, shape.head_dim, false);
  if (!shape.query_key_norm_over_heads) return;
  std::get<Elementwise>(emit.out.back()).specials = 2 * tokens;
  constexpr std::int64_t kSumBytes = 4;
  emit.all_reduce(Group::tensor, 2 * tokens * kSumBytes);
}

// What the ranks of a decode context group do with one load of the decode kernel: each takes the queries of
// all of them against its share of the keys.
AttentionLoad decode_share(AttentionLoad load, std::int64_t dcp) {
  load.pairs = core::divide_up(load.pairs, dcp);
  load.kv_tokens = core::divide_up(load.kv_tokens, dcp);
  return load;
}

// Attention kernels over the cache, with the collectives of context parallelism around them. `cached_bytes`:
// of one row of the cache on this rank.
struct CachedAttention {
  const Emitter& emit;
  std::int64_t cached_bytes = 0;

  // Prefill: the other context-parallel ranks' new rows pass by (ring), and the ranks of a decode context
  // group gather the rows of the context.
  void gather_for_prefill(const AttentionLoad& load) const {
    if (load.sequences == 0) return;
    const std::int64_t context = load.kv_tokens - std::min(load.kv_tokens, load.query_tokens);
    emit.all_gather(Group::decode_context, context * cached_bytes);
    if (emit.layout.cp > 1) {
      emit.out.push_back(RingPass{emit.batch.ring_tokens * cached_bytes, Group::context, emit.layout.cp});
    }
  }
  // Decode: queries to all ranks that share the rows, then the partial results and their f32 log-sum-exps
  // back. The context-parallel ranks take each other's queries too: each works on its share of the keys of
  // all sequences, which is as much as its own sequences have where the ranks are equally full.
  void decode(Attention op, const AttentionLoad& load) const {
    if (load.sequences == 0) return;
    const std::int64_t dcp = emit.layout.dcp, cp = emit.layout.cp;
    const AttentionLoad share = decode_share(load, dcp);
    const std::int64_t queries = load.query_tokens * cp;
    const std::int64_t heads = op.query_heads, all_heads = heads * dcp;
    emit.all_gather(Group::context, queries * heads * op.qk_dim * kStreamBytes);
    emit.all_gather(Group::decode_context, queries * all_heads * op.qk_dim * kStreamBytes);
    op.phase = Phase::decode;
    op.sequences = share.sequences * cp;
    op.query_tokens = queries;
    op.pairs = share.pairs;
    op.kv_tokens = share.kv_tokens;
    op.query_heads = all_heads;
    emit.out.push_back(op);
    constexpr std::int64_t kLogSumExpBytes = 4;
    emit.all_gather(Group::decode_context, queries * all_heads * kLogSumExpBytes);
    emit.reduce_scatter(Group::decode_context, queries * all_heads * op.v_dim * kStreamBytes);
    emit.all_gather(Group::context, queries * heads * kLogSumExpBytes);
    emit.reduce_scatter(Group::context, queries * heads * op.v_dim * kStreamBytes);
  }
  void prefill(Attention op, const AttentionLoad& load) const {
    if (load.sequences == 0) return;
    op.phase = Phase::prefill;
    op.sequences = load.sequences;
    op.query_tokens = load.query_tokens;
    op.pairs = load.pairs;
    op.kv_tokens = load.kv_tokens;
    emit.out.push_back(op);
  }
};

// Scores of an indexer and the choice of `limit` keys for each query. The heads of the indexer are on every
// rank of the tensor group.
struct IndexWork {
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t key_bytes = 0;
  NumberFormat compute = NumberFormat::bf16;
};

void emit_index(const IndexWork& index, const KeyRule& scored, const KeyRule& kept, const Emitter& emit) {
  const AttentionLoads& all = emit.loads(scored);
  const auto scores = [&](Phase phase, const AttentionLoad& load) {
    if (load.sequences == 0) return;
    emit.out.push_back(IndexScores{phase, load.query_tokens, load.pairs, load.kv_tokens, index.heads,
                                   index.head_dim, index.key_bytes, index.compute});
  };
  scores(Phase::prefill, all.prefill);
  // Ranks that share the keys score their own ones and gather the scores.
  scores(Phase::decode, decode_share(all.decode, emit.layout.dcp));
  constexpr std::int64_t kScoreBytes = 4;
  emit.all_gather(Group::decode_context, all.decode.pairs * kScoreBytes);
  const std::int64_t candidates = all.prefill.pairs + all.decode.pairs;
  const AttentionLoads& chosen = emit.loads(kept);
  if (candidates > 0) emit.out.push_back(KeyChoice{candidates, chosen.prefill.pairs + chosen.decode.pairs});
}

// Norm and rotation of the new index keys and queries, and the write of the keys.
void emit_index_keys(std::int64_t heads, std::int64_t head_dim, std::int64_t key_bytes, const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t elements = tokens * (heads + 1) * head_dim;
  emit.out.push_back(Elementwise{ElementwiseRole::index_keys, elements, elements * kStreamBytes,
                                 tokens * heads * head_dim * kStreamBytes, emit.own_rows() * key_bytes,
                                 kRopeFlopsPerElement * elements + 5 * tokens * head_dim, tokens});
}

NumberFormat index_compute(NumberFormat kv) {
  return kv == NumberFormat::fp8 || kv == NumberFormat::fp8_block ? NumberFormat::fp8 : NumberFormat::bf16;
}

void emit(const GroupedQueryAttention& shape, const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t query_heads = shape.query_heads / emit.layout.tp;
  const std::int64_t kv_heads = kv_heads_per_rank(shape, emit.layout.tp);
  const NumberFormat kv = emit.formats.kv;
  const MatrixList matrices = attention_matrices(shape, emit.hidden(), emit.layout.tp);
  emit.linear(matrices.of(GemmRole::query_key_value), tokens, shape.qkv_bias);
  if (shape.query_key_norm) emit_query_key_norm(shape, emit);
  // Queries are rotated in place; keys and values are read whole and written to the cache.
  const std::int64_t cached = kv_heads * (row_bytes(shape.head_dim, kv) + row_bytes(shape.value_dim(), kv));
  const std::int64_t query_elements = tokens * query_heads * shape.rotation();
  const std::int64_t kv_elements = tokens * kv_heads * (shape.head_dim + shape.value_dim());
  const std::int64_t rotated = query_elements + tokens * kv_heads * shape.rotation();
  emit.out.push_back(Elementwise{ElementwiseRole::rope_and_cache, rotated,
                                 (query_elements + kv_elements) * kStreamBytes, query_elements * kStreamBytes,
                                 emit.own_rows() * cached, kRopeFlopsPerElement * rotated, 0});
  const KeyRule rule = main_rule(shape);
  if (const auto& indexer = shape.block_indexer) {
    emit.linear(matrices.of(GemmRole::index_down), tokens);
    // The scores of a block are those of its keys, the largest of which counts: keys are part of the KV
    // cache.
    const IndexWork index{indexer->heads, indexer->head_dim, row_bytes(indexer->head_dim, kv),
                          attention_compute(kv)};
    emit_index(index, score_rule(1), rule, emit);
  }
  Attention kernel{AttentionForm::grouped};
  kernel.query_heads = query_heads;
  kernel.kv_heads = kv_heads;
  kernel.qk_dim = shape.head_dim;
  kernel.v_dim = shape.value_dim();
  kernel.kv = kv;
  kernel.compute = attention_compute(kv);
  kernel.score_cap = shape.score_cap;
  kernel.sinks = shape.sinks;
  const CachedAttention kernels{emit, cached};
  const AttentionLoads& loads = emit.loads(rule);
  kernels.gather_for_prefill(loads.prefill);
  kernels.prefill(kernel, loads.prefill);
  kernels.decode(kernel, loads.decode);
  if (shape.output_gate) emit.output_gate(tokens * query_heads * shape.value_dim());
  emit.linear(matrices.of(GemmRole::attention_output), tokens, shape.output_bias);
}

// Prefill sequences: keys and values of all their tokens are expanded per head, then ordinary attention.
void emit_naive(const LatentAttention& shape, const MatrixList& matrices, const AttentionLoads& loads,
                const CachedAttention& kernels) {
  const AttentionLoad& load = loads.prefill;
  if (load.sequences == 0) return;
  const Emitter& emit = kernels.emit;
  const std::int64_t heads = shape.heads / emit.layout.tp;
  kernels.gather_for_prefill(load);
  emit.linear(matrices.of(GemmRole::key_value_up), load.kv_tokens);
  Attention kernel{AttentionForm::latent_naive};
  kernel.query_heads = heads;
  kernel.kv_heads = heads;
  kernel.qk_dim = shape.naive_key_dim();
  kernel.v_dim = shape.v_head_dim;
  kernels.prefill(kernel, load);
}

// Decode sequences: queries are moved into the latent space, where the cached row is key and value of every
// head.
void emit_absorbed(const LatentAttention& shape, const AttentionLoads& loads, std::int64_t cached,
                   const CachedAttention& kernels) {
  const AttentionLoad& load = loads.decode;
  if (load.sequences == 0) return;
  const Emitter& emit = kernels.emit;
  const std::int64_t heads = shape.heads / emit.layout.tp;
  const LinearFormats own = emit.formats.of(WeightKind::attention);
  const NumberFormat kv = emit.formats.kv;
  emit.out.push_back(Gemm{GemmRole::query_absorb, heads, load.query_tokens, shape.kv_lora_rank,
                          shape.nope_head_dim, own.weights, own.activations});
  Attention kernel{AttentionForm::latent_absorbed};
  kernel.query_heads = heads;
  kernel.kv_heads = 1;
  kernel.qk_dim = shape.cached_dim();
  kernel.v_dim = shape.kv_lora_rank;
  kernel.kv = kv;
  kernel.compute = attention_compute(kv);
  kernel.cached_row_bytes = cached;
  kernels.decode(kernel, load);
  emit.out.push_back(Gemm{GemmRole::value_absorb, heads, load.query_tokens, shape.v_head_dim,
                          shape.kv_lora_rank, own.weights, own.activations});
}

void emit(const LatentAttention& shape, const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t heads = shape.heads / emit.layout.tp;
  const NumberFormat kv = emit.formats.kv;
  const MatrixList matrices = attention_matrices(shape, emit.hidden(), emit.layout.tp);
  emit.linear(matrices.of(GemmRole::latent_down), tokens);
  if (shape.q_lora_rank > 0) emit.norm(ElementwiseRole::latent_norm, tokens, shape.q_lora_rank, false);
  emit.norm(ElementwiseRole::latent_norm, tokens, shape.kv_lora_rank, false);
  emit.linear(matrices.of(GemmRole::query_up), tokens);
  const std::int64_t cached = latent_row_bytes(shape, kv);
  const std::int64_t rope = shape.position_free ? 0 : shape.rope_head_dim;
  const std::int64_t queries = tokens * heads * rope;
  const std::int64_t rotated = queries + tokens * rope;
  const std::int64_t read = queries + tokens * shape.cached_dim();
  emit.out.push_back(Elementwise{ElementwiseRole::rope_and_cache, rotated, read * kStreamBytes,
                                 queries * kStreamBytes, emit.own_rows() * cached,
                                 kRopeFlopsPerElement * rotated, 0});
  const KeyRule rule = main_rule(shape);
  if (shape.indexer && !shape.indexer->shared) {
    const TokenIndexer& indexer = *shape.indexer;
    const std::int64_t key_bytes = index_key_bytes(indexer, kv);
    emit.linear(matrices.of(GemmRole::index_query), tokens);
    emit.linear(matrices.of(GemmRole::index_down), tokens);
    emit_index_keys(indexer.heads, indexer.head_dim, key_bytes, emit);
    emit_index({indexer.heads, indexer.head_dim, key_bytes, index_compute(kv)}, score_rule(1), rule, emit);
  }
  const CachedAttention kernels{emit, cached};
  const AttentionLoads& loads = emit.loads(rule);
  emit_naive(shape, matrices, loads, kernels);
  emit_absorbed(shape, loads, cached, kernels);
  if (shape.output_gate) {
    emit.linear(matrices.of(GemmRole::attention_gate), tokens);
    emit.output_gate(tokens * heads * shape.v_head_dim);
  }
  emit.linear(matrices.of(GemmRole::attention_output), tokens);
}

// Gated sums of windows of tokens: an exponential, a sum, a product and an addition per element and token of
// a window; the results are normed and rotated.
void emit_pooling(const CompressedAttention& shape, std::int64_t width, std::int64_t entry_bytes,
                  const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t parts = shape.overlapping ? 2 : 1;
  const std::int64_t elements = tokens * parts * width;
  const std::int64_t entries = core::divide_up(tokens, shape.ratio);
  const std::int64_t written = core::divide_up(emit.own_rows(), shape.ratio);
  emit.out.push_back(Elementwise{ElementwiseRole::pool_entries, entries * width, 2 * elements * kStreamBytes,
                                 0, written * entry_bytes, 4 * elements + 6 * entries * width,
                                 elements + entries});
}

// One Attention of window and pooled entries together: their pairs and rows add up.
AttentionLoad joined(const AttentionLoad& window, const AttentionLoad& pooled) {
  AttentionLoad load = window;
  load.pairs += pooled.pairs;
  load.kv_tokens += pooled.kv_tokens;
  return load;
}

void emit(const CompressedAttention& shape, const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t heads = shape.query_heads / emit.layout.tp;
  const NumberFormat kv = emit.formats.kv;
  const MatrixList matrices = attention_matrices(shape, emit.hidden(), emit.layout.tp);
  emit.linear(matrices.of(GemmRole::latent_down), tokens);
  emit.norm(ElementwiseRole::latent_norm, tokens, shape.q_lora_rank, false);
  emit.norm(ElementwiseRole::latent_norm, tokens, shape.head_dim, false);
  emit.linear(matrices.of(GemmRole::query_up), tokens);
  const std::int64_t cached = pooled_row_bytes(shape, kv);
  // Queries are rotated before attention, the heads' output back after it.
  const std::int64_t queries = tokens * heads * shape.rope_head_dim;
  const std::int64_t rotated = 2 * queries + tokens * shape.rope_head_dim;
  emit.out.push_back(Elementwise{
      ElementwiseRole::rope_and_cache, rotated, (2 * queries + tokens * shape.head_dim) * kStreamBytes,
      2 * queries * kStreamBytes, emit.own_rows() * cached, kRopeFlopsPerElement * rotated, 0});
  AttentionLoads loads = emit.loads(window_rule(shape));
  if (shape.ratio > 0) {
    emit.linear(matrices.of(GemmRole::pooling), tokens);
    emit_pooling(shape, shape.head_dim, cached, emit);
    const KeyRule rule = pooled_rule(shape);
    if (const auto& indexer = shape.indexer) {
      const std::int64_t key_bytes = index_key_bytes(*indexer, kv);
      emit.linear(matrices.of(GemmRole::index_query), tokens);
      emit.linear(matrices.of(GemmRole::index_down), tokens);
      emit_pooling(shape, indexer->head_dim, key_bytes, emit);
      emit_index({indexer->heads, indexer->head_dim, key_bytes, index_compute(kv)}, score_rule(shape.ratio),
                 rule, emit);
    }
    const AttentionLoads& pooled = emit.loads(rule);
    loads = {joined(loads.prefill, pooled.prefill), joined(loads.decode, pooled.decode)};
  }
  Attention kernel{AttentionForm::compressed};
  kernel.query_heads = heads;
  kernel.kv_heads = 1;
  kernel.qk_dim = shape.head_dim;
  kernel.v_dim = shape.head_dim;
  kernel.kv = kv;
  kernel.compute = attention_compute(kv);
  kernel.sinks = true;
  kernel.cached_row_bytes = cached;
  const CachedAttention kernels{emit, cached};
  kernels.gather_for_prefill(loads.prefill);
  kernels.prefill(kernel, loads.prefill);
  kernels.decode(kernel, loads.decode);
  const std::int64_t groups = shape.output_groups / emit.layout.tp;
  const LinearFormats own = emit.formats.of(WeightKind::attention);
  emit.out.push_back(Gemm{GemmRole::output_down, groups, tokens, shape.output_lora_rank,
                          shape.query_heads / shape.output_groups * shape.head_dim, own.weights,
                          own.activations});
  emit.linear(matrices.of(GemmRole::attention_output), tokens);
}

void emit_recurrence(const RecurrentAttention& shape, const Emitter& emit) {
  const std::int64_t tp = emit.layout.tp;
  const auto kernel = [&](Phase phase, std::int64_t sequences, std::int64_t tokens) {
    if (sequences == 0) return;
    emit.out.push_back(Recurrence{shape.recurrence, phase, sequences, tokens, shape.key_heads / tp,
                                  shape.value_heads / tp, shape.key_dim, shape.value_dim,
                                  shape.chunk_tokens});
  };
  const std::int64_t decodes = emit.batch.decode_sequences;
  // Padding of a graph's batch runs with the decodes.
  const std::int64_t prefill_sequences = emit.batch.sequences - decodes;
  const std::int64_t prefill_tokens = prefill_sequences > 0 ? emit.tokens() - decodes : 0;
  kernel(Phase::prefill, prefill_sequences, prefill_tokens);
  kernel(Phase::decode, decodes, emit.tokens() - prefill_tokens);
}

void emit(const RecurrentAttention& shape, const Emitter& emit) {
  const std::int64_t tokens = emit.tokens();
  const std::int64_t tp = emit.layout.tp;
  const std::int64_t values = shape.value_heads / tp * shape.value_dim;
  const MatrixList matrices = attention_matrices(shape, emit.hidden(), tp);
  emit.linear(matrices.of(GemmRole::recurrent_in), tokens);
  if (shape.recurrence == RecurrentKind::kimi_delta) {
    emit.linear(matrices.of(GemmRole::decay_down), tokens);
    emit.linear(matrices.of(GemmRole::decay_up), tokens);
    if (shape.gate_rank > 0) {
      emit.linear(matrices.of(GemmRole::recurrent_gate_down), tokens);
      emit.linear(matrices.of(GemmRole::recurrent_gate_up), tokens);
    }
  }
  const std::int64_t channels = shape.channels() / tp;
  if (shape.convolution > 0) {  // with silu; the last inputs of each sequence are its state
    const std::int64_t elements = tokens * channels;
    const std::int64_t state = emit.batch.sequences * channels * (shape.convolution - 1) * kStreamBytes;
    emit.out.push_back(Elementwise{ElementwiseRole::convolution, elements, elements * kStreamBytes + state,
                                   elements * kStreamBytes, state, (2 * shape.convolution + 3) * elements,
                                   elements});
  }
  // Decay and step: softplus and exponential per head, or per channel of the keys.
  const bool by_channel = shape.recurrence == RecurrentKind::kimi_delta;
  const std::int64_t gates =
      tokens * (by_channel ? shape.key_heads / tp * shape.key_dim : shape.value_heads / tp);
  if (shape.recurrence != RecurrentKind::lightning) {
    emit.out.push_back(Elementwise{ElementwiseRole::recurrent_gates, gates, 2 * gates * kStreamBytes,
                                   4 * gates, 0, 4 * gates, 3 * gates});
  }
  emit_recurrence(shape, emit);
  // Norm of each head, times silu or sigmoid of the gate.
  const std::int64_t elements = tokens * values;
  emit.out.push_back(Elementwise{ElementwiseRole::recurrent_output, elements, 2 * elements * kStreamBytes,
                                 elements * kStreamBytes, 0, 7 * elements,
                                 elements + tokens * (shape.value_heads / tp)});
  emit.linear(matrices.of(GemmRole::attention_output), tokens);
}

void emit(const NoAttention&, const Emitter&) {}

}  // namespace

void emit_attention(const AttentionShape& shape, const Emitter& emitter) {
  std::visit([&](const auto& attention) { emit(attention, emitter); }, shape);
}

}  // namespace moesim::llm::lowering
