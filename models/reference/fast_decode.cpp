#include <algorithm>
#include <cstring>
#include <limits>

#include "models/reference/decode_part.hpp"
#include "models/reference/fast_attention.hpp"
#include "models/reference/fast_exp.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

// Not an anonymous namespace: in a unity build gcc minds lambdas that capture types of one.
namespace fast_decode_detail {

constexpr std::int64_t kSplitKeys = 4096;

template <class Value>
[[nodiscard]] float decode_value(const std::byte* values, std::int64_t i) {
  Value value;
  std::memcpy(&value, values + i * static_cast<std::int64_t>(sizeof value), sizeof value);
  return to_float(value);
}

// One head against one block of keys, in plain loops.
template <class Value>
void plain_block(const DecodePart& part, std::int64_t head, std::int64_t first) {
  const std::int64_t keys = std::min(kDecodeBlock, part.keys - first);
  const auto* q = reinterpret_cast<const std::byte*>(part.q + head * part.q_stride);
  float* out = part.out + head * part.out_stride;
  float scores[kDecodeBlock];
  for (std::int64_t j = 0; j < keys; ++j) {
    float sum = 0.0F;
    for (std::int64_t c = 0; c < part.qk_dim; ++c)
      sum += decode_value<Value>(q, c) * decode_value<Value>(part.k, (first + j) * part.qk_dim + c);
    scores[j] = part.scale * sum;
  }
  const float old = part.maximum[head];
  const float now = std::max(old, *std::max_element(scores, scores + keys));
  const float factor = old == now || part.sum[head] == 0.0F ? 1.0F : fast_exp::exp1(old - now);
  part.maximum[head] = now;
  part.sum[head] *= factor;
  for (std::int64_t c = 0; c < part.v_dim; ++c) out[c] *= factor;
  for (std::int64_t j = 0; j < keys; ++j) {
    const float weight = fast_exp::exp1(scores[j] - now);
    part.sum[head] += weight;
    const float rounded = sizeof(Value) == 2 ? rounded_to_bf16(weight) : weight;
    for (std::int64_t c = 0; c < part.v_dim; ++c)
      out[c] += rounded * decode_value<Value>(part.v, (first + j) * part.v_dim + c);
  }
}

template <class Value>
void plain_decode_part(const DecodePart& part) {
  std::fill_n(part.maximum, part.heads, -std::numeric_limits<float>::infinity());
  std::fill_n(part.sum, part.heads, 0.0F);
  std::fill_n(part.out, part.heads * part.out_stride, 0.0F);
  for (std::int64_t first = 0; first < part.keys; first += kDecodeBlock) {
    for (std::int64_t head = 0; head < part.heads; ++head) plain_block<Value>(part, head, first);
  }
}

// Partial results of all splits: [split][query head].
struct DecodePartials {
  DecodePartials(std::int64_t n, std::int64_t out_stride)
      : stride(out_stride),
        maximum(static_cast<std::size_t>(n)),
        sum(static_cast<std::size_t>(n)),
        out(static_cast<std::size_t>(n * out_stride)) {}

  std::int64_t stride;
  std::vector<float> maximum;
  std::vector<float> sum;
  std::vector<float> out;
};

// Puts the splits of one query head together, in ascending order.
void merge_decode_splits(const FastAttention& shape, const DecodePartials& partials, std::int64_t splits,
                         std::int64_t head, float* out) {
  const auto index = [&](std::int64_t split) {
    return static_cast<std::size_t>(split * shape.query_heads + head);
  };
  float maximum = -std::numeric_limits<float>::infinity();
  for (std::int64_t split = 0; split < splits; ++split)
    maximum = std::max(maximum, partials.maximum[index(split)]);
  std::fill_n(out, shape.v_dim, 0.0F);
  float sum = 0.0F;
  for (std::int64_t split = 0; split < splits; ++split) {
    const float weight = fast_exp::exp1(partials.maximum[index(split)] - maximum);
    sum += weight * partials.sum[index(split)];
    const float* part = partials.out.data() + static_cast<std::int64_t>(index(split)) * partials.stride;
    for (std::int64_t c = 0; c < shape.v_dim; ++c) out[c] += weight * part[c];
  }
  for (std::int64_t c = 0; c < shape.v_dim; ++c) out[c] = sum > 0.0F ? out[c] / sum : 0.0F;
}

}  // namespace fast_decode_detail

DecodeKernel portable_decode(bool bf16) {
  using namespace fast_decode_detail;
  return bf16 ? plain_decode_part<Bf16> : plain_decode_part<float>;
}

template <class Value>
void fast_decode(const FastAttention& shape, std::span<const Value> q, std::span<const Value> k,
                 std::span<const Value> v, std::span<float> out, const FastOptions& options) {
  using namespace fast_decode_detail;
  check_attention(shape, q.size(), k.size(), v.size(), out.size());
  core::check(shape.queries == 1, "decode is for one query");
  constexpr bool kBf16 = sizeof(Value) == 2;
  const bool wide = resolved(options.isa, kBf16) == Isa::avx512 && avx512_decode(kBf16) != nullptr;
  const DecodeKernel kernel = wide ? avx512_decode(kBf16) : portable_decode(kBf16);
  UnitRows queries(shape.query_heads, units_of<Value>(shape.qk_dim));
  for (std::int64_t head = 0; head < shape.query_heads; ++head)
    copy_units(q.data() + head * shape.qk_dim, shape.qk_dim, queries.row(head));
  const std::int64_t splits = (shape.keys + kSplitKeys - 1) / kSplitKeys;
  const std::int64_t group = shape.query_heads / shape.kv_heads;
  DecodePartials partials(splits * shape.query_heads, (shape.v_dim + 31) / 32 * 32);
  run_parts(options, splits * shape.kv_heads, [&](int /*worker*/, std::int64_t part) {
    const std::int64_t head = part / splits, split = part % splits, key = split * kSplitKeys;
    const std::int64_t row = head * shape.keys + key, result = split * shape.query_heads + head * group;
    kernel({.q = queries.row(head * group),
            .q_stride = queries.stride(),
            .heads = group,
            .k = reinterpret_cast<const std::byte*>(k.data() + row * shape.qk_dim),
            .v = reinterpret_cast<const std::byte*>(v.data() + row * shape.v_dim),
            .keys = std::min(kSplitKeys, shape.keys - key),
            .qk_dim = shape.qk_dim,
            .v_dim = shape.v_dim,
            .scale = shape.scale,
            .maximum = partials.maximum.data() + result,
            .sum = partials.sum.data() + result,
            .out = partials.out.data() + result * partials.stride,
            .out_stride = partials.stride});
  });
  for (std::int64_t head = 0; head < shape.query_heads; ++head)
    merge_decode_splits(shape, partials, splits, head, out.data() + head * shape.v_dim);
}

template void fast_decode(const FastAttention&, std::span<const float>, std::span<const float>,
                          std::span<const float>, std::span<float>, const FastOptions&);
template void fast_decode(const FastAttention&, std::span<const Bf16>, std::span<const Bf16>,
                          std::span<const Bf16>, std::span<float>, const FastOptions&);

}  // namespace moesim::reference
