#include "workloads/arrivals.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "sim/core/check.hpp"
#include "sim/core/math.hpp"
#include "sim/core/random.hpp"
#include "workloads/streams.hpp"
#include "workloads/time_limit.hpp"

namespace moesim::workloads {
namespace {

// The draws of arrival number n: one entity each, so that it does not matter how many draws an arrival needs.
class NumberedDraws {
 public:
  explicit NumberedDraws(std::uint64_t seed) : seed_(seed) {}
  core::Draws next() { return core::Draws(seed_, kArrivalStream, number_++); }

 private:
  std::uint64_t seed_;
  std::uint64_t number_ = 0;
};

class RenewalProcess final : public ArrivalProcess {
 public:
  RenewalProcess(const PoissonArrivals& poisson, std::uint64_t seed)
      : draws_(seed), mean_gap_(1.0 / poisson.rate.value), cv_(1.0) {}
  RenewalProcess(const GammaArrivals& gamma, std::uint64_t seed)
      : draws_(seed), mean_gap_(1.0 / gamma.rate.value), cv_(gamma.cv) {}

  std::optional<core::Time> next() override {
    core::Draws draws = draws_.next();
    now_ = later(now_, gap(draws), "/workload/arrival/rate");
    return now_;
  }

 private:
  double gap(core::Draws& draws) const {
    if (cv_ == 0.0) return mean_gap_;
    if (cv_ == 1.0) return core::draw_exponential(draws, mean_gap_);
    const double variance = cv_ * cv_;
    return core::draw_gamma(draws, 1.0 / variance, variance * mean_gap_);
  }

  NumberedDraws draws_;
  double mean_gap_;
  double cv_;
  core::Time now_;
};

// Both the next arrival and the end of the stay are exponential, so the first of them comes at the summed
// rate and is an arrival with probability arrival rate / summed rate (competing exponentials): exact, no time
// steps.
class OnOffProcess final : public ArrivalProcess {
 public:
  OnOffProcess(const OnOffArrivals& on_off, std::uint64_t seed) : parameters_(on_off), draws_(seed) {
    core::Draws draws = draws_.next();
    const double on = on_off.on.seconds();
    on_ = draws.uniform() < on / (on + on_off.off.seconds());
  }

  std::optional<core::Time> next() override {
    core::Draws draws = draws_.next();
    while (true) {
      const double arrival_rate = (on_ ? parameters_.on_rate : parameters_.off_rate).value;
      const double leave_rate = 1.0 / (on_ ? parameters_.on : parameters_.off).seconds();
      const double total = arrival_rate + leave_rate;
      now_ = later(now_, core::draw_exponential(draws, 1.0 / total), "/workload/arrival");
      if (draws.uniform() * total < arrival_rate) return now_;
      on_ = !on_;
    }
  }

 private:
  OnOffArrivals parameters_;
  NumberedDraws draws_;
  bool on_ = true;
  core::Time now_;
};

// Exact inversion: the integral of the rate between two arrivals is exponential with mean 1, and on a linear
// piece the integral is a quadratic that can be solved.
class RateCurveProcess final : public ArrivalProcess {
 public:
  RateCurveProcess(RateCurveArrivals curve, std::uint64_t seed)
      : points_(std::move(curve.points)), draws_(seed) {}

  std::optional<core::Time> next() override {
    if (ended_) return std::nullopt;
    core::Draws draws = draws_.next();
    double area = core::draw_exponential(draws, 1.0);
    while (piece_ < points_.size()) {
      const core::Time end{points_[piece_].at.ps};
      const double length = (end - now_).seconds();
      const double from = rate_at_now();
      const double to = points_[piece_].rate.value;
      const double piece_area = piece_ == 0 ? to * length : 0.5 * (from + to) * length;
      if (area < piece_area) {
        now_ = std::min(later(now_, solve(area, piece_ == 0 ? to : from, to, length), kPoints), end);
        return now_;
      }
      area -= piece_area;
      now_ = end;
      ++piece_;
    }
    const double rate = points_.back().rate.value;
    if (rate == 0.0) {
      ended_ = true;
      return std::nullopt;
    }
    now_ = later(now_, area / rate, kPoints);
    return now_;
  }

 private:
  // Seconds x with from * x + (to - from) / (2 length) x^2 = area; this form does not cancel for any slope.
  static double solve(double area, double from, double to, double length) {
    const double slope = (to - from) / length;
    const double root = core::math::sqrt(std::max(0.0, from * from + 2.0 * slope * area));
    return std::min(2.0 * area / (from + root), length);
  }

  // The rate now on the piece that ends at points_[piece_].
  [[nodiscard]] double rate_at_now() const {
    if (piece_ == 0) return points_[0].rate.value;
    const RatePoint& left = points_[piece_ - 1];
    const RatePoint& right = points_[piece_];
    const double length = (right.at - left.at).seconds();
    if (length == 0.0) return right.rate.value;
    const double share = (now_ - core::Time{left.at.ps}).seconds() / length;
    return left.rate.value + share * (right.rate.value - left.rate.value);
  }

  static constexpr std::string_view kPoints = "/workload/arrival/points";

  std::vector<RatePoint> points_;
  NumberedDraws draws_;
  std::size_t piece_ = 0;  // index of the point that ends the present piece; points_.size() after the last
  bool ended_ = false;
  core::Time now_;
};

struct MakeProcess {
  std::uint64_t seed;
  std::unique_ptr<ArrivalProcess> operator()(const PoissonArrivals& poisson) const {
    return std::make_unique<RenewalProcess>(poisson, seed);
  }
  std::unique_ptr<ArrivalProcess> operator()(const GammaArrivals& gamma) const {
    return std::make_unique<RenewalProcess>(gamma, seed);
  }
  std::unique_ptr<ArrivalProcess> operator()(const OnOffArrivals& on_off) const {
    return std::make_unique<OnOffProcess>(on_off, seed);
  }
  std::unique_ptr<ArrivalProcess> operator()(const RateCurveArrivals& curve) const {
    return std::make_unique<RateCurveProcess>(curve, seed);
  }
  std::unique_ptr<ArrivalProcess> operator()(const ClosedLoopArrivals&) const {
    core::fail_invariant("a closed loop has no arrival process of its own");
  }
};

}  // namespace

std::unique_ptr<ArrivalProcess> make_arrivals(const Arrival& arrival, std::uint64_t seed) {
  return std::visit(MakeProcess{seed}, arrival);
}

}  // namespace moesim::workloads
