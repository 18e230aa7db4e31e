#include "models/reference/float16.hpp"

#include <cmath>

#include "tests/support/catch.hpp"

using namespace moesim::reference;

TEST_CASE("half precision round trips every code and rounds to the nearest") {
  for (std::uint32_t code = 0; code <= 0xFFFFU; ++code) {
    const Fp16 half{static_cast<std::uint16_t>(code)};
    const float value = to_float(half);
    if (std::isnan(value)) {
      CHECK(std::isnan(to_float(to_fp16(value))));
      continue;
    }
    REQUIRE(to_fp16(value) == half);
    const Fp16 next{static_cast<std::uint16_t>(code + 1)};
    if ((code & 0x7FFFU) < 0x7BFFU) {
      // Halfway to the next code goes to the even one; a hair beyond or before goes to the nearer one.
      const float middle = (value + to_float(next)) / 2.0F;
      REQUIRE(to_fp16(middle) == ((code & 1U) == 0 ? half : next));
      REQUIRE(to_fp16(std::nextafter(middle, value)) == half);
      REQUIRE(to_fp16(std::nextafter(middle, to_float(next))) == next);
    }
  }
  CHECK(to_fp16(65519.0F).bits == 0x7BFFU);
  CHECK(to_fp16(65520.0F).bits == 0x7C00U);
  CHECK(to_fp16(-1e9F).bits == 0xFC00U);
}

TEST_CASE("stochastic rounding to bfloat16 is unbiased over all random numbers") {
  for (const float value : {1.0039F, -3.1234567F, 1e-30F}) {
    double sum = 0.0;
    for (std::uint32_t random = 0; random <= 0xFFFFU; ++random) {
      sum += static_cast<double>(to_float(to_bf16_stochastic(value, random)));
    }
    CHECK(sum / 65536.0 == static_cast<double>(value));
  }
}
