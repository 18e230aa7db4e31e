#include "models/reference/rope.hpp"

#include <cmath>
#include <numbers>

#include "sim/core/math.hpp"

namespace moesim::reference {

namespace {

namespace math = core::math;

constexpr double kTurn = 2.0 * std::numbers::pi;

std::vector<double> plain_frequencies(std::int64_t dim, double base) {
  std::vector<double> frequencies(static_cast<std::size_t>(dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(dim);
    frequencies[i] = 1.0 / math::pow(base, exponent);
  }
  return frequencies;
}

std::vector<double> dynamic_frequencies(const RopeConfig& config) {
  core::check(config.dim > 2, "dynamic scaling needs more than one pair");
  core::check(config.max_position > 0.0, "dynamic scaling needs a largest position");
  const double length = std::fmax(config.sequence, config.max_position);
  const double growth = config.factor * length / config.max_position - (config.factor - 1.0);
  const auto dim = static_cast<double>(config.dim);
  return plain_frequencies(config.dim, config.base * math::pow(growth, dim / (dim - 2.0)));
}

// The pair (as a real number) that turns `rotations` times over the original positions.
double yarn_edge(const RopeConfig& config, double rotations) {
  return static_cast<double>(config.dim) * math::log(config.original_position / (rotations * kTurn)) /
         (2.0 * math::log(config.base));
}

std::vector<double> yarn_frequencies(const RopeConfig& config) {
  core::check(config.original_position > 0.0, "yarn needs the positions of training");
  core::check(config.beta_fast > 0.0 && config.beta_slow > 0.0, "yarn needs rotations above 0");
  double low = yarn_edge(config, config.beta_fast);
  double high = yarn_edge(config, config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::fmax(low, 0.0);
  high = std::fmin(high, static_cast<double>(config.dim - 1));
  if (low == high) high += 0.001;  // as transformers: no division by zero
  std::vector<double> frequencies = plain_frequencies(config.dim, config.base);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::fmin(std::fmax((static_cast<double>(i) - low) / (high - low), 0.0), 1.0);
    frequencies[i] = frequencies[i] / config.factor * ramp + frequencies[i] * (1.0 - ramp);
  }
  return frequencies;
}

std::vector<double> llama3_frequencies(const RopeConfig& config) {
  core::check(config.original_position > 0.0, "llama3 scaling needs the positions of training");
  core::check(config.low_frequency_factor > 0.0 && config.high_frequency_factor > 0.0,
              "llama3 scaling needs factors above 0");
  const double longest = config.original_position / config.low_frequency_factor;
  const double shortest = config.original_position / config.high_frequency_factor;
  std::vector<double> frequencies = plain_frequencies(config.dim, config.base);
  for (double& frequency : frequencies) {
    const double wave = kTurn / frequency;
    if (wave > longest) {
      frequency /= config.factor;
    } else if (wave >= shortest && config.high_frequency_factor != config.low_frequency_factor) {
      // With equal factors (Llama 4 Scout) only a wave of exactly that length comes here: it stays as it is.
      const double blend = (config.original_position / wave - config.low_frequency_factor) /
                           (config.high_frequency_factor - config.low_frequency_factor);
      frequency = (1.0 - blend) * frequency / config.factor + blend * frequency;
    }
  }
  return frequencies;
}

std::vector<double> longrope_frequencies(const RopeConfig& config) {
  const bool is_long = config.sequence > config.original_position;
  const std::vector<double>& factors = is_long ? config.long_factors : config.short_factors;
  std::vector<double> frequencies = plain_frequencies(config.dim, config.base);
  core::check(factors.size() == frequencies.size(), "longrope needs one factor per pair");
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    core::check(factors[i] > 0.0, "longrope needs factors above 0");
    frequencies[i] /= factors[i];
  }
  return frequencies;
}

double yarn_scale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * math::log(factor) + 1.0;
}

}  // namespace

std::vector<double> inverse_frequencies(const RopeConfig& config) {
  core::check(config.dim > 0 && config.dim % 2 == 0, "a rotation needs an even number of channels");
  core::check(config.base > 0.0 && config.factor > 0.0, "a rotation needs a base and a factor above 0");
  switch (config.scaling) {
    case RopeScaling::none:
      return plain_frequencies(config.dim, config.base);
    case RopeScaling::linear: {
      std::vector<double> frequencies = plain_frequencies(config.dim, config.base);
      for (double& frequency : frequencies) frequency /= config.factor;
      return frequencies;
    }
    case RopeScaling::dynamic:
      return dynamic_frequencies(config);
    case RopeScaling::yarn:
      return yarn_frequencies(config);
    case RopeScaling::llama3:
      return llama3_frequencies(config);
    case RopeScaling::longrope:
      return longrope_frequencies(config);
  }
  return {};
}

double attention_factor(const RopeConfig& config) {
  if (config.scaling == RopeScaling::yarn) {
    if (config.mscale && config.mscale_all_dim) {
      return yarn_scale(config.factor, *config.mscale) / yarn_scale(config.factor, *config.mscale_all_dim);
    }
    return yarn_scale(config.factor, 1.0);
  }
  if (config.scaling == RopeScaling::longrope) {
    const double growth = config.max_position / config.original_position;
    if (growth <= 1.0) return 1.0;
    return math::sqrt(1.0 + math::log(growth) / math::log(config.original_position));
  }
  return 1.0;
}

RopeTable rope_table(std::span<const double> frequencies, double factor, RopeAngle angle,
                     std::span<const std::int64_t> positions) {
  RopeTable table;
  table.pairs = std::ssize(frequencies);
  table.cosines.reserve(positions.size() * frequencies.size());
  table.sines.reserve(positions.size() * frequencies.size());
  for (const std::int64_t position : positions) {
    for (const double frequency : frequencies) {
      if (angle == RopeAngle::exact) {
        const double radians = static_cast<double>(position) * frequency;
        table.cosines.push_back(static_cast<float>(math::cos(radians) * factor));
        table.sines.push_back(static_cast<float>(math::sin(radians) * factor));
      } else {
        const float radians = static_cast<float>(position) * static_cast<float>(frequency);
        const auto wide = static_cast<double>(radians);
        table.cosines.push_back(static_cast<float>(math::cos(wide)) * static_cast<float>(factor));
        table.sines.push_back(static_cast<float>(math::sin(wide)) * static_cast<float>(factor));
      }
    }
  }
  return table;
}

std::vector<double> rotate_head_f64(std::span<const double> head, std::span<const double> frequencies,
                                    double factor, double position, RopeLayout layout) {
  core::check(head.size() >= 2 * frequencies.size(), "more channels rotate than a head has");
  std::vector<double> out(head.begin(), head.end());
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const bool interleaved = layout == RopeLayout::interleaved;
    const std::size_t first = interleaved ? 2 * i : i;
    const std::size_t second = interleaved ? 2 * i + 1 : i + frequencies.size();
    const double cosine = math::cos(position * frequencies[i]) * factor;
    const double sine = math::sin(position * frequencies[i]) * factor;
    out[first] = head[first] * cosine - head[second] * sine;
    out[second] = head[second] * cosine + head[first] * sine;
  }
  return out;
}

}  // namespace moesim::reference
