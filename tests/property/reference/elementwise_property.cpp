// Rotations, norms and activations: errors against their a-priori bounds, counts against the operators that
// the lowering makes of a layer.
#include <bit>
#include <cmath>
#include <map>
#include <vector>

#include "models/llm/lowering.hpp"
#include "models/reference/activations.hpp"
#include "models/reference/bounds_elementwise.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

constexpr double kBf16Unit = 0x1p-8;

double wide(float value) { return static_cast<double>(value); }
double wide(Bf16 value) { return static_cast<double>(to_float(value)); }

std::vector<float> any_values(std::size_t count, int spread) {
  std::vector<float> values(count);
  for (float& value : values) {
    const auto significand = static_cast<float>(*rc::gen::inRange(-1 << 20, 1 << 20));
    value = std::ldexp(significand, -20 + *rc::gen::inRange(-spread, spread + 1));
  }
  return values;
}

std::vector<Bf16> rounded(const std::vector<float>& values) {
  std::vector<Bf16> out;
  for (const float value : values) out.push_back(to_bf16(value));
  return out;
}

template <class Value>
std::vector<double> widened(const std::vector<Value>& values) {
  std::vector<double> out;
  for (const Value value : values) out.push_back(wide(value));
  return out;
}

RopeConfig any_rope() {
  RopeConfig config;
  config.scaling = static_cast<RopeScaling>(*rc::gen::inRange(0, 6));
  config.dim = 2 * *rc::gen::inRange<std::int64_t>(2, 33);
  config.base = *rc::gen::element(10000.0, 150000.0, 500000.0, 1e7);
  config.factor = *rc::gen::inRange(1, 65);
  config.original_position = *rc::gen::element(2048.0, 4096.0, 8192.0);
  config.max_position = config.original_position * config.factor;
  config.sequence = *rc::gen::inRange(1, 1 << 20);
  config.truncate = *rc::gen::arbitrary<bool>();
  for (std::int64_t i = 0; i < config.dim / 2; ++i) {
    config.short_factors.push_back(1.0 + 0.1 * static_cast<double>(i));
    config.long_factors.push_back(2.0 + static_cast<double>(i));
  }
  return config;
}

TEST_CASE("rotations keep their bound in both modes, at any position") {
  CHECK(rc::check("f32 and bf16", [] {
    const RopeConfig config = any_rope();
    const std::vector<double> frequencies = inverse_frequencies(config);
    const double factor = attention_factor(config);
    const auto position = *rc::gen::inRange<std::int64_t>(0, 11'000'000);
    const auto layout = *rc::gen::element(RopeLayout::half_split, RopeLayout::interleaved);
    const std::vector<float> x = any_values(static_cast<std::size_t>(config.dim) + 3, 12);
    const std::vector<Bf16> half = rounded(x);
    NoProbe probe;
    for (const RopeAngle angle : {RopeAngle::exact, RopeAngle::f32}) {
      const RopeTable table = rope_table(frequencies, factor, angle, std::vector<std::int64_t>{position});
      const auto check = [&](auto values, double storage) {
        const std::vector<double> inputs = widened(values);
        rotate_head(std::span(values), table, 0, layout, probe);
        const std::vector<double> exact =
            rotate_head_f64(inputs, frequencies, factor, static_cast<double>(position), layout);
        const std::size_t pairs = frequencies.size();
        for (std::size_t i = 0; i < values.size(); ++i) {
          if (i >= 2 * pairs) {
            RC_ASSERT(wide(values[i]) == inputs[i]);
            continue;
          }
          const bool interleaved = layout == RopeLayout::interleaved;
          const std::size_t pair = interleaved ? i / 2 : i % pairs;
          const std::size_t other = interleaved ? i ^ 1U : i < pairs ? i + pairs : i - pairs;
          const double bound = rope_error_bound(inputs[i], inputs[other], frequencies[pair], factor,
                                                static_cast<double>(position), angle, storage);
          RC_ASSERT(std::fabs(wide(values[i]) - exact[i]) <= bound);
        }
      };
      check(x, 0.0);
      check(half, kBf16Unit);
    }
  }));
}

TEST_CASE("norms keep their bounds") {
  CHECK(rc::check("RMSNorm and LayerNorm", [] {
    const auto rows = *rc::gen::inRange<std::int64_t>(1, 4);
    const auto width = *rc::gen::inRange<std::int64_t>(1, 300);
    std::vector<float> x = any_values(static_cast<std::size_t>(rows * width), *rc::gen::inRange(0, 20));
    // Rows around a large mean lose digits in the variance.
    const auto offset = static_cast<float>(*rc::gen::element(0, 0, 1000));
    for (float& value : x) value += offset;
    const std::vector<float> weight = any_values(static_cast<std::size_t>(width), 3);
    const std::vector<float> bias = any_values(static_cast<std::size_t>(width), 3);
    NormOptions options;
    options.epsilon = *rc::gen::element(1e-5F, 1e-6F, 1e-3F);
    options.cast = *rc::gen::element(NormCast::after_weight, NormCast::before_weight);
    options.weight_plus_one = *rc::gen::arbitrary<bool>();
    NoProbe probe;
    const auto check = [&](const auto& values, const auto& weights, const auto& biases, double storage) {
      using Value = typename std::decay_t<decltype(values)>::value_type;
      const std::vector<double> inputs = widened(values);
      const std::vector<double> w = widened(weights);
      const std::vector<double> b = widened(biases);
      std::vector<Value> out(values.size());
      rms_norm<Value>(values, rows, width, weights, options, {}, out, probe);
      std::vector<double> exact =
          rms_norm_f64(inputs, rows, width, w, wide(options.epsilon), options.weight_plus_one);
      std::vector<double> bound = rms_norm_error_bound(inputs, rows, width, w, options, storage);
      for (std::size_t i = 0; i < out.size(); ++i) RC_ASSERT(std::fabs(wide(out[i]) - exact[i]) <= bound[i]);
      layer_norm<Value>(values, rows, width, weights, biases, options.epsilon, {}, out, probe);
      exact = layer_norm_f64(inputs, rows, width, w, b, wide(options.epsilon));
      bound = layer_norm_error_bound(inputs, rows, width, w, b, wide(options.epsilon), storage);
      for (std::size_t i = 0; i < out.size(); ++i) RC_ASSERT(std::fabs(wide(out[i]) - exact[i]) <= bound[i]);
    };
    check(x, weight, bias, 0.0);
    check(rounded(x), rounded(weight), rounded(bias), kBf16Unit);
  }));
}

TEST_CASE("a row's norm does not depend on the other rows") {
  CHECK(rc::check("bits", [] {
    const auto rows = *rc::gen::inRange<std::int64_t>(2, 6);
    const auto width = *rc::gen::inRange<std::int64_t>(1, 100);
    const std::vector<float> x = any_values(static_cast<std::size_t>(rows * width), 10);
    NoProbe probe;
    std::vector<float> all(x.size());
    rms_norm<float>(x, rows, width, {}, {}, {}, all, probe);
    const auto columns = static_cast<std::size_t>(width);
    for (std::size_t begin = 0; begin < x.size(); begin += columns) {
      std::vector<float> one(columns);
      rms_norm<float>(std::span(x).subspan(begin, columns), 1, width, {}, {}, {}, one, probe);
      for (std::size_t i = 0; i < columns; ++i) {
        RC_ASSERT(std::bit_cast<std::uint32_t>(one[i]) == std::bit_cast<std::uint32_t>(all[begin + i]));
      }
    }
  }));
}

// A model of one layer with everything small and random.
llm::Architecture any_model() {
  llm::GroupedQueryAttention attention;
  attention.kv_heads = *rc::gen::inRange<std::int64_t>(1, 4);
  attention.query_heads = attention.kv_heads * *rc::gen::inRange<std::int64_t>(1, 4);
  attention.head_dim = 2 * *rc::gen::inRange<std::int64_t>(1, 17);
  attention.value_head_dim = *rc::gen::inRange<std::int64_t>(0, 20);
  attention.rotated_dim = 2 * *rc::gen::inRange<std::int64_t>(1, attention.head_dim / 2 + 1);
  attention.query_key_norm = true;
  attention.output_gate = true;
  llm::DenseFfn ffn;
  ffn.width = *rc::gen::inRange<std::int64_t>(1, 70);
  llm::Architecture model;
  model.vocab_size = 100;
  model.hidden_size = *rc::gen::inRange<std::int64_t>(1, 90);
  model.layer_norm = *rc::gen::arbitrary<bool>();
  model.norm_bias = model.layer_norm && *rc::gen::arbitrary<bool>();
  model.post_norms = true;
  model.layers = {{1, attention, ffn}};
  return model;
}

// The elementwise operators of a step by role; the first of several.
std::map<llm::ElementwiseRole, llm::Work> lowered(const llm::Architecture& model, std::int64_t tokens) {
  llm::RankBatch batch;
  llm::add_chunk(batch, {tokens, 0, true}, llm::batch_rule(model, 1));
  llm::StepOperators step;
  llm::lower(model, {}, {}, batch, batch.tokens, step);
  std::map<llm::ElementwiseRole, llm::Work> works;
  const auto add = [&](const std::vector<llm::Operator>& operators) {
    for (const llm::Operator& op : operators) {
      if (const auto* one = std::get_if<llm::Elementwise>(&op)) works.emplace(one->role, llm::work_of(*one));
    }
  };
  for (const llm::LayerOperators& layer : step.layers) add(layer.operators);
  add(step.head);
  return works;
}

void assert_counts(const CountingProbe& probe, const llm::Work& work) {
  const Counts counts = probe.result();
  RC_ASSERT(2 * counts.useful_macs == work.matmul_flops);
  RC_ASSERT(counts.other_flops == work.other_flops);
  RC_ASSERT(counts.specials == work.specials);
  RC_ASSERT(counts.compulsory(Operand::activations) == work.activation_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::result) == work.activation_write_bytes);
  RC_ASSERT(counts.compulsory(Operand::cached_result) == work.kv_write_bytes);
  RC_ASSERT(counts.compulsory(Operand::weights) == work.weight_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::keys_values) == work.kv_read_bytes);
}

CountingProbe counted_norm(const llm::Architecture& model, std::int64_t rows, std::int64_t width,
                           bool residual, bool stream) {
  const auto size = static_cast<std::size_t>(rows * width);
  const std::vector<Bf16> x(size, to_bf16(1.0F));
  const std::vector<Bf16> weight(static_cast<std::size_t>(width), to_bf16(1.0F));
  std::vector<Bf16> other(residual ? size : 0);
  std::vector<Bf16> out(size);
  CountingProbe probe;
  if (stream && model.layer_norm) {
    const std::vector<Bf16> bias(model.norm_bias ? weight.size() : 0);
    layer_norm<Bf16>(x, rows, width, weight, bias, 1e-5F, other, out, probe);
  } else {
    rms_norm<Bf16>(x, rows, width, weight, {}, other, out, probe);
  }
  return probe;
}

void assert_rope_counts(const llm::GroupedQueryAttention& shape, std::int64_t tokens, const llm::Work& work) {
  const RopeHeads heads{shape.query_heads, shape.kv_heads, shape.head_dim, shape.value_dim()};
  RopeConfig config;
  config.dim = shape.rotation();
  std::vector<std::int64_t> positions;
  for (std::int64_t t = 0; t < tokens; ++t) positions.push_back(t);
  const RopeTable table = rope_table(inverse_frequencies(config), 1.0, RopeAngle::exact, positions);
  const auto sized = [&](std::int64_t n, std::int64_t width) {
    return std::vector<Bf16>(static_cast<std::size_t>(tokens * n * width));
  };
  std::vector<Bf16> queries = sized(heads.query_heads, heads.head_dim);
  const std::vector<Bf16> keys = sized(heads.kv_heads, heads.head_dim);
  const std::vector<Bf16> values = sized(heads.kv_heads, heads.value_dim);
  std::vector<Bf16> key_cache = keys;
  std::vector<Bf16> value_cache = values;
  CountingProbe probe;
  rope_and_cache<Bf16>(heads, table, RopeLayout::half_split, queries, keys, values, positions, key_cache,
                       value_cache, probe);
  assert_counts(probe, work);
}

void assert_layer_counts(const llm::Architecture& model, std::int64_t tokens) {
  const auto works = lowered(model, tokens);
  const auto& shape = std::get<llm::GroupedQueryAttention>(model.layers[0].attention);
  const auto& ffn = std::get<llm::DenseFfn>(model.layers[0].ffn);
  const std::int64_t hidden = model.hidden_size;
  using Role = llm::ElementwiseRole;
  for (const Role role : {Role::input_norm, Role::post_attention_norm}) {
    assert_counts(counted_norm(model, tokens, hidden, true, true), works.at(role));
  }
  for (const Role role : {Role::attention_output_norm, Role::ffn_output_norm}) {
    assert_counts(counted_norm(model, tokens, hidden, false, true), works.at(role));
  }
  assert_counts(counted_norm(model, tokens, hidden, false, true), works.at(Role::final_norm));
  assert_counts(
      counted_norm(model, tokens * (shape.query_heads + shape.kv_heads), shape.head_dim, false, false),
      works.at(Role::query_key_norm));
  assert_rope_counts(shape, tokens, works.at(Role::rope_and_cache));
  const auto width = static_cast<std::size_t>(tokens * ffn.width);
  const std::vector<Bf16> gate(width);
  std::vector<Bf16> out(width);
  CountingProbe activation;
  silu_and_multiply<Bf16>(gate, gate, out, activation);
  assert_counts(activation, works.at(Role::activation));
  const std::vector<Bf16> result(static_cast<std::size_t>(tokens * shape.query_heads * shape.value_dim()));
  std::vector<Bf16> gated(result.size());
  CountingProbe output_gate;
  sigmoid_gate<Bf16>(result, result, gated, output_gate);
  assert_counts(output_gate, works.at(Role::attention_gate));
}

TEST_CASE("kernels do the work of the operators that a layer is lowered to") {
  CHECK(rc::check("every elementwise operator of a dense layer", [] {
    // Two shapes a run: 200 of them where properties run 100 times.
    for (int shape = 0; shape < 2; ++shape) {
      assert_layer_counts(any_model(), *rc::gen::inRange<std::int64_t>(2, 7));
    }
  }));
}

}  // namespace
}  // namespace moesim::reference
