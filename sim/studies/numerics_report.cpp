// The check of zoo models as tables.
#include <fmt/format.h>

#include <algorithm>

#include "reports/numerics.hpp"
#include "sim/studies/numerics_check.hpp"

namespace moesim::studies {

using config::Node;
using serving::LayerCheck;

namespace {

std::string layer_verdict(const LayerCheck& layer) {
  return !layer.checked() ? "not checked" : layer.passed() ? "passed" : "FAILED";
}

std::string counts_cell(const LayerCheck& layer) {
  const auto equal = std::count_if(layer.counts.begin(), layer.counts.end(),
                                   [](const serving::CountPair& pair) { return pair.equal(); });
  return fmt::format("{} of {}", equal, layer.counts.size());
}

std::string claims_cell(const LayerCheck& layer) {
  const auto held = std::count_if(layer.claims.begin(), layer.claims.end(),
                                  [](const serving::NumericsClaim& claim) { return claim.held; });
  return fmt::format("{} of {}", held, layer.claims.size());
}

// What held in one layer, with how much of each bound was used.
std::string property_lines(const LayerCheck& layer) {
  std::string out = fmt::format("\n{}, {} ({}; {})\n", layer.name, layer.form, layer.layout, layer.formats);
  for (const serving::NumericsClaim& claim : layer.claims) {
    out += fmt::format("  {}  {}{}\n", claim.held ? "held  " : "FAILED", claim.name,
                       claim.bound_share
                           ? fmt::format(" ({} of it)", reports::bound_share_text(*claim.bound_share))
                           : std::string(" (bit for bit)"));
  }
  for (const serving::FormatError& error : layer.format_errors) {
    out += fmt::format("  {} as {}: {:.2f} % of the values, {} of the format's bound\n", error.matrix,
                       error.format, 100 * error.relative, reports::bound_share_text(error.bound_share));
  }
  for (const serving::CountPair& count : layer.counts)
    out += fmt::format("  {}  {}: {}\n", count.equal() ? "equal " : "FAILED", count.name,
                       reports::grouped(count.kernel));
  for (const std::string& open : layer.not_checked) out += fmt::format("  not checked  {}\n", open);
  return out;
}

}  // namespace

std::string numerics_text(const std::vector<ModelNumerics>& models, bool each_property,
                          const reports::Style& style) {
  reports::Table table({{"model", false, 0},
                        {"layer", false, 0},
                        {"form", false, 2},
                        {"error of bound", true, 0},
                        {"properties held", true, 0},
                        {"counts equal", true, 0},
                        {"verdict", false, 0}});
  std::string details;
  std::int64_t more = 0;
  for (const ModelNumerics& one : models) {
    for (const LayerCheck& layer : one.check.layers) {
      table.add({one.model, layer.name, layer.form,
                 layer.checked() ? reports::bound_share_text(layer.bound_share()) : "-", claims_cell(layer),
                 counts_cell(layer), layer_verdict(layer)});
      if (each_property) details += property_lines(layer);
    }
    if (each_property) continue;
    details += reports::numerics_failures(one.check);
    for (const LayerCheck& layer : one.check.layers) {
      more += layer.checked() ? std::ssize(layer.not_checked) : 0;
      for (const std::string& why : layer.checked() ? std::vector<std::string>{} : layer.not_checked)
        details += fmt::format("  not checked: {}, {} ({}): {}\n", one.model, layer.name, layer.form, why);
    }
  }
  const auto failed = std::count_if(models.begin(), models.end(),
                                    [](const ModelNumerics& one) { return !one.check.passed(); });
  const std::string verdict = failed == 0 ? fmt::format("all {} models passed", models.size())
                                          : fmt::format("{} of {} models failed", failed, models.size());
  return table.text(style) + details +
         fmt::format("\n{}\n",
                     reports::paint(verdict, failed == 0 ? reports::Tone::good : reports::Tone::bad, style));
}

Node numerics_json(const std::vector<ModelNumerics>& models) {
  Node list = Node::array();
  std::int64_t failed = 0;
  for (const ModelNumerics& one : models) {
    Node node = Node::object();
    node.set("model", Node::of(std::string_view(one.model)));
    node.set("numerics", reports::numerics_node(one.check));
    failed += one.check.passed() ? 0 : 1;
    list.items.push_back(std::move(node));
  }
  Node document = Node::object();
  document.set("passed", Node::of(std::ssize(models) - failed));
  document.set("failed", Node::of(failed));
  document.set("models", std::move(list));
  return document;
}

std::string numerics_csv(const std::vector<ModelNumerics>& models) {
  reports::Table table({{"model", false, 0},
                        {"layer", false, 0},
                        {"form", false, 0},
                        {"layout", false, 0},
                        {"formats", false, 0},
                        {"bound_share", true, 0},
                        {"properties_held", true, 0},
                        {"counts_equal", true, 0},
                        {"verdict", false, 0}});
  for (const ModelNumerics& one : models) {
    for (const LayerCheck& layer : one.check.layers) {
      table.add({one.model, layer.name, layer.form, layer.layout, layer.formats,
                 fmt::format("{}", layer.bound_share()), claims_cell(layer), counts_cell(layer),
                 layer_verdict(layer)});
    }
  }
  return table.csv();
}

}  // namespace moesim::studies
