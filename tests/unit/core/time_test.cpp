#include "sim/core/time.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

TEST_CASE("duration_for rounds up to the picosecond") {
  REQUIRE(duration_for(0, 1).ps == 0);
  REQUIRE(duration_for(1, 1).ps == kPicosecondsPerSecond);
  REQUIRE(duration_for(1, 3).ps == 333'333'333'334);
  REQUIRE(duration_for(2, 3).ps == 666'666'666'667);
  REQUIRE(duration_for(3, 3).ps == 1'000'000'000'000);
  REQUIRE(duration_for(1, INT64_MAX).ps == 1);
  REQUIRE(duration_for(8'000'000'000, 8'000'000'000'000).ps == 1'000'000'000);  // 8 GB at 8 TB/s: 1 ms
}

TEST_CASE("duration_for is exact to the end of its range") {
  REQUIRE(duration_for(INT64_MAX, kPicosecondsPerSecond).ps == INT64_MAX);
  REQUIRE_THROWS_AS(duration_for(INT64_MAX, kPicosecondsPerSecond - 1), InvariantError);
  REQUIRE(duration_for(INT64_MAX, INT64_MAX).ps == kPicosecondsPerSecond);
  REQUIRE_THROWS_AS(duration_for(-1, 1), InvariantError);
  REQUIRE_THROWS_AS(duration_for(1, 0), InvariantError);
  REQUIRE_THROWS_AS(duration_for(1, -1), InvariantError);
}

TEST_CASE("saturating lengths end at the longest one") {
  constexpr Duration kLongest{INT64_MAX};
  CHECK(saturating_duration_for(INT64_MAX, 1) == kLongest);
  CHECK(saturating_duration_for(3, 2) == duration_for(3, 2));
  CHECK(saturating_add({INT64_MAX - 1}, {1}) == kLongest);
  CHECK(saturating_add({INT64_MAX - 1}, {2}) == kLongest);
  CHECK(saturating_add({3}, {4}) == Duration{7});
  CHECK(saturating_multiply({INT64_MAX / 2}, 3) == kLongest);
  CHECK(saturating_multiply({3}, 4) == Duration{12});
}

TEST_CASE("duration_from_seconds rounds the exact value of the double up") {
  REQUIRE(duration_from_seconds(0.0).ps == 0);
  REQUIRE(duration_from_seconds(-0.0).ps == 0);
  REQUIRE(duration_from_seconds(1.0).ps == kPicosecondsPerSecond);
  REQUIRE(duration_from_seconds(0.5).ps == 500'000'000'000);
  REQUIRE(duration_from_seconds(0x1p-12).ps == 244'140'625);
  REQUIRE(duration_from_seconds(0x1p-13).ps == 122'070'313);
  REQUIRE(duration_from_seconds(1e-12).ps == 1);  // the double is just below 1e-12
  REQUIRE(duration_from_seconds(std::nextafter(1.0, 2.0)).ps == kPicosecondsPerSecond + 1);
  REQUIRE(duration_from_seconds(std::nextafter(1.0, 0.0)).ps == kPicosecondsPerSecond);
  REQUIRE(duration_from_seconds(1e-30).ps == 1);
  REQUIRE(duration_from_seconds(std::numeric_limits<double>::denorm_min()).ps == 1);
}

TEST_CASE("duration_from_seconds refuses what is no duration") {
  REQUIRE(duration_from_seconds(9'000'000.0).ps == 9'000'000 * kPicosecondsPerSecond);
  REQUIRE(duration_from_seconds(9223372.0).ps == 9223372 * kPicosecondsPerSecond);
  REQUIRE_THROWS_AS(duration_from_seconds(9223373.0), InvariantError);
  REQUIRE_THROWS_AS(duration_from_seconds(1e300), InvariantError);
  REQUIRE_THROWS_AS(duration_from_seconds(-1e-30), InvariantError);
  REQUIRE_THROWS_AS(duration_from_seconds(std::numeric_limits<double>::infinity()), InvariantError);
  REQUIRE_THROWS_AS(duration_from_seconds(std::numeric_limits<double>::quiet_NaN()), InvariantError);
}

TEST_CASE("a broken invariant names the file and the line") {
  try {
    check(1 + 1 == 3, "arithmetic holds");
    FAIL("check did not throw");
  } catch (const InvariantError& error) {
    const std::string text = error.what();
    REQUIRE(text.find("arithmetic holds") == 0);
    REQUIRE(text.find("time_test.cpp:") != std::string::npos);
  }
}

}  // namespace
}  // namespace moesim::core
