// The parts of the fast kernels: exp, softmax of a tile, threads, the choice of a path.
#include "models/reference/fast_kernels.hpp"

#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "models/reference/peak.hpp"
#include "models/reference/workers.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

using namespace moesim::reference;

namespace {

std::vector<Isa> paths(bool bf16) {
  std::vector<Isa> all{Isa::portable};
  if (resolved(Isa::automatic, bf16) == Isa::avx512) all.push_back(Isa::avx512);
  return all;
}

// Error of `got` for exp(x) in units in the last place of an f32 there.
double ulps_of_exp(float x, float got) {
  const double exact = std::exp(static_cast<double>(x));
  if (exact >= 0x1.ffffffp127) return std::isinf(got) ? 0.0 : 1e9;
  const double unit = std::ldexp(1.0, std::max(std::ilogb(std::max(exact, 0x1p-149)), -126) - 23);
  return std::fabs(static_cast<double>(got) - exact) / unit;
}

// The largest error over the arguments whose bits are first, first + step, ...
double worst_exp(Isa isa, std::uint64_t first, std::uint64_t step) {
  const FastKernels& kernels = fast_kernels(isa, false);
  constexpr std::size_t kAtOnce = 4096;
  std::vector<float> in, out(kAtOnce);
  double worst = 0.0;
  for (std::uint64_t bits = first; bits < (std::uint64_t{1} << 32U);) {
    in.clear();
    for (; in.size() < kAtOnce && bits < (std::uint64_t{1} << 32U); bits += step)
      in.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    kernels.exp(in.data(), static_cast<std::int64_t>(in.size()), out.data());
    for (std::size_t i = 0; i < in.size(); ++i) {
      if (std::isnan(in[i])) {
        if (!std::isnan(out[i])) return std::numeric_limits<double>::infinity();
      } else {
        worst = std::max(worst, ulps_of_exp(in[i], out[i]));
      }
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("the polynomial exp keeps its stated error on a sample of all arguments") {
  for (const Isa isa : paths(false)) {
    INFO(name_of(isa));
    CHECK(worst_exp(isa, 0, 10007) <= kFastExpUlps);
    // Where the error is largest: near 1, at the edges of the intervals of n, at under- and overflow.
    CHECK(worst_exp(isa, std::bit_cast<std::uint32_t>(88.0F), 0x7FFF0000U) <= kFastExpUlps);
    const float special[] = {0.0F,
                             -0.0F,
                             88.72283F,
                             88.72284F,
                             89.5F,
                             1e30F,
                             -87.33654F,
                             -103.97F,
                             -103.98F,
                             -1e30F,
                             std::numeric_limits<float>::infinity(),
                             -std::numeric_limits<float>::infinity()};
    float out[std::size(special)];
    fast_kernels(isa, false).exp(special, std::size(special), out);
    for (std::size_t i = 0; i < std::size(special); ++i)
      CHECK(ulps_of_exp(special[i], out[i]) <= kFastExpUlps);
    CHECK(out[0] == 1.0F);
    CHECK(std::isinf(out[10]));
    CHECK(out[11] == 0.0F);
  }
}

// All 2^32 arguments: minutes. Run with the tag [sweep].
TEST_CASE("all 2^32 arguments of the polynomial", "[.][sweep]") {
  for (const Isa isa : paths(false)) {
    const double worst = worst_exp(isa, 0, 1);
    WARN(name_of(isa) << ": " << worst << " ulp");
    CHECK(worst <= kFastExpUlps);
  }
}

TEST_CASE("the softmax of a tile carries its maximum and sum on, and hides what is masked") {
  const float none = -std::numeric_limits<float>::infinity();
  for (const bool bf16 : {false, true}) {
    for (const Isa isa : paths(bf16)) {
      INFO(name_of(isa) << (bf16 ? " bf16" : " f32"));
      const FastKernels& kernels = fast_kernels(isa, bf16);
      std::vector<float> scores(64, none);
      std::vector<Unit> weights(64, 0xFFFFFFFFU);
      const auto weight = [&](std::size_t j) {
        return bf16 ? to_float(Bf16{static_cast<std::uint16_t>(weights[j / 2] >> (j % 2 * 16))})
                    : std::bit_cast<float>(weights[j]);
      };
      float maximum = none, sum = 0.0F;
      const auto run = [&] {
        return kernels.softmax({.scores = scores.data(),
                                .weights = weights.data(),
                                .columns = 64,
                                .scale = 0.5F,
                                .maximum = &maximum,
                                .sum = &sum});
      };
      CHECK(run() == 1.0F);  // nothing is visible
      CHECK(maximum == none);
      CHECK(sum == 0.0F);
      for (std::size_t j = 0; j < 64; ++j) CHECK(weight(j) == 0.0F);

      scores[3] = 4.0F;
      scores[60] = 2.0F;
      CHECK(run() == 1.0F);  // there is nothing to rescale yet
      CHECK(maximum == 2.0F);
      CHECK(weight(3) == 1.0F);
      CHECK(weight(4) == 0.0F);
      CHECK(weight(60) == Approx(std::exp(-1.0)).epsilon(bf16 ? 4e-3 : 1e-6));
      CHECK(sum == Approx(1.0 + std::exp(-1.0)).epsilon(1e-6));

      scores[17] = 10.0F;
      CHECK(run() == Approx(std::exp(-3.0)).epsilon(1e-6));
      CHECK(maximum == 5.0F);
      CHECK(sum == Approx(std::exp(-3.0) * (1.0 + std::exp(-1.0)) + 1.0 + std::exp(-3.0) + std::exp(-4.0))
                       .epsilon(1e-6));
    }
  }
}

TEST_CASE("workers do each part once and may be used again") {
  for (const int threads : {1, 2, 3}) {
    Workers workers(threads);
    CHECK(workers.threads() == threads);
    for (const std::int64_t parts : {0, 1, 7, 1000}) {
      std::vector<std::atomic<int>> done(static_cast<std::size_t>(parts));
      std::atomic<bool> known = true;
      workers.run(parts, [&](int worker, std::int64_t part) {
        if (worker < 0 || worker >= threads) known = false;
        ++done[static_cast<std::size_t>(part)];
      });
      CHECK(known);
      for (const auto& count : done) CHECK(count == 1);
    }
  }
  CHECK_THROWS_AS(Workers(0), moesim::core::InvariantError);
}

TEST_CASE("a path is never automatic, and AVX-512 is not assumed") {
  CHECK(resolved(Isa::portable, true) == Isa::portable);
  CHECK(resolved(Isa::automatic, false) == (cpu_features().avx512 ? Isa::avx512 : Isa::portable));
  if (!cpu_features().avx512_bf16) CHECK_THROWS_AS(resolved(Isa::avx512, true), moesim::core::InvariantError);
  CHECK_THROWS_AS(fast_kernels(Isa::automatic, false), moesim::core::InvariantError);
}

TEST_CASE("the peak loops count their operations and the read pass reads every line") {
  for (const Isa isa : paths(false)) {
    CHECK(run_peak(100, false, isa) > 0.0);
    CHECK(run_peak(200, false, isa) == 2.0 * run_peak(100, false, isa));
    for (const ReadAhead ahead : {ReadAhead::non_temporal, ReadAhead::second_level}) {
      std::vector<std::byte> bytes(64 * 37 + 5);
      const std::uint64_t empty = run_read_pass(bytes, isa, ahead);
      for (std::size_t line = 0; line < 37; ++line) {
        bytes[64 * line + line] = std::byte{1};
        CHECK(run_read_pass(bytes, isa, ahead) != empty);
        bytes[64 * line + line] = std::byte{0};
      }
    }
  }
}
