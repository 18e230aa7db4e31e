#include "sim/studies/golden_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sim/config/diagnostics.hpp"

namespace moesim::studies {

using config::InputError;
using config::Node;
using reference::GoldenVerdict;

namespace {

bool golden_wanted(const std::vector<std::string>& names, const std::string& name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

// Every name that was asked for must exist.
void check_golden_names(const std::vector<std::string>& wanted, const std::vector<std::string>& known,
                        std::string_view noun) {
  for (const std::string& name : wanted) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw InputError("unknown_name", fmt::format("there is no {} \"{}\"", noun, name),
                     config::nearest(name, known));
  }
}

std::string golden_share(const GoldenVerdict& verdict) {
  return std::isfinite(verdict.worst) ? reports::percent(verdict.worst) : "infinite";
}

std::int64_t compared_values(const GoldenVerdict& verdict) {
  std::int64_t compared = 0;
  for (const reference::GoldenCase::Result& result : verdict.results) compared += result.compared;
  return compared;
}

reports::Table case_table(const GoldenCheck& check) {
  reports::Table table({{"family", false, 0},
                        {"case", false, 0},
                        {"kind", false, 2},
                        {"values compared", true, 1},
                        {"tolerance used", true, 0},
                        {"verdict", false, 0}});
  for (const GoldenVerdict& verdict : check.verdicts) {
    table.add({verdict.family, verdict.name, verdict.kind, reports::grouped(compared_values(verdict)),
               golden_share(verdict), verdict.passed ? "passed" : "FAILED"});
  }
  return table;
}

reports::Table family_table(const GoldenCheck& check) {
  reports::Table table({{"family", false, 0},
                        {"cases", true, 0},
                        {"passed", true, 0},
                        {"failed", true, 0},
                        {"values compared", true, 2},
                        {"tolerance used at most", true, 1},
                        {"by", false, 2}});
  for (std::size_t first = 0; first < check.verdicts.size();) {
    const GoldenVerdict* worst = &check.verdicts[first];
    std::int64_t passed = 0;
    std::int64_t compared = 0;
    std::size_t end = first;
    for (; end < check.verdicts.size() && check.verdicts[end].family == check.verdicts[first].family; ++end) {
      const GoldenVerdict& verdict = check.verdicts[end];
      passed += verdict.passed ? 1 : 0;
      compared += compared_values(verdict);
      if (verdict.worst > worst->worst) worst = &verdict;
    }
    const auto cases = static_cast<std::int64_t>(end - first);
    table.add({check.verdicts[first].family, reports::grouped(cases), reports::grouped(passed),
               reports::grouped(cases - passed), reports::grouped(compared), golden_share(*worst),
               worst->worst > 0.0 ? worst->name
               : passed == cases  ? "all exact"
                                  : "-"});
    first = end;
  }
  return table;
}

Node golden_verdict_json(const GoldenVerdict& verdict) {
  const auto share = [](double worst) { return std::isfinite(worst) ? Node::of(worst) : Node{}; };
  Node outputs = Node::array();
  for (const reference::GoldenCase::Result& result : verdict.results) {
    Node one = Node::object();
    one.set("output", Node::of(std::string_view(result.output)));
    one.set("compared", Node::of(result.compared));
    one.set("tolerance_used", share(result.worst));
    one.set("failure", Node::of(std::string_view(result.failure)));
    outputs.items.push_back(std::move(one));
  }
  Node node = Node::object();
  node.set("family", Node::of(std::string_view(verdict.family)));
  node.set("case", Node::of(std::string_view(verdict.name)));
  node.set("kind", Node::of(std::string_view(verdict.kind)));
  node.set("passed", Node::of(verdict.passed));
  node.set("failure", Node::of(std::string_view(verdict.failure)));
  node.set("tolerance_used", share(verdict.worst));
  node.set("outputs", std::move(outputs));
  return node;
}

// The family files that were asked for. Throws InputError if there are none.
std::vector<std::filesystem::path> wanted_golden_files(const GoldenCheckOptions& options) {
  std::vector<std::filesystem::path> files = reference::golden_files(options.folder);
  if (files.empty()) {
    throw InputError("no_golden",
                     fmt::format("{}: the folder holds no golden vectors", options.folder.string()),
                     "--golden DIR, with files FAMILY.json and FAMILY.bin");
  }
  std::vector<std::string> families;
  for (const std::filesystem::path& file : files) families.push_back(file.stem().string());
  check_golden_names(options.families, families, "family of golden vectors");
  std::erase_if(files, [&](const std::filesystem::path& file) {
    return !golden_wanted(options.families, file.stem().string());
  });
  return files;
}

}  // namespace

std::int64_t GoldenCheck::failed() const {
  return std::count_if(verdicts.begin(), verdicts.end(),
                       [](const GoldenVerdict& verdict) { return !verdict.passed; });
}

GoldenCheck check_golden(const GoldenCheckOptions& options) {
  GoldenCheck check;
  std::vector<std::string> known;
  std::string unread;
  for (const std::filesystem::path& file : wanted_golden_files(options)) {
    for (GoldenVerdict& verdict : reference::check_golden_file(file, options.cases, known)) {
      if (verdict.name.empty() && unread.empty()) unread = verdict.family + " " + verdict.failure;
      check.verdicts.push_back(std::move(verdict));
    }
  }
  // One file that cannot be read is a failure among others; if there is nothing else, it is bad input.
  if (known.empty() && !unread.empty()) throw InputError("bad_golden", unread);
  check_golden_names(options.cases, known, "case");
  return check;
}

std::string golden_check_text(const GoldenCheck& check, bool each_case, const reports::Style& style) {
  std::string text = (each_case ? case_table(check) : family_table(check)).text(style);
  const std::int64_t failed = check.failed();
  const std::int64_t cases = std::ssize(check.verdicts);
  if (failed == 0) {
    return text + fmt::format("\n{}\n", reports::paint(cases == 1 ? std::string("the case passed")
                                                                  : fmt::format("all {} cases passed", cases),
                                                       reports::Tone::good, style));
  }
  text +=
      fmt::format("\n{}\n", reports::paint(cases == 1 ? std::string("the case failed")
                                                      : fmt::format("{} of {} cases failed", failed, cases),
                                           reports::Tone::bad, style));
  reports::Table table({{"family", false, 1}, {"case", false, 0}, {"failure", false, 0}});
  for (const GoldenVerdict& verdict : check.verdicts) {
    if (!verdict.passed) table.add({verdict.family, verdict.name, verdict.failure});
  }
  return text + table.text(style);
}

Node golden_check_json(const GoldenCheck& check) {
  const std::int64_t failed = check.failed();
  Node document = Node::object();
  document.set("passed", Node::of(std::ssize(check.verdicts) - failed));
  document.set("failed", Node::of(failed));
  Node cases = Node::array();
  for (const GoldenVerdict& verdict : check.verdicts) cases.items.push_back(golden_verdict_json(verdict));
  document.set("cases", std::move(cases));
  return document;
}

std::string golden_check_csv(const GoldenCheck& check) {
  reports::Table table({{"family", false, 0},
                        {"case", false, 0},
                        {"kind", false, 0},
                        {"values_compared", true, 0},
                        {"tolerance_used", true, 0},
                        {"passed", false, 0},
                        {"failure", false, 0}});
  for (const GoldenVerdict& verdict : check.verdicts) {
    table.add({verdict.family, verdict.name, verdict.kind, fmt::format("{}", compared_values(verdict)),
               fmt::format("{}", verdict.worst), verdict.passed ? "true" : "false", verdict.failure});
  }
  return table.csv();
}

}  // namespace moesim::studies
