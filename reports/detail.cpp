#include "reports/detail.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace moesim::reports {

namespace {

std::string share_cell(core::Duration part, core::Duration whole) {
  if (part.ps == 0 || whole.ps == 0) return "-";
  return fmt::format("{:.1f} %", 100 * part.seconds() / whole.seconds());
}

}  // namespace

double measured_share(const serving::Results& results) {
  const std::vector<double> shares = label_shares(results);
  return shares[static_cast<std::size_t>(config::Label::measured)] +
         shares[static_cast<std::size_t>(config::Label::calibrated)];
}

std::string source_detail(const RunReport& report, const Style& style) {
  const execution::StepTime& time = report.results.step_time;
  std::string out =
      "\n" + paint("Where each number comes from, by part of the step time", Tone::heading, style) + "\n";
  if (time.total.ps == 0) return out + "  no steps ran\n";
  std::vector<Table::Column> columns = {
      {"part", false, 0}, {"share", true, 0}, {"bound by", false, 1}, {"x speed of light", true, 1}};
  for (std::size_t l = 0; l < execution::kLabels; ++l) {
    columns.push_back({std::string(config::enum_name(static_cast<config::Label>(l))), true, 0});
  }
  Table table(std::move(columns));
  for (std::size_t p = 0; p < execution::kParts; ++p) {
    const core::Duration part = time.by_part[p];
    if (part.ps == 0) continue;
    const execution::PartSplit& split = time.splits[p];
    const auto most = std::max_element(split.by_resource.begin(), split.by_resource.end());
    std::vector<std::string> line = {
        std::string(execution::to_string(static_cast<execution::Part>(p))), share_cell(part, time.total),
        std::string(cost::to_string(
            static_cast<cost::Resource>(static_cast<std::size_t>(most - split.by_resource.begin())))),
        split.speed_of_light.ps == 0
            ? std::string("-")
            : fmt::format("{:.1f}", part.seconds() / split.speed_of_light.seconds())};
    for (const core::Duration labelled : split.by_label) line.push_back(share_cell(labelled, part));
    table.add(std::move(line));
  }
  out += table.text(style, 2);
  const std::vector<double> shares = label_shares(report.results);
  std::string all;
  for (std::size_t l = 0; l < shares.size(); ++l) {
    if (shares[l] < 0.0005) continue;
    all += fmt::format("{}{} {}", all.empty() ? "" : ", ", config::enum_name(static_cast<config::Label>(l)),
                       percent(shares[l]));
  }
  out += hanging("  all parts: ", all, style.width) + "\n";
  return out;
}

}  // namespace moesim::reports
