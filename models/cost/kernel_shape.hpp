// Shapes of kernels: what a family of kernels needs to know to say how long one takes.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "models/llm/formats.hpp"

namespace moesim::cost {

// How the kernel finds the caches. A benchmark that repeats one kernel finds in L2 what fits there; a serving
// engine touches gigabytes of other data between two runs of the same kernel.
enum class Conditions : std::uint8_t {
  serving,    // weights and KV come from DRAM
  benchmark,  // as the shared tables were measured (graph replays of a few copies)
};

// out[m, n] = x[m, k] w[n, k]^T, `batch` times with own weights.
struct GemmShape {
  std::int64_t batch = 1;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  llm::LinearFormats formats;
  bool quantises = false;  // the time includes the pass that quantises bf16 activations
  // At most so many copies of the weights are what a benchmark rotates over (as many as fill L2).
  std::int64_t benchmark_copies = 5;
  bool eager = false;  // the benchmark launched it without a CUDA graph
};

// Rows of one rank's experts, reduced to what kernels depend on.
inline constexpr std::array<std::int64_t, 5> kExpertTileRows = {16, 32, 64, 128, 256};
struct ExpertLoad {
  double rows = 0;                                     // (token, expert) pairs on the rank
  double active = 0;                                   // experts with at least one row
  double longest = 0;                                  // rows of the busiest expert
  std::array<double, kExpertTileRows.size()> tiles{};  // sum over experts of ceil(rows / kExpertTileRows[i])
};

// One rank's fused MoE: routing, permutation, quantisation, both grouped GEMMs, activation, weighted sum.
struct MoeShape {
  std::int64_t tokens = 0;  // whose rows may come to this rank (of the whole EP group)
  std::int64_t hidden = 0;
  std::int64_t width = 0;  // of one expert on this rank (inter / tp)
  std::int64_t top_k = 0;
  std::int64_t experts = 0;  // of the layer
  std::int64_t local_experts = 0;
  bool gated = true;
  llm::LinearFormats formats;
  std::vector<ExpertLoad> draws;  // the time is the mean over them
};

// Causal attention of `batch` sequences of `queries` new tokens, each after `prefix` cached ones.
struct AttentionPrefillShape {
  std::int64_t batch = 0;
  std::int64_t queries = 0;
  std::int64_t prefix = 0;
  std::int64_t query_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t qk_dim = 0;
  std::int64_t v_dim = 0;
  std::int64_t window = 0;  // 0: full
  llm::NumberFormat compute = llm::NumberFormat::bf16;
  llm::NumberFormat kv = llm::NumberFormat::bf16;
  bool latent = false;  // multi-head latent attention with expanded keys and values
};

// One query token per sequence against `context` keys (the new one included).
struct AttentionDecodeShape {
  std::int64_t batch = 0;
  std::int64_t context = 0;
  std::int64_t query_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t qk_dim = 0;
  std::int64_t v_dim = 0;
  std::int64_t window = 0;
  llm::NumberFormat compute = llm::NumberFormat::bf16;
  llm::NumberFormat kv = llm::NumberFormat::bf16;
  bool latent = false;  // absorbed latent attention: one row of qk_dim per token for all heads
  bool sinks = false;   // the softmax has a learned extra logit per head (GPT-OSS)
};

// A pass over memory without a matrix product: norms, activations, quantisation of activations.
struct StreamShape {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t read_bytes = 0;
  std::int64_t write_bytes = 0;
};

// Gated delta layers: the convolution in front and the recurrence.
struct DeltaShape {
  enum class Part : std::uint8_t { convolution, recurrence };
  Part part = Part::recurrence;
  bool decode = false;
  std::int64_t batch = 0;
  std::int64_t queries = 0;  // tokens of each sequence; 1 in decode
  std::int64_t key_heads = 0;
  std::int64_t key_dim = 0;
  std::int64_t value_heads = 0;
  std::int64_t value_dim = 0;
  std::int64_t convolution_width = 4;
};

// A whole latent-attention layer: projections, attention (sparse with an indexer, or full), output.
struct LatentModuleShape {
  bool decode = false;
  std::int64_t batch = 0;
  std::int64_t queries = 0;  // new tokens of each sequence
  std::int64_t prefix = 0;   // cached tokens
  std::int64_t heads = 0;    // of this rank
  std::int64_t hidden = 7168;
  std::int64_t query_rank = 1536;
  std::int64_t kv_rank = 512;
  std::int64_t nope_dim = 128;
  std::int64_t rope_dim = 64;
  std::int64_t v_dim = 128;
  std::int64_t index_heads = 0;  // 0: no indexer
  std::int64_t index_dim = 0;
  std::int64_t index_top_k = 0;  // 0: attention is full
  bool indexes = true;           // false: the choice of another layer is used
  llm::LinearFormats projections;
  llm::NumberFormat compute = llm::NumberFormat::bf16;
  llm::NumberFormat kv = llm::NumberFormat::bf16;
};

enum class Collective : std::uint8_t { all_reduce, all_gather, reduce_scatter, all_to_all, point_to_point };

// A collective of `ranks` GPUs of one domain. bytes: as nccl-tests counts them (all_gather: received in
// total; reduce_scatter, all_to_all: sent in total; all_reduce: the buffer).
struct CollectiveShape {
  Collective collective = Collective::all_reduce;
  std::int64_t ranks = 0;
  std::int64_t bytes = 0;
  bool eager = false;          // launched without a CUDA graph
  bool whole_numbers = false;  // of integers, which no switch adds up
};

// Dispatch or combine of an MoE layer.
struct ExchangeShape {
  enum class Kind : std::uint8_t { low_latency, normal, one_sided, two_sided };
  enum class Phase : std::uint8_t { prepare, dispatch, combine, combine_low_precision };
  Kind kind = Kind::low_latency;
  Phase phase = Phase::dispatch;
  std::int64_t ranks = 0;
  std::int64_t ranks_per_domain = 0;
  std::int64_t tokens = 0;  // of one rank
  std::int64_t hidden = 0;
  std::int64_t top_k = 0;
  std::int64_t experts = 0;
  std::int64_t row_bytes = 0;        // of one row on a link
  std::int64_t multiprocessors = 0;  // 0: not limited
  // Ranks that a token goes to, on average, where each gets it once. 0: of uniformly random choices.
  double destinations = 0;
};

using KernelShape = std::variant<GemmShape, MoeShape, AttentionPrefillShape, AttentionDecodeShape,
                                 StreamShape, DeltaShape, LatentModuleShape, CollectiveShape, ExchangeShape>;

}  // namespace moesim::cost
