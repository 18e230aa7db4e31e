#include "sim/core/random.hpp"

#include <Random123/philox.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/core/math.hpp"
#include "sim/core/time.hpp"

namespace moesim::core {
namespace {

constexpr std::uint64_t kDrawsPerEntity = std::uint64_t{1} << 33;  // 2^32 counter values, two draws each

constexpr std::uint32_t low_half(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
constexpr std::uint32_t high_half(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }
constexpr std::uint64_t join(std::uint32_t low, std::uint32_t high) {
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

// Largest trial count that a double holds exactly, with room for the +1 of the formulas.
constexpr std::int64_t kMaximumTrials = std::int64_t{1} << 52;
constexpr std::int64_t kMaximumItems = std::int64_t{1} << 40;

// Binomial with trials * probability < 10 by adding up the probabilities from 0 (sequential inversion).
double binomial_by_inversion(Draws& draws, double trials, double probability) {
  const double odds = probability / (1.0 - probability);
  const double probability_of_none = math::exp(trials * math::log1p(-probability));
  // P(more than 110 | mean < 10) is below 1e-70: getting there means that rounding lost the last 1e-16 of the
  // sum.
  const double last = std::min(trials, 110.0);
  while (true) {
    double rest = draws.uniform();
    double mass = probability_of_none;
    for (double k = 0.0; k <= last; k += 1.0) {
      if (rest < mass) {
        return k;
      }
      rest -= mass;
      mass *= odds * (trials - k) / (k + 1.0);
    }
  }
}

// log(k!) minus Stirling's formula at k (Hoermann 1993, table and series).
double stirling_tail(double k) {
  constexpr std::array<double, 10> kTable = {0.08106146679532726, 0.04134069595540929, 0.02767792568499834,
                                             0.02079067210376509, 0.01664469118982119, 0.01387612882307075,
                                             0.01189670994589177, 0.01041126526197209, 0.009255462182712733,
                                             0.008330563433362871};
  if (k < 10.0) {
    return kTable[static_cast<std::size_t>(k)];
  }
  const double inverse = 1.0 / (k + 1.0);
  const double square = inverse * inverse;
  return (1.0 / 12.0 - (1.0 / 360.0 - square / 1260.0) * square) * inverse;
}

// Binomial with trials * probability >= 10 and probability <= 1/2: algorithm BTRS, transformed rejection
// (W. Hoermann, "The generation of binomial random variates", J. Stat. Comput. Simul. 46, 1993). The
// logarithm of the ratio to the mode is written with log1p, so that it keeps its digits for a million million
// trials.
double binomial_by_rejection(Draws& draws, double trials, double probability) {
  const double deviation = math::sqrt(trials * probability * (1.0 - probability));
  const double b = 1.15 + 2.53 * deviation;
  const double a = -0.0873 + 0.0248 * b + 0.01 * probability;
  const double centre = trials * probability + 0.5;
  const double sure = 0.92 - 4.2 / b;
  const double odds = probability / (1.0 - probability);
  const double alpha = (2.83 + 5.1 / b) * deviation;
  const double mode = std::floor((trials + 1.0) * probability);
  const double mode_slope = math::log((mode + 1.0) / (odds * (trials - mode + 1.0)));
  while (true) {
    const double u = draws.uniform_open() - 0.5;
    const double v = draws.uniform_open();
    const double distance = 0.5 - std::fabs(u);
    const double k = std::floor((2.0 * a / distance + b) * u + centre);
    if (k < 0.0 || k > trials) {
      continue;
    }
    if (distance >= 0.07 && v <= sure) {
      return k;
    }
    const double height = math::log(v * alpha / (a / (distance * distance) + b));
    const double log_ratio =
        (mode - k) * mode_slope +
        (k + 0.5) * (math::log1p((mode - k) / (k + 1.0)) + math::log1p((mode - k) / (trials - mode + 1.0))) +
        (trials + 1.0) * math::log1p((k - mode) / (trials - k + 1.0)) + stirling_tail(mode) +
        stirling_tail(trials - mode) - stirling_tail(k) - stirling_tail(trials - k);
    if (height <= log_ratio) {
      return k;
    }
  }
}

double log_factorial(double k) {
  constexpr double kHalfLogTwoPi = 0.91893853320467274178;
  return (k + 0.5) * math::log(k + 1.0) - (k + 1.0) + kHalfLogTwoPi + stirling_tail(k);
}

double log_choose(double n, double k) { return log_factorial(n) - log_factorial(k) - log_factorial(n - k); }

}  // namespace

Draws::result_type Draws::operator()() {
  check(used_ < kDrawsPerEntity, "an entity has used up its random draws");
  if (used_ % 2 == 0) {
    fill_block();
  }
  return block_[used_++ % 2];
}

void Draws::discard(std::uint64_t count) {
  check(count <= kDrawsPerEntity - used_, "an entity has used up its random draws");
  used_ += count;
  if (used_ % 2 == 1) {
    fill_block();
  }
}

void Draws::fill_block() {
  const r123::Philox4x32::ctr_type counter = {
      {low_half(used_ / 2), stream_, low_half(entity_), high_half(entity_)}};
  const r123::Philox4x32::key_type key = {{low_half(seed_), high_half(seed_)}};
  const r123::Philox4x32::ctr_type word = r123::Philox4x32()(counter, key);
  block_ = {join(word[0], word[1]), join(word[2], word[3])};
}

double Draws::uniform() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }

// Odd multiples of 2^-53: symmetric about 1/2, neither 0 nor 1.
double Draws::uniform_open() { return (static_cast<double>((*this)() >> 12) + 0.5) * 0x1p-52; }

// D. Lemire, "Fast random integer generation in an interval", ACM TOMACS 29 (2019).
std::int64_t draw_integer(Draws& draws, std::int64_t low, std::int64_t high) {
  check(low <= high, "an empty range for a random integer");
  const std::uint64_t offset = static_cast<std::uint64_t>(low);
  const std::uint64_t span = static_cast<std::uint64_t>(high) - offset + 1;
  if (span == 0) {
    return static_cast<std::int64_t>(draws() + offset);  // all 2^64 values
  }
  const std::uint64_t reject_below = (0 - span) % span;
  UInt128 product = 0;
  do {
    product = static_cast<UInt128>(draws()) * span;
  } while (static_cast<std::uint64_t>(product) < reject_below);
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(product >> 64) + offset);
}

double draw_exponential(Draws& draws, double mean) {
  check(std::isfinite(mean) && mean >= 0.0, "the mean of an exponential must be finite and not negative");
  return -mean * math::log(draws.uniform_open());
}

double draw_normal(Draws& draws) { return math::inverse_normal(draws.uniform_open()); }

// G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000).
double draw_gamma(Draws& draws, double shape, double scale) {
  check(std::isfinite(shape) && shape > 0.0, "the shape of a gamma must be finite and positive");
  check(std::isfinite(scale) && scale >= 0.0, "the scale of a gamma must be finite and not negative");
  // Below shape 1: gamma(shape) = gamma(shape + 1) * U^(1/shape).
  const double boost = shape < 1.0 ? math::pow(draws.uniform_open(), 1.0 / shape) : 1.0;
  const double d = (shape < 1.0 ? shape + 1.0 : shape) - 1.0 / 3.0;
  const double c = 1.0 / math::sqrt(9.0 * d);
  while (true) {
    const double x = draw_normal(draws);
    const double root = 1.0 + c * x;
    if (root <= 0.0) {
      continue;
    }
    const double v = root * root * root;
    if (math::log(draws.uniform_open()) < 0.5 * x * x + d * (1.0 - v + math::log(v))) {
      return d * v * scale * boost;
    }
  }
}

std::int64_t draw_binomial(Draws& draws, std::int64_t trials, double probability) {
  check(trials >= 0 && trials <= kMaximumTrials, "a binomial needs 0 to 2^52 trials");
  check(probability >= 0.0 && probability <= 1.0, "a binomial needs a probability in [0, 1]");
  if (trials == 0 || probability == 0.0) {
    return 0;
  }
  if (probability > 0.5) {
    return trials - draw_binomial(draws, trials, 1.0 - probability);
  }
  const auto n = static_cast<double>(trials);
  const double successes = n * probability < 10.0 ? binomial_by_inversion(draws, n, probability)
                                                  : binomial_by_rejection(draws, n, probability);
  return static_cast<std::int64_t>(successes);
}

std::int64_t draw_hypergeometric(Draws& draws, std::int64_t total, std::int64_t marked, std::int64_t taken) {
  check(
      total >= 0 && total <= kMaximumItems && marked >= 0 && marked <= total && taken >= 0 && taken <= total,
      "a hypergeometric needs marked and taken items among 0 to 2^40");
  const std::int64_t least = std::max<std::int64_t>(0, taken - (total - marked));
  const std::int64_t most = std::min(marked, taken);
  if (least == most) return least;
  const auto all = static_cast<double>(total), special = static_cast<double>(marked),
             n = static_cast<double>(taken);
  const auto mode = std::clamp(
      static_cast<std::int64_t>(std::floor((n + 1.0) * (special + 1.0) / (all + 2.0))), least, most);
  const auto at_mode = static_cast<double>(mode);
  const double peak =
      math::exp(log_choose(special, at_mode) + log_choose(all - special, n - at_mode) - log_choose(all, n));
  // p(k + 1) / p(k)
  const auto growth = [&](double k) {
    return (special - k) * (n - k) / ((k + 1.0) * (all - special - n + k + 1.0));
  };
  double left = draws.uniform() - peak;
  double above = peak, below = peak;
  std::int64_t high = mode, low = mode;
  // Beyond a tail of 0 there is nothing to find.
  while (left >= 0.0 && ((high < most && above > 0.0) || (low > least && below > 0.0))) {
    if (high < most) {
      above *= growth(static_cast<double>(high));
      ++high;
      left -= above;
      if (left < 0.0) return high;
    }
    if (low > least) {
      --low;
      below /= growth(static_cast<double>(low));
      left -= below;
      if (left < 0.0) return low;
    }
  }
  // Rounding has left a little over: the most likely number takes it.
  return mode;
}

void draw_multinomial(Draws& draws, std::int64_t trials, std::span<const double> weights,
                      std::span<std::int64_t> counts) {
  check(weights.size() == counts.size(), "a multinomial needs one count for each weight");
  // Sums from the back: the share of a weight among those still open, without cancellation.
  std::vector<double> open(weights.size() + 1, 0.0);
  for (std::size_t i = weights.size(); i-- > 0;) {
    check(std::isfinite(weights[i]) && weights[i] >= 0.0, "a weight must be finite and not negative");
    open[i] = open[i + 1] + weights[i];
  }
  check(trials == 0 || (open[0] > 0.0 && std::isfinite(open[0])),
        "the weights of a multinomial sum to nothing");
  std::int64_t left = trials;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    // The last positive weight has share exactly 1 and takes the rest.
    counts[i] = left == 0 || weights[i] == 0.0 ? 0 : draw_binomial(draws, left, weights[i] / open[i]);
    left -= counts[i];
  }
}

}  // namespace moesim::core
