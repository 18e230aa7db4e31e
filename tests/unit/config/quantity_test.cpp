#include "sim/config/quantity.hpp"

#include "tests/support/catch.hpp"

using namespace moesim;
using config::Dimension;

namespace {

std::int64_t exact(std::string_view text, Dimension dimension) {
  std::int64_t value = -1;
  config::QuantityError error;
  INFO(text << ": " << error.message);
  REQUIRE(config::parse_exact(text, dimension, value, error));
  return value;
}

std::string suggestion(std::string_view text, Dimension dimension) {
  std::int64_t value = -1;
  double real = -1;
  config::QuantityError error;
  const bool money =
      dimension == Dimension::usd || dimension == Dimension::per_second || dimension == Dimension::watts;
  CHECK_FALSE((money ? config::parse_real(text, dimension, real, error)
                     : config::parse_exact(text, dimension, value, error)));
  CHECK_FALSE(error.message.empty());
  return error.suggestion;
}

}  // namespace

TEST_CASE("quantities are exact") {
  CHECK(exact("80 GiB", Dimension::bytes) == std::int64_t{80} << 30);
  CHECK(exact("80 GB", Dimension::bytes) == 80'000'000'000);
  CHECK(exact("1.5 KiB", Dimension::bytes) == 1536);
  CHECK(exact("3.35 TB/s", Dimension::bytes_per_second) == 3'350'000'000'000);
  CHECK(exact("400 Gbit/s", Dimension::bytes_per_second) == 50'000'000'000);
  CHECK(exact("989.4 TFLOP/s", Dimension::flops_per_second) == 989'400'000'000'000);
  CHECK(exact("0.25 us", Dimension::duration) == 250'000);
  CHECK(exact("10 min", Dimension::duration) == 600'000'000'000'000);
  CHECK(exact("1e3 ns", Dimension::duration) == 1'000'000);
  CHECK(exact("0 B", Dimension::bytes) == 0);
  CHECK(exact("1.79 GiB", Dimension::bytes) == 1'921'997'865);  // 1921997864.96 rounded
  CHECK(exact("0.5 B", Dimension::bytes) == 1);
  CHECK(exact("8 Mbit/s", Dimension::bytes_per_second) == 1'000'000);
  CHECK(exact("1.98 GHz", Dimension::hertz) == 1'980'000'000);
}

TEST_CASE("a quantity of the wrong form is refused with what was meant") {
  CHECK(suggestion("80GiB", Dimension::bytes) == "80 GiB");
  CHECK(suggestion("80 gb", Dimension::bytes) == "80 GB");
  CHECK(suggestion("80 Gb", Dimension::bytes) == "80 GB");
  CHECK(suggestion("80 G", Dimension::bytes) == "80 GB");
  CHECK(suggestion("3.35 TBps", Dimension::bytes_per_second) == "3.35 TB/s");
  CHECK(suggestion("3.35 tb/s", Dimension::bytes_per_second) == "3.35 TB/s");
  CHECK(suggestion("400 Gbps", Dimension::bytes_per_second) == "400 Gbit/s");
  CHECK(suggestion("400 Gb/s", Dimension::bytes_per_second) == "400 Gbit/s");
  CHECK(suggestion("989 TFLOPS", Dimension::flops_per_second) == "989 TFLOP/s");
  CHECK(suggestion("250 nsec", Dimension::duration) == "250 ns");
  CHECK(suggestion("10 minutes", Dimension::duration) == "10 min");
  CHECK(suggestion("12.5 /s", Dimension::per_second) == "12.5/s");
  CHECK(suggestion("12 req/s", Dimension::per_second) == "12/s");
  CHECK(suggestion("2.49 $", Dimension::usd) == "2.49 USD");
  CHECK(suggestion(" 80 GiB", Dimension::bytes) == "80 GiB");
}

TEST_CASE("quantities that are smaller than the base unit, too large, negative or no number are refused") {
  for (const char* text :
       {"0.3 B", "1e-1 B", "1e30 TB", "9223372036854775808 B", "-1 GiB", "NaN GiB", "1e999 B", "", "GiB",
        "08 GiB", "1,5 GiB", "0x10 B", "1e99999999999 B", "1 GiB GiB"}) {
    INFO(text);
    std::int64_t value = 0;
    config::QuantityError error;
    CHECK_FALSE(config::parse_exact(text, Dimension::bytes, value, error));
  }
  CHECK(exact("9223372036854775807 B", Dimension::bytes) == INT64_MAX);
}

TEST_CASE("formatting is the inverse of parsing") {
  for (const std::int64_t value :
       {std::int64_t{0}, std::int64_t{1}, std::int64_t{1536}, std::int64_t{80} << 30,
        std::int64_t{80'000'000'000}, std::int64_t{3'350'000'000'001}, INT64_MAX}) {
    const std::string text = config::format_exact(value, Dimension::bytes);
    INFO(text);
    CHECK(exact(text, Dimension::bytes) == value);
  }
  CHECK(config::format_exact(std::int64_t{80} << 30, Dimension::bytes) == "80 GiB");
  CHECK(config::format_exact(3'350'000'000'000, Dimension::bytes_per_second) == "3.35 TB/s");
  CHECK(config::format_real(2.49, Dimension::usd) == "2.49 USD");
  CHECK(config::format_real(12.5, Dimension::per_second) == "12.5/s");
}
