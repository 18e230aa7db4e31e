// What the first rank of a layer counts while it computes its part of attention.
#include "models/llm/batch.hpp"
#include "models/llm/memory.hpp"
#include "models/reference/activations.hpp"
#include "models/reference/rope.hpp"
#include "sim/core/integers.hpp"
#include "sim/core/math.hpp"
#include "sim/execution/operator_names.hpp"
#include "sim/studies/numerics_problems.hpp"

namespace moesim::studies {

using reference::Bf16;
using reference::CountingProbe;
using reference::Counts;
using reference::Operand;

namespace {

std::string_view attention_key(llm::AttentionForm form, llm::Phase phase) {
  llm::Attention op;
  op.form = form;
  op.phase = phase;
  return execution::name_of(op);
}
std::string_view recurrence_key(llm::Phase phase) {
  llm::Recurrence op;
  op.phase = phase;
  return execution::name_of(op);
}

class AttentionCounter {
 public:
  AttentionCounter(const llm::Architecture& model, const llm::Layout& layout, const llm::Formats& formats,
                   std::span<const NumericsSequence> sequences, std::uint64_t seed)
      : model_(model),
        layout_(layout),
        formats_(formats),
        sequences_(sequences),
        hidden_(model.hidden_size),
        draws_(seed, kEntity) {
    for (const NumericsSequence& sequence : sequences) tokens_ += sequence.tokens;
  }

  void run(std::span<const llm::Operator> operators, serving::LayerCheck& check) {
    ledger_.model(operators);
    stream_norm(llm::ElementwiseRole::input_norm, true);
    std::visit([&](const auto& shape) { count(shape); }, model_.layers.front().attention);
    if (model_.post_norms) stream_norm(llm::ElementwiseRole::attention_output_norm, false);
    ledger_.write(check);
  }

 private:
  static constexpr std::uint64_t kEntity = 2000;

  void stream_norm(llm::ElementwiseRole role, bool residual) {
    const CountedNorm kind = !model_.layer_norm ? CountedNorm::rms
                             : model_.norm_bias ? CountedNorm::layer_with_bias
                                                : CountedNorm::layer;
    const std::int64_t rows = layout_.sequence_parallel ? core::divide_up(tokens_, layout_.tp) : tokens_;
    count_norm(ledger_, role, rows, hidden_, residual, kind, draws_);
  }

  void linear(llm::GemmRole role, std::int64_t rows, std::int64_t inputs, std::int64_t outputs,
              bool bias = false) {
    count_linear(ledger_, role, draws_.values(rows * inputs, 1.0), rows, inputs, outputs,
                 formats_.of(llm::WeightKind::attention), bias, draws_);
  }

  // True if the step runs the sequence in the decode kernel.
  [[nodiscard]] bool decodes(const NumericsSequence& sequence, const llm::KeyRule& rule) const {
    llm::RankBatch batch;
    llm::add_chunk(batch, {sequence.tokens, sequence.context, true}, {1, {rule}});
    return batch.loads[0].decode.sequences > 0;
  }

  void count(const llm::GroupedQueryAttention& shape) {
    const std::int64_t heads = shape.query_heads / layout_.tp;
    const std::int64_t kv_heads = llm::kv_heads_per_rank(shape, layout_.tp);
    const std::int64_t results = heads * shape.value_dim();
    linear(llm::GemmRole::query_key_value, tokens_, hidden_,
           heads * shape.head_dim + (shape.output_gate ? results : 0) +
               kv_heads * (shape.head_dim + shape.value_dim()),
           shape.qkv_bias);
    if (shape.query_key_norm) {
      const auto norm = [&](std::int64_t rows, std::int64_t width) {
        count_norm(ledger_, llm::ElementwiseRole::query_key_norm, rows, width, false, CountedNorm::rms,
                   draws_);
      };
      if (shape.query_key_norm_over_heads) {
        norm(tokens_, heads * shape.head_dim);
        norm(tokens_, kv_heads * shape.head_dim);
      } else {
        norm(tokens_ * (heads + kv_heads), shape.head_dim);
      }
    }
    rotate({heads, kv_heads, shape.head_dim, shape.value_dim()}, shape.rotation());
    if (shape.block_indexer) count_blocks(*shape.block_indexer);
    const llm::KeyRule rule = llm::main_rule(shape);
    with_cache_format(formats_.kv, [&](auto stored, const auto& decode) {
      using Value = decltype(stored);
      for (const NumericsSequence& sequence : sequences_) {
        const auto problem = grouped_problem<Value>(shape, heads, kv_heads, sequence, decode, draws_);
        grouped(problem, decodes(sequence, rule));
      }
    });
    if (shape.output_gate) output_gate(tokens_ * results);
    linear(llm::GemmRole::attention_output, tokens_, results, hidden_, shape.output_bias);
  }

  template <class Problem>
  void grouped(const Problem& p, bool decode) {
    std::vector<Bf16> out(static_cast<std::size_t>(p.heads * p.queries * p.value_dim));
    const reference::AttentionOutput<Bf16> to{
        reference::heads_first(std::span<Bf16>(out), p.heads, p.queries, p.value_dim), {}};
    CountingProbe probe;
    if (decode) {
      reference::attention_decode(p.query_rows(), p.source(p.keys), p.options, to, probe);
    } else {
      reference::attention_tiled(p.query_rows(), p.source(p.keys), p.options, to, probe);
    }
    ledger_.kernel(
        attention_key(llm::AttentionForm::grouped, decode ? llm::Phase::decode : llm::Phase::prefill),
        probe.result());
  }

  // Rotation of `rotated` channels, and the write of keys and values in the format of the cache.
  void rotate(const reference::RopeHeads& heads, std::int64_t rotated) {
    const std::string_view key = execution::name_of(llm::Elementwise{llm::ElementwiseRole::rope_and_cache});
    if (rotated == 0) {
      ledger_.skip(key, "without a rotation it is a copy, which has no kernel");
      return;
    }
    reference::RopeConfig config;
    config.dim = rotated;
    std::vector<std::int64_t> positions;
    for (std::int64_t t = 0; t < tokens_; ++t) positions.push_back(t);
    const reference::RopeTable table = reference::rope_table(reference::inverse_frequencies(config), 1.0,
                                                             reference::RopeAngle::exact, positions);
    std::vector<Bf16> queries = draws_.values(tokens_ * heads.query_heads * heads.head_dim, 1.0);
    const std::vector<Bf16> keys = draws_.values(tokens_ * heads.kv_heads * heads.head_dim, 1.0);
    const std::vector<Bf16> values = draws_.values(tokens_ * heads.kv_heads * heads.value_dim, 1.0);
    std::vector<Bf16> key_cache(keys.size()), value_cache(values.size());
    CountingProbe probe;
    reference::rope_and_cache<Bf16>(heads, table, reference::RopeLayout::half_split, queries, keys, values,
                                    positions, key_cache, value_cache, probe);
    ledger_.kernel(key, probe.result());
    if (llm::element_bits(formats_.kv) != 16)
      ledger_.skip(key, CountQuantity::kv_writes, "the kernel writes a 16-bit cache");
  }

  void output_gate(std::int64_t elements) {
    const std::vector<Bf16> x = draws_.values(elements, 1.0);
    std::vector<Bf16> out(x.size());
    CountingProbe probe;
    reference::sigmoid_gate<Bf16>(x, x, out, probe);
    ledger_.kernel(execution::name_of(llm::Elementwise{llm::ElementwiseRole::attention_gate}),
                   probe.result());
  }

  void count_blocks(const llm::BlockIndexer& indexer) {
    linear(llm::GemmRole::index_down, tokens_, hidden_, (indexer.heads + 1) * indexer.head_dim);
    ledger_.skip(execution::name_of(llm::IndexScores{}), "scores of blocks of keys have no reference kernel");
    ledger_.skip(execution::name_of(llm::KeyChoice{}), "the choice of blocks has no reference kernel");
  }

  void count(const llm::LatentAttention& shape) {
    const std::int64_t heads = shape.heads / layout_.tp;
    const std::int64_t rank = shape.q_lora_rank;
    linear(llm::GemmRole::latent_down, tokens_, hidden_, rank + shape.cached_dim());
    for (const std::int64_t width : {rank, shape.kv_lora_rank}) {
      if (width > 0)
        count_norm(ledger_, llm::ElementwiseRole::latent_norm, tokens_, width, false, CountedNorm::rms,
                   draws_);
    }
    linear(llm::GemmRole::query_up, tokens_, rank > 0 ? rank : hidden_, heads * shape.naive_key_dim());
    rotate({heads, 1, shape.rope_head_dim, shape.kv_lora_rank},
           shape.position_free ? 0 : shape.rope_head_dim);
    if (shape.indexer && !shape.indexer->shared) {
      const llm::TokenIndexer& indexer = *shape.indexer;
      linear(llm::GemmRole::index_query, tokens_, rank > 0 ? rank : hidden_,
             indexer.heads * indexer.head_dim);
      linear(llm::GemmRole::index_down, tokens_, hidden_, indexer.head_dim + indexer.heads);
    }
    const llm::KeyRule rule = llm::main_rule(shape);
    std::int64_t absorbed_queries = 0;
    for (const NumericsSequence& sequence : sequences_) {
      const LatentProblem problem = latent_problem(shape, heads, sequence, draws_);
      const bool absorbs = shape.indexer || decodes(sequence, rule);
      absorbed_queries += absorbs ? sequence.tokens : 0;
      if (shape.indexer) {
        chosen(problem, shape.indexer->shared);
      } else if (absorbs) {
        absorbed(problem, {}, 0);
      } else {
        expanded(problem);
      }
    }
    // One product per head for the queries of all sequences.
    for (std::int64_t h = 0; h < (absorbed_queries > 0 ? heads : 0); ++h) {
      linear(llm::GemmRole::query_absorb, absorbed_queries, shape.nope_head_dim, shape.kv_lora_rank);
      linear(llm::GemmRole::value_absorb, absorbed_queries, shape.kv_lora_rank, shape.v_head_dim);
    }
    if (shape.output_gate) {
      linear(llm::GemmRole::attention_gate, tokens_, hidden_, heads * shape.v_head_dim);
      output_gate(tokens_ * heads * shape.v_head_dim);
    }
    linear(llm::GemmRole::attention_output, tokens_, heads * shape.v_head_dim, hidden_);
  }

  void expanded(const LatentProblem& p) {
    linear(llm::GemmRole::key_value_up, p.keys, p.sizes.latent,
           p.sizes.heads * (p.sizes.nope + p.sizes.value));
    std::vector<Bf16> out(static_cast<std::size_t>(p.sizes.heads * p.queries * p.sizes.value));
    CountingProbe probe;
    reference::latent_attention_naive(p.query_rows(), p.cache(), std::span<const Bf16>(p.up), p.sizes,
                                      p.options, result(p, out), probe);
    ledger_.kernel(attention_key(llm::AttentionForm::latent_naive, llm::Phase::prefill), probe.result());
  }

  void absorbed(const LatentProblem& p, std::span<const std::int32_t> keys, std::int64_t top_k) {
    std::vector<Bf16> out(static_cast<std::size_t>(p.sizes.heads * p.queries * p.sizes.value));
    CountingProbe probe;
    reference::latent_attention_absorbed(p.query_rows(), p.cache(), std::span<const Bf16>(p.up), p.sizes,
                                         p.options, result(p, out), probe, keys, top_k);
    const std::string_view key = attention_key(llm::AttentionForm::latent_absorbed, llm::Phase::decode);
    ledger_.kernel(key, probe.result());
    if (top_k > 0)
      ledger_.skip(key, CountQuantity::kv_reads,
                   "the operator has an upper bound of the keys that queries share");
    if (llm::element_bits(formats_.kv) != 16)
      ledger_.skip(key, CountQuantity::kv_reads, "the kernel reads a 16-bit cache");
  }

  [[nodiscard]] static reference::AttentionOutput<Bf16> result(const LatentProblem& p,
                                                               std::vector<Bf16>& out) {
    return {reference::heads_first(std::span<Bf16>(out), p.sizes.heads, p.queries, p.sizes.value), {}};
  }

  // Scores of all keys, the choice, and attention over it. A shared choice is an earlier layer's.
  void chosen(const LatentProblem& p, bool shared) {
    std::vector<float> scores(static_cast<std::size_t>(p.queries * p.keys));
    CountingProbe scored, choice;
    reference::index_scores<float, Bf16>(p.index_queries, p.index_keys, p.index_weights, p.index, scores,
                                         scored);
    std::vector<std::int32_t> keys(static_cast<std::size_t>(p.queries * p.top_k));
    reference::choose_keys(scores, p.queries, p.keys, p.top_k, keys, choice);
    if (!shared) {
      const std::string_view key = execution::name_of(llm::IndexScores{});
      ledger_.kernel(key, scored.result());
      ledger_.kernel(execution::name_of(llm::KeyChoice{}), choice.result());
      if (llm::element_bits(formats_.kv) != 16) {
        ledger_.skip(key, CountQuantity::kv_reads, "the kernel reads 16-bit index keys");
        ledger_.skip(key, CountQuantity::activation_reads, "the kernel reads 16-bit index queries");
      }
    }
    absorbed(p, keys, p.top_k);
  }

  void count(const llm::RecurrentAttention& shape) {
    const std::int64_t tp = layout_.tp, heads = shape.value_heads / tp, values = heads * shape.value_dim;
    const std::int64_t keys = shape.key_heads / tp * shape.key_dim;
    const bool kimi = shape.recurrence == llm::RecurrentKind::kimi_delta;
    const std::int64_t gates = kimi && shape.gate_rank > 0 ? 0 : values;
    linear(llm::GemmRole::recurrent_in, tokens_, hidden_,
           2 * keys + values + gates + (kimi ? heads : 2 * heads));
    if (kimi) {
      linear(llm::GemmRole::decay_down, tokens_, hidden_, shape.value_dim);
      linear(llm::GemmRole::decay_up, tokens_, shape.value_dim, keys);
      if (shape.gate_rank > 0) {
        linear(llm::GemmRole::recurrent_gate_down, tokens_, hidden_, shape.gate_rank);
        linear(llm::GemmRole::recurrent_gate_up, tokens_, shape.gate_rank, values);
      }
    }
    for (const NumericsSequence& sequence : sequences_) recurrence(shape, sequence.tokens, kimi);
    linear(llm::GemmRole::attention_output, tokens_, values, hidden_);
  }

  void recurrence(const llm::RecurrentAttention& shape, std::int64_t tokens, bool kimi) {
    const llm::Phase phase = tokens > 1 ? llm::Phase::prefill : llm::Phase::decode;
    const std::string_view key = recurrence_key(phase);
    if (phase == llm::Phase::prefill && (kimi || tokens % shape.chunk_tokens != 0)) {
      ledger_.skip(key, kimi ? "decays by channel have no chunked reference kernel"
                             : "a last chunk that is not full takes less than the operator says");
      return;
    }
    const DeltaProblem p = delta_problem(shape, layout_.tp, tokens, draws_);
    const std::vector<Bf16> q = as_bf16(p.queries), k = as_bf16(p.keys), v = as_bf16(p.values);
    std::vector<float> state = p.state;
    std::vector<Bf16> out(v.size());
    const reference::DeltaInputs<Bf16> inputs{q, k, v, p.log_decay, p.beta};
    CountingProbe probe;
    if (phase == llm::Phase::prefill) {
      reference::delta_rule_chunked<float>(inputs, p.sizes, p.options, std::span(state), std::span(out),
                                           probe);
    } else {
      reference::delta_rule_recurrent<float>(inputs, p.sizes, p.options, std::span(state), std::span(out),
                                             probe);
    }
    ledger_.kernel(key, probe.result());
  }

  template <class Other>
  void count(const Other&) {}

  const llm::Architecture& model_;
  const llm::Layout& layout_;
  const llm::Formats& formats_;
  std::span<const NumericsSequence> sequences_;
  std::int64_t hidden_;
  std::int64_t tokens_ = 0;
  NumericsDraws draws_;
  CountLedger ledger_;
};

}  // namespace

void count_attention(const llm::Architecture& model, const llm::Layout& layout, const llm::Formats& formats,
                     std::span<const NumericsSequence> sequences, std::uint64_t seed,
                     std::span<const llm::Operator> operators, serving::LayerCheck& check) {
  AttentionCounter(model, layout, formats, sequences, seed).run(operators, check);
}

}  // namespace moesim::studies
