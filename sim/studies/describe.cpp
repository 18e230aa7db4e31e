#include "sim/studies/describe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/config/render.hpp"
#include "sim/studies/describe_topics.hpp"

namespace moesim::studies {

namespace {

using config::Node;

constexpr std::array<TopicInfo, 11> kTopics = {{
    {"hardware", "all GPUs, nodes, fabrics and engines of the catalogue"},
    {"gpu", "GPUs: every number with its source, and the roofline ridge points"},
    {"node", "boxes of GPUs and their links"},
    {"fabric", "networks between boxes"},
    {"engine", "serving engines: defaults, host costs, communication"},
    {"kernels", "fitted kernel libraries: parameters, and how far off their times are on unseen shapes"},
    {"model", "language models: parameters, FLOPs, KV bytes by context, weight bytes by format"},
    {"workload", "fields of a scenario's \"workload\""},
    {"metric", "metrics that rules of \"slo\" and \"expect\" may name"},
    {"policy", "choices with a name: balancers, budget rules, popularity families ..."},
    {"scenario", "fields of a scenario"},
}};

}  // namespace

namespace detail {

Node text_node(std::string_view text) { return Node::of(text); }

std::string plain_value(const Node& value) {
  if (value.kind == Node::Kind::string) return config::printable(value.text);
  if (value.kind == Node::Kind::array && value.items.empty()) return "(none)";
  if (value.kind == Node::Kind::object && value.members.empty()) return "(none)";
  return config::to_json(value, -1);
}

void fail_unknown(std::string_view noun, std::string_view name, const std::vector<std::string>& known) {
  throw config::InputError("unknown_name", fmt::format("there is no {} \"{}\"", noun, name),
                           config::nearest(name, known), fmt::format("known: {}", fmt::join(known, ", ")));
}

namespace {

struct SourcedWalk {
  std::vector<std::array<std::string, 4>> rows;  // path, value, label, source
  std::vector<Entry> notes;

  void walk(const Node& node, const std::string& path) {
    const Node* value = node.find("value");
    const Node* source = node.find("source");
    const Node* label = node.find("label");
    if (value != nullptr && source != nullptr && label != nullptr) {
      rows.push_back({path, plain_value(*value), label->text, config::printable(source->text)});
      const Node* note = node.find("note");
      if (note != nullptr && !note->text.empty()) notes.push_back({path, config::printable(note->text)});
      return;
    }
    for (const config::Member& member : node.members) {
      if (member.key == "sources" || (path == "gpu" && member.key == "name")) continue;
      walk(member.value, path.empty() ? member.key : fmt::format("{}.{}", path, member.key));
    }
    const bool list_of_objects = !node.items.empty() && node.items.front().kind == Node::Kind::object;
    for (std::size_t i = 0; list_of_objects && i < node.items.size(); ++i) {
      walk(node.items[i], fmt::format("{}.{}", path, i));
    }
    if (node.members.empty() && !list_of_objects && node.kind != Node::Kind::null)
      rows.push_back({path, plain_value(node), "", ""});
  }
};

}  // namespace

std::vector<Section> sourced_numbers(std::string title, const Node& resolved) {
  SourcedWalk walk;
  walk.walk(resolved, "");
  Section numbers{
      std::move(title),
      reports::Table({{"what", false, 0}, {"value", true, 0}, {"label", false, 0}, {"source", false, 0}}),
      {}};
  constexpr std::size_t kLongest = 48;
  for (auto& row : walk.rows) {
    if (row[1].size() > kLongest) row[1] = row[1].substr(0, kLongest - 4) + " ...";
    numbers.table.add({row[0], row[1], row[2], row[3]});
  }
  std::vector<Section> sections;
  sections.push_back(std::move(numbers));
  const auto add_entries = [&](std::string name, std::vector<Entry> entries) {
    if (entries.empty()) return;
    sections.push_back(
        {std::move(name), reports::Table({{"name", false, 0}, {"text", false, 0}}), std::move(entries)});
  };
  add_entries("Notes", std::move(walk.notes));
  std::vector<Entry> sources;
  if (const Node* all = resolved.find("sources")) {
    for (const config::Member& member : all->members)
      sources.push_back({config::printable(member.key), plain_value(member.value)});
  }
  add_entries("Sources", std::move(sources));
  return sections;
}

}  // namespace detail

std::span<const TopicInfo> describe_topics() { return kTopics; }

Description describe(std::string_view topic, std::string_view name, const config::Catalogue& catalogue,
                     bool dense_twin) {
  if (dense_twin && (topic != "model" || name.empty())) {
    throw config::InputError("no_dense_twin", "only a model has a dense twin",
                             "moesim describe model NAME --dense-twin");
  }
  if (topic == "hardware" && name.empty()) return detail::describe_hardware(catalogue);
  if (topic == "gpu") return detail::describe_gpu(name, catalogue);
  if (topic == "node") return detail::describe_node(name, catalogue);
  if (topic == "fabric") return detail::describe_fabric(name, catalogue);
  if (topic == "engine") return detail::describe_engine(name, catalogue);
  if (topic == "kernels") return detail::describe_kernels(name, catalogue);
  if (topic == "model") return detail::describe_model(name, catalogue, dense_twin);
  if (topic == "metric") return detail::describe_metric(name);
  if (topic == "policy") return detail::describe_policy(name);
  if (topic == "workload") return detail::describe_workload(name);
  if (topic == "scenario") return detail::describe_scenario(name);
  if (topic == "hardware") {
    // Any one thing of the catalogue, whatever its kind.
    for (const std::string_view kind : {"gpu", "node", "fabric", "engine"}) {
      const std::string folder = fmt::format("hw_configs/{}s", kind);
      if (!catalogue.find(folder, name).empty()) return describe(kind, name, catalogue);
    }
    std::vector<std::string> known;
    for (const std::string_view folder : {"gpus", "nodes", "fabrics", "engines"}) {
      const auto names = catalogue.names(fmt::format("hw_configs/{}", folder));
      known.insert(known.end(), names.begin(), names.end());
    }
    detail::fail_unknown("hardware", name, known);
  }
  std::vector<std::string> known;
  for (const TopicInfo& info : kTopics) known.emplace_back(info.name);
  detail::fail_unknown("topic", topic, known);
}

std::string to_text(const Description& description, const reports::Style& style) {
  std::string out;
  for (const Section& section : description.sections) {
    if (!out.empty()) out += "\n";
    if (!section.title.empty()) {
      out +=
          reports::paint(reports::wrapped(section.title, style.width), reports::Tone::heading, style) + "\n";
    }
    if (section.entries.empty()) {
      out += section.table.text(style, 2);
      continue;
    }
    for (const Entry& entry : section.entries) {
      const std::string head = reports::paint(reports::hanging("  ", entry.term, style.width).substr(2),
                                              reports::Tone::heading, style);
      const bool one_line =
          reports::display_width(entry.term) + reports::display_width(entry.detail) + 4 <= style.width;
      out += one_line
                 ? fmt::format("  {}: {}\n", head, entry.detail)
                 : fmt::format("  {}\n{}\n", head, reports::hanging("      ", entry.detail, style.width));
    }
  }
  return out;
}

std::string to_csv(const Description& description) {
  return description.sections.empty() ? "" : description.sections.front().table.csv();
}

}  // namespace moesim::studies
