#include "workloads/json_line.hpp"

#include <string>

#include "tests/support/catch.hpp"

using namespace moesim::workloads;

namespace {

// "kind:text" of every value, in the order of the list.
std::string tape(const std::string& line) {
  JsonLine json;
  REQUIRE_FALSE(json.parse(line));
  static constexpr const char* kNames[] = {"null", "bool", "int", "real", "str", "arr", "obj", "key"};
  std::string out;
  for (const JsonValue& value : json.values()) {
    out += std::string(kNames[static_cast<int>(value.kind)]) + "<" +
           line.substr(value.begin, value.end - value.begin) + ">";
  }
  return out;
}

JsonLineError error_of(const std::string& line) {
  JsonLine json;
  auto error = json.parse(line);
  REQUIRE(error);
  return *error;
}

}  // namespace

TEST_CASE("every value of a line has its exact place") {
  CHECK(tape(R"(7)") == "int<7>");
  CHECK(tape(R"( -7 )") == "int<-7>");
  CHECK(tape(R"(1.5e3)") == "real<1.5e3>");
  CHECK(tape(R"("a\"b")") == R"(str<"a\"b">)");
  CHECK(tape(R"([1,22 , -3])") == "arr<[1,22 , -3]>int<1>int<22>int<-3>");
  CHECK(
      tape(R"({"a": 1, "b":[true,null] , "c":{}})") ==
      R"(obj<{"a": 1, "b":[true,null] , "c":{}}>key<"a">int<1>key<"b">arr<[true,null]>bool<true>null<null>key<"c">obj<{}>)");
  CHECK(tape(R"([[],[1],"x"])") == R"(arr<[[],[1],"x"]>arr<[]>arr<[1]>int<1>str<"x">)");
}

TEST_CASE("numbers keep their value; integers beyond 64 bits become real") {
  JsonLine json;
  REQUIRE_FALSE(json.parse("[9223372036854775807, 9223372036854775808, -9223372036854775808, 1e2, 1e30]"));
  CHECK(json.values()[1].integer == INT64_MAX);
  CHECK(json.values()[2].kind == JsonKind::real);
  CHECK(json.values()[3].integer == INT64_MIN);
  CHECK(json.values()[4].kind == JsonKind::real);
  CHECK(json.values()[4].real == 100.0);
}

TEST_CASE("values can be walked over") {
  JsonLine json;
  REQUIRE_FALSE(json.parse(R"({"a": [1, [2]], "b": 3})"));
  const auto& values = json.values();
  CHECK(json.text(values[1]) == "a");
  const auto second_key = values[2].next;
  CHECK(json.text(values[second_key]) == "b");
  CHECK(values[second_key + 1].integer == 3);
  CHECK(values[0].next == values.size());
}

TEST_CASE("lines that are not one JSON value are refused at the byte") {
  for (const auto& [line, begin] :
       std::vector<std::pair<std::string, std::size_t>>{{R"({"a": 1,})", 8},
                                                        {R"({"a" 1})", 5},
                                                        {R"({"a": 1} x)", 9},
                                                        {R"({"a": NaN})", 6},
                                                        {R"({"a": 1)", 7},
                                                        {R"({'a': 1})", 1},
                                                        {R"(["a)", 3},
                                                        {"[1] [2]", 4},
                                                        {"{\"a\": \"\xff\"}", 7}}) {
    INFO(line);
    const JsonLineError error = error_of(line);
    CHECK(error.code == "syntax");
    CHECK(error.begin >= begin);
    CHECK(error.begin <= begin + 1);
  }
}

TEST_CASE("repeated keys, deep nesting, huge numbers and huge objects are refused") {
  const std::string twice = R"({"a": 1, "b": {"a": 2}, "a": 3})";
  const JsonLineError duplicate = error_of(twice);
  CHECK(duplicate.code == "duplicate_key");
  CHECK(duplicate.begin == 24);
  CHECK(twice.substr(duplicate.begin, duplicate.end - duplicate.begin) == "\"a\"");
  CHECK(error_of(std::string(100'000, '[')).code == "too_deep");
  CHECK(error_of("[1e999]").code == "out_of_range");
  std::string wide = "{";
  for (int i = 0; i < 65; ++i) wide += "\"" + std::to_string(i) + "\": 1, ";
  CHECK(error_of(wide).code == "too_large");
}
