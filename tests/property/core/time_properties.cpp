#include <boost/multiprecision/cpp_int.hpp>
#include <cmath>
#include <cstdint>
#include <initializer_list>

#include "rapidcheck.h"
#include "sim/core/check.hpp"
#include "sim/core/time.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

using boost::multiprecision::cpp_int;

// Whole numbers of every magnitude, not only the small ones that rapidcheck prefers.
rc::Gen<std::int64_t> any_magnitude() {
  return rc::gen::apply([](std::int64_t x, int shift) { return (x & INT64_MAX) >> shift; },
                        rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<std::int64_t>()),
                        rc::gen::inRange(0, 63));
}

TEST_CASE("duration_for is the exact quotient rounded up") {
  REQUIRE(rc::check([] {
    const std::int64_t amount = *any_magnitude();
    const std::int64_t rate = 1 + (*any_magnitude() >> 1);
    const cpp_int scaled = cpp_int(amount) * kPicosecondsPerSecond;
    const cpp_int expected = (scaled + rate - 1) / rate;
    if (expected > INT64_MAX) {
      RC_ASSERT_THROWS_AS(static_cast<void>(duration_for(amount, rate)), InvariantError);
    } else {
      RC_ASSERT(expected == duration_for(amount, rate).ps);
    }
  }));
}

TEST_CASE("duration_for is monotone in both arguments and zero for nothing only") {
  REQUIRE(rc::check([] {
    const std::int64_t amount = *rc::gen::inRange<std::int64_t>(0, 1'000'000);
    const std::int64_t rate = *rc::gen::inRange<std::int64_t>(1, 1'000'000);
    const Duration duration = duration_for(amount, rate);
    RC_ASSERT(duration_for(amount + 1, rate) > duration);
    RC_ASSERT(duration_for(amount, rate + 1) <= duration);
    RC_ASSERT((duration.ps == 0) == (amount == 0));
  }));
}

TEST_CASE("duration_from_seconds is the exact value of the double rounded up") {
  REQUIRE(rc::check([] {
    const std::int64_t mantissa = *any_magnitude() >> 10;  // 53 bits: every double in range
    const int shift = *rc::gen::inRange(30, 160);
    const double seconds = std::ldexp(static_cast<double>(mantissa), -shift);
    const cpp_int unit = cpp_int(1) << shift;
    const cpp_int expected = (cpp_int(mantissa) * kPicosecondsPerSecond + unit - 1) / unit;
    RC_PRE(expected <= INT64_MAX);
    RC_ASSERT(expected == duration_from_seconds(seconds).ps);
  }));
}

}  // namespace
}  // namespace moesim::core
