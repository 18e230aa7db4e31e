// Statistics of a simulation. All are deterministic: integer sums, compensated sums, exact order statistics.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <type_traits>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/core/time.hpp"

namespace moesim::core {

// A sum of doubles that keeps the rounding errors (A. Neumaier, ZAMM 54, 1974).
class CompensatedSum {
 public:
  void add(double x);
  [[nodiscard]] double value() const { return sum_ + lost_; }

 private:
  double sum_ = 0.0;
  double lost_ = 0.0;
};

// A whole number that changes over simulated time: a queue length, busy slots, bytes in use.
class TimeWeighted {
 public:
  explicit TimeWeighted(Time start = {}, std::int64_t value = 0)
      : start_(start), changed_(start), value_(value) {
    maximum_ = value;
  }

  // The value from `at` on. Several changes at one instant are allowed; each counts for the maximum.
  // Throws InvariantError if `at` is before the last change.
  void set(Time at, std::int64_t value);
  void add(Time at, std::int64_t difference) { set(at, value_ + difference); }

  [[nodiscard]] std::int64_t value() const { return value_; }
  [[nodiscard]] std::int64_t maximum() const { return maximum_; }
  // The integral from the start to `until` in value-picoseconds, exact (it cannot wrap: |value| * time <
  // 2^127). Throws InvariantError if `until` is before the last change.
  [[nodiscard]] Int128 integral(Time until) const;
  // The mean from the start to `until`; the current value if no time has passed.
  [[nodiscard]] double mean(Time until) const;

 private:
  Time start_;
  Time changed_;
  std::int64_t value_ = 0;
  std::int64_t maximum_ = 0;
  Int128 integral_ = 0;
};

// numpy's linear interpolation between a and b: exact at both ends and monotone in `fraction`.
[[nodiscard]] double interpolate(double a, double b, double fraction);

// Where a quantile lies in a sorted sample: between the order statistics `below` and `below + 1`.
struct QuantileRank {
  std::size_t below = 0;
  double fraction = 0.0;
};
// The rank q (count - 1) of numpy's default method "linear". Throws InvariantError if count is 0 or q outside
// [0, 1].
[[nodiscard]] QuantileRank quantile_rank(std::size_t count, double q);

// Exact quantiles of a sample that is kept whole, of double or std::int64_t.
template <class Value>
class ExactQuantiles {
  static_assert(std::is_same_v<Value, double> || std::is_same_v<Value, std::int64_t>);

 public:
  // Throws InvariantError for a value that is not a number.
  void add(Value value) {
    if constexpr (std::is_floating_point_v<Value>) {
      check(!std::isnan(value), "a sample is not a number");
    }
    values_.push_back(value);
  }
  void merge(const ExactQuantiles& other) {
    values_.reserve(values_.size() + other.values_.size());
    std::copy_n(other.values_.begin(), other.values_.size(), std::back_inserter(values_));
  }
  [[nodiscard]] std::size_t count() const { return values_.size(); }

  // The quantile q in [0, 1] as numpy.quantile(values, q): linear between the order statistics around q (n -
  // 1). Reorders the stored values. Throws InvariantError if the sample is empty or q outside [0, 1].
  [[nodiscard]] double quantile(double q) {
    const QuantileRank rank = quantile_rank(values_.size(), q);
    const auto below = values_.begin() + static_cast<std::ptrdiff_t>(rank.below);
    std::nth_element(values_.begin(), below, values_.end());
    if (rank.fraction == 0.0) {
      return static_cast<double>(*below);
    }
    const auto above = std::min_element(below + 1, values_.end());
    return interpolate(static_cast<double>(*below), static_cast<double>(*above), rank.fraction);
  }

  // The arithmetic mean, from a compensated sum over the sorted values, so that it does not depend on their
  // order. Throws InvariantError if the sample is empty.
  [[nodiscard]] double mean() {
    check(!values_.empty(), "the mean of an empty sample");
    std::sort(values_.begin(), values_.end());
    CompensatedSum sum;
    for (const Value value : values_) {
      sum.add(static_cast<double>(value));
    }
    return sum.value() / static_cast<double>(values_.size());
  }

 private:
  std::vector<Value> values_;
};

// Quantiles of a long sample in bounded memory: 1024 linear bins in each octave, so that each bin is at most
// 0.1 % wide relative to its values. The bin is read off the bits of the double: no logarithm, no rounding.
class LogLinearHistogram {
 public:
  static constexpr double kRelativeError = 1.0 / 1024.0;

  // Throws InvariantError for a value that is negative, infinite or not a number.
  void add(double value, std::uint64_t times = 1);
  // The histogram of both samples together, the same in any order.
  void merge(const LogLinearHistogram& other);

  [[nodiscard]] std::uint64_t count() const { return count_; }
  // Exact extremes. Throw InvariantError if the sample is empty.
  [[nodiscard]] double minimum() const;
  [[nodiscard]] double maximum() const;
  // The quantile q in [0, 1], within kRelativeError of that of ExactQuantiles for normal (not denormal)
  // values. Throws InvariantError if the sample is empty or q outside [0, 1].
  [[nodiscard]] double quantile(double q) const;

  [[nodiscard]] bool operator==(const LogLinearHistogram& other) const = default;

 private:
  void add_to_bin(std::uint64_t bin, std::uint64_t times);
  [[nodiscard]] double order_statistic(std::uint64_t rank) const;

  std::uint64_t zeros_ = 0;  // apart: the next bin is a thousand octaves away
  std::uint64_t first_bin_ = 0;
  std::vector<std::uint64_t> bins_;  // counts of the bins from first_bin_ on; both ends are in use
  std::uint64_t count_ = 0;
  double minimum_ = std::numeric_limits<double>::infinity();
  double maximum_ = 0.0;
};

}  // namespace moesim::core
