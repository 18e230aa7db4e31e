#include "sim/io/numbers.hpp"

#include <cmath>
#include <limits>

#include "tests/support/catch.hpp"

using moesim::io::format_double;
using moesim::io::parse_double;
using moesim::io::parse_int64;

TEST_CASE("integers are read whole or not at all") {
  CHECK(parse_int64("0") == 0);
  CHECK(parse_int64("-12") == -12);
  CHECK(parse_int64("007") == 7);
  CHECK(parse_int64("9223372036854775807") == std::numeric_limits<std::int64_t>::max());
  CHECK(parse_int64("-9223372036854775808") == std::numeric_limits<std::int64_t>::min());
  for (const char* const text : {"", "-", "+1", " 1", "1 ", "1.0", "1e3", "0x10", "1_000", "--1",
                                 "9223372036854775808", "-9223372036854775809", "99999999999999999999999"}) {
    INFO(text);
    CHECK_FALSE(parse_int64(text).has_value());
  }
  CHECK_FALSE(parse_int64(std::string_view("1\0", 2)).has_value());
}

TEST_CASE("numbers are read whole or not at all") {
  CHECK(parse_double("0") == 0.0);
  CHECK(parse_double("-1.5") == -1.5);
  CHECK(parse_double("1e3") == 1000.0);
  CHECK(parse_double("1E+3") == 1000.0);
  CHECK(parse_double("2.5e-3") == 0.0025);
  CHECK(parse_double("1.7976931348623157e308") == std::numeric_limits<double>::max());
  CHECK(parse_double("5e-324") == std::numeric_limits<double>::denorm_min());
  CHECK(std::signbit(parse_double("-0").value()));
  for (const char* const text :
       {"",      "-",   "+1",  " 1",   "1 ",     "1,5", ".",    "e5",       "1e",    "1e+",    "0x10",
        "0x1p3", "nan", "NaN", "-nan", "nan(1)", "inf", "-inf", "infinity", "1e309", "-1e999", "1.5f"}) {
    INFO(text);
    CHECK_FALSE(parse_double(text).has_value());
  }
  CHECK_FALSE(parse_double(std::string_view("1\0", 2)).has_value());
}

TEST_CASE("numbers are written in the shortest form that reads back") {
  CHECK(format_double(0.0) == "0");
  CHECK(format_double(-0.0) == "-0");
  CHECK(format_double(1.0) == "1");
  CHECK(format_double(-250.0) == "-250");
  CHECK(format_double(0.1) == "0.1");
  CHECK(format_double(0.0001) == "0.0001");
  CHECK(format_double(0.00001) == "1e-05");
  CHECK(format_double(1.0 / 3.0) == "0.3333333333333333");
  CHECK(format_double(3.35e12) == "3350000000000");
  CHECK(format_double(9007199254740993.0) == "9007199254740992");
  CHECK(format_double(1e16) == "1e+16");
  CHECK(format_double(6.02e23) == "6.02e+23");
  CHECK(format_double(std::numeric_limits<double>::max()) == "1.7976931348623157e+308");
  CHECK(format_double(std::numeric_limits<double>::denorm_min()) == "5e-324");
  CHECK(format_double(std::numeric_limits<double>::infinity()) == "inf");
  CHECK(format_double(std::numeric_limits<double>::quiet_NaN()) == "nan");
}
