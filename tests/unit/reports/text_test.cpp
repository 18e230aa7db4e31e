#include "reports/text.hpp"

#include <cmath>
#include <limits>

#include "tests/support/catch.hpp"

namespace moesim::reports {

TEST_CASE("exact seconds keep every picosecond") {
  CHECK(exact_seconds({0}) == "0");
  CHECK(exact_seconds({1}) == "0.000000000001");
  CHECK(exact_seconds({1'500'000'000'000}) == "1.5");
  CHECK(exact_seconds({-2'000'000'000'000}) == "-2");
  CHECK(exact_seconds({INT64_MAX}) == "9223372.036854775807");
  CHECK(exact_seconds({INT64_MIN}) == "-9223372.036854775808");
}

TEST_CASE("numbers for people") {
  CHECK(human_seconds(0) == "0 s");
  CHECK(human_seconds(0.0382) == "38.2 ms");
  CHECK(human_seconds(1.2344) == "1.234 s");
  CHECK(human_seconds(3e-9) == "3 ns");
  CHECK(human_seconds(900) == "15 min");
  CHECK(human_seconds(std::nan("")) == "-");
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(static_cast<double>(std::int64_t{141} << 30)) == "141.00 GiB");
  CHECK(human_bytes(-1073741824.0) == "-1.00 GiB");
  CHECK(human_number(1234567) == "1,234,567");
  CHECK(human_number(12.3456) == "12.35");
  CHECK(human_number(0) == "0");
  CHECK(human_number(std::numeric_limits<double>::infinity()) == "-");
  CHECK(grouped(-1234) == "-1,234");
  CHECK(grouped(-123) == "-123");
  CHECK(percent(0.1234) == "12.3 %");
  CHECK(human_usd(12.345) == "12.35 USD");
  CHECK(human_usd(0.0123) == "0.0123 USD");
  CHECK(human_usd(0) == "0.00 USD");
  CHECK(human_value(2, "1/s") == "2 /s");
  CHECK(human_value(0.5, "s") == "500 ms");
}

TEST_CASE("bars are for terminals, with an ASCII form") {
  Style style;
  CHECK(bar(0.5, 10, style).empty());
  style.bars = true;
  CHECK(bar(0.5, 10, style) == "[#####.....]");
  CHECK(bar(7, 4, style) == "[####]");
  CHECK(bar(std::nan(""), 4, style) == "[....]");
  style.unicode = true;
  CHECK(display_width(bar(0.5, 10, style)) == 10);
}

TEST_CASE("words are wrapped and hang below their label") {
  CHECK(wrapped("one two three", 7) == "one two\nthree");
  CHECK(wrapped("unbreakable word", 4) == "unbreakable\nword");
  CHECK(hanging("  a: ", "one two three four five six", 25) == "  a: one two three four\n     five six");
  CHECK(display_width("\x1b[1mab\x1b[0m\xc2\xb5") == 3);
}

TEST_CASE("a number stays with its unit") {
  CHECK(wrapped("weights 12.5 GiB, KV (1,234 B) and 50 % more", 14) ==
        "weights\n12.5 GiB, KV\n(1,234 B) and\n50 % more");
  CHECK(wrapped("a 5 GiB", 3) == "a\n5 GiB");
  CHECK(wrapped("in 2026 the", 7) == "in 2026\nthe");
}

TEST_CASE("a table leaves out what is least important and says so") {
  Table table({{"name", false, 0}, {"value", true, 1}, {"more", true, 2}});
  table.add({"first", "1", "a long cell"});
  table.add({"second", "22", "x"});
  Style style;
  CHECK(table.text(style) ==
        "name    value         more\nfirst       1  a long cell\nsecond     22            x\n");
  style.width = 15;
  CHECK(table.text(style) ==
        "name    value\nfirst       1\nsecond     22\nleft out for want of width: more\n");
  CHECK(table.csv() == "name,value,more\nfirst,1,a long cell\nsecond,22,x\n");
}

TEST_CASE("the last column of words is wrapped") {
  Table table({{"a", false, 0}, {"text", false, 0}});
  table.add({"x", "one two three four five six seven eight"});
  Style style;
  style.width = 30;
  CHECK(table.text(style) == "a  text\nx  one two three four five six\n   seven eight\n");
}

}  // namespace moesim::reports
