#include "sim/core/statistics.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

TEST_CASE("a compensated sum keeps what rounding drops") {
  CompensatedSum sum;
  for (const double x : {1.0, 1e100, 1.0, -1e100}) {
    sum.add(x);
  }
  REQUIRE(sum.value() == 2.0);
}

TEST_CASE("a time-weighted value integrates exactly") {
  TimeWeighted queue(Time{100}, 2);
  queue.set(Time{110}, 5);   // 2 for 10
  queue.add(Time{110}, 4);   // 9, for no time
  queue.add(Time{110}, -6);  // 3
  queue.set(Time{130}, -1);  // 3 for 20
  REQUIRE(queue.value() == -1);
  REQUIRE(queue.maximum() == 9);
  REQUIRE(queue.integral(Time{140}) == 20 + 60 - 10);
  REQUIRE(queue.mean(Time{140}) == 70.0 / 40.0);
  REQUIRE_THROWS_AS(queue.set(Time{129}, 0), InvariantError);
  REQUIRE_THROWS_AS(queue.integral(Time{129}), InvariantError);
  REQUIRE(TimeWeighted(Time{5}, 7).mean(Time{5}) == 7.0);
}

TEST_CASE("a time-weighted integral does not wrap at 64 bits") {
  TimeWeighted bytes(Time{0}, INT64_MAX);
  REQUIRE(bytes.integral(kEndOfTime) == static_cast<Int128>(INT64_MAX) * INT64_MAX);
  REQUIRE(bytes.mean(kEndOfTime) == static_cast<double>(INT64_MAX));
}

TEST_CASE("exact quantiles are those of numpy") {
  ExactQuantiles<double> sample;
  for (const double x : {7.0, 1.0, 3.0, 10.0}) {
    sample.add(x);
  }
  REQUIRE(sample.quantile(0.0) == 1.0);
  REQUIRE(sample.quantile(1.0) == 10.0);
  REQUIRE(sample.quantile(0.5) == 5.0);
  REQUIRE(sample.quantile(0.25) == 2.5);
  REQUIRE(sample.quantile(0.9) == Approx(9.1).epsilon(1e-15));
  REQUIRE(sample.mean() == 5.25);
  ExactQuantiles<std::int64_t> whole;
  for (const std::int64_t x : {30, 10, 20}) {
    whole.add(x);
  }
  REQUIRE(whole.quantile(0.5) == 20.0);
  REQUIRE(whole.quantile(0.75) == 25.0);
  REQUIRE(whole.mean() == 20.0);
}

TEST_CASE("numpy's interpolation is exact at both ends") {
  REQUIRE(interpolate(0.1, 0.7, 0.0) == 0.1);
  REQUIRE(interpolate(0.1, 0.7, 1.0) == 0.7);
  REQUIRE(interpolate(-1e16, 1.0, 1.0) == 1.0);
}

TEST_CASE("statistics of nothing are an error") {
  ExactQuantiles<double> sample;
  LogLinearHistogram histogram;
  REQUIRE_THROWS_AS(sample.quantile(0.5), InvariantError);
  REQUIRE_THROWS_AS(sample.mean(), InvariantError);
  REQUIRE_THROWS_AS(histogram.quantile(0.5), InvariantError);
  REQUIRE_THROWS_AS(histogram.minimum(), InvariantError);
  REQUIRE_THROWS_AS(histogram.maximum(), InvariantError);
  sample.add(1.0);
  histogram.add(1.0);
  for (const double q : {-0.1, 1.1, std::nan("")}) {
    REQUIRE_THROWS_AS(sample.quantile(q), InvariantError);
    REQUIRE_THROWS_AS(histogram.quantile(q), InvariantError);
  }
  REQUIRE_THROWS_AS(sample.add(std::nan("")), InvariantError);
  for (const double x : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    REQUIRE_THROWS_AS(histogram.add(x), InvariantError);
  }
}

TEST_CASE("merged quantiles are those of both samples, even merged with itself") {
  ExactQuantiles<double> one;
  ExactQuantiles<double> two;
  one.add(1.0);
  one.add(4.0);
  two.add(2.0);
  one.merge(two);
  REQUIRE(one.count() == 3);
  REQUIRE(one.quantile(0.5) == 2.0);
  one.merge(one);
  REQUIRE(one.count() == 6);
  REQUIRE(one.quantile(0.6) == 2.0);
}

TEST_CASE("a histogram has zeros, exact extremes and counts") {
  LogLinearHistogram histogram;
  histogram.add(0.0, 3);
  histogram.add(-0.0);
  histogram.add(1e9);
  histogram.add(1e-9, 0);  // nothing
  REQUIRE(histogram.count() == 5);
  REQUIRE(histogram.minimum() == 0.0);
  REQUIRE(histogram.maximum() == 1e9);
  REQUIRE(histogram.quantile(0.0) == 0.0);
  REQUIRE(histogram.quantile(0.75) == 0.0);
  REQUIRE(histogram.quantile(1.0) == Approx(1e9).epsilon(LogLinearHistogram::kRelativeError));
  LogLinearHistogram twice = histogram;
  twice.merge(twice);
  REQUIRE(twice.count() == 10);
  REQUIRE(twice.quantile(0.75) == 0.0);
  REQUIRE(twice.quantile(1.0) == histogram.quantile(1.0));
  twice.merge(LogLinearHistogram());
  REQUIRE(twice.count() == 10);
}

}  // namespace
}  // namespace moesim::core
