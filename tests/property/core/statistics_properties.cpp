#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "rapidcheck.h"
#include "sim/core/statistics.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

// Values over many octaves, with zeros and repetitions.
std::vector<double> arbitrary_sample() {
  return *rc::gen::nonEmpty(rc::gen::container<std::vector<double>>(
      rc::gen::apply([](int mantissa, int exponent) { return std::ldexp(mantissa, exponent); },
                     rc::gen::inRange(0, 4000), rc::gen::inRange(-40, 40))));
}

double arbitrary_level() { return *rc::gen::inRange(0, 1001) / 1000.0; }

TEST_CASE("exact quantiles equal their definition on the sorted sample") {
  REQUIRE(rc::check([] {
    std::vector<double> sorted = arbitrary_sample();
    ExactQuantiles<double> quantiles;
    for (const double x : sorted) {
      quantiles.add(x);
    }
    std::sort(sorted.begin(), sorted.end());
    for (int i = 0; i < 3; ++i) {
      const double q = arbitrary_level();
      const double position = q * static_cast<double>(sorted.size() - 1);
      const auto below = static_cast<std::size_t>(position);
      const double a = sorted[below];
      const double b = sorted[std::min(below + 1, sorted.size() - 1)];
      const double expected = a + (b - a) * (position - static_cast<double>(below));
      const double found = quantiles.quantile(q);
      RC_ASSERT(std::fabs(found - expected) <= 1e-14 * b);
      RC_ASSERT((found >= a && found <= b));
    }
    RC_ASSERT(quantiles.quantile(0.0) == sorted.front());
    RC_ASSERT(quantiles.quantile(1.0) == sorted.back());
  }));
}

TEST_CASE("histogram quantiles are within the relative error of the exact ones") {
  REQUIRE(rc::check([] {
    ExactQuantiles<double> exact;
    LogLinearHistogram histogram;
    for (const double x : arbitrary_sample()) {
      exact.add(x);
      histogram.add(x);
    }
    for (int i = 0; i < 5; ++i) {
      const double q = arbitrary_level();
      const double expected = exact.quantile(q);
      RC_ASSERT(std::fabs(histogram.quantile(q) - expected) <= LogLinearHistogram::kRelativeError * expected);
    }
    RC_ASSERT(histogram.minimum() == exact.quantile(0.0));
    RC_ASSERT(histogram.maximum() == exact.quantile(1.0));
  }));
}

TEST_CASE("histograms merge to the histogram of both samples, in any order") {
  REQUIRE(rc::check([] {
    LogLinearHistogram one;
    LogLinearHistogram two;
    LogLinearHistogram both;
    for (const double x : arbitrary_sample()) {
      one.add(x);
      both.add(x);
    }
    for (const double x : arbitrary_sample()) {
      two.add(x);
      both.add(x, 2);
    }
    LogLinearHistogram forward = one;
    forward.merge(two);
    forward.merge(two);
    LogLinearHistogram backward = two;
    backward.merge(one);
    backward.merge(two);
    RC_ASSERT((forward == both));
    RC_ASSERT((backward == both));
  }));
}

TEST_CASE("a time-weighted value equals the sum of its rectangles") {
  REQUIRE(rc::check([](const std::vector<std::pair<std::uint16_t, std::int64_t>>& changes) {
    TimeWeighted value(Time{7}, 3);
    Int128 area = 0;
    Time now{7};
    std::int64_t current = 3;
    std::int64_t highest = 3;
    for (const auto& change : changes) {
      area += static_cast<Int128>(current) * change.first;
      now += Duration{change.first};
      current = change.second;
      highest = std::max(highest, current);
      value.set(now, current);
      RC_ASSERT((value.integral(now) == area));
    }
    RC_ASSERT(value.maximum() == highest);
    RC_ASSERT((value.integral(now + Duration{10}) == area + static_cast<Int128>(current) * 10));
    const double mean = static_cast<double>(area) / static_cast<double>((now - Time{7}).ps);
    if (now > Time{7}) {
      RC_ASSERT(std::fabs(value.mean(now) - mean) <= 1e-12 * std::fabs(mean));
    }
  }));
}

}  // namespace
}  // namespace moesim::core
