#include "sim/core/math.hpp"

#include <cmath>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

TEST_CASE("transcendental functions agree with known values") {
  REQUIRE(math::exp(0.0) == 1.0);
  REQUIRE(math::exp(1.0) == 0x1.5bf0a8b145769p+1);
  REQUIRE(math::exp2(10.0) == 1024.0);
  REQUIRE(math::log(10.0) == 0x1.26bb1bbb55516p+1);
  REQUIRE(math::log2(1024.0) == 10.0);
  REQUIRE(math::log1p(1e-20) == 1e-20);
  REQUIRE(math::pow(2.0, 0.5) == math::sqrt(2.0));
  REQUIRE(math::sqrt(2.0) == 0x1.6a09e667f3bcdp+0);
  REQUIRE(math::sin(1.0) == 0x1.aed548f090ceep-1);
  REQUIRE(math::cos(1.0) == 0x1.14a280fb5068cp-1);
  REQUIRE(math::tanh(1.0) == 0x1.85efab514f394p-1);
}

TEST_CASE("the inverse normal inverts the distribution function in all three ranges") {
  REQUIRE(math::inverse_normal(0.5) == 0.0);
  REQUIRE(math::inverse_normal(0.975) == Approx(1.959963984540054).epsilon(1e-15));
  REQUIRE(math::inverse_normal(1e-10) == Approx(-6.361340902404056).epsilon(1e-15));
  REQUIRE(math::inverse_normal(1e-20) == Approx(-9.262340089798408).epsilon(1e-15));
  for (double z = -30.0; z < 8.0; z += 0.0625) {
    const double p = normal_cdf(z);
    // A relative error e of p moves z by e / |z|, but by e / (1 - p) on the side where p rounds to 1.
    const double tolerance = 1e-14 + 4e-16 * p / (math::exp(-0.5 * z * z) / 2.5);
    INFO("z = " << z);
    REQUIRE(std::fabs(math::inverse_normal(p) - z) < tolerance * std::fmax(1.0, std::fabs(z)));
  }
}

TEST_CASE("the inverse normal is antisymmetric and refuses 0 and 1") {
  for (double p = 0x1p-10; p < 0.5; p += 0x1p-10) {
    REQUIRE(math::inverse_normal(p) == -math::inverse_normal(1.0 - p));
  }
  REQUIRE_THROWS_AS(math::inverse_normal(0.0), InvariantError);
  REQUIRE_THROWS_AS(math::inverse_normal(1.0), InvariantError);
  REQUIRE_THROWS_AS(math::inverse_normal(std::nan("")), InvariantError);
}

}  // namespace
}  // namespace moesim::core
