// Golden vectors of rotations, norms and activations.
#include <cmath>

#include "models/reference/activations.hpp"
#include "models/reference/golden.hpp"
#include "models/reference/golden_rope.hpp"
#include "models/reference/norms.hpp"
#include "models/reference/rope.hpp"

namespace moesim::reference {

namespace {

constexpr std::int64_t kLargestRotation = 1 << 16;

RopeScaling golden_scaling(const std::string& type, const GoldenCase& golden) {
  if (type == "default" || type == "none") return RopeScaling::none;
  if (type == "linear") return RopeScaling::linear;
  if (type == "dynamic") return RopeScaling::dynamic;
  if (type == "yarn") return RopeScaling::yarn;
  if (type == "llama3") return RopeScaling::llama3;
  if (type == "longrope") return RopeScaling::longrope;
  throw GoldenError(golden.name() + ": no scaling \"" + type + "\"");
}

}  // namespace

RopeConfig golden_rope_config(const GoldenCase& golden, const std::string& prefix, std::int64_t dim) {
  const auto number = [&](const char* name, double otherwise) {
    return golden.number_or(prefix + name, otherwise);
  };
  RopeConfig config;
  config.scaling = golden_scaling(golden.text_or(prefix + "type", "default"), golden);
  config.dim = dim;
  config.base = number("base", config.base);
  config.factor = number("factor", 1.0);
  config.original_position = number("original", 0.0);
  config.max_position = number("max_position", 0.0);
  config.sequence = number("seq_len", 0.0);
  config.beta_fast = number("beta_fast", config.beta_fast);
  config.beta_slow = number("beta_slow", config.beta_slow);
  config.truncate = golden.flag_or(prefix + "truncate", true);
  if (golden.has(prefix + "mscale")) config.mscale = golden.number(prefix + "mscale");
  if (golden.has(prefix + "mscale_all_dim")) config.mscale_all_dim = golden.number(prefix + "mscale_all_dim");
  config.low_frequency_factor = number("low_freq_factor", config.low_frequency_factor);
  config.high_frequency_factor = number("high_freq_factor", config.high_frequency_factor);
  if (golden.has(prefix + "short_factor")) config.short_factors = golden.numbers(prefix + "short_factor");
  if (golden.has(prefix + "long_factor")) config.long_factors = golden.numbers(prefix + "long_factor");
  return config;
}

namespace {

// Rows of a tensor: everything but its last dimension.
std::int64_t golden_rows(const GoldenTensor& tensor) {
  return tensor.shape.empty() || tensor.shape.back() == 0 ? 0 : tensor.elements() / tensor.shape.back();
}

// All heads, [positions x heads_of_token, width], rotated.
std::vector<float> rotated(std::span<const float> x, std::int64_t heads, std::int64_t heads_of_token,
                           const RopeTable& table, RopeLayout layout) {
  std::vector<float> out(x.begin(), x.end());
  const std::size_t width = out.size() / static_cast<std::size_t>(heads);
  NoProbe probe;
  for (std::int64_t h = 0; h < heads; ++h) {
    rotate_head(std::span<float>(out).subspan(static_cast<std::size_t>(h) * width, width), table,
                h / heads_of_token, layout, probe);
  }
  return out;
}

// How far an angle computed in f32 may move each value: frequency, position and their product are rounded
// once each, and a pair moves by no more than its length times the error of the angle.
std::vector<double> f32_angle_errors(std::span<const float> x, std::int64_t heads_of_token,
                                     std::span<const std::int64_t> positions,
                                     std::span<const double> frequencies, double factor, RopeLayout layout) {
  constexpr double kRoundings = 3.0 * 0x1p-24;
  std::vector<double> errors(x.size(), 0.0);
  const std::size_t heads = positions.size() * static_cast<std::size_t>(heads_of_token);
  const std::size_t width = x.size() / heads;
  for (std::size_t h = 0; h < heads; ++h) {
    const auto position = static_cast<double>(positions[h / static_cast<std::size_t>(heads_of_token)]);
    for (std::size_t pair = 0; pair < frequencies.size(); ++pair) {
      const bool split = layout == RopeLayout::half_split;
      const std::size_t first = h * width + (split ? pair : 2 * pair);
      const std::size_t second = first + (split ? frequencies.size() : 1);
      const double length = std::hypot(static_cast<double>(x[first]), static_cast<double>(x[second]));
      errors[first] = kRoundings * std::fabs(position * frequencies[pair] * factor) * length;
      errors[second] = errors[first];
    }
  }
  return errors;
}

void run_rope(GoldenCase& golden) {
  const RopeConfig config = golden_rope_config(golden, "", golden.integer("dim"));
  const std::vector<std::int64_t>& shape = golden.tensor("x").shape;
  if (shape.empty() || config.dim > shape.back() || config.dim > kLargestRotation) {
    throw GoldenError(golden.name() + ": more channels rotate than a head has");
  }
  const std::vector<double> frequencies = inverse_frequencies(config);
  if (golden.has_tensor("inv_freq")) golden.give("inv_freq", frequencies);
  const double factor = attention_factor(config);
  golden.give_fact("attention_factor", factor);
  const RopeLayout layout =
      golden.flag_or("interleaved", false) ? RopeLayout::interleaved : RopeLayout::half_split;
  const auto given = golden.i64("pos");
  const std::vector<std::int64_t> positions(given.begin(), given.end());
  const auto x = golden.f32("x");
  // [positions, ..., head_dim]: all heads of a position rotate alike.
  const std::int64_t heads = golden_rows(golden.tensor("x"));
  const auto tokens = std::ssize(positions);
  if (heads == 0) {
    golden.give("y", std::vector<float>());
    return;
  }
  if (tokens == 0 || heads % tokens != 0) throw GoldenError(golden.name() + ": pos does not fit x");
  const std::int64_t heads_of_token = heads / tokens;
  golden.give("y", rotated(x, heads, heads_of_token,
                           rope_table(frequencies, factor, RopeAngle::exact, positions), layout));
  // Angles in f32 are allowed what they lose beside that.
  if (!golden.has_tensor("y") || golden.tensor("y").tolerance.kind != GoldenTolerance::Kind::mixed) return;
  golden.give_within(
      "y",
      rotated(x, heads, heads_of_token, rope_table(frequencies, factor, RopeAngle::f32, positions), layout),
      f32_angle_errors(x, heads_of_token, positions, frequencies, factor, layout));
}

void run_rmsnorm(GoldenCase& golden) {
  const auto x = golden.f32("x");
  const auto weight = golden.has_tensor("weight") ? golden.f32("weight") : std::span<const float>();
  NormOptions options;
  options.epsilon = static_cast<float>(golden.number("eps"));
  options.weight_plus_one = golden.flag_or("weight_plus_one", false);
  const GoldenTensor& tensor = golden.tensor("x");
  std::vector<float> out(x.size());
  NoProbe probe;
  if (!x.empty()) {
    rms_norm<float>(x, golden_rows(tensor), tensor.shape.back(), weight, options, {}, out, probe);
  }
  golden.give("y", out);
}

void run_layernorm(GoldenCase& golden) {
  const auto x = golden.f32("x");
  const auto weight = golden.has_tensor("weight") ? golden.f32("weight") : std::span<const float>();
  const auto bias = golden.has_tensor("bias") ? golden.f32("bias") : std::span<const float>();
  const GoldenTensor& tensor = golden.tensor("x");
  std::vector<float> out(x.size());
  NoProbe probe;
  if (!x.empty()) {
    layer_norm<float>(x, golden_rows(tensor), tensor.shape.back(), weight, bias,
                      static_cast<float>(golden.number("eps")), {}, out, probe);
  }
  golden.give("y", out);
}

template <class Function>
void give_pointwise(GoldenCase& golden, std::string_view output, Function&& function) {
  if (!golden.has_tensor(output)) return;
  std::vector<float> values;
  for (const float x : golden.f32("x")) values.push_back(function(x));
  golden.give(output, values);
}

void run_activations(GoldenCase& golden) {
  give_pointwise(golden, "silu", silu);
  give_pointwise(golden, "sigmoid", sigmoid);
  give_pointwise(golden, "softplus", softplus);
  give_pointwise(golden, "sqrtsoftplus", sqrt_softplus);
  give_pointwise(golden, "gelu_tanh", gelu_tanh);
  if (golden.has_tensor("softcap")) {
    const auto cap = static_cast<float>(golden.number("cap"));
    give_pointwise(golden, "softcap", [&](float x) { return softcap(x, cap); });
  }
}

constexpr GoldenKind kElementwiseKinds[] = {
    {"rope", run_rope},
    {"rmsnorm", run_rmsnorm},
    {"layernorm", run_layernorm},
    {"activations", run_activations},
};

}  // namespace

std::span<const GoldenKind> golden_elementwise_kinds() { return kElementwiseKinds; }

}  // namespace moesim::reference
