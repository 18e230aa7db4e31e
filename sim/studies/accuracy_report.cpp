#include "sim/studies/accuracy_report.hpp"

#include <fmt/format.h>

namespace moesim::studies {

using config::Node;

namespace {

std::string cell(const cost::FitQuality& quality) {
  return quality.points == 0 ? "-" : fmt::format("{:.1f}", 100 * quality.mape);
}

Node quality_json(const cost::FitQuality& quality) {
  Node node = Node::object();
  node.set("n", Node::of(quality.points));
  node.set("mape", Node::of(quality.mape));
  node.set("median", Node::of(quality.median));
  node.set("p90", Node::of(quality.p90));
  node.set("bias", Node::of(quality.bias));
  return node;
}

const std::vector<reports::Table::Column>& columns() {
  static const std::vector<reports::Table::Column> all = {
      {"operator", false, 0},     {"GPU", false, 0},    {"library", false, 0}, {"variant", false, 0},
      {"rows", true, 0},          {"physics", true, 0}, {"+surface", true, 0}, {"+table", true, 0},
      {"median", true, 2},        {"p90", true, 2},     {"bias", true, 1},     {"roofline", true, 1},
      {"interpolation", true, 1}, {"apart", true, 3},   {"label", false, 3},
  };
  return all;
}

std::vector<std::string> cells(const AccuracyGroup& group) {
  return {group.op,
          group.gpu,
          group.library,
          group.variant.empty() ? "all" : group.variant,
          reports::grouped(group.physics.points),
          cell(group.physics),
          cell(group.surface),
          cell(group.table),
          fmt::format("{:.1f}", 100 * group.physics.median),
          fmt::format("{:.1f}", 100 * group.physics.p90),
          fmt::format("{:+.1f}", 100 * group.physics.bias),
          cell(group.roofline),
          cell(group.interpolation),
          reports::grouped(group.apart),
          std::string(config::enum_name(group.label))};
}

// True for the line of all variants of an operator, GPU and library.
bool is_whole(const AccuracyReport& report, std::size_t i) {
  if (report.groups[i].variant.empty()) return true;
  const AccuracyGroup& one = report.groups[i];
  for (const AccuracyGroup& other : report.groups) {
    if (other.variant.empty() && other.op == one.op && other.gpu == one.gpu && other.library == one.library)
      return false;
  }
  return true;
}

template <class Add>
void each(const AccuracyReport& report, bool by_variant, Add&& add) {
  for (std::size_t i = 0; i < report.groups.size(); ++i) {
    if (by_variant || is_whole(report, i)) add(cells(report.groups[i]));
  }
}

}  // namespace

Node accuracy_json(const AccuracyReport& report) {
  Node document = Node::object();
  document.set("overall", quality_json(report.overall));
  Node groups = Node::array();
  for (const AccuracyGroup& group : report.groups) {
    Node one = Node::object();
    one.set("op", Node::of(std::string_view(group.op)));
    one.set("gpu", Node::of(std::string_view(group.gpu)));
    one.set("library", Node::of(std::string_view(group.library)));
    one.set("variant", Node::of(std::string_view(group.variant.empty() ? "all" : group.variant)));
    one.set("label", Node::of(config::enum_name(group.label)));
    one.set("apart", Node::of(group.apart));
    one.set("physics", quality_json(group.physics));
    one.set("with_surface", quality_json(group.surface));
    one.set("with_table", quality_json(group.table));
    one.set("roofline", quality_json(group.roofline));
    one.set("interpolation", quality_json(group.interpolation));
    groups.items.push_back(std::move(one));
  }
  document.set("groups", std::move(groups));
  Node skipped = Node::array();
  for (const Skipped& one : report.skipped) {
    Node node = Node::object();
    node.set("what", Node::of(std::string_view(one.what)));
    node.set("why", Node::of(std::string_view(one.why)));
    skipped.items.push_back(std::move(node));
  }
  document.set("skipped", std::move(skipped));
  return document;
}

std::string accuracy_text(const AccuracyReport& report, bool by_variant, const reports::Style& style) {
  reports::Table table(columns());
  each(report, by_variant, [&](std::vector<std::string> line) { table.add(std::move(line)); });
  std::string text = table.text(style);
  text += "\nphysics, +surface, +table, roofline, interpolation: mean |predicted / measured - 1| in %.\n";
  text += "median, p90, bias: of physics, in %.\n";
  if (report.overall.points > 0) {
    text += fmt::format("All {} rows with the surface: {} mean, {} median, {} p90, {:+.1f} % bias.\n",
                        reports::grouped(report.overall.points), reports::percent(report.overall.mape),
                        reports::percent(report.overall.median), reports::percent(report.overall.p90),
                        100 * report.overall.bias);
  }
  for (const Skipped& one : report.skipped) text += fmt::format("skipped: {}: {}\n", one.what, one.why);
  return text;
}

std::string accuracy_csv(const AccuracyReport& report) {
  reports::Table table(columns());
  each(report, true, [&](std::vector<std::string> line) { table.add(std::move(line)); });
  return table.csv();
}

std::string accuracy_markdown(const AccuracyReport& report, bool by_variant) {
  std::string text = "|";
  std::string rule = "|";
  for (const auto& column : columns()) {
    text += fmt::format(" {} |", column.title);
    rule += column.numeric ? "---:|" : "---|";
  }
  text += "\n" + rule + "\n";
  each(report, by_variant, [&](const std::vector<std::string>& line) {
    text += "|";
    for (const std::string& one : line) text += fmt::format(" {} |", one);
    text += "\n";
  });
  for (const Skipped& one : report.skipped) text += fmt::format("\nSkipped: {}: {}.\n", one.what, one.why);
  return text;
}

}  // namespace moesim::studies
