// Planted faults of rotations and norms: each leaves the a-priori bound, which the sound kernel keeps.
#include <cmath>
#include <functional>

#include "models/reference/bounds_elementwise.hpp"
#include "sim/core/random.hpp"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

constexpr std::int64_t kRows = 3;
constexpr std::int64_t kWidth = 96;
constexpr std::int64_t kPosition = 1000;

std::vector<float> normal_values(std::size_t count, std::uint64_t seed) {
  core::Draws draws(seed, 2, 0);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(core::draw_normal(draws));
  return values;
}

std::vector<double> widened(const std::vector<float>& values) { return {values.begin(), values.end()}; }

// Largest error as a share of the bound.
double share(const std::vector<float>& got, const std::vector<double>& exact,
             const std::vector<double>& bound) {
  double worst = 0.0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    worst = std::fmax(worst, std::fabs(static_cast<double>(got[i]) - exact[i]) / bound[i]);
  }
  return worst;
}

template <Fault kFault>
double rotated(RopeLayout layout) {
  RopeConfig config;
  config.dim = 64;
  const std::vector<double> frequencies = inverse_frequencies(config);
  const std::vector<float> x = normal_values(64, 5);
  const RopeTable table =
      rope_table(frequencies, 1.0, RopeAngle::f32, std::vector<std::int64_t>{kPosition, kPosition + 1});
  std::vector<float> out = x;
  FaultProbe<kFault> probe;
  rotate_head(std::span<float>(out), table, 0, layout, probe);
  const std::vector<double> exact = rotate_head_f64(widened(x), frequencies, 1.0, kPosition, layout);
  std::vector<double> bound(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool interleaved = layout == RopeLayout::interleaved;
    const std::size_t other = interleaved ? i ^ 1U : (i + 32) % 64;
    bound[i] = rope_error_bound(static_cast<double>(x[i]), static_cast<double>(x[other]),
                                frequencies[interleaved ? i / 2 : i % 32], 1.0, kPosition, RopeAngle::f32);
  }
  return share(out, exact, bound);
}

template <Fault kFault>
double rms(bool plus_one) {
  const std::vector<float> x = normal_values(static_cast<std::size_t>(kRows * kWidth), 6);
  const std::vector<float> residual = normal_values(x.size(), 7);
  const std::vector<float> weight = normal_values(static_cast<std::size_t>(kWidth), 8);
  NormOptions options;
  options.epsilon = 1e-3F;
  options.weight_plus_one = plus_one;
  std::vector<float> sums = residual;
  std::vector<float> out(x.size());
  FaultProbe<kFault> probe;
  rms_norm<float>(x, kRows, kWidth, weight, options, sums, out, probe);
  // The kernel norms the rounded sum.
  std::vector<double> inputs(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) inputs[i] = static_cast<double>(x[i] + residual[i]);
  const auto epsilon = static_cast<double>(options.epsilon);
  return share(out, rms_norm_f64(inputs, kRows, kWidth, widened(weight), epsilon, plus_one),
               rms_norm_error_bound(inputs, kRows, kWidth, widened(weight), options));
}

template <Fault kFault>
double layer() {
  std::vector<float> x = normal_values(static_cast<std::size_t>(kRows * kWidth), 9);
  for (float& value : x) value += 0.5F;
  const std::vector<float> weight = normal_values(static_cast<std::size_t>(kWidth), 10);
  const std::vector<float> bias = normal_values(static_cast<std::size_t>(kWidth), 11);
  std::vector<float> out(x.size());
  FaultProbe<kFault> probe;
  layer_norm<float>(x, kRows, kWidth, weight, bias, 1e-3F, {}, out, probe);
  const auto epsilon = static_cast<double>(1e-3F);
  return share(out, layer_norm_f64(widened(x), kRows, kWidth, widened(weight), widened(bias), epsilon),
               layer_norm_error_bound(widened(x), kRows, kWidth, widened(weight), widened(bias), epsilon));
}

struct Row {
  const char* what;
  std::function<double()> share;  // of the bound
  bool sound = false;
};

TEST_CASE("bounds of rotations and norms catch every planted fault") {
  const auto half = RopeLayout::half_split;
  const auto interleaved = RopeLayout::interleaved;
  const Row rows[] = {
      {"rotation", [&] { return rotated<Fault::none>(half); }, true},
      {"interleaved rotation", [&] { return rotated<Fault::none>(interleaved); }, true},
      {"pairs of the other layout", [&] { return rotated<Fault::rope_interleaved_swapped>(half); }},
      {"pairs of the other layout", [&] { return rotated<Fault::rope_interleaved_swapped>(interleaved); }},
      {"position off by one", [&] { return rotated<Fault::rope_position_off_by_one>(half); }},
      {"sine negated", [&] { return rotated<Fault::rope_sine_negated>(half); }},
      {"RMSNorm", [] { return rms<Fault::none>(false); }, true},
      {"RMSNorm with 1 + w", [] { return rms<Fault::none>(true); }, true},
      {"epsilon outside of the root", [] { return rms<Fault::norm_epsilon_outside>(false); }},
      {"last value not in the sum", [] { return rms<Fault::norm_last_value_dropped>(false); }},
      {"w in place of 1 + w", [] { return rms<Fault::norm_weight_minus_one>(true); }},
      {"residual dropped", [] { return rms<Fault::norm_residual_dropped>(false); }},
      {"LayerNorm", [] { return layer<Fault::none>(); }, true},
      {"epsilon outside of the root", [] { return layer<Fault::norm_epsilon_outside>(); }},
      {"last value not in the sum", [] { return layer<Fault::norm_last_value_dropped>(); }},
      {"mean not subtracted", [] { return layer<Fault::norm_mean_not_subtracted>(); }},
  };
  for (const Row& row : rows) {
    INFO(row.what << ": " << row.share() << " of the bound");
    CHECK((row.share() <= 1.0) == row.sound);
    // A bound that the sound kernel comes nowhere near would be no bound.
    if (row.sound) CHECK(row.share() > 0.005);
  }
}

}  // namespace
}  // namespace moesim::reference
