#include <fmt/format.h>

#include <optional>

#include "models/cost/engine_profile.hpp"
#include "models/hardware/fabric.hpp"
#include "models/hardware/node.hpp"
#include "sim/studies/describe_topics.hpp"

namespace moesim::studies::detail {

namespace {

using config::Dimension;
using config::Node;
using reports::Table;

template <class T>
std::vector<config::Loaded<T>> load_all(const config::Catalogue& catalogue) {
  std::vector<config::Loaded<T>> all;
  for (const std::string& name : catalogue.names(config::CatalogueEntry<T>::folder)) {
    all.push_back(config::load_entry<T>(name, catalogue));
  }
  return all;
}

std::string tera(double value, std::string_view unit) {
  return fmt::format("{} {}", reports::human_number(value / 1e12), unit);
}

std::string peak_words(const hardware::Gpu& gpu, hardware::NumberFormat format) {
  const auto* peak = hardware::peak_of(gpu, format);
  return peak == nullptr ? "-" : reports::human_number(peak->value.as_double() / 1e12);
}

// A list document: {"gpus": [{"name": ...}, ...]}.
Node list_document(std::string_view key, std::vector<Node> entries) {
  Node list = Node::array();
  list.items = std::move(entries);
  Node document = Node::object();
  document.set(key, std::move(list));
  return document;
}

Description gpu_list(const config::Catalogue& catalogue) {
  Table table({{"name", false, 0},
               {"architecture", false, 4},
               {"memory", true, 0},
               {"bandwidth", true, 0},
               {"bf16 TFLOP/s", true, 0},
               {"fp8 TFLOP/s", true, 2},
               {"fp4 TFLOP/s", true, 3},
               {"USD/h", true, 1}});
  std::vector<Node> entries;
  for (const auto& loaded : load_all<hardware::Gpu>(catalogue)) {
    const hardware::Gpu& gpu = loaded.value;
    table.add({gpu.name, std::string(config::enum_name(gpu.architecture)),
               config::format_exact(gpu.hbm.capacity.value.value, Dimension::bytes),
               tera(gpu.hbm.bandwidth.value.as_double(), "TB/s"),
               peak_words(gpu, hardware::NumberFormat::bf16), peak_words(gpu, hardware::NumberFormat::fp8),
               peak_words(gpu, hardware::NumberFormat::fp4),
               gpu.price ? fmt::format("{:.2f}", gpu.price->per_hour.value.value) : "-"});
    Node entry = Node::object();
    entry.set("name", text_node(gpu.name));
    entry.set("architecture", text_node(config::enum_name(gpu.architecture)));
    entry.set("memory_bytes", Node::of(gpu.hbm.capacity.value.value));
    entry.set("memory_bytes_per_s", Node::of(gpu.hbm.bandwidth.value.value));
    entry.set("bf16_flops_per_s", Node::of(gpu.peak.bf16.value.value));
    if (gpu.price) entry.set("usd_per_hour", Node::of(gpu.price->per_hour.value.value));
    entries.push_back(std::move(entry));
  }
  return {{{"GPUs (peaks are dense, as the vendor states them)", std::move(table), {}}},
          list_document("gpus", std::move(entries))};
}

Description node_list(const config::Catalogue& catalogue) {
  Table table({{"name", false, 0},
               {"GPU", false, 0},
               {"GPUs", true, 0},
               {"domain", true, 1},
               {"kind", false, 3},
               {"per GPU in the domain", true, 2},
               {"NICs", false, 0}});
  std::vector<Node> entries;
  for (const auto& loaded : load_all<hardware::Node>(catalogue)) {
    const hardware::Node& node = loaded.value;
    const std::string nics =
        node.nics
            ? fmt::format("{} x {}", node.nics->count,
                          config::format_exact(node.nics->bandwidth.value.value, Dimension::bytes_per_second))
            : "-";
    table.add({node.name, node.gpu.name, fmt::format("{}", node.gpus),
               fmt::format("{}", hardware::domain_gpus(node)),
               std::string(config::enum_name(hardware::domain_kind(node))),
               config::format_exact(hardware::domain_bandwidth(node).value, Dimension::bytes_per_second),
               nics});
    Node entry = Node::object();
    entry.set("name", text_node(node.name));
    entry.set("gpu", text_node(node.gpu.name));
    entry.set("gpus", Node::of(node.gpus));
    entry.set("domain_gpus", Node::of(hardware::domain_gpus(node)));
    entry.set("domain_bytes_per_s", Node::of(hardware::domain_bandwidth(node).value));
    entries.push_back(std::move(entry));
  }
  return {{{"Nodes", std::move(table), {}}}, list_document("nodes", std::move(entries))};
}

Description fabric_list(const config::Catalogue& catalogue) {
  Table table({{"name", false, 0},
               {"kind", false, 1},
               {"link", true, 0},
               {"nodes per leaf", true, 2},
               {"oversubscription", true, 0}});
  std::vector<Node> entries;
  for (const auto& loaded : load_all<hardware::Fabric>(catalogue)) {
    const hardware::Fabric& fabric = loaded.value;
    table.add({fabric.name, std::string(config::enum_name(fabric.kind)),
               config::format_exact(fabric.link_bandwidth.value.value, Dimension::bytes_per_second),
               fmt::format("{}", fabric.nodes_per_leaf.value),
               reports::human_number(fabric.oversubscription.value)});
    Node entry = Node::object();
    entry.set("name", text_node(fabric.name));
    entry.set("kind", text_node(config::enum_name(fabric.kind)));
    entry.set("link_bytes_per_s", Node::of(fabric.link_bandwidth.value.value));
    entries.push_back(std::move(entry));
  }
  return {{{"Fabrics", std::move(table), {}}}, list_document("fabrics", std::move(entries))};
}

Description engine_list(const config::Catalogue& catalogue) {
  Table table({{"name", false, 0},
               {"version", false, 3},
               {"tokens per step", true, 0},
               {"sequences", true, 1},
               {"KV block", true, 2},
               {"budget rule", false, 0}});
  std::vector<Node> entries;
  for (const auto& loaded : load_all<cost::EngineProfile>(catalogue)) {
    const cost::EngineProfile& engine = loaded.value;
    table.add({engine.name, engine.version, reports::grouped(engine.scheduler.max_num_batched_tokens.value),
               reports::grouped(engine.scheduler.max_num_seqs.value),
               fmt::format("{}", engine.kv.block_tokens.value),
               fmt::format("{} {}", config::enum_name(engine.kv.budget_rule),
                           reports::human_number(engine.kv.fraction.value))});
    Node entry = Node::object();
    entry.set("name", text_node(engine.name));
    entry.set("version", text_node(engine.version));
    entries.push_back(std::move(entry));
  }
  return {{{"Engines", std::move(table), {}}}, list_document("engines", std::move(entries))};
}

// The document of one entry: {"kind", "name", "entry": the resolved file}.
Node entry_document(std::string_view kind, std::string_view name, const Node& resolved) {
  Node document = Node::object();
  document.set("kind", text_node(kind));
  document.set("name", text_node(name));
  document.set("entry", resolved);
  return document;
}

// FLOP per byte of device memory where compute and bandwidth take equally long.
Section ridge_section(const hardware::Gpu& gpu, Node& document) {
  Table table({{"format", false, 0},
               {"peak TFLOP/s", true, 0},
               {"achievable", true, 0},
               {"label", false, 0},
               {"ridge FLOP/B", true, 0},
               {"achievable ridge FLOP/B", true, 0}});
  Node list = Node::array();
  const double bandwidth = gpu.hbm.bandwidth.value.as_double();
  const double streamed = bandwidth * gpu.achievable.hbm_fraction.value;
  for (const auto& format : config::EnumNames<hardware::NumberFormat>::table) {
    const auto* peak = hardware::peak_of(gpu, format.value);
    if (peak == nullptr || format.value == hardware::NumberFormat::fp32) continue;
    const auto& fraction = hardware::matmul_fraction_of(gpu, format.value);
    const double rate = peak->value.as_double();
    const double ridge = rate / bandwidth;
    const double achievable = rate * fraction.value / streamed;
    table.add({std::string(format.name), reports::human_number(rate / 1e12), reports::percent(fraction.value),
               std::string(config::enum_name(fraction.label)), reports::human_number(ridge),
               reports::human_number(achievable)});
    Node entry = Node::object();
    entry.set("format", text_node(format.name));
    entry.set("peak_flops_per_s", Node::of(peak->value.value));
    entry.set("achievable_fraction", Node::of(fraction.value));
    entry.set("ridge_flops_per_byte", Node::of(ridge));
    entry.set("achievable_ridge_flops_per_byte", Node::of(achievable));
    list.items.push_back(std::move(entry));
  }
  document.set("ridge_points", std::move(list));
  return {
      fmt::format("Roofline: kernels with less work per byte than the ridge wait for the memory ({} of {})",
                  reports::percent(gpu.achievable.hbm_fraction.value), tera(bandwidth, "TB/s")),
      std::move(table),
      {}};
}

}  // namespace

Description describe_hardware(const config::Catalogue& catalogue) {
  Description all;
  all.document = Node::object();
  for (Description& part : std::vector<Description>{gpu_list(catalogue), node_list(catalogue),
                                                    fabric_list(catalogue), engine_list(catalogue)}) {
    for (Section& section : part.sections) all.sections.push_back(std::move(section));
    for (config::Member& member : part.document.members)
      all.document.set(member.key, std::move(member.value));
  }
  return all;
}

Description describe_gpu(std::string_view name, const config::Catalogue& catalogue) {
  if (name.empty()) return gpu_list(catalogue);
  const auto loaded = hardware::load_gpu(name, catalogue);
  Description description;
  description.document = entry_document("gpu", loaded.value.name, loaded.resolved);
  Section ridge = ridge_section(loaded.value, description.document);
  description.sections = sourced_numbers(fmt::format("GPU {}", loaded.value.name), loaded.resolved);
  description.sections.insert(description.sections.begin() + 1, std::move(ridge));
  return description;
}

Description describe_node(std::string_view name, const config::Catalogue& catalogue) {
  if (name.empty()) return node_list(catalogue);
  const auto loaded = hardware::load_node(name, catalogue);
  Node shown = loaded.resolved;
  // The GPU has its own page.
  if (Node* gpu = shown.find("gpu")) *gpu = text_node(loaded.value.gpu.name);
  return {sourced_numbers(fmt::format("Node {} (its GPU: moesim describe gpu {})", loaded.value.name,
                                      loaded.value.gpu.name),
                          shown),
          entry_document("node", loaded.value.name, loaded.resolved)};
}

Description describe_fabric(std::string_view name, const config::Catalogue& catalogue) {
  if (name.empty()) return fabric_list(catalogue);
  const auto loaded = hardware::load_fabric(name, catalogue);
  return {sourced_numbers(fmt::format("Fabric {}", loaded.value.name), loaded.resolved),
          entry_document("fabric", loaded.value.name, loaded.resolved)};
}

Description describe_engine(std::string_view name, const config::Catalogue& catalogue) {
  if (name.empty()) return engine_list(catalogue);
  const auto loaded = config::load_entry<cost::EngineProfile>(name, catalogue);
  return {
      sourced_numbers(fmt::format("Engine {} {}", loaded.value.name, loaded.value.version), loaded.resolved),
      entry_document("engine", loaded.value.name, loaded.resolved)};
}

}  // namespace moesim::studies::detail
