#include "sim/core/statistics.hpp"

#include <bit>

namespace moesim::core {

void CompensatedSum::add(double x) {
  const double next = sum_ + x;
  lost_ += std::fabs(sum_) >= std::fabs(x) ? (sum_ - next) + x : (x - next) + sum_;
  sum_ = next;
}

void TimeWeighted::set(Time at, std::int64_t value) {
  integral_ = integral(at);
  changed_ = at;
  value_ = value;
  maximum_ = std::max(maximum_, value);
}

Int128 TimeWeighted::integral(Time until) const {
  check(until >= changed_, "a time-weighted value is changed or read in its past");
  return integral_ + static_cast<Int128>(value_) * (until - changed_).ps;
}

double TimeWeighted::mean(Time until) const {
  const Int128 total = integral(until);
  const std::int64_t elapsed = (until - start_).ps;
  if (elapsed == 0) {
    return static_cast<double>(value_);
  }
  // Whole part and remainder apart: the quotient is right to the last digits however long the simulation.
  const auto whole = static_cast<double>(total / elapsed);
  return whole + static_cast<double>(total % elapsed) / static_cast<double>(elapsed);
}

double interpolate(double a, double b, double fraction) {
  const double difference = b - a;
  return fraction >= 0.5 ? b - difference * (1.0 - fraction) : a + difference * fraction;
}

QuantileRank quantile_rank(std::size_t count, double q) {
  check(count > 0, "a quantile of an empty sample");
  check(q >= 0.0 && q <= 1.0, "a quantile needs a level in [0, 1]");
  const double position = q * static_cast<double>(count - 1);
  const double below = std::floor(position);
  return {static_cast<std::size_t>(below), position - below};
}

namespace {

constexpr int kBinShift = 52 - 10;  // exponent and the upper 10 bits of the fraction name the bin

std::uint64_t bin_of(double value) { return std::bit_cast<std::uint64_t>(value) >> kBinShift; }

double middle_of(std::uint64_t bin) {
  return std::bit_cast<double>((bin << kBinShift) | (std::uint64_t{1} << (kBinShift - 1)));
}

}  // namespace

void LogLinearHistogram::add(double value, std::uint64_t times) {
  check(std::isfinite(value) && value >= 0.0, "a histogram takes finite values that are not negative");
  if (times == 0) {
    return;
  }
  const double magnitude = std::fabs(value);  // turns -0 into 0
  count_ += times;
  if (magnitude == 0.0) {
    zeros_ += times;
  } else {
    add_to_bin(bin_of(magnitude), times);
  }
  minimum_ = std::min(minimum_, magnitude);
  maximum_ = std::max(maximum_, magnitude);
}

void LogLinearHistogram::merge(const LogLinearHistogram& other) {
  if (other.count_ == 0) {
    return;
  }
  // The ends are in use and fix the extent, so that the result is the same in any order.
  for (std::size_t i = 0; i < other.bins_.size(); ++i) {
    add_to_bin(other.first_bin_ + i, other.bins_[i]);
  }
  count_ += other.count_;
  zeros_ += other.zeros_;
  minimum_ = std::min(minimum_, other.minimum_);
  maximum_ = std::max(maximum_, other.maximum_);
}

double LogLinearHistogram::minimum() const {
  check(count_ > 0, "the minimum of an empty histogram");
  return minimum_;
}

double LogLinearHistogram::maximum() const {
  check(count_ > 0, "the maximum of an empty histogram");
  return maximum_;
}

double LogLinearHistogram::quantile(double q) const {
  const QuantileRank rank = quantile_rank(count_, q);
  const double below = order_statistic(rank.below);
  return rank.fraction == 0.0 ? below : interpolate(below, order_statistic(rank.below + 1), rank.fraction);
}

void LogLinearHistogram::add_to_bin(std::uint64_t bin, std::uint64_t times) {
  if (bins_.empty()) {
    first_bin_ = bin;
  }
  if (bin < first_bin_) {
    bins_.insert(bins_.begin(), first_bin_ - bin, 0);
    first_bin_ = bin;
  }
  if (bin - first_bin_ >= bins_.size()) {
    bins_.resize(bin - first_bin_ + 1, 0);
  }
  bins_[bin - first_bin_] += times;
}

double LogLinearHistogram::order_statistic(std::uint64_t rank) const {
  if (rank < zeros_) {
    return 0.0;
  }
  std::uint64_t seen = zeros_;
  std::uint64_t bin = first_bin_;
  for (const std::uint64_t in_bin : bins_) {
    seen += in_bin;
    if (seen > rank) {
      break;
    }
    ++bin;
  }
  return std::clamp(middle_of(bin), minimum_, maximum_);
}

}  // namespace moesim::core
