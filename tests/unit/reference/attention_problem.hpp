// Random attention problems for tests, the same on every machine.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "models/reference/attention_merge.hpp"
#include "models/reference/bounds_attention.hpp"

namespace moesim::reference::test {

// SplitMix64.
class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }
  // In [-1, 1).
  float real() { return static_cast<float>(static_cast<double>(next() >> 11U) * 0x1p-52 - 1.0); }
  // In [low, high].
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
  }

 private:
  std::uint64_t state_;
};

template <class Value>
std::vector<Value> random_values(Numbers& numbers, std::int64_t count, float size) {
  std::vector<Value> values(static_cast<std::size_t>(count));
  for (Value& value : values) detail::store(numbers.real() * size, value);
  return values;
}

struct ProblemShape {
  std::int64_t heads = 4;
  std::int64_t kv_heads = 2;
  std::int64_t queries = 9;
  std::int64_t keys = 37;
  std::int64_t key_dim = 16;
  std::int64_t value_dim = 12;
};

// Queries, keys and values of about unit size times `size`; query 0 stands at keys - queries.
template <class Value>
struct Problem {
  ProblemShape shape;
  std::vector<Value> q, k, v, sinks;
  std::vector<float> temperature;
  std::vector<std::uint8_t> custom;
  AttentionOptions options;

  Problem(const ProblemShape& sizes, std::uint64_t seed, float size = 1.0F) : shape(sizes) {
    Numbers numbers(seed);
    q = random_values<Value>(numbers, shape.heads * shape.queries * shape.key_dim, size);
    k = random_values<Value>(numbers, shape.kv_heads * shape.keys * shape.key_dim, size);
    v = random_values<Value>(numbers, shape.kv_heads * shape.keys * shape.value_dim, 1.0F);
    options.scale = 1.0 / std::sqrt(static_cast<double>(shape.key_dim));
    options.first_query = shape.keys - shape.queries;
    options.tile = {4, 8};
  }
  void add_sinks(std::uint64_t seed) {
    Numbers numbers(seed);
    sinks = random_values<Value>(numbers, shape.heads, 2.0F);
  }
  void add_custom(std::uint64_t seed) {
    Numbers numbers(seed);
    for (std::int64_t i = 0; i < shape.queries * shape.keys; ++i)
      custom.push_back(numbers.next() % 3 == 0 ? 1 : 0);
    options.mask.causal = false;
    options.mask.custom = custom;
    options.mask.custom_keys = shape.keys;
  }
  [[nodiscard]] QueryRows<Value> queries() const {
    return {heads_first(std::span<const Value>(q), shape.heads, shape.queries, shape.key_dim), sinks,
            temperature};
  }
  [[nodiscard]] ContiguousKeyValues<Value> source() const {
    ContiguousKeyValues<Value> source;
    source.key_rows = heads_first(std::span<const Value>(k), shape.kv_heads, shape.keys, shape.key_dim);
    source.value_rows = heads_first(std::span<const Value>(v), shape.kv_heads, shape.keys, shape.value_dim);
    return source;
  }
};

// Results [heads, queries, value_dim] and log-sum-exps [heads, queries].
template <class Out, class Lse = float>
struct Answer {
  std::vector<Out> o;
  std::vector<Lse> lse;
  AttentionOutput<Out, Lse> output;

  explicit Answer(const ProblemShape& shape)
      : o(static_cast<std::size_t>(shape.heads * shape.queries * shape.value_dim)),
        lse(static_cast<std::size_t>(shape.heads * shape.queries)),
        output{heads_first(std::span<Out>(o), shape.heads, shape.queries, shape.value_dim), lse} {}
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;
  [[nodiscard]] bool same(const Answer& other) const { return o == other.o && lse == other.lse; }
};

inline double as_double(float value) { return static_cast<double>(value); }
inline double as_double(double value) { return value; }
inline double as_double(Bf16 value) { return static_cast<double>(to_float(value)); }

// The largest |got - want| as a share of its bound; infinite where a value is wrong and its bound is 0 or
// where one is NaN or an infinity and the other is not.
template <class Got>
double worst_share(std::span<const Got> got, std::span<const double> want, std::span<const double> bound) {
  double worst = 0.0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double mine = as_double(got[i]);
    if (mine == want[i]) continue;
    const double share = std::fabs(mine - want[i]) / bound[i];
    worst = share >= 0.0 ? std::max(worst, share) : std::numeric_limits<double>::infinity();
  }
  return worst;
}

// Runs a tiled kernel and the oracle; the larger share of results and log-sum-exps.
template <class Out, class Value, class P = NoProbe>
double share_of_bound(const Problem<Value>& problem, P&& probe = P{}, bool decode = false) {
  Answer<double, double> exact(problem.shape);
  AttentionOptions oracle = problem.options;
  oracle.bf16_probabilities = false;
  attention_naive<double>(problem.queries(), problem.source(), oracle, exact.output);
  Answer<Out> got(problem.shape);
  if (decode) {
    attention_decode(problem.queries(), problem.source(), problem.options, got.output, probe);
  } else {
    attention_tiled(problem.queries(), problem.source(), problem.options, got.output, probe);
  }
  const AttentionBounds bounds = attention_bounds<Out>(problem.queries(), problem.source(), problem.options);
  return std::max(worst_share<Out>(got.o, exact.o, bounds.o),
                  worst_share<float>(got.lse, exact.lse, bounds.lse));
}

}  // namespace moesim::reference::test
