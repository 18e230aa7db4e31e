// `describe kernels`: fitted kernel libraries, their parameters and how far off they are.
#include <fmt/format.h>

#include "models/cost/kernel_file.hpp"
#include "sim/config/render.hpp"
#include "sim/studies/describe_topics.hpp"

namespace moesim::studies::detail {

namespace {

using config::Node;
using reports::Table;

std::string in_percent(const cost::FitQuality& quality) {
  return quality.points == 0 ? "-" : fmt::format("{:.1f} %", 100 * quality.mape);
}

Description kernel_list(const config::Catalogue& catalogue) {
  Table table({{"name", false, 0}, {"library", false, 0}, {"GPU", false, 0}, {"families", false, 0}});
  Node list = Node::array();
  for (const std::string& name : catalogue.names("hw_configs/kernels")) {
    const cost::KernelFile file = config::load_entry<cost::KernelFile>(name, catalogue).value;
    std::string families;
    Node entry = Node::object();
    entry.set("name", text_node(file.name));
    entry.set("library", text_node(file.library));
    entry.set("gpu", text_node(file.gpu));
    Node names = Node::array();
    for (const auto& [family, fit] : file.families) {
      families += (families.empty() ? "" : ", ") + family;
      names.items.push_back(text_node(family));
    }
    entry.set("families", std::move(names));
    list.items.push_back(std::move(entry));
    table.add({file.name, file.library, file.gpu, families});
  }
  Node document = Node::object();
  document.set("kernels", std::move(list));
  return {{{"Kernel libraries", std::move(table), {}}}, std::move(document)};
}

void add_rows(Table& table, const std::string& family, const std::string& variant,
              const std::map<std::string, cost::ParameterValue>& values) {
  const cost::KernelFamily* known = cost::find_family(family);
  for (const cost::Parameter& parameter : known->parameters) {
    const auto at = values.find(std::string(parameter.name));
    if (at == values.end()) continue;
    table.add({family, variant, std::string(parameter.name), fmt::format("{:.4g}", at->second.value),
               at->second.unit, std::string(parameter.sentence)});
  }
}

}  // namespace

Description describe_kernels(std::string_view name, const config::Catalogue& catalogue) {
  if (name.empty()) return kernel_list(catalogue);
  const std::vector<std::string> known = catalogue.names("hw_configs/kernels");
  if (catalogue.find("hw_configs/kernels", name).empty()) fail_unknown("kernel library", name, known);
  auto loaded = config::load_entry<cost::KernelFile>(name, catalogue);
  const cost::KernelFile& file = loaded.value;
  Table quality({{"family", false, 0},
                 {"variant", false, 0},
                 {"rows", true, 0},
                 {"physics", true, 0},
                 {"median", true, 1},
                 {"p90", true, 1},
                 {"bias", true, 1},
                 {"+surface", true, 0},
                 {"version", false, 2},
                 {"fitted", false, 2}});
  Table values({{"family", false, 0},
                {"variant", false, 0},
                {"parameter", false, 0},
                {"value", true, 0},
                {"unit", false, 0},
                {"meaning", false, 0}});
  for (const auto& [family, fit] : file.families) {
    add_rows(values, family, "all", fit.parameters);
    for (const auto& [variant, own] : fit.variants) {
      const cost::FitQuality& physics = own.physics;
      quality.add({family, variant, reports::grouped(physics.points), in_percent(physics),
                   fmt::format("{:.1f} %", 100 * physics.median), fmt::format("{:.1f} %", 100 * physics.p90),
                   fmt::format("{:+.1f} %", 100 * physics.bias),
                   own.with_surface ? in_percent(*own.with_surface) : "-", fit.version, fit.date});
      add_rows(values, family, variant, own.parameters);
    }
  }
  std::vector<Entry> sources;
  for (const auto& [id, text] : file.sources) sources.push_back({id, config::printable(text)});
  Description description;
  description.sections.push_back(
      {"Mean, median and 90th percentile of |predicted / measured - 1| on shape groups that the fit had not "
       "seen",
       std::move(quality),
       {}});
  description.sections.push_back({"Parameters", std::move(values), {}});
  description.sections.push_back(
      {"Sources", Table({{"name", false, 0}, {"text", false, 0}}), std::move(sources)});
  description.document = std::move(loaded.resolved);
  return description;
}

}  // namespace moesim::studies::detail
