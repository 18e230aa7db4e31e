#include "sim/serving/rules.hpp"

#include "tests/support/catch.hpp"

using namespace moesim::serving;

TEST_CASE("rules read metric, comparison and limit with its unit") {
  Rule rule;
  RuleError error;
  REQUIRE(parse_rule("ttft.p99 <= 1.5 s", rule, error));
  CHECK(rule.metric == "ttft.p99");
  CHECK(rule.limit == 1.5);
  CHECK(holds(rule, 1.5));
  CHECK_FALSE(holds(rule, 1.6));
  REQUIRE(parse_rule("goodput > 5/s", rule, error));
  CHECK_FALSE(holds(rule, 5));
  REQUIRE(parse_rule("cost_per_mtok < 0.9 USD", rule, error));
  REQUIRE(parse_rule("served>=10", rule, error));
  CHECK(is_per_request(rule) == false);
}

TEST_CASE("a wrong rule says what was meant") {
  const auto error_of = [](std::string_view text) {
    Rule rule;
    RuleError error;
    CHECK_FALSE(parse_rule(text, rule, error));
    CHECK_FALSE(error.message.empty());
    return error;
  };
  CHECK(error_of("tftt.p99 <= 1 s").suggestion == "\"ttft.p99 <= 1 s\"");
  CHECK(error_of("ttft.p99 <= 1s").suggestion == "\"ttft.p99 <= 1 s\"");
  CHECK(error_of("ttft.p99 <= 40").message.find("unit") != std::string::npos);
  CHECK(error_of("ttft.p99 = 1 s").message.find("comparison") != std::string::npos);
  CHECK(error_of("served <= many").message.find("number") != std::string::npos);
  CHECK(error_of("").message.find("comparison") != std::string::npos);
}
