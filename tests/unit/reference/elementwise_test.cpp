// Facts of rotations, norms and activations.
#include <bit>
#include <cmath>
#include <limits>

#include "models/reference/activations.hpp"
#include "models/reference/golden.hpp"
#include "models/reference/norms.hpp"
#include "models/reference/rope.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden_data.hpp"

namespace moesim::reference {
namespace {

// Distance in units in the last place of the exact value, or of the smallest normal number below that.
double ulps(float got, long double exact) {
  const int exponent = exact == 0.0L ? -126 : std::max(std::ilogb(exact), -126);
  return static_cast<double>(std::fabs(static_cast<long double>(got) - exact) /
                             std::ldexp(1.0L, exponent - 23));
}

// The largest error over floats of all exponents and both signs, every 4093rd bit pattern.
template <class Function, class Exact>
double worst_ulps(Function&& function, Exact&& exact) {
  double worst = 0.0;
  for (std::uint64_t bits = 0; bits <= 0xFFFFFFFFU; bits += 4093) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (!std::isfinite(x)) continue;
    const long double want = exact(static_cast<long double>(x));
    if (std::fabs(want) > static_cast<long double>(std::numeric_limits<float>::max())) continue;
    const double off = ulps(function(x), want);
    if (off > worst) worst = off;
  }
  return worst;
}

TEST_CASE("activations are within the stated 0.51 ulp over all exponents") {
  constexpr double kStated = 0.51;
  const auto sigmoid_long = [](long double x) { return 1.0L / (1.0L + std::exp(-x)); };
  // Where e^-x overflows, x over it is 0 as it should be.
  const auto silu_long = [](long double x) { return x / (1.0L + std::exp(-x)); };
  const auto softplus_long = [](long double x) {
    return std::fmax(x, 0.0L) + std::log1p(std::exp(-std::fabs(x)));
  };
  CHECK(worst_ulps(sigmoid, sigmoid_long) <= kStated);
  CHECK(worst_ulps(silu, silu_long) <= kStated);
  CHECK(worst_ulps(softplus, softplus_long) <= kStated);
  CHECK(worst_ulps(sqrt_softplus, [&](long double x) { return std::sqrt(softplus_long(x)); }) <= kStated);
  const auto gelu_long = [](long double x) {
    return x / (1.0L + std::exp(-1.59576912160573071175978423973752747L * (x + 0.044715L * x * x * x)));
  };
  CHECK(worst_ulps(gelu_tanh, gelu_long) <= kStated);
  CHECK(worst_ulps([](float x) { return softcap(x, 30.0F); },
                   [](long double x) { return 30.0L * std::tanh(x / 30.0L); }) <= kStated);
}

TEST_CASE("activations at their edges") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(sigmoid(-infinity) == 0.0F);
  CHECK(sigmoid(infinity) == 1.0F);
  CHECK(silu(-infinity) == 0.0F);
  CHECK(silu(infinity) == infinity);
  CHECK(gelu_tanh(-infinity) == 0.0F);
  CHECK(gelu_tanh(infinity) == infinity);
  CHECK(softplus(-infinity) == 0.0F);
  CHECK(softplus(infinity) == infinity);
  CHECK(softcap(infinity, 50.0F) == 50.0F);
  CHECK(std::isnan(silu(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(softplus(std::numeric_limits<float>::quiet_NaN())));
  CHECK_THROWS_AS(softcap(1.0F, 0.0F), core::InvariantError);
  // gpt-oss: the gate is cut at 7 from above only, up on both sides.
  CHECK(clamped_swiglu(100.0F, 0.0F, 1.702F, 7.0F) == clamped_swiglu(7.0F, 0.0F, 1.702F, 7.0F));
  CHECK(clamped_swiglu(-9.0F, 0.0F, 1.702F, 7.0F) != clamped_swiglu(-7.0F, 0.0F, 1.702F, 7.0F));
  CHECK(clamped_swiglu(1.0F, -100.0F, 1.702F, 7.0F) == clamped_swiglu(1.0F, -7.0F, 1.702F, 7.0F));
  CHECK(clamped_swiglu(1.0F, 2.0F, 0.0F, 7.0F) == 1.5F);
}

TEST_CASE("the gated kernels multiply") {
  const std::vector<float> gate{0.0F, 1.0F, -2.0F};
  const std::vector<float> up{3.0F, 4.0F, 5.0F};
  std::vector<float> out(3);
  NoProbe probe;
  silu_and_multiply<float>(gate, up, out, probe);
  CHECK(out == std::vector<float>{0.0F, silu(1.0F) * 4.0F, silu(-2.0F) * 5.0F});
  sigmoid_gate<float>(up, gate, out, probe);
  CHECK(out == std::vector<float>{1.5F, 4.0F * sigmoid(1.0F), 5.0F * sigmoid(-2.0F)});
}

TEST_CASE("the two orders of casts are one rounding apart") {
  // 1.0078125 is the bf16 after 1; 1.005 rounds up to it.
  const std::vector<Bf16> x{to_bf16(1.0F), to_bf16(1.0078125F)};
  const std::vector<Bf16> weight{to_bf16(1.0078125F), to_bf16(1.0078125F)};
  std::vector<Bf16> after(2);
  std::vector<Bf16> before(2);
  NoProbe probe;
  NormOptions options;
  rms_norm<Bf16>(x, 1, 2, weight, options, {}, after, probe);
  options.cast = NormCast::before_weight;
  rms_norm<Bf16>(x, 1, 2, weight, options, {}, before, probe);
  const float reciprocal = 1.0F / std::sqrt((1.0F + 1.0078125F * 1.0078125F) / 2.0F + 1e-6F);
  CHECK(after[1] == to_bf16(1.0078125F * reciprocal * 1.0078125F));
  CHECK(before[1] == to_bf16(rounded_to_bf16(1.0078125F * reciprocal) * 1.0078125F));
  CHECK(before[0] == to_bf16(rounded_to_bf16(reciprocal) * 1.0078125F));
}

TEST_CASE("norms add the residual, and store what they norm") {
  const std::vector<float> x{1.0F, 2.0F, 3.0F, 4.0F};
  std::vector<float> residual{1.0F, 0.0F, -3.0F, 0.0F};
  std::vector<float> out(4);
  NoProbe probe;
  NormOptions options;
  options.epsilon = 0.0F;
  rms_norm<float>(x, 2, 2, {}, options, residual, out, probe);
  CHECK(residual == std::vector<float>{2.0F, 2.0F, 0.0F, 4.0F});
  CHECK(out[0] == 1.0F);
  CHECK(out[2] == 0.0F);
  CHECK(out[3] == Approx(std::sqrt(2.0)));
  std::vector<float> zeros(4);
  const std::vector<float> weight{2.0F, 3.0F};
  const std::vector<float> bias{10.0F, 20.0F};
  layer_norm<float>(x, 2, 2, weight, bias, 0.0F, zeros, out, probe);
  CHECK(out == std::vector<float>{8.0F, 23.0F, 8.0F, 23.0F});
  CHECK_THROWS_AS(rms_norm<float>(x, 2, 3, {}, options, {}, out, probe), core::InvariantError);
  CHECK_THROWS_AS(rms_norm<float>(x, 2, 2, bias, options, std::span(zeros).first(1), out, probe),
                  core::InvariantError);
  CHECK_THROWS_AS(rms_norm<float>(x, 4, 1, bias, options, {}, out, probe), core::InvariantError);
  options.weight_plus_one = true;
  rms_norm<float>(x, 2, 2, weight, options, {}, out, probe);
  CHECK(out[0] == Approx(3.0 / std::sqrt(2.5)));
}

TEST_CASE("attention factors follow from the configuration") {
  if (!test::has_golden_data()) return;
  const GoldenFamily family =
      read_golden_family(std::filesystem::path(MOESIM_TEST_DATA_DIR) / "golden" / "elementwise.json");
  int checked = 0;
  for (const GoldenCase& golden : family.cases) {
    if (golden.kind() != "rope") continue;
    RopeConfig config;
    const std::string type = golden.text("type");
    if (type == "yarn") config.scaling = RopeScaling::yarn;
    if (type == "longrope") config.scaling = RopeScaling::longrope;
    config.factor = golden.number_or("factor", 1.0);
    config.original_position = golden.number_or("original", 0.0);
    config.max_position = golden.number_or("max_position", 0.0);
    if (golden.has("mscale")) config.mscale = golden.number("mscale");
    if (golden.has("mscale_all_dim")) config.mscale_all_dim = golden.number("mscale_all_dim");
    INFO(golden.name());
    CHECK(attention_factor(config) == Approx(golden.number("attention_factor")).epsilon(1e-14));
    ++checked;
  }
  CHECK(checked == 11);
}

TEST_CASE("exact angles stay within 1e-6 of the golden rotations where f32 angles do not") {
  if (!test::has_golden_data()) return;
  GoldenFamily family =
      read_golden_family(std::filesystem::path(MOESIM_TEST_DATA_DIR) / "golden" / "elementwise.json");
  double exact_worst = 0.0;
  double float_worst = 0.0;
  for (GoldenCase& golden : family.cases) {
    if (golden.kind() != "rope") continue;
    const auto given = golden.i32("pos");
    const std::vector<std::int64_t> positions(given.begin(), given.end());
    const auto x = golden.f32("x");
    const auto want = golden.f64("y");
    const std::size_t width = x.size() / positions.size();
    for (const RopeAngle angle : {RopeAngle::exact, RopeAngle::f32}) {
      const RopeTable table =
          rope_table(golden.f64("inv_freq"), golden.number("attention_factor"), angle, positions);
      std::vector<float> out(x.begin(), x.end());
      NoProbe probe;
      for (std::size_t t = 0; t < positions.size(); ++t) {
        rotate_head(std::span(out).subspan(t * width, width), table, static_cast<std::int64_t>(t),
                    golden.flag("interleaved") ? RopeLayout::interleaved : RopeLayout::half_split, probe);
      }
      for (std::size_t i = 0; i < out.size(); ++i) {
        const double off = std::fabs(static_cast<double>(out[i]) - want[i]);
        double& worst = angle == RopeAngle::exact ? exact_worst : float_worst;
        worst = std::max(worst, off);
      }
    }
  }
  CHECK(exact_worst <= 1e-6);
  CHECK(float_worst > 1e-3);
}

TEST_CASE("scalings have the edges that they should") {
  RopeConfig config;
  config.dim = 128;
  config.base = 500000.0;
  const std::vector<double> plain = inverse_frequencies(config);
  CHECK(plain.front() == 1.0);
  config.factor = 8.0;
  config.original_position = 8192.0;
  config.scaling = RopeScaling::llama3;
  config.high_frequency_factor = 4.0;
  const std::vector<double> stretched = inverse_frequencies(config);
  CHECK(stretched.front() == plain.front());
  CHECK(stretched.back() == plain.back() / 8.0);
  // Llama 4 Scout: low = high = 1; the blend would be 0 / 0 and is never used.
  config.high_frequency_factor = 1.0;
  for (const double frequency : inverse_frequencies(config)) CHECK(std::isfinite(frequency));
  // Both edges of yarn's ramp rounded to pair 0: the ramp is a step right behind it, not 0 / 0.
  config.scaling = RopeScaling::yarn;
  config.beta_fast = 1.01 * 8192.0 / 6.283185307179586;
  config.beta_slow = config.beta_fast;
  CHECK(inverse_frequencies(config)[0] == plain[0]);
  CHECK(inverse_frequencies(config)[1] == plain[1] / 8.0);
  // A sequence within training is not scaled by the dynamic rule.
  config.scaling = RopeScaling::dynamic;
  config.max_position = 8192.0;
  config.sequence = 100.0;
  CHECK(inverse_frequencies(config) == plain);
  config.sequence = 8193.0;
  CHECK(inverse_frequencies(config)[1] < plain[1]);
  config.dim = 3;
  CHECK_THROWS_AS(inverse_frequencies(config), core::InvariantError);
  config.dim = 4;
  config.scaling = RopeScaling::longrope;
  CHECK_THROWS_AS(inverse_frequencies(config), core::InvariantError);
  config.long_factors = {1.0, 2.0};
  config.short_factors = {4.0, 8.0};
  config.sequence = 8193.0;
  CHECK(inverse_frequencies(config)[0] == 1.0);
  config.sequence = 8192.0;
  CHECK(inverse_frequencies(config)[0] == 0.25);
}

TEST_CASE("rotation and cache write each row where its slot is") {
  const RopeHeads heads{1, 1, 4, 2};
  const RopeTable table =
      rope_table(std::vector<double>{1.0}, 1.0, RopeAngle::exact, std::vector<std::int64_t>{0, 2});
  std::vector<float> queries{1, 2, 3, 4, 1, 0, 3, 4};
  const std::vector<float> keys{5, 6, 7, 8, 1, 0, 9, 9};
  const std::vector<float> values{10, 11, 12, 13};
  std::vector<float> key_cache(12, -1.0F);
  std::vector<float> value_cache(6, -1.0F);
  NoProbe probe;
  const std::vector<std::int64_t> slots{2, 0};
  rope_and_cache<float>(heads, table, RopeLayout::half_split, queries, keys, values, slots, key_cache,
                        value_cache, probe);
  const auto cosine = static_cast<float>(std::cos(2.0));
  const auto sine = static_cast<float>(std::sin(2.0));
  CHECK(queries == std::vector<float>{1, 2, 3, 4, cosine, sine, 3, 4});
  CHECK(key_cache == std::vector<float>{cosine, sine, 9, 9, -1, -1, -1, -1, 5, 6, 7, 8});
  CHECK(value_cache == std::vector<float>{12, 13, -1, -1, 10, 11});
  const std::vector<std::int64_t> beyond{3, 0};
  CHECK_THROWS_AS(rope_and_cache<float>(heads, table, RopeLayout::half_split, queries, keys, values, beyond,
                                        key_cache, value_cache, probe),
                  core::InvariantError);
}

}  // namespace
}  // namespace moesim::reference
