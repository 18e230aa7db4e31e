// Collectives: planted faults and their detection, worst errors as published, sizes that do not fit.
#include "models/reference/collectives.hpp"

#include <cmath>
#include <functional>

#include "sim/core/random.hpp"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

constexpr std::int64_t kRanks = 8;
constexpr std::int64_t kValues = 4096;

std::vector<float> normal_values(std::int64_t ranks) {
  core::Draws draws(3, 4, 0);
  std::vector<float> values(static_cast<std::size_t>(ranks * kValues));
  for (float& value : values) value = static_cast<float>(core::draw_normal(draws));
  return values;
}

// Errors in units of roundoff x sum |x|: the largest of all values, and as a share of the bound.
struct Errors {
  double units = 0.0;
  double of_bound = 0.0;
};
template <class Value>
Errors errors_of(const std::vector<Value>& x, std::int64_t ranks, const std::vector<Value>& out,
                 ReduceOrder order, ReduceRounding rounding, double unit) {
  Errors errors;
  for (std::int64_t i = 0; i < kValues; ++i) {
    std::vector<double> terms;
    double exact = 0.0;
    double magnitudes = 0.0;
    for (std::int64_t r = 0; r < ranks; ++r) {
      terms.push_back(static_cast<double>(to_float(x[static_cast<std::size_t>(r * kValues + i)])));
      exact += terms.back();
      magnitudes += std::fabs(terms.back());
    }
    const double off = std::fabs(static_cast<double>(to_float(out[static_cast<std::size_t>(i)])) - exact);
    errors.units = std::fmax(errors.units, off / (unit * magnitudes));
    errors.of_bound = std::fmax(errors.of_bound, off / reduce_error_bound(terms, order, rounding, unit));
  }
  return errors;
}

template <Fault kFault>
std::vector<float> reduced(const std::vector<float>& x, std::int64_t ranks, ReduceOrder order) {
  std::vector<float> out(x.size());
  FaultProbe<kFault> probe;
  (void)all_reduce<float>(order, ReduceRounding::each_add, x, ranks, out, probe);
  return out;
}

TEST_CASE("planted faults of collectives are caught by the bound or by bits") {
  const std::vector<float> x = normal_values(kRanks);
  const std::vector<float> sound = reduced<Fault::none>(x, kRanks, ReduceOrder::ring);
  const auto share = [&](const std::vector<float>& out, ReduceOrder order) {
    return errors_of(x, kRanks, out, order, ReduceRounding::each_add, 0x1p-24).of_bound;
  };
  CHECK(share(sound, ReduceOrder::ring) <= 1.0);
  CHECK(share(reduced<Fault::none>(x, kRanks, ReduceOrder::tree), ReduceOrder::tree) <= 1.0);
  CHECK(share(reduced<Fault::drop_last_rank>(x, kRanks, ReduceOrder::ring), ReduceOrder::ring) > 1.0);
  CHECK(share(reduced<Fault::drop_last_rank>(x, kRanks, ReduceOrder::tree), ReduceOrder::tree) > 1.0);
  // Another start is as good a sum: only its bits tell.
  const std::vector<float> elsewhere = reduced<Fault::ring_starts_elsewhere>(x, kRanks, ReduceOrder::ring);
  CHECK(share(elsewhere, ReduceOrder::ring) <= 1.0);
  CHECK(elsewhere != sound);

  FaultProbe<Fault::chunk_of_neighbour> neighbour;
  std::vector<float> scattered(static_cast<std::size_t>(kValues));
  (void)reduce_scatter<float>(ReduceRounding::each_add, x, kRanks, scattered, neighbour);
  CHECK(share(scattered, ReduceOrder::ring) > 1.0);

  const std::vector<float> rows{1, 2, 3, 4};
  const std::vector<std::int64_t> counts{1, 1, 1, 1};
  std::vector<float> moved(4);
  NoProbe none;
  (void)all_to_all<float>(rows, counts, 2, 1, moved, none);
  CHECK(moved == std::vector<float>{1, 3, 2, 4});
  FaultProbe<Fault::rows_to_wrong_rank> wrong;
  (void)all_to_all<float>(rows, counts, 2, 1, moved, wrong);
  CHECK(moved == std::vector<float>{2, 4, 1, 3});
}

TEST_CASE("errors of all-reduce are those that were published") {
  // Worst of 4096 values, in units of roundoff x sum |x|. The reference study saw 2.2 to 2.6 for f32 rings
  // and 0.9 to 1.8 for trees; a worst case moves with the draw. With f32 sums, bf16 is better the more ranks
  // there are.
  constexpr double kRing = 3.0;
  constexpr double kTree = 2.0;
  for (const std::int64_t ranks : {4, 8, 64}) {
    const std::vector<float> x = normal_values(ranks);
    const auto ring = errors_of(x, ranks, reduced<Fault::none>(x, ranks, ReduceOrder::ring),
                                ReduceOrder::ring, ReduceRounding::each_add, 0x1p-24);
    const auto tree = errors_of(x, ranks, reduced<Fault::none>(x, ranks, ReduceOrder::tree),
                                ReduceOrder::tree, ReduceRounding::each_add, 0x1p-24);
    CHECK(ring.units <= kRing);
    CHECK(tree.units <= kTree);
    std::vector<Bf16> half;
    for (const float value : x) half.push_back(to_bf16(value));
    std::vector<Bf16> out(half.size());
    NoProbe probe;
    double worst[2] = {};
    for (const ReduceRounding rounding : {ReduceRounding::each_add, ReduceRounding::once}) {
      (void)all_reduce<Bf16>(ReduceOrder::ring, rounding, half, ranks, out, probe);
      worst[rounding == ReduceRounding::once] =
          errors_of(half, ranks, out, ReduceOrder::ring, rounding, 0x1p-8).units;
    }
    if (ranks == 8) CHECK(worst[0] / worst[1] > 1.6);
    if (ranks == 64) CHECK(worst[0] / worst[1] > 4.0);
  }
}

TEST_CASE("collectives refuse buffers that do not fit") {
  const std::vector<float> x(6);
  std::vector<float> out(6);
  NoProbe probe;
  const auto reduce = [&](std::int64_t ranks, std::size_t size) {
    return all_reduce<float>(ReduceOrder::ring, ReduceRounding::once, x, ranks, std::span(out).first(size),
                             probe);
  };
  CHECK_THROWS_AS(reduce(4, 6), core::InvariantError);
  CHECK_THROWS_AS(reduce(0, 6), core::InvariantError);
  CHECK_THROWS_AS(reduce(3, 5), core::InvariantError);
  CHECK_THROWS_AS(reduce_scatter<float>(ReduceRounding::once, x, 3, out, probe), core::InvariantError);
  const std::vector<std::int64_t> counts{2, -1, 5, 0};
  CHECK_THROWS_AS(all_gather<float>(x, counts, out, probe), core::InvariantError);
  CHECK_THROWS_AS(all_to_all<float>(x, counts, 2, 1, out, probe), core::InvariantError);
  CHECK_THROWS_AS(all_to_all<float>(x, counts, 3, 1, out, probe), core::InvariantError);
}

}  // namespace
}  // namespace moesim::reference
