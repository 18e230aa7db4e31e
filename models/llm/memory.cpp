#include "models/llm/memory.hpp"

#include <algorithm>
#include <numeric>

#include "models/llm/weights.hpp"
#include "sim/core/integers.hpp"
#include "sim/core/time.hpp"

namespace moesim::llm {

namespace {

using core::Int128;

constexpr std::int64_t kBiasBytes = 2;       // biases and norms are bf16
constexpr std::int64_t kScoreBiasBytes = 4;  // e_score_correction_bias is f32
constexpr std::int64_t kFactorBytes = 4;     // hyper-connections are f32

void add_ffn(const DenseFfn& ffn, std::int64_t layers, const Architecture& architecture, const Layout& layout,
             const Formats& formats, ByCategory& bytes) {
  const auto list = ffn_matrices(GemmRole::gate_up, GemmRole::down, ffn.gated, architecture.hidden_size,
                                 ffn.width / layout.tp);
  bytes.dense_ffn += layers * list.bytes(formats.of(WeightKind::dense).weights);
}

void add_ffn(const MoeFfn& ffn, std::int64_t layers, const Architecture& architecture, const Layout& layout,
             const Formats& formats, ByCategory& bytes) {
  const std::int64_t hidden = architecture.hidden_size;
  const auto expert = ffn_matrices(GemmRole::expert_gate_up, GemmRole::expert_down, ffn.gated,
                                   ffn.row_width(hidden), ffn.expert_width / layout.moe_tp());
  const auto shared = ffn_matrices(GemmRole::shared_gate_up, GemmRole::shared_down, ffn.gated, hidden,
                                   ffn.total_shared_width() / shared_expert_shards(layout));
  const std::int64_t experts = ffn.experts / layout.ep;
  const NumberFormat dense = formats.of(WeightKind::dense).weights;
  bytes.routed_experts += layers * experts *
                          (expert.bytes(formats.weights) +
                           expert_biases(ffn, hidden, layout.moe_tp()) / ffn.experts * kBiasBytes);
  bytes.shared_experts += layers * (shared.bytes(dense) + (ffn.shared_gate ? hidden * kStreamBytes : 0));
  bytes.router += layers * ffn.choices() *
                  ((ffn.has_router() ? hidden * kStreamBytes : 0) + (ffn.router_bias ? kBiasBytes : 0) +
                   (ffn.router_score_bias ? kScoreBiasBytes : 0));
  bytes.routed_experts += layers * latent_expert_matrices(ffn, hidden).bytes(dense);
  bytes.norms += layers * (ffn.latent_norm ? ffn.latent_width * kBiasBytes : 0);
}

void add_ffn(const NoFfn&, std::int64_t, const Architecture&, const Layout&, const Formats&, ByCategory&) {}

void add_group(const LayerGroup& group, const Architecture& architecture, const Layout& layout,
               const Formats& formats, ByCategory& bytes) {
  const std::int64_t hidden = architecture.hidden_size;
  const NumberFormat own = formats.of(WeightKind::attention).weights;
  const auto add_attention = [&](const AttentionShape& attention) {
    bytes.attention += group.count * (attention_matrices(attention, hidden, layout.tp).bytes(own) +
                                      attention_vectors(attention, hidden, layout.tp) * kBiasBytes);
    bytes.norms += group.count * attention_norms(attention, layout.tp) * kBiasBytes;
  };
  add_attention(group.attention);
  if (group.cross_attention) add_attention(*group.cross_attention);
  bytes.norms += group.count * stream_norms(group, architecture) * architecture.norm_weights() * kBiasBytes;
  bytes.hyper_connections += group.count * hyper_connection_weights(group, architecture) * kFactorBytes;
  std::visit([&](const auto& ffn) { add_ffn(ffn, group.count, architecture, layout, formats, bytes); },
             group.ffn);
}

ByCategory bytes_of(const Architecture& architecture, const Layout& layout, const Formats& formats,
                    std::int64_t vocab) {
  const std::int64_t hidden = architecture.hidden_size;
  ByCategory bytes;
  bytes.embedding = vocab * hidden * kStreamBytes;
  bytes.head = (architecture.tied_embeddings ? 0 : vocab * hidden * kStreamBytes) +
               (architecture.head_bias ? vocab * kBiasBytes : 0);
  bytes.norms = architecture.norm_weights() * kBiasBytes * (architecture.encoder.empty() ? 1 : 2);
  const std::int64_t streams = architecture.residual_streams;
  if (streams > 1) bytes.hyper_connections = (streams * (streams * hidden + 1) + 1) * kFactorBytes;
  for (const LayerGroup& group : architecture.layers) add_group(group, architecture, layout, formats, bytes);
  for (const LayerGroup& group : architecture.encoder) add_group(group, architecture, layout, formats, bytes);
  return bytes;
}

// Bytes of a cached row of `width` elements whose last `rope` stay bf16 where the rest has 8 bits: the
// layouts of sparse kernels. With scales: an f32 per 128 elements (FlashMLA: 656 bytes for 512 + 64), or
// UE8M0 per 64, padded to 8 bytes (vLLM for DeepSeek-V4: 584 bytes for 448 + 64).
std::int64_t mixed_row_bytes(std::int64_t width, std::int64_t rope, std::int64_t scale_bytes) {
  return width - rope + rope * kStreamBytes + scale_bytes;
}

bool is_fp8(NumberFormat format) { return format == NumberFormat::fp8 || format == NumberFormat::fp8_block; }

void add_rows(const GroupedQueryAttention& attention, std::int64_t layers, std::int64_t tp, NumberFormat kv,
              std::vector<KvRows>& rows) {
  const std::int64_t bytes = kv_heads_per_rank(attention, tp) *
                             (row_bytes(attention.head_dim, kv) + row_bytes(attention.value_dim(), kv));
  const std::int64_t keeps = std::max(attention.window_tokens, attention.chunk_tokens);
  const KvKind kept = attention.chunk_tokens > attention.window_tokens ? KvKind::chunk : KvKind::window;
  rows.push_back({layers, bytes, 1, keeps, keeps > 0 ? kept : KvKind::full});
}

void add_rows(const LatentAttention& attention, std::int64_t layers, std::int64_t, NumberFormat kv,
              std::vector<KvRows>& rows) {
  const std::int64_t index = attention.indexer ? index_key_bytes(*attention.indexer, kv) : 0;
  rows.push_back({layers, latent_row_bytes(attention, kv) + index, 1, 0, KvKind::latent, index});
}

void add_rows(const CompressedAttention& attention, std::int64_t layers, std::int64_t, NumberFormat kv,
              std::vector<KvRows>& rows) {
  const std::int64_t bytes = pooled_row_bytes(attention, kv);
  rows.push_back({layers, bytes, 1, attention.window_tokens, KvKind::window});
  if (attention.ratio == 0) return;
  const std::int64_t index = attention.indexer ? index_key_bytes(*attention.indexer, kv) : 0;
  rows.push_back({layers, bytes + index, attention.ratio, 0, KvKind::pooled, index});
}

void add_rows(const RecurrentAttention&, std::int64_t, std::int64_t, NumberFormat, std::vector<KvRows>&) {}
void add_rows(const NoAttention&, std::int64_t, std::int64_t, NumberFormat, std::vector<KvRows>&) {}

// Live bf16 elements per token in one layer's attention on one rank, without the residual stream.
std::int64_t attention_live(const GroupedQueryAttention& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t heads = attention.query_heads / tp;
  const std::int64_t queries = heads * attention.head_dim;
  const std::int64_t values = heads * attention.value_dim() * (attention.output_gate ? 2 : 1);
  return hidden + queries + values +
         kv_heads_per_rank(attention, tp) * (attention.head_dim + attention.value_dim());
}

std::int64_t attention_live(const LatentAttention& attention, std::int64_t hidden, std::int64_t tp) {
  // q, k, v, output, and its gate
  const std::int64_t per_head =
      2 * attention.naive_key_dim() + (attention.output_gate ? 3 : 2) * attention.v_head_dim;
  const std::int64_t index = attention.indexer ? attention.indexer->heads * attention.indexer->head_dim : 0;
  return hidden + attention.q_lora_rank + attention.cached_dim() + attention.heads / tp * per_head + index;
}

// Keys (without the rotated part) and values of one row on one rank in the "naive" form.
std::int64_t expanded_row_elements(const LatentAttention& attention, std::int64_t tp) {
  return attention.heads / tp * (attention.nope_head_dim + attention.v_head_dim);
}

std::int64_t attention_live(const CompressedAttention& attention, std::int64_t hidden, std::int64_t tp) {
  const std::int64_t queries = attention.query_heads / tp * attention.head_dim;
  const std::int64_t index = attention.indexer ? attention.indexer->heads * attention.indexer->head_dim : 0;
  return hidden + attention.q_lora_rank + attention.head_dim + 2 * queries +
         attention.output_groups / tp * attention.output_lora_rank + index;
}

// The projections, and the convolved copy of queries, keys and values.
std::int64_t attention_live(const RecurrentAttention& attention, std::int64_t hidden, std::int64_t tp) {
  return hidden + 2 * (attention.channels() / tp) + 2 * (attention.value_heads / tp * attention.value_dim);
}

std::int64_t attention_live(const NoAttention&, std::int64_t, std::int64_t) { return 0; }

// Live bytes of one layer's FFN on one rank, without the residual stream. Steps and models may each be as
// large as their bounds allow, so products of both take 128 bits.
Int128 ffn_live(const DenseFfn& ffn, std::int64_t hidden, const Layout& layout, const Formats&,
                std::int64_t tokens) {
  return Int128{tokens} * (hidden + (ffn.gated ? 3 : 2) * (ffn.width / layout.tp)) * kStreamBytes;
}

Int128 ffn_live(const NoFfn&, std::int64_t, const Layout&, const Formats&, std::int64_t) { return 0; }

// The rows of a rank's experts at perfect balance: gathered input, gate and up, product, output.
Int128 expert_buffer_bytes(const MoeFfn& ffn, std::int64_t hidden, const Layout& layout,
                           const Formats& formats, std::int64_t tokens) {
  const Int128 rows = (Int128{tokens} * layout.dp * ffn.top_k + layout.ep - 1) / layout.ep;
  const std::int64_t width = ffn.expert_width / layout.moe_tp();
  const std::int64_t inputs = ffn.row_width(hidden);
  return rows * (row_bytes(inputs, formats.linear_activations()) +
                 ((ffn.gated ? 3 : 2) * width + inputs) * kStreamBytes);
}

Int128 ffn_live(const MoeFfn& ffn, std::int64_t hidden, const Layout& layout, const Formats& formats,
                std::int64_t tokens) {
  const MoeExchange exchange = moe_exchange(layout);
  const std::int64_t group_tokens = tokens * layout.dp;
  std::int64_t own_tokens = tokens;  // whose normed input, routed and shared experts are on this rank
  if (exchange == MoeExchange::dispatch) own_tokens = core::divide_up(tokens, layout.tp);
  if (exchange == MoeExchange::gather_scatter) own_tokens = group_tokens;
  const std::int64_t shared = ffn.total_shared_width() / shared_expert_shards(layout);
  return Int128{tokens} * hidden * kStreamBytes +
         Int128{own_tokens} * (hidden + (ffn.gated ? 3 : 2) * shared) * kStreamBytes +
         expert_buffer_bytes(ffn, hidden, layout, formats, tokens);
}

}  // namespace

ByCategory weight_bytes(const Architecture& architecture, const Formats& formats) {
  return bytes_of(architecture, Layout{}, formats, architecture.vocab_size);
}

ByCategory weight_bytes_per_rank(const Architecture& architecture, const Layout& layout,
                                 const Formats& formats) {
  return bytes_of(architecture, layout, formats, padded_vocab(architecture, layout) / layout.tp);
}

std::int64_t absorbed_copy_bytes(const Architecture& architecture, const Layout& layout,
                                 const Formats& formats, std::int64_t bytes_per_weight) {
  if (element_bits(formats.of(WeightKind::attention).weights) >= 16) return 0;
  std::int64_t weights = 0;
  for (const LayerGroup& group : architecture.layers) {
    if (const auto* latent = std::get_if<LatentAttention>(&group.attention))
      weights += group.count * latent->kv_lora_rank * expanded_row_elements(*latent, layout.tp);
  }
  return weights * bytes_per_weight;
}

std::int64_t latent_row_bytes(const LatentAttention& attention, NumberFormat kv) {
  if (!attention.indexer || !is_fp8(kv)) return row_bytes(attention.cached_dim(), kv);
  return mixed_row_bytes(attention.cached_dim(), attention.rope_head_dim,
                         core::divide_up(attention.kv_lora_rank, 128) * 4);
}

std::int64_t index_key_bytes(const TokenIndexer& indexer, NumberFormat kv) {
  constexpr std::int64_t kScaleBytes = 4;
  return element_bits(kv) == 8 ? indexer.head_dim + kScaleBytes : indexer.head_dim * kStreamBytes;
}

std::int64_t pooled_row_bytes(const CompressedAttention& attention, NumberFormat kv) {
  if (!is_fp8(kv)) return row_bytes(attention.head_dim, kv);
  const std::int64_t scales = core::divide_up(attention.head_dim - attention.rope_head_dim, 64);
  return mixed_row_bytes(attention.head_dim, attention.rope_head_dim, core::divide_up(scales, 8) * 8);
}

std::vector<KvRows> kv_rows(const Architecture& architecture, const Layout& layout, NumberFormat kv) {
  std::vector<KvRows> rows;
  for (const LayerGroup& group : architecture.layers) {
    std::visit([&](const auto& attention) { add_rows(attention, group.count, layout.tp, kv, rows); },
               group.attention);
  }
  // Equal rows of different layer groups are one kind.
  std::vector<KvRows> kinds;
  for (const KvRows& row : rows) {
    const auto same = std::find_if(kinds.begin(), kinds.end(), [&](const KvRows& kind) {
      return kind.bytes == row.bytes && kind.ratio == row.ratio && kind.keeps == row.keeps &&
             kind.kind == row.kind && kind.index_bytes == row.index_bytes;
    });
    if (same == kinds.end()) {
      kinds.push_back(row);
    } else {
      same->layers += row.layers;
    }
  }
  return kinds;
}

std::vector<std::string> kv_names(std::span<const KvRows> rows) {
  const auto name_of = [](const KvRows& row) -> std::string {
    switch (row.kind) {
      case KvKind::full:
        return "full";
      case KvKind::window:
        return "window_" + std::to_string(row.keeps);
      case KvKind::chunk:
        return "chunk_" + std::to_string(row.keeps);
      case KvKind::latent:
        return "latent";
      case KvKind::pooled:
        return "pooled_" + std::to_string(row.ratio);
    }
    return "";
  };
  std::vector<std::string> plain, names;
  for (const KvRows& row : rows) {
    plain.push_back(name_of(row));
    const auto alike = std::count(plain.begin(), plain.end(), plain.back());
    names.push_back(alike == 1 ? plain.back() : plain.back() + "_" + std::to_string(alike));
  }
  return names;
}

std::int64_t state_bytes(const Architecture& architecture, const Layout& layout) {
  constexpr std::int64_t kStateBytes = 4;  // engines keep the matrices in fp32
  std::int64_t bytes = 0;
  for (const LayerGroup& group : architecture.layers) {
    const auto* recurrent = std::get_if<RecurrentAttention>(&group.attention);
    if (recurrent == nullptr) continue;
    const std::int64_t matrices =
        recurrent->value_heads / layout.tp * recurrent->key_dim * recurrent->value_dim;
    const std::int64_t columns = std::max<std::int64_t>(recurrent->convolution - 1, 0);
    bytes +=
        group.count * (matrices * kStateBytes + recurrent->channels() / layout.tp * columns * kStreamBytes);
  }
  return bytes;
}

namespace {

// Rows of a sequence of `tokens` tokens on one of `ranks` ranks that share them.
std::int64_t rows_held(const KvRows& rows, std::int64_t tokens, std::int64_t ranks) {
  const std::int64_t kept = rows.keeps > 0 ? std::min(tokens, rows.keeps) : tokens;
  return core::divide_up(kept, ranks) / rows.ratio;
}

}  // namespace

std::int64_t kv_bytes(const Architecture& architecture, const Layout& layout, NumberFormat kv,
                      std::int64_t tokens) {
  std::int64_t bytes = state_bytes(architecture, layout);
  for (const KvRows& rows : kv_rows(architecture, layout, kv))
    bytes += rows.layers * rows.bytes * rows_held(rows, tokens, layout.cp * layout.dcp);
  return bytes;
}

std::int64_t kv_bytes_per_token_per_rank(const Architecture& architecture, const Layout& layout,
                                         NumberFormat kv) {
  // Over the common multiple of the ratios, so that a pooled row is not rounded by itself.
  std::int64_t tokens = 1;
  const std::vector<KvRows> all = kv_rows(architecture, layout, kv);
  for (const KvRows& rows : all) tokens = std::max(tokens, rows.ratio);
  std::int64_t bytes = 0;
  for (const KvRows& rows : all) {
    if (rows.keeps == 0) bytes += rows.layers * rows.bytes * tokens / rows.ratio;
  }
  return core::divide_up(bytes, tokens * layout.cp * layout.dcp);
}

std::int64_t kv_bytes_per_token(const Architecture& architecture, NumberFormat kv) {
  return kv_bytes_per_token_per_rank(architecture, Layout{}, kv);
}

KvPages::KvPages(const Architecture& architecture, const Layout& layout, NumberFormat kv,
                 std::int64_t block_tokens)
    : ranks_(layout.cp * layout.dcp),
      state_bytes_(state_bytes(architecture, layout)),
      rows_(kv_rows(architecture, layout, kv)) {
  std::int64_t unit = state_bytes_;
  for (const KvRows& rows : rows_) {
    // A page has whole rows: where several tokens make one, it is for a multiple of them.
    const std::int64_t page_rows = core::divide_up(block_tokens, rows.ratio);
    const std::int64_t page = rows.layers * rows.bytes * page_rows;
    unit = std::gcd(unit, page);
    const std::int64_t kept = core::divide_up(rows.keeps, ranks_);
    groups_.push_back(
        {page, page_rows * rows.ratio, rows.keeps > 0 ? core::divide_up(kept - 1, block_tokens) + 1 : 0});
  }
  unit_bytes_ = std::max<std::int64_t>(unit, 1);
  for (Group& group : groups_) group.units_per_page /= unit_bytes_;
}

std::int64_t KvPages::units(std::int64_t tokens) const {
  if (tokens <= 0) return 0;
  const std::int64_t own = core::divide_up(tokens, ranks_);
  std::int64_t units = state_bytes_ / unit_bytes_;
  for (const Group& group : groups_) units += group.units_per_page * group.pages(own);
  return units;
}

std::int64_t KvPages::Group::pages(std::int64_t own_tokens) const {
  const std::int64_t pages = core::divide_up(own_tokens, page_tokens);
  return most_pages > 0 ? std::min(pages, most_pages) : pages;
}

void KvPages::add_bytes(std::int64_t tokens, std::int64_t times, std::span<KvBytes> parts) const {
  if (tokens <= 0) return;
  const std::int64_t own = core::divide_up(tokens, ranks_);
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    parts[i].used += times * groups_[i].units_per_page * groups_[i].pages(own) * unit_bytes_;
    if (i < rows_.size())
      parts[i].held += times * rows_[i].layers * rows_[i].bytes * rows_held(rows_[i], tokens, ranks_);
  }
  parts[groups_.size()].used += times * state_bytes_;
  parts[groups_.size()].held += times * state_bytes_;
}

std::int64_t KvPages::held_bytes(std::int64_t tokens) const {
  if (tokens <= 0) return 0;
  std::int64_t bytes = state_bytes_;
  for (const KvRows& rows : rows_) bytes += rows.layers * rows.bytes * rows_held(rows, tokens, ranks_);
  return bytes;
}

std::int64_t KvPages::longest(std::int64_t available, std::int64_t limit) const {
  // units() never falls: bisection.
  std::int64_t low = 0, high = limit;
  while (low < high) {
    const std::int64_t middle = low + (high - low + 1) / 2;
    (units(middle) <= available ? low : high) = units(middle) <= available ? middle : middle - 1;
  }
  return low;
}

namespace {

// f32 scores of an indexer over the longest context. Engines cut the queries so that they stay below a bound
// (vLLM: 512 MiB; assumed, not re-read).
std::int64_t index_score_bytes(const AttentionShape& shape, const Architecture& architecture,
                               const StepShape& step) {
  constexpr std::int64_t kScoreBytes = 4;
  constexpr std::int64_t kMostBytes = std::int64_t{512} << 20;
  std::int64_t keys = 0;
  if (const auto* latent = std::get_if<LatentAttention>(&shape)) {
    if (latent->indexer && !latent->indexer->shared) keys = architecture.max_context_tokens;
  } else if (const auto* compressed = std::get_if<CompressedAttention>(&shape)) {
    if (compressed->indexer) keys = architecture.max_context_tokens / compressed->ratio;
  }
  return std::min(step.tokens * keys * kScoreBytes, kMostBytes);
}

// Latent attention whose prompts attend to expanded keys and values: without an indexer.
const LatentAttention* expanding(const AttentionShape& shape) {
  const auto* latent = std::get_if<LatentAttention>(&shape);
  return latent != nullptr && !latent->indexer ? latent : nullptr;
}

// Keys and values that a layer makes of cached rows.
Int128 expanded_context_bytes(const AttentionShape& shape, std::int64_t tp, const StepShape& step) {
  const LatentAttention* latent = expanding(shape);
  if (latent == nullptr) return 0;
  return Int128{step.latent_context_rows} * expanded_row_elements(*latent, tp) * kStreamBytes;
}

// Buffers that all layers share and that stay when a layer is done, in bytes.
struct KeptBuffers {
  Int128 latent_rows = 0;
  Int128 experts = 0;

  void add(const LayerGroup& group, const Architecture& architecture, const Layout& layout,
           const Formats& formats, const StepShape& step) {
    if (const LatentAttention* latent = expanding(group.attention)) {
      latent_rows =
          std::max(latent_rows, Int128{step.latent_context_rows} * latent->cached_dim() * kStreamBytes);
    }
    const auto* moe = std::get_if<MoeFfn>(&group.ffn);
    if (moe != nullptr && step.keeps_expert_buffers) {
      experts = std::max(experts,
                         expert_buffer_bytes(*moe, architecture.hidden_size, layout, formats, step.tokens));
    }
  }
};

}  // namespace

std::int64_t activation_peak_bytes(const Architecture& architecture, const Layout& layout,
                                   const Formats& formats, const StepShape& step) {
  const std::int64_t hidden = architecture.hidden_size;
  const std::int64_t vocab = padded_vocab(architecture, layout);
  Int128 largest = Int128{step.logit_sequences} * vocab * step.sampler_bytes;
  KeptBuffers kept;
  for (const LayerGroup& group : architecture.layers) kept.add(group, architecture, layout, formats, step);
  for (const LayerGroup& group : architecture.layers) {
    const Int128 attention =
        Int128{step.tokens} * kStreamBytes *
        std::visit([&](const auto& shape) { return attention_live(shape, hidden, layout.tp); },
                   group.attention);
    Int128 ffn = std::visit(
        [&](const auto& shape) { return ffn_live(shape, hidden, layout, formats, step.tokens); }, group.ffn);
    const auto* moe = std::get_if<MoeFfn>(&group.ffn);
    if (moe != nullptr && step.keeps_expert_buffers)
      ffn -= expert_buffer_bytes(*moe, hidden, layout, formats, step.tokens);
    largest = std::max({largest,
                        attention + index_score_bytes(group.attention, architecture, step) +
                            expanded_context_bytes(group.attention, layout.tp, step),
                        ffn});
  }
  const Int128 sum = Int128{step.tokens} * hidden * architecture.residual_streams * kStreamBytes +
                     kept.latent_rows + kept.experts + largest;
  return static_cast<std::int64_t>(std::min(sum, Int128{kMostActivationBytes}));
}

ExchangeBuffers exchange_buffers(const Architecture& architecture, const Layout& layout,
                                 const Formats& formats, std::int64_t max_tokens_per_rank) {
  ExchangeBuffers buffers;
  if (moe_exchange(layout) != MoeExchange::dispatch) return buffers;
  for (const LayerGroup& group : architecture.layers) {
    const auto* moe = std::get_if<MoeFfn>(&group.ffn);
    if (moe == nullptr) continue;
    const Int128 rows = Int128{moe->experts} / layout.ep * max_tokens_per_rank * layout.ep;
    const std::int64_t width = moe->row_width(architecture.hidden_size);
    const auto bytes = [&](std::int64_t row) {
      return static_cast<std::int64_t>(std::min(rows * row, Int128{kMostActivationBytes}));
    };
    buffers.dispatch_bytes =
        std::max(buffers.dispatch_bytes, bytes(row_bytes(width, formats.linear_activations())));
    buffers.combine_bytes = std::max(buffers.combine_bytes, bytes(width * kStreamBytes));
  }
  return buffers;
}

}  // namespace moesim::llm
