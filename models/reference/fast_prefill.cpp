#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "models/reference/fast_attention.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

// Not an anonymous namespace: in a unity build gcc minds lambdas that capture types of one.
namespace fast_prefill_detail {

constexpr std::int64_t kQueryBlock = 16 * kTileRows;  // queries that share a block of keys while it is in L2
constexpr std::int64_t kKeyBlock = 512;
constexpr std::int64_t kScoreStride = kKeyBlock + kLineUnits;
constexpr float kNoScore = -std::numeric_limits<float>::infinity();

// What one thread works on.
struct PrefillScratch {
  PrefillScratch(std::int64_t q_units, std::int64_t v_panels)
      : q(kQueryBlock, q_units),
        out_stride(v_panels * kTileColumns + kLineUnits),
        scores(static_cast<std::size_t>(kTileRows * kScoreStride)),
        weights(kTileRows, kKeyBlock),
        out(static_cast<std::size_t>(kQueryBlock * out_stride)) {}

  UnitRows q;
  std::int64_t out_stride;
  std::vector<float> scores;
  UnitRows weights;
  std::vector<float> out;  // sums of values under the running maximum
  float maximum[kQueryBlock] = {};
  float sum[kQueryBlock] = {};
};

template <class Value>
struct PrefillHead {
  PackedWeights<Value> keys;
  PackedWeights<Value> values;  // transposed: columns are those of the values, the depth is the keys
};

template <class Value>
class Prefill {
 public:
  Prefill(const FastAttention& shape, const FastKernels& kernels, std::vector<PrefillHead<Value>> heads)
      : shape_(shape), kernels_(kernels), heads_(std::move(heads)) {}

  // Queries first, ..., first + n - 1 of one head.
  void run(std::int64_t head, std::int64_t first, std::int64_t n, const Value* q, float* out,
           PrefillScratch& scratch) const;

 private:
  // Keys that query i sees.
  [[nodiscard]] std::int64_t visible(std::int64_t i) const {
    return shape_.causal ? std::clamp<std::int64_t>(shape_.keys - shape_.queries + i + 1, 0, shape_.keys)
                         : shape_.keys;
  }
  // Rows `row`, ..., `row` + height - 1 of the block that begins at query `first`, against one block of keys.
  void tile(const PrefillHead<Value>& head, std::int64_t first, std::int64_t row, std::int64_t height,
            std::int64_t key, PrefillScratch& scratch) const;

  FastAttention shape_;
  const FastKernels& kernels_;
  std::vector<PrefillHead<Value>> heads_;
};

template <class Value>
void Prefill<Value>::tile(const PrefillHead<Value>& head, std::int64_t first, std::int64_t row,
                          std::int64_t height, std::int64_t key, PrefillScratch& scratch) const {
  const std::int64_t seen = std::min(kKeyBlock, visible(first + row + height - 1) - key);
  if (seen <= 0) return;
  const std::int64_t panels = (seen + kTileColumns - 1) / kTileColumns;
  float* scores = scratch.scores.data();
  for (std::int64_t p = 0; p < panels; ++p) {
    kernels_.tile[height - 1]({.a = scratch.q.row(row),
                               .a_stride = scratch.q.stride(),
                               .b = head.keys.panel(key / kTileColumns + p),
                               .depth = head.keys.depth_units(),
                               .c = scores + p * kTileColumns,
                               .c_stride = kScoreStride});
  }
  for (std::int64_t r = 0; r < height; ++r) {
    float* row_scores = scores + r * kScoreStride;
    const std::int64_t own =
        std::clamp<std::int64_t>(visible(first + row + r) - key, 0, panels * kTileColumns);
    std::fill(row_scores + own, row_scores + panels * kTileColumns, kNoScore);
    const float factor = kernels_.softmax({.scores = row_scores,
                                           .weights = scratch.weights.row(r),
                                           .columns = panels * kTileColumns,
                                           .scale = shape_.scale,
                                           .maximum = scratch.maximum + row + r,
                                           .sum = scratch.sum + row + r});
    if (factor != 1.0F)
      kernels_.scale(scratch.out.data() + (row + r) * scratch.out_stride, scratch.out_stride, factor);
  }
  for (std::int64_t p = 0; p < head.values.panels(); ++p) {
    kernels_.tile[height - 1]({.a = scratch.weights.row(0),
                               .a_stride = scratch.weights.stride(),
                               .b = head.values.panel(p) + key / kValuesPerUnit<Value> * kTileColumns,
                               .depth = units_of<Value>(seen),
                               .c = scratch.out.data() + row * scratch.out_stride + p * kTileColumns,
                               .c_stride = scratch.out_stride,
                               .accumulate = true});
  }
}

template <class Value>
void Prefill<Value>::run(std::int64_t head, std::int64_t first, std::int64_t n, const Value* q, float* out,
                         PrefillScratch& scratch) const {
  const PrefillHead<Value>& kv =
      heads_[static_cast<std::size_t>(head / (shape_.query_heads / shape_.kv_heads))];
  for (std::int64_t r = 0; r < n; ++r) copy_units(q + r * shape_.qk_dim, shape_.qk_dim, scratch.q.row(r));
  std::fill(scratch.out.begin(), scratch.out.end(), 0.0F);
  std::fill_n(scratch.maximum, n, kNoScore);
  std::fill_n(scratch.sum, n, 0.0F);
  const std::int64_t tiles = (n + kTileRows - 1) / kTileRows;
  for (std::int64_t key = 0; key < visible(first + n - 1); key += kKeyBlock) {
    for (std::int64_t t = 0; t < tiles; ++t)
      tile(kv, first, n * t / tiles, n * (t + 1) / tiles - n * t / tiles, key, scratch);
  }
  for (std::int64_t r = 0; r < n; ++r) {
    const float by = scratch.sum[r] > 0.0F ? 1.0F / scratch.sum[r] : 0.0F;
    const float* sums = scratch.out.data() + r * scratch.out_stride;
    for (std::int64_t c = 0; c < shape_.v_dim; ++c) out[r * shape_.v_dim + c] = sums[c] * by;
  }
}

}  // namespace fast_prefill_detail

void check_attention(const FastAttention& shape, std::size_t q, std::size_t k, std::size_t v,
                     std::size_t out) {
  core::check(shape.kv_heads > 0 && shape.query_heads % shape.kv_heads == 0 && shape.scale > 0.0F,
              "query heads are a multiple of KV heads, and the scale of scores is positive");
  core::check(std::cmp_equal(q, shape.query_heads * shape.queries * shape.qk_dim) &&
                  std::cmp_equal(k, shape.kv_heads * shape.keys * shape.qk_dim) &&
                  std::cmp_equal(v, shape.kv_heads * shape.keys * shape.v_dim) &&
                  std::cmp_equal(out, shape.query_heads * shape.queries * shape.v_dim),
              "the tensors of attention have the sizes of its shape");
}

double fast_attention_bound(const FastAttention& shape, double largest_score, double weighted, double values,
                            bool bf16) {
  using namespace fast_prefill_detail;
  const double u = std::ldexp(1.0, -24);
  const auto gamma_n = [&](double n) { return n * u / (1.0 - n * u); };
  const auto keys = static_cast<double>(shape.keys);
  // Scores: a sum over the dimension, the scale, and the difference to the maximum (at most 2 largest_score).
  const double score_error =
      gamma_n(static_cast<double>(shape.qk_dim) + 4.0) * largest_score + 4.0 * u * largest_score;
  const double blocks = keys / static_cast<double>(kKeyBlock) + 2.0;
  const double relative = gamma_n(keys + 3.0 * blocks + 16.0) + (2.0 * kFastExpUlps + 2.0) * u * blocks;
  const double rounding = bf16 ? std::ldexp(1.0, -8) : 0.0;
  // Flushed weights and products: each below 2^-125 of the largest weight.
  const double flushed = keys * std::ldexp(1.0, -125) * values;
  return (std::expm1(2.0 * score_error) + 2.0 * relative + rounding) * (1.0 + 2.0 * relative + rounding) *
             weighted +
         flushed;
}

template <class Value>
void fast_prefill(const FastAttention& shape, std::span<const Value> q, std::span<const Value> k,
                  std::span<const Value> v, std::span<float> out, const FastOptions& options) {
  using namespace fast_prefill_detail;
  check_attention(shape, q.size(), k.size(), v.size(), out.size());
  constexpr bool kBf16 = sizeof(Value) == 2;
  const FastKernels& kernels = fast_kernels(resolved(options.isa, kBf16), kBf16);
  std::vector<PrefillHead<Value>> heads(static_cast<std::size_t>(shape.kv_heads));
  run_parts(options, shape.kv_heads, [&](int /*worker*/, std::int64_t head) {
    const Value* keys = k.data() + head * shape.keys * shape.qk_dim;
    const Value* values = v.data() + head * shape.keys * shape.v_dim;
    heads[static_cast<std::size_t>(head)] = {
        PackedWeights<Value>({keys, shape.keys, shape.qk_dim, shape.qk_dim}),
        PackedWeights<Value>::transposed({values, shape.keys, shape.v_dim, shape.v_dim})};
  });
  const Prefill<Value> prefill(shape, kernels, std::move(heads));
  const std::int64_t blocks = (shape.queries + kQueryBlock - 1) / kQueryBlock;
  std::vector<PrefillScratch> scratch(
      static_cast<std::size_t>(threads_of(options)),
      PrefillScratch(units_of<Value>(shape.qk_dim), (shape.v_dim + kTileColumns - 1) / kTileColumns));
  run_parts(options, blocks * shape.query_heads, [&](int worker, std::int64_t part) {
    // Head by head, so that its keys stay in a cache; the last queries see the most keys and go first, so
    // that no thread is left alone with them.
    const std::int64_t head = part / blocks;
    const std::int64_t first = (blocks - 1 - part % blocks) * kQueryBlock;
    const std::int64_t row = head * shape.queries + first;
    prefill.run(head, first, std::min(kQueryBlock, shape.queries - first), q.data() + row * shape.qk_dim,
                out.data() + row * shape.v_dim, scratch[static_cast<std::size_t>(worker)]);
  });
}

template void fast_prefill(const FastAttention&, std::span<const float>, std::span<const float>,
                           std::span<const float>, std::span<float>, const FastOptions&);
template void fast_prefill(const FastAttention&, std::span<const Bf16>, std::span<const Bf16>,
                           std::span<const Bf16>, std::span<float>, const FastOptions&);

}  // namespace moesim::reference
