// Products: the declared order bit for bit, the a-priori bound on easy and hard inputs, exact equalities.
#include "models/reference/gemm.hpp"

#include <array>
#include <cmath>
#include <cstring>

#include "models/reference/bounds_gemm.hpp"
#include "models/reference/gemm_fp8.hpp"
#include "models/reference/grouped_gemm.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/expert_rig.hpp"

namespace moesim::reference {
namespace {

using test::Numbers;

struct Shape {
  std::int64_t m, n, k;
};
const std::vector<Shape> kShapes = {{1, 1, 1},   {1, 5, 7},   {3, 2, 8},    {2, 130, 64}, {129, 3, 65},
                                    {5, 4, 127}, {2, 3, 128}, {4, 2, 1000}, {0, 3, 5},    {3, 2, 0}};

template <class Value>
std::span<const Value> view(const std::vector<Value>& values) {
  return values;
}

// The order of gemm.hpp, read from its comment.
float slow_dot(const std::vector<float>& a, const std::vector<float>& b) {
  float total = 0.0F;
  for (std::size_t block = 0; block < a.size(); block += 64) {
    std::array<float, 8> lanes{};
    for (std::size_t lane = 0; lane < 8; ++lane) {
      for (std::size_t k = block + lane; k < std::min(block + 64, a.size()); k += 8)
        lanes[lane] += a[k] * b[k];
    }
    const float even = (lanes[0] + lanes[4]) + (lanes[2] + lanes[6]);
    const float odd = (lanes[1] + lanes[5]) + (lanes[3] + lanes[7]);
    total += even + odd;
  }
  return total;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

template <class Value, class Result>
void check_bound(Numbers& numbers, std::int64_t spread, double& worst) {
  for (const Shape& s : kShapes) {
    const auto a = numbers.values<Value>(s.m * s.k, 3.0F, spread);
    const auto b = numbers.values<Value>(s.n * s.k, 3.0F, spread);
    const auto bias = numbers.values<Value>(s.n, 3.0F, spread);
    std::vector<Result> c(static_cast<std::size_t>(s.m * s.n));
    NoProbe probe;
    const auto a_view = matrix(view(a), s.m, s.k);
    const auto b_view = matrix(view(b), s.n, s.k);
    gemm(a_view, b_view, view(bias), std::span<Result>(c), probe);
    const auto want = bounded_gemm<Result>(a_view, b_view, view(bias));
    const double share = test::worst_share(view(c), std::span<const Bounded>(want));
    INFO(s.m << " x " << s.n << " x " << s.k << ", spread " << spread);
    CHECK(share <= 1.0);
    worst = std::max(worst, share);
  }
}

// E4M3 values, built from their definition.
std::vector<float> e4m3() {
  std::vector<float> table(256);
  for (int code = 0; code < 256; ++code) {
    const int exponent = (code >> 3) & 15;
    const auto fraction = static_cast<float>(code & 7);
    const float magnitude =
        exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8.0F + fraction, exponent - 10);
    table[static_cast<std::size_t>(code)] = (code & 128) != 0 ? -magnitude : magnitude;
  }
  return table;
}

}  // namespace

TEST_CASE("a product is summed in the order that gemm.hpp declares") {
  Numbers numbers(1);
  for (const Shape& s : kShapes) {
    const auto a = numbers.values<float>(s.m * s.k, 1.0F, 12);
    const auto b = numbers.values<float>(s.n * s.k, 1.0F, 12);
    std::vector<float> c(static_cast<std::size_t>(s.m * s.n));
    gemm(matrix(view(a), s.m, s.k), matrix(view(b), s.n, s.k), std::span<float>(c));
    std::vector<float> slow;
    for (std::int64_t m = 0; m < s.m; ++m) {
      for (std::int64_t n = 0; n < s.n; ++n) {
        slow.push_back(slow_dot({a.begin() + m * s.k, a.begin() + (m + 1) * s.k},
                                {b.begin() + n * s.k, b.begin() + (n + 1) * s.k}));
      }
    }
    CHECK(same_bits(c, slow));
  }
}

TEST_CASE("products stay inside their bound, for even and for wildly different magnitudes") {
  Numbers numbers(2);
  double even = 0.0;
  for (const std::int64_t spread : {0, 4, 20, 40}) {
    double worst = 0.0;
    check_bound<float, float>(numbers, spread, worst);
    check_bound<Bf16, float>(numbers, spread, worst);
    check_bound<Bf16, Bf16>(numbers, spread, worst);
    even = std::max(even, worst);
  }
  CHECK(even > 0.1);  // the bound is not so wide that anything would pass
}

TEST_CASE("cancellation, denormals and the largest numbers stay inside the bound") {
  // Sums of 2^60 and its negative around small numbers.
  std::vector<float> a, b;
  for (int k = 0; k < 200; ++k) {
    a.push_back(k % 3 == 0 ? 0x1p60F : k % 3 == 1 ? -0x1p60F : 1.5F);
    b.push_back(1.0F + static_cast<float>(k % 3 == 2 ? k : 0));
  }
  std::vector<float> tiny(200, 0x1.8p-100F), large(200, 0x1.8p59F);
  for (const auto& [x, y] : {std::pair(a, b), std::pair(tiny, tiny), std::pair(large, large)}) {
    std::vector<float> c(1);
    const auto x_view = matrix(view(x), 1, 200);
    const auto y_view = matrix(view(y), 1, 200);
    gemm(x_view, y_view, std::span<float>(c));
    const auto want = bounded_gemm<float>(x_view, y_view, std::span<const float>{});
    CHECK(std::fabs(static_cast<double>(c[0]) - want[0].value) <= want[0].error);
  }
}

TEST_CASE("whole tiles compute the padding and give the same bits") {
  Numbers numbers(3);
  const auto a = numbers.values<float>(3 * 70);
  const auto b = numbers.values<float>(130 * 70);
  std::vector<float> plain(3 * 130), whole(3 * 130), small(3 * 130);
  CountingProbe probe;
  NoProbe none;
  const std::span<const float> no_bias;
  gemm(matrix(view(a), 3, 70), matrix(view(b), 130, 70), std::span<float>(plain));
  gemm(matrix(view(a), 3, 70), matrix(view(b), 130, 70), no_bias, std::span<float>(whole), probe,
       {128, 128, true});
  gemm(matrix(view(a), 3, 70), matrix(view(b), 130, 70), no_bias, std::span<float>(small), none,
       {2, 7, false});
  CHECK(same_bits(plain, whole));
  CHECK(same_bits(plain, small));
  CHECK(probe.result().useful_macs == 3 * 130 * 70);
  CHECK(probe.result().executed_macs == 128 * 256 * 128);
}

TEST_CASE("a grouped product is one product per expert, bit for bit; column shards are exact") {
  Numbers numbers(4);
  const std::vector<std::int64_t> offsets = {0, 0, 3, 4, 4, 9};
  const std::int64_t experts = 5, n = 6, k = 75;
  const auto x = numbers.values<Bf16>(9 * k);
  const auto w = numbers.values<Bf16>(experts * n * k);
  const auto bias = numbers.values<Bf16>(experts * n);
  std::vector<float> y(9 * n);
  NoProbe probe;
  grouped_gemm(matrix(view(x), 9, k), offsets, expert_matrices(view(w), experts, n, k), view(bias),
               std::span<float>(y), probe);
  for (std::int64_t e = 0; e < experts; ++e) {
    const std::int64_t first = offsets[static_cast<std::size_t>(e)];
    const std::int64_t rows = offsets[static_cast<std::size_t>(e) + 1] - first;
    std::vector<float> own(static_cast<std::size_t>(rows * n));
    const MatrixView<Bf16> weights{w.data() + e * n * k, n, k, k};
    gemm(MatrixView<Bf16>{x.data() + first * k, rows, k, k}, weights,
         view(bias).subspan(static_cast<std::size_t>(e * n), n), std::span<float>(own), probe);
    CHECK(same_bits(own, {y.begin() + first * n, y.begin() + (first + rows) * n}));
    // Two columns of them on another rank.
    std::vector<float> shard(static_cast<std::size_t>(rows * 2));
    gemm(MatrixView<Bf16>{x.data() + first * k, rows, k, k}, MatrixView<Bf16>{weights.row(3), 2, k, k},
         view(bias).subspan(static_cast<std::size_t>(e * n + 3), 2), std::span<float>(shard), probe);
    for (std::int64_t r = 0; r < rows; ++r) {
      CHECK(shard[static_cast<std::size_t>(2 * r)] == own[static_cast<std::size_t>(r * n + 3)]);
      CHECK(shard[static_cast<std::size_t>(2 * r + 1)] == own[static_cast<std::size_t>(r * n + 4)]);
    }
  }
}

TEST_CASE("weights that are decoded on the fly give the bits of weights decoded before") {
  Numbers numbers(5);
  const std::vector<float> table = e4m3();
  const std::int64_t n = 4, k = 90;
  std::vector<std::uint8_t> codes;
  for (std::int64_t i = 0; i < n * k; ++i) codes.push_back(static_cast<std::uint8_t>(numbers.below(127)));
  std::vector<float> decoded;
  for (const std::uint8_t code : codes) decoded.push_back(0.5F * table[code]);
  const auto x = numbers.values<Bf16>(3 * k);
  std::vector<float> a(3 * n), b(3 * n);
  NoProbe probe;
  const auto decode = [&](std::int64_t row, std::int64_t first, std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] = 0.5F * table[codes[static_cast<std::size_t>(row * k + first + i)]];
    }
  };
  const std::span<const float> no_bias;
  const MatrixRows<Bf16> rows{matrix(view(x), 3, k)};
  gemm_rows(rows, DecodedRows<decltype(decode)>{n, k, 8, decode}, no_bias, std::span<float>(a), probe);
  gemm_rows(rows, MatrixRows<float>{matrix(view(decoded), n, k)}, no_bias, std::span<float>(b), probe);
  CHECK(same_bits(a, b));
}

TEST_CASE("FP8 products promote every 128 and stay inside their bound") {
  Numbers numbers(6);
  const std::vector<float> table = e4m3();
  const std::span<const float, 256> decode(table.data(), 256);
  for (const Shape& s : std::vector<Shape>{{1, 1, 128}, {3, 5, 300}, {2, 130, 64}, {4, 129, 513}}) {
    const auto code = [&](std::int64_t count) {
      std::vector<std::uint8_t> codes;
      for (std::int64_t i = 0; i < count; ++i) {
        codes.push_back(static_cast<std::uint8_t>(numbers.below(127) + 128 * numbers.below(2)));
      }
      return codes;
    };
    const auto a_codes = code(s.m * s.k), b_codes = code(s.n * s.k);
    const std::int64_t blocks = (s.k + 127) / 128;
    auto a_scales = numbers.values<float>(s.m * blocks);
    auto b_scales = numbers.values<float>((s.n + 127) / 128 * blocks);
    const Fp8Blocks a{a_codes, a_scales, s.m, s.k, 1};
    const Fp8Blocks b{b_codes, b_scales, s.n, s.k, 128};
    std::vector<float> c(static_cast<std::size_t>(s.m * s.n));
    NoProbe probe;
    gemm_fp8_block(a, b, decode, std::span<float>(c), probe);
    const auto want = bounded_gemm_fp8(a, b, decode);
    CHECK(test::worst_share(view(c), std::span<const Bounded>(want)) <= 1.0);
    // The order, on the last element.
    float sum = 0.0F;
    for (std::int64_t block = 0; block < blocks; ++block) {
      const auto values = [&](const std::vector<std::uint8_t>& codes, std::int64_t row, std::int64_t half) {
        std::vector<float> out(64, 0.0F);
        for (std::int64_t i = 0; i < 64 && block * 128 + half * 64 + i < s.k; ++i) {
          out[static_cast<std::size_t>(i)] =
              table[codes[static_cast<std::size_t>(row * s.k + block * 128 + half * 64 + i)]];
        }
        return out;
      };
      const float first = slow_dot(values(a_codes, s.m - 1, 0), values(b_codes, s.n - 1, 0));
      const float second = slow_dot(values(a_codes, s.m - 1, 1), values(b_codes, s.n - 1, 1));
      sum += (first + second) * a_scales[static_cast<std::size_t>((s.m - 1) * blocks + block)] *
             b_scales[static_cast<std::size_t>((s.n - 1) / 128 * blocks + block)];
    }
    CHECK(c.back() == sum);
  }
}

TEST_CASE("products refuse sizes that do not fit") {
  std::vector<float> six(6), four(4), room(4);
  const auto two_by_three = matrix(view(six), 2, 3);
  CHECK_THROWS_AS(gemm(two_by_three, matrix(view(four), 2, 2), std::span<float>(room)), core::InvariantError);
  CHECK_THROWS_AS(gemm(two_by_three, two_by_three, std::span<float>(six)), core::InvariantError);
  NoProbe probe;
  CHECK_THROWS_AS(gemm(two_by_three, two_by_three, view(six), std::span<float>(room), probe),
                  core::InvariantError);
  const std::vector<std::int64_t> short_offsets = {0, 1};
  CHECK_THROWS_AS(grouped_gemm(two_by_three, short_offsets, expert_matrices(view(six), 1, 2, 3),
                               std::span<const float>{}, std::span<float>(room), probe),
                  core::InvariantError);
  CHECK_THROWS_AS(expert_matrices(view(six), 2, 2, 3), core::InvariantError);
}

}  // namespace moesim::reference
