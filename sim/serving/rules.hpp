// Rules about metrics: "ttft.p99 <= 1 s".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "sim/serving/results.hpp"

namespace moesim::serving {

enum class Comparison : std::uint8_t { less, less_equal, greater, greater_equal };

struct Rule {
  std::string text;
  std::string metric;  // a name of metric_catalogue()
  Comparison comparison = Comparison::less_equal;
  double limit = 0;  // in the metric's unit
  std::string unit;
};

struct RuleError {
  std::string message;
  std::string suggestion;
};

// Reads a rule. Returns false and fills `error` when the metric, the comparison or the limit is wrong.
[[nodiscard]] bool parse_rule(std::string_view text, Rule& rule, RuleError& error);

[[nodiscard]] bool holds(const Rule& rule, double value);

// True when the rule can be asked of one request ("ttft.p99 <= 1 s" asks each for a TTFT of 1 s), so that it
// counts for goodput.
[[nodiscard]] bool is_per_request(const Rule& rule);

}  // namespace moesim::serving
