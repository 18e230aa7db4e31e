#include "workloads/lengths.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "sim/core/math.hpp"
#include "workloads/streams.hpp"

namespace moesim::workloads {

LengthSampler::LengthSampler(LengthDistribution distribution) : distribution_(std::move(distribution)) {
  if (const auto* lognormal = std::get_if<LognormalLength>(&distribution_)) {
    sigma_ = lognormal->sigma
                 ? *lognormal->sigma
                 : core::math::sqrt(2.0 * core::math::log(lognormal->mean.value_or(0.0) / lognormal->median));
  }
  if (const auto* empirical = std::get_if<EmpiricalLength>(&distribution_)) {
    double sum = 0.0;
    for (const double weight : empirical->weights) cumulative_.push_back(sum += weight);
  }
}

std::int64_t LengthSampler::draw(core::Draws& draws) const {
  return std::visit([&](const auto& distribution) { return draw(distribution, draws); }, distribution_);
}

std::int64_t LengthSampler::draw(const FixedLength& fixed, core::Draws&) const { return fixed.tokens; }

std::int64_t LengthSampler::draw(const UniformLength& uniform, core::Draws& draws) const {
  // The same double product and truncation as Python's int(ratio * tokens).
  const auto low = static_cast<std::int64_t>(uniform.ratio * static_cast<double>(uniform.tokens));
  return core::draw_integer(draws, std::max<std::int64_t>(low, 1), uniform.tokens);
}

std::int64_t LengthSampler::draw(const LognormalLength& lognormal, core::Draws& draws) const {
  const double length =
      std::floor(lognormal.median * core::math::exp(sigma_ * core::draw_normal(draws)) + 0.5);
  // Clip as doubles first: a far draw may not fit an integer.
  return static_cast<std::int64_t>(
      std::clamp(length, static_cast<double>(lognormal.min), static_cast<double>(lognormal.max)));
}

std::int64_t LengthSampler::draw(const EmpiricalLength& empirical, core::Draws& draws) const {
  if (cumulative_.empty()) {
    const auto last = static_cast<std::int64_t>(empirical.values.size()) - 1;
    return empirical.values[static_cast<std::size_t>(core::draw_integer(draws, 0, last))];
  }
  // upper_bound never picks a value of weight 0: its running sum equals the one before it.
  const double target = draws.uniform() * cumulative_.back();
  auto at = std::upper_bound(cumulative_.begin(), cumulative_.end(), target);
  // The product may round up to the total: then the first value that reaches the total is meant.
  if (at == cumulative_.end())
    at = std::lower_bound(cumulative_.begin(), cumulative_.end(), cumulative_.back());
  return empirical.values[static_cast<std::size_t>(at - cumulative_.begin())];
}

RequestLengths RequestLengthSampler::measured(std::int64_t number) const {
  return draw(kInputLengthStream, kOutputLengthStream, number);
}

RequestLengths RequestLengthSampler::extra_warmup(std::int64_t number) const {
  return draw(kWarmupInputLengthStream, kWarmupOutputLengthStream, number);
}

RequestLengths RequestLengthSampler::draw(std::uint32_t input_stream, std::uint32_t output_stream,
                                          std::int64_t number) const {
  core::Draws input_draws(seed_, input_stream, static_cast<std::uint64_t>(number));
  core::Draws output_draws(seed_, output_stream, static_cast<std::uint64_t>(number));
  return {input_.draw(input_draws), output_.draw(output_draws)};
}

}  // namespace moesim::workloads
