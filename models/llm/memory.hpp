// Bytes that a model takes on one rank: weights, KV cache, activations, exchange buffers.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "models/llm/parameters.hpp"

namespace moesim::llm {

// Bytes of the whole model, each weight once (and no padding of the vocabulary).
[[nodiscard]] ByCategory weight_bytes(const Architecture& architecture, const Formats& formats);

// Bytes on one rank. All ranks of a replica hold the same amount. Split over tp: query heads, KV heads
// (copied when tp passes their number), dense FFN width, vocabulary (padded). Copied on each rank: router,
// norms, the down projections of latent attention. Routed experts are split over ep and moe_tp, shared
// experts as shared_expert_shards() says. Copies in another format that an engine makes at load time are not
// counted; absorbed_copy_bytes() has the largest.
[[nodiscard]] ByCategory weight_bytes_per_rank(const Architecture& architecture, const Layout& layout,
                                               const Formats& formats);

// Bytes on one rank of the second copy of the up projections of latent attention, `bytes_per_weight` each.
// The absorbed form multiplies with them by heads, for which engines expand quantised weights at load time
// (vLLM's W_UK_T and W_UV, SGLang's w_kc and w_vc). None where the weights of attention have 16 or 32 bits:
// there the same bytes are viewed.
[[nodiscard]] std::int64_t absorbed_copy_bytes(const Architecture& architecture, const Layout& layout,
                                               const Formats& formats, std::int64_t bytes_per_weight);

// What a cached row is: keys and values of all tokens, of a window or of a chunk, a latent row, or an entry
// pooled of several tokens.
enum class KvKind : std::uint8_t { full, window, chunk, latent, pooled };

// The cache of one kind of row in `layers` equal layers on one rank: a row of `bytes` for every `ratio`
// tokens, of the latest `keeps` tokens (0: of all).
struct KvRows {
  std::int64_t layers = 0;
  std::int64_t bytes = 0;
  std::int64_t ratio = 1;
  std::int64_t keeps = 0;
  KvKind kind = KvKind::full;
  std::int64_t index_bytes = 0;  // of `bytes`: the key of an indexer
  bool operator==(const KvRows&) const = default;
};

// Names of kinds of rows, one for each and no two alike: "full", "window_128", "chunk_8192", "latent",
// "pooled_4", and "full_2" for the second of a name.
[[nodiscard]] std::vector<std::string> kv_names(std::span<const KvRows> rows);

// Bytes of blocks in use, and the part of them that tokens or states fill.
struct KvBytes {
  std::int64_t used = 0;
  std::int64_t held = 0;
  bool operator==(const KvBytes&) const = default;
};

// Bytes of one cached row of latent attention, without its index key; in 8-bit floats with an indexer as
// FlashMLA keeps it.
[[nodiscard]] std::int64_t latent_row_bytes(const LatentAttention& attention, NumberFormat kv);
// Bytes of one cached index key: 8 bits with one f32 scale, else bf16.
[[nodiscard]] std::int64_t index_key_bytes(const TokenIndexer& indexer, NumberFormat kv);
// Bytes of one row of compressed attention, of a token of the window or a pooled entry, without index key.
[[nodiscard]] std::int64_t pooled_row_bytes(const CompressedAttention& attention, NumberFormat kv);

// What one sequence keeps on each tensor rank that serves it (tp = 1: the whole model). Grouped-query heads
// are split over tp and copied when tp passes their number; latent rows, index keys and pooled entries are on
// every rank. Index keys are kept by every layer with an indexer, also where it uses the choice of another
// layer, as SGLang allocates them. In 8 bits the rows of sparse kernels keep their rotated part in bf16, with
// scales.
[[nodiscard]] std::vector<KvRows> kv_rows(const Architecture& architecture, const Layout& layout,
                                          NumberFormat kv);

// Bytes of the recurrent layers' state of one sequence on each tensor rank: matrices in fp32, columns of the
// convolution in bf16. Independent of the context.
[[nodiscard]] std::int64_t state_bytes(const Architecture& architecture, const Layout& layout);

// All bytes that one sequence of `tokens` tokens keeps on each tensor rank: rows and states. Context-parallel
// and decode context-parallel ranks have equal shares of the tokens, rounded up.
[[nodiscard]] std::int64_t kv_bytes(const Architecture& architecture, const Layout& layout, NumberFormat kv,
                                    std::int64_t tokens);

// Bytes by which that grows with one more token at long contexts (windows and states have stopped growing),
// rounded up; the first for the whole model.
[[nodiscard]] std::int64_t kv_bytes_per_token(const Architecture& architecture, NumberFormat kv);
[[nodiscard]] std::int64_t kv_bytes_per_token_per_rank(const Architecture& architecture, const Layout& layout,
                                                       NumberFormat kv);

// How many units of a paged pool a sequence takes on one rank. Each kind of row has pages of `block_tokens`
// tokens, all layers together; a sequence has whole pages of every kind, those of a window (which may
// straddle one more page than it fills) as long as they are seen, and its state. The unit is the greatest
// common divisor of the pages and the state, so that nothing is lost between them; a model of one kind of row
// has units of one page.
class KvPages {
 public:
  // Plain pages: one unit for every `block_tokens` tokens.
  explicit KvPages(std::int64_t block_tokens = 1) : groups_{{1, block_tokens, 0}} {}
  KvPages(const Architecture& architecture, const Layout& layout, NumberFormat kv, std::int64_t block_tokens);

  [[nodiscard]] std::int64_t unit_bytes() const { return unit_bytes_; }
  // Units of a sequence of `tokens` tokens; 0 for none.
  [[nodiscard]] std::int64_t units(std::int64_t tokens) const;
  // Bytes of its rows and state without the empty parts of its pages; needs the second constructor.
  [[nodiscard]] std::int64_t held_bytes(std::int64_t tokens) const;
  // The kinds of rows in the order of kv_rows(), and the state behind them.
  [[nodiscard]] std::size_t parts() const { return groups_.size() + 1; }
  // Adds `times` the bytes of a sequence of `tokens` tokens to its parts. The used bytes are those of
  // units().
  void add_bytes(std::int64_t tokens, std::int64_t times, std::span<KvBytes> parts) const;
  // The longest sequence that `units` units hold, at most `limit` tokens.
  [[nodiscard]] std::int64_t longest(std::int64_t units, std::int64_t limit) const;

 private:
  struct Group {
    [[nodiscard]] std::int64_t pages(std::int64_t own_tokens) const;
    std::int64_t units_per_page = 0;
    std::int64_t page_tokens = 1;
    std::int64_t most_pages = 0;  // 0: no limit
  };
  std::int64_t ranks_ = 1;  // that share the tokens of a sequence
  std::int64_t unit_bytes_ = 1;
  std::int64_t state_bytes_ = 0;
  std::vector<Group> groups_;
  std::vector<KvRows> rows_;
};

// What a step needs beyond weights and KV.
struct StepShape {
  std::int64_t tokens = 0;           // of one data-parallel rank
  std::int64_t logit_sequences = 0;  // rows of logits of one data-parallel rank
  // Peak of the sampler for each logit: at least the gathered row in bf16 and one copy in fp32.
  std::int64_t sampler_bytes = 6;
  // Cached rows that a layer of latent attention gathers and expands at a time for a chunk of a prompt.
  std::int64_t latent_context_rows = 0;
  // The buffers of the experts stay allocated while other layers and the sampler run.
  bool keeps_expert_buffers = false;
};

// More than any device has, and small enough that sums with it fit 63 bits: what is counted as activations or
// as a buffer at most.
inline constexpr std::int64_t kMostActivationBytes = std::int64_t{1} << 60;

// Peak of the activations of one step on one rank, in bytes: residual stream (tokens x hidden, bf16) + the
// gathered rows of cached context of latent attention (bf16, kept) + the experts' buffers where they are kept
// + the largest of
//  - attention: the layer's normed input, q, k and v (for latent attention also the expanded keys and values
//  of the
//    step's own tokens and of `latent_context_rows` cached ones; sparse kernels expand none), the heads'
//    output, and the scores of an indexer, up to 512 MiB;
//  - FFN: the normed input, the gate and up results and their product; for an MoE layer the rows sent to the
//  rank's
//    experts at perfect balance (ceil(group tokens x top_k / ep)): gathered input, gate and up, product and
//    output, plus the shared experts on the rank's tokens;
//  - logits: the gathered row in bf16 and what the sampler makes of it, on every rank (the rank's own slice
//    is gone when the sampler runs).
// Allocator slack, workspaces and graph pools belong to the engine and are not in it. vLLM prints 1.26 GiB
// for Llama 3 8B on one and on two ranks (PR 10511): 256 rows of logits at 38 bytes (see the engine's
// sampler_per_logit), the residual stream of 8,192 tokens, and 32 MiB of the GEMM library's workspace.
[[nodiscard]] std::int64_t activation_peak_bytes(const Architecture& architecture, const Layout& layout,
                                                 const Formats& formats, const StepShape& step);

struct ExchangeBuffers {
  std::int64_t dispatch_bytes = 0;
  std::int64_t combine_bytes = 0;
};

// Receive buffers of the all-to-all on one rank, in the layout of DeepEP's low-latency mode: experts on the
// rank x `max_tokens_per_rank` x ep x bytes of a row (activation format for dispatch, bf16 for combine). One
// pair serves all layers. Zero where no layer uses dispatch.
[[nodiscard]] ExchangeBuffers exchange_buffers(const Architecture& architecture, const Layout& layout,
                                               const Formats& formats, std::int64_t max_tokens_per_rank);

}  // namespace moesim::llm
