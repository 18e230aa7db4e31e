#include "sim/studies/kernel_bench_cases.hpp"

#include <fmt/format.h>

#include <cmath>
#include <type_traits>
#include <utility>

#include "models/reference/fast_attention.hpp"
#include "models/reference/fast_moe.hpp"
#include "models/reference/quantised_gemv.hpp"

namespace moesim::studies {

using reference::Bf16;
using reference::FastOptions;

namespace {

// Speed does not depend on the values, as long as they are ordinary: a Weyl sequence through a mixer.
class BenchValues {
 public:
  explicit BenchValues(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    state_ += 0x9E3779B97F4A7C15ULL;
    const std::uint64_t mixed = (state_ ^ (state_ >> 32U)) * 0xD6E8FEB86659FD93ULL;
    return mixed ^ (mixed >> 32U);
  }
  // Between -size and size.
  float uniform(float size) { return size * (static_cast<float>(bits() >> 40U) * 0x1p-23F - 1.0F); }

  template <class Value>
  std::vector<Value> vector(std::int64_t n, float size) {
    std::vector<Value> values(static_cast<std::size_t>(n));
    for (Value& value : values) {
      if constexpr (std::is_same_v<Value, Bf16>) {
        value = reference::to_bf16(uniform(size));
      } else {
        value = uniform(size);
      }
    }
    return values;
  }

 private:
  std::uint64_t state_;
};

template <class Value>
reference::PackedWeights<Value> bench_weights(BenchValues& values, std::int64_t columns, std::int64_t depth) {
  const std::vector<Value> all = values.vector<Value>(columns * depth, 0.05F);
  return reference::PackedWeights<Value>(reference::matrix(std::span<const Value>(all), columns, depth));
}

// 8 experts, top-2, 512 tokens.
template <class Value>
PreparedKernel prepare_moe() {
  constexpr std::int64_t kExperts = 8, kTopK = 2, kTokens = 512, kHidden = 1024, kWidth = 2048;
  struct Layer {
    std::vector<reference::PackedExpert<Value>> experts;
    std::vector<Value> x;
    std::vector<std::int32_t> chosen;
    std::vector<float> weights, out;
  };
  const auto layer = std::make_shared<Layer>();
  BenchValues values(1);
  for (std::int64_t e = 0; e < kExperts; ++e) {
    auto gate = bench_weights<Value>(values, kWidth, kHidden);
    auto up = bench_weights<Value>(values, kWidth, kHidden);
    layer->experts.push_back({std::move(gate), std::move(up), bench_weights<Value>(values, kHidden, kWidth)});
  }
  layer->x = values.vector<Value>(kTokens * kHidden, 2.0F);
  layer->out.resize(kTokens * kHidden);
  for (std::int64_t t = 0; t < kTokens; ++t) {
    const auto first = static_cast<std::int32_t>(values.bits() % kExperts);
    const auto step = static_cast<std::int32_t>(1 + values.bits() % (kExperts - 1));
    layer->chosen.insert(layer->chosen.end(), {first, static_cast<std::int32_t>((first + step) % kExperts)});
    layer->weights.insert(layer->weights.end(), {0.625F, 0.375F});
  }
  const auto run = [layer](std::int64_t /*round*/, const FastOptions& options) {
    reference::fast_moe_layer(std::span<const reference::PackedExpert<Value>>(layer->experts),
                              reference::matrix(std::span<const Value>(layer->x), kTokens, kHidden),
                              {kTopK, layer->chosen, layer->weights}, std::span(layer->out), options);
  };
  return {"8 experts, top-2, 512 tokens, hidden 1024, width 2048",
          2.0 * 3.0 * static_cast<double>(kTokens * kTopK * kHidden * kWidth),
          run,
          {}};
}

template <class Value>
struct AttentionTensors {
  reference::FastAttention shape;
  std::vector<Value> q, kv;  // all keys, then all values: a pass reads both
  std::vector<float> out;
};

template <class Value>
std::shared_ptr<AttentionTensors<Value>> attention_tensors(const reference::FastAttention& shape) {
  const auto tensors = std::make_shared<AttentionTensors<Value>>();
  BenchValues values(2);
  tensors->shape = shape;
  tensors->q = values.vector<Value>(shape.query_heads * shape.queries * shape.qk_dim, 1.7F);
  tensors->kv = values.vector<Value>(shape.kv_heads * shape.keys * (shape.qk_dim + shape.v_dim), 1.7F);
  tensors->out.resize(static_cast<std::size_t>(shape.query_heads * shape.queries * shape.v_dim));
  return tensors;
}

reference::FastAttention bench_attention(std::int64_t query_heads, std::int64_t queries, std::int64_t keys) {
  return {query_heads, 8, queries, keys, 128, 128, 1.0F / std::sqrt(128.0F), true};
}

template <class Value, auto Kernel>
PreparedKernel prepare_attention(const reference::FastAttention& shape, std::string words, bool reads) {
  const auto tensors = attention_tensors<Value>(shape);
  const auto keys = static_cast<std::size_t>(shape.kv_heads * shape.keys * shape.qk_dim);
  const auto run = [tensors, keys](std::int64_t /*round*/, const FastOptions& options) {
    const std::span<const Value> kv(tensors->kv);
    Kernel(tensors->shape, std::span<const Value>(tensors->q), kv.first(keys), kv.subspan(keys),
           std::span(tensors->out), options);
  };
  if (reads) {
    const auto pass = [tensors](std::int64_t /*round*/) {
      return std::as_bytes(std::span<const Value>(tensors->kv));
    };
    return {std::move(words), static_cast<double>(pass(0).size()), run, pass};
  }
  const std::int64_t pairs = shape.queries * (shape.queries + 1) / 2;
  return {std::move(words),
          2.0 * static_cast<double>(shape.query_heads * pairs * (shape.qk_dim + shape.v_dim)),
          run,
          {}};
}

template <class Value>
PreparedKernel prepare_prefill() {
  return prepare_attention<Value, reference::fast_prefill<Value>>(
      bench_attention(8, 2048, 2048), "2,048 queries and keys, causal, 8 heads of 128", false);
}

PreparedKernel prepare_decode(std::int64_t query_heads) {
  return prepare_attention<Bf16, reference::fast_decode<Bf16>>(
      bench_attention(query_heads, 1, 32768),
      fmt::format("one query, 32,768 keys in bf16, {} query and 8 KV heads of 128", query_heads), true);
}

// Several matrices in turn: one alone would stay in the L3 cache.
PreparedKernel prepare_gemv(reference::FourBitCode code, reference::FourBitScale scale) {
  constexpr std::int64_t kRows = 14336, kColumns = 4096, kMatrices = 5;
  const std::int64_t scale_size = scale == reference::FourBitScale::e8m0 ? 1 : 2;
  struct Matrices {
    std::vector<std::uint8_t> codes;
    std::vector<std::byte> scales;
    std::vector<Bf16> x;
    std::vector<float> out;
  };
  const auto all = std::make_shared<Matrices>();
  const std::int64_t code_bytes = kRows * kColumns / 2, scale_bytes = kRows * kColumns / 32 * scale_size;
  BenchValues values(3);
  all->codes.resize(static_cast<std::size_t>(kMatrices * code_bytes));
  for (std::uint8_t& one : all->codes) one = static_cast<std::uint8_t>(values.bits());
  // 2^-7 as an E8M0 code; as the upper byte of a bf16 it is about 2^-15.
  all->scales.assign(static_cast<std::size_t>(kMatrices * scale_bytes), std::byte{120});
  if (scale == reference::FourBitScale::bf16)
    for (std::size_t i = 1; i < all->scales.size(); i += 2) all->scales[i] = std::byte{0x38};
  all->x = values.vector<Bf16>(kColumns, 2.0F);
  all->out.resize(kRows);
  const auto part_of = [](const auto& bytes, std::int64_t round, std::int64_t size) {
    return std::span(bytes).subspan(static_cast<std::size_t>(round % kMatrices * size),
                                    static_cast<std::size_t>(size));
  };
  const auto run = [=](std::int64_t round, const FastOptions& options) {
    const reference::FourBitWeights weights{kRows,
                                            kColumns,
                                            code,
                                            reference::FourBitOrder::natural,
                                            scale,
                                            part_of(std::as_const(all->codes), round, code_bytes),
                                            part_of(std::as_const(all->scales), round, scale_bytes)};
    reference::quantised_gemv(weights, all->x, std::span(all->out), options);
  };
  const auto pass = [=](std::int64_t round) {
    return std::as_bytes(part_of(std::as_const(all->codes), round, code_bytes));
  };
  return {"14336 x 4096, one row of bf16 activations", static_cast<double>(code_bytes + scale_bytes), run,
          pass};
}

}  // namespace

std::vector<KernelCase> kernel_cases() {
  using reference::FourBitCode, reference::FourBitScale;
  // Decode: 1.4 and 1.15 times the time of the pass.
  return {
      {"moe/f32", false, 0.80, 0.80, prepare_moe<float>},
      {"moe/bf16", true, 0.80, 0.80, prepare_moe<Bf16>},
      {"prefill/f32", false, 0.70, 0.75, prepare_prefill<float>},
      {"prefill/bf16", true, 0.60, 0.65, prepare_prefill<Bf16>},
      {"decode/8-8", true, 1 / 1.4, 1 / 1.15, [] { return prepare_decode(8); }},
      {"decode/32-8", true, 1 / 1.4, 1 / 1.15, [] { return prepare_decode(32); }},
      {"gemv/mxfp4", true, 0.60, 0.80, [] { return prepare_gemv(FourBitCode::e2m1, FourBitScale::e8m0); }},
      {"gemv/int4", true, 0.60, 0.80,
       [] { return prepare_gemv(FourBitCode::int4_offset, FourBitScale::bf16); }},
  };
}

}  // namespace moesim::studies
