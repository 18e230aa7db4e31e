// Fast attention and four-bit products against f64, inside the a-priori bounds, for both paths; and their
// bits.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "models/reference/fast_attention.hpp"
#include "models/reference/quantised_gemv.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

std::int64_t between(std::int64_t low, std::int64_t high) { return *rc::gen::inRange(low, high + 1); }

std::mt19937_64 arbitrary_generator() { return std::mt19937_64(*rc::gen::arbitrary<std::uint64_t>()); }

double uniform(std::mt19937_64& random, double size) {
  return size * (static_cast<double>(random() >> 11U) * 0x1p-52 - 1.0);
}

template <class Value>
std::vector<Value> values_of_size(std::int64_t n, double size) {
  std::mt19937_64 random = arbitrary_generator();
  std::vector<Value> values;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto value = static_cast<float>(uniform(random, size));
    if constexpr (sizeof(Value) == 2) {
      values.push_back(to_bf16(value));
    } else {
      values.push_back(value);
    }
  }
  return values;
}

std::vector<Isa> paths(bool bf16) {
  std::vector<Isa> all{Isa::portable};
  if (resolved(Isa::automatic, bf16) == Isa::avx512) all.push_back(Isa::avx512);
  return all;
}

template <class Value>
struct Problem {
  FastAttention shape;
  std::vector<Value> q, k, v;
};

template <class Value>
Problem<Value> arbitrary_problem(bool decode) {
  FastAttention shape;
  shape.kv_heads = between(1, 2);
  shape.query_heads = shape.kv_heads * between(1, 7);
  shape.queries = decode ? 1 : between(1, 150);
  shape.keys = decode ? between(0, 300) : between(0, 700);
  shape.qk_dim = between(1, 70);
  shape.v_dim = between(1, 140);
  shape.scale = static_cast<float>(between(1, 40)) / 64.0F;
  shape.causal = decode || *rc::gen::arbitrary<bool>();
  if (decode && between(0, 9) == 0) {  // more than one split
    shape.keys = between(4090, 8300);
    shape.qk_dim = between(1, 8);
    shape.v_dim = between(1, 8);
  }
  const double size = std::ldexp(1.0, static_cast<int>(between(-6, 2)));  // scores from none to thousands
  return {shape, values_of_size<Value>(shape.query_heads * shape.queries * shape.qk_dim, 4.0 * size),
          values_of_size<Value>(shape.kv_heads * shape.keys * shape.qk_dim, size),
          values_of_size<Value>(shape.kv_heads * shape.keys * shape.v_dim, 8.0)};
}

// One row in f64: its result, and the bound of the kernel's error, for each column.
template <class Value>
void exact_row(const Problem<Value>& problem, std::int64_t head, std::int64_t i, std::vector<double>& row,
               std::vector<double>& bound) {
  const FastAttention& shape = problem.shape;
  const std::int64_t kv = head / (shape.query_heads / shape.kv_heads);
  const std::int64_t visible =
      shape.causal ? std::max<std::int64_t>(shape.keys - shape.queries + i + 1, 0) : shape.keys;
  std::vector<double> weights;
  double largest = -1e300, largest_score = 0.0, sum = 0.0;
  for (std::int64_t j = 0; j < visible; ++j) {
    double score = 0.0, magnitude = 0.0;
    for (std::int64_t c = 0; c < shape.qk_dim; ++c) {
      const auto a = static_cast<std::size_t>((head * shape.queries + i) * shape.qk_dim + c);
      const auto b = static_cast<std::size_t>((kv * shape.keys + j) * shape.qk_dim + c);
      const double product =
          static_cast<double>(to_float(problem.q[a])) * static_cast<double>(to_float(problem.k[b]));
      score += product;
      magnitude += std::fabs(product);
    }
    weights.push_back(score * static_cast<double>(shape.scale));
    largest = std::max(largest, weights.back());
    largest_score = std::max(largest_score, magnitude * static_cast<double>(shape.scale));
  }
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  row.assign(static_cast<std::size_t>(shape.v_dim), 0.0);
  bound = row;
  for (std::size_t c = 0; c < row.size(); ++c) {
    double weighted = 0.0, values = 0.0;
    for (std::size_t j = 0; j < weights.size(); ++j) {
      const double value =
          to_float(problem.v[static_cast<std::size_t>(kv * shape.keys * shape.v_dim) + j * row.size() + c]);
      row[c] += weights[j] / sum * value;
      weighted += weights[j] / sum * std::fabs(value);
      values = std::max(values, std::fabs(value));
    }
    bound[c] = fast_attention_bound(shape, largest_score, weighted, values, sizeof(Value) == 2);
  }
}

// Some rows of a result against f64.
template <class Value>
void rows_are_within_bounds(const Problem<Value>& problem, const std::vector<float>& out) {
  const FastAttention& shape = problem.shape;
  std::vector<double> row, bound;
  for (int sample = 0; sample < 12; ++sample) {
    const std::int64_t head = between(0, shape.query_heads - 1), i = between(0, shape.queries - 1);
    exact_row(problem, head, i, row, bound);
    for (std::size_t c = 0; c < row.size(); ++c) {
      const double got = out[static_cast<std::size_t>((head * shape.queries + i) * shape.v_dim) + c];
      RC_ASSERT(std::fabs(got - row[c]) <= bound[c]);
    }
  }
}

template <class Value>
void prefill_is_within_bounds() {
  const auto problem = arbitrary_problem<Value>(false);
  const FastAttention& shape = problem.shape;
  const std::span<const Value> q(problem.q), k(problem.k), v(problem.v);
  for (const Isa isa : paths(sizeof(Value) == 2)) {
    std::vector<float> out(static_cast<std::size_t>(shape.query_heads * shape.queries * shape.v_dim), -1.0F);
    fast_prefill(shape, q, k, v, std::span(out), {isa, nullptr});
    rows_are_within_bounds(problem, out);
    Workers two(2);
    std::vector<float> again(out.size());
    fast_prefill(shape, q, k, v, std::span(again), {isa, &two});
    RC_ASSERT(again == out);
    // The last queries of the first head alone, as the last chunk of a prompt: the same bits.
    FastAttention chunk = shape;
    chunk.query_heads = chunk.kv_heads = 1;
    chunk.queries = between(1, shape.queries);
    const std::int64_t skipped = shape.queries - chunk.queries;
    const auto part = [&](std::int64_t n, std::int64_t dim) { return static_cast<std::size_t>(n * dim); };
    std::vector<float> last(part(chunk.queries, shape.v_dim));
    fast_prefill(chunk, q.subspan(part(skipped, shape.qk_dim), part(chunk.queries, shape.qk_dim)),
                 k.first(part(shape.keys, shape.qk_dim)), v.first(part(shape.keys, shape.v_dim)),
                 std::span(last), {isa, nullptr});
    RC_ASSERT(std::equal(last.begin(), last.end(), out.begin() + skipped * shape.v_dim));
  }
}

template <class Value>
void decode_is_within_bounds() {
  const auto problem = arbitrary_problem<Value>(true);
  const FastAttention& shape = problem.shape;
  const std::span<const Value> q(problem.q), k(problem.k), v(problem.v);
  for (const Isa isa : paths(sizeof(Value) == 2)) {
    std::vector<float> out(static_cast<std::size_t>(shape.query_heads * shape.v_dim), -1.0F);
    fast_decode(shape, q, k, v, std::span(out), {isa, nullptr});
    rows_are_within_bounds(problem, out);
    Workers two(2);
    std::vector<float> again(out.size());
    fast_decode(shape, q, k, v, std::span(again), {isa, &two});
    RC_ASSERT(again == out);
  }
}

void four_bit_products_are_within_bounds() {
  FourBitWeights weights;
  weights.rows = between(1, 70);
  weights.columns = 32 * between(1, 40);
  weights.code =
      *rc::gen::element(FourBitCode::e2m1, FourBitCode::int4_offset, FourBitCode::int4_twos_complement);
  weights.order = *rc::gen::element(FourBitOrder::natural, FourBitOrder::split_half);
  weights.scale = *rc::gen::element(FourBitScale::e8m0, FourBitScale::bf16, FourBitScale::f32);
  std::mt19937_64 random = arbitrary_generator();
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(weights.rows * weights.columns / 2));
  for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(random());
  std::vector<std::byte> scales;
  const bool extreme = between(0, 3) == 0;  // E8M0 codes from the smallest on
  for (std::int64_t i = 0; i < weights.rows * weights.columns / 32; ++i) {
    const auto value = static_cast<float>(uniform(random, 1.0));
    std::uint8_t bytes[4] = {static_cast<std::uint8_t>(extreme ? random() % 3 : 100 + random() % 50)};
    std::size_t n = 1;
    if (weights.scale == FourBitScale::f32) {
      std::memcpy(bytes, &value, n = 4);
    } else if (weights.scale == FourBitScale::bf16) {
      const Bf16 rounded = to_bf16(value);
      std::memcpy(bytes, &rounded, n = 2);
    }
    for (std::size_t b = 0; b < n; ++b) scales.push_back(std::byte{bytes[b]});
  }
  weights.codes = codes;
  weights.scales = scales;
  const auto x = values_of_size<Bf16>(weights.columns, 2.0);
  for (const Isa isa : paths(true)) {
    std::vector<float> out(static_cast<std::size_t>(weights.rows));
    quantised_gemv(weights, x, out, {isa, nullptr});
    for (std::int64_t row = 0; row < weights.rows; ++row) {
      double exact = 0.0, magnitude = 0.0, scale_sum = 0.0;
      for (std::int64_t k = 0; k < weights.columns; ++k) {
        const bool natural = weights.order == FourBitOrder::natural;
        const std::int64_t byte = natural ? k / 2 : k / 32 * 16 + k % 16;
        const bool high = natural ? k % 2 == 1 : k % 32 >= 16;
        const auto code = codes[static_cast<std::size_t>(row * weights.columns / 2 + byte)];
        const double scale = four_bit_scale(weights, row * weights.columns / 32 + k / 32);
        const double product = static_cast<double>(four_bit_value(
                                   weights.code, static_cast<std::uint8_t>(high ? code >> 4 : code & 0xF))) *
                               scale * static_cast<double>(to_float(x[static_cast<std::size_t>(k)]));
        exact += product;
        magnitude += std::fabs(product);
        scale_sum += std::fabs(scale);
      }
      const double n = static_cast<double>(weights.columns + 32) * 0x1p-24;
      // The last two: what is flushed before and after it is scaled.
      const double bound = n / (1.0 - n) * magnitude + 16.0 * 0x1p-126 * scale_sum +
                           static_cast<double>(weights.columns) * 0x1p-149;
      RC_ASSERT(std::fabs(static_cast<double>(out[static_cast<std::size_t>(row)]) - exact) <= bound);
    }
    Workers two(2);
    std::vector<float> again(out.size());
    quantised_gemv(weights, x, again, {isa, &two});
    RC_ASSERT(again == out);
  }
}

TEST_CASE("fast prefill is within its bound, and a query's bits are its own") {
  CHECK(rc::check("f32", prefill_is_within_bounds<float>));
  CHECK(rc::check("bf16", prefill_is_within_bounds<Bf16>));
}

TEST_CASE("fast decode is within its bound for any group, dimension and number of splits") {
  CHECK(rc::check("f32", decode_is_within_bounds<float>));
  CHECK(rc::check("bf16", decode_is_within_bounds<Bf16>));
}

TEST_CASE("four-bit products are within their bound for every code, order and scale") {
  CHECK(rc::check("gemv", four_bit_products_are_within_bounds));
}

TEST_CASE("an E8M0 scale of 255 makes its row NaN, and no other") {
  std::vector<std::uint8_t> codes(8 * 64, 0x11);
  std::vector<std::byte> scales(8 * 4, std::byte{127});
  scales[4 * 2 + 3] = std::byte{255};
  const FourBitWeights weights{8,     128,   FourBitCode::e2m1, FourBitOrder::natural, FourBitScale::e8m0,
                               codes, scales};
  const std::vector<Bf16> x(128, to_bf16(1.0F));
  for (const Isa isa : paths(true)) {
    std::vector<float> out(8);
    quantised_gemv(weights, x, out, {isa, nullptr});
    for (std::size_t row = 0; row < 8; ++row) CHECK((row == 2 ? std::isnan(out[row]) : out[row] == 64.0F));
  }
}

}  // namespace
}  // namespace moesim::reference
