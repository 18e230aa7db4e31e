#include "sim/serving/rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/config/diagnostics.hpp"
#include "sim/config/quantity.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::serving {

namespace {

struct ComparisonName {
  std::string_view text;
  Comparison value;
};
// Longer signs first, so that "<=" is not read as "<".
constexpr std::array<ComparisonName, 4> kComparisons = {{{"<=", Comparison::less_equal},
                                                         {">=", Comparison::greater_equal},
                                                         {"<", Comparison::less},
                                                         {">", Comparison::greater}}};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// The limit in the metric's unit.
bool parse_limit(std::string_view text, std::string_view unit, double& limit, RuleError& error) {
  using config::Dimension;
  config::QuantityError problem;
  bool good = false;
  if (unit == "s") {
    std::int64_t ps = 0;
    good = config::parse_exact(text, Dimension::duration, ps, problem);
    limit = core::Duration{ps}.seconds();
  } else if (unit == "1/s") {
    good = config::parse_real(text, Dimension::per_second, limit, problem);
  } else if (unit == "usd") {
    good = config::parse_real(text, Dimension::usd, limit, problem);
  } else if (unit == "bytes") {
    std::int64_t bytes = 0;
    good = config::parse_exact(text, Dimension::bytes, bytes, problem);
    limit = static_cast<double>(bytes);
  } else if (const auto number = io::parse_double(text)) {
    limit = *number;
    good = true;
  } else {
    problem.message = fmt::format("\"{}\" is no number; this metric has the unit \"{}\"", text, unit);
  }
  if (!good) error = {problem.message, problem.suggestion};
  return good;
}

}  // namespace

bool parse_rule(std::string_view text, Rule& rule, RuleError& error) {
  const ComparisonName* found = nullptr;
  std::size_t at = std::string_view::npos;
  for (const ComparisonName& name : kComparisons) {
    at = text.find(name.text);
    if (at != std::string_view::npos) {
      found = &name;
      break;
    }
  }
  if (found == nullptr) {
    error = {"a rule is a metric, a comparison (<=, <, >=, >) and a limit, for example \"ttft.p99 <= 1 s\"",
             ""};
    return false;
  }
  const std::string metric(trimmed(text.substr(0, at)));
  const std::string_view limit = trimmed(text.substr(at + found->text.size()));
  std::vector<std::string> names;
  const MetricInfo* info = nullptr;
  const auto catalogue = metric_catalogue();
  for (const MetricInfo& candidate : catalogue) {
    names.push_back(candidate.name);
    if (candidate.name == metric) info = &candidate;
  }
  if (info == nullptr) {
    // "ttft" is a family: the percentile that targets are usually about.
    const std::string family = metric + ".p99";
    const bool known_family = std::find(names.begin(), names.end(), family) != names.end();
    const std::string meant = known_family ? family : config::nearest(metric, names);
    error = {fmt::format("unknown metric \"{}\" (moesim describe metric lists them)", metric),
             meant.empty() ? "" : fmt::format("\"{} {} {}\"", meant, found->text, limit)};
    return false;
  }
  rule.text = std::string(text);
  rule.metric = metric;
  rule.comparison = found->value;
  rule.unit = info->unit;
  if (parse_limit(limit, info->unit, rule.limit, error)) return true;
  if (!error.suggestion.empty())
    error.suggestion = fmt::format("\"{} {} {}\"", metric, found->text, error.suggestion);
  return false;
}

bool holds(const Rule& rule, double value) {
  switch (rule.comparison) {
    case Comparison::less:
      return value < rule.limit;
    case Comparison::less_equal:
      return value <= rule.limit;
    case Comparison::greater:
      return value > rule.limit;
    case Comparison::greater_equal:
      return value >= rule.limit;
  }
  return false;
}

bool is_per_request(const Rule& rule) {
  const std::string_view family = std::string_view(rule.metric).substr(0, rule.metric.find('.'));
  return family == "ttft" || family == "tpot" || family == "e2e" || family == "itl_max" ||
         family == "queueing";
}

}  // namespace moesim::serving
