// What `moesim kernels route` prints.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "sim/io/numbers.hpp"
#include "sim/studies/kernel_route.hpp"

namespace moesim::studies {

using config::Node;

std::string_view to_string(RouterInputKind kind) {
  switch (kind) {
    case RouterInputKind::hidden_states:
      return "hidden_states";
    case RouterInputKind::token_ids:
      return "token_ids";
    case RouterInputKind::embedding_only:
      return "embedding_only";
  }
  return "?";
}

double RoutedLayer::imbalance() const {
  const std::int64_t all = tokens * top_k;
  if (all == 0) return 0;
  const auto most = static_cast<double>(*std::max_element(counts.begin(), counts.end()));
  return most * static_cast<double>(counts.size()) / static_cast<double>(all);
}

std::int64_t RoutedLayer::unused() const { return std::count(counts.begin(), counts.end(), 0); }

std::string route_text(const RouteReport& report, const reports::Style& style) {
  std::string text;
  // Without a gate every expert came from a table.
  if (!report.gate.empty()) {
    text += reports::hanging("gate       ", report.gate, style.width) + "\n" +
            reports::hanging("rounding   ", report.precision, style.width) + "\n";
  }
  for (const std::string& fact : report.facts)
    text += reports::hanging("read       ", fact, style.width) + "\n";
  for (const std::string& one : report.assumptions) {
    text += reports::hanging("assumed    ", one, style.width) + "\n";
  }
  reports::Table table({{"layer", true, 0},
                        {"tokens", true, 0},
                        {"experts", true, 0},
                        {"top-k", true, 0},
                        {"max/mean", true, 0},
                        {"unused", true, 1},
                        {"input", false, 0},
                        {"router", false, 2}});
  for (const RoutedLayer& layer : report.layers) {
    table.add({std::to_string(layer.layer), reports::grouped(layer.tokens),
               reports::grouped(static_cast<std::int64_t>(layer.counts.size())), std::to_string(layer.top_k),
               reports::human_number(layer.imbalance()), reports::grouped(layer.unused()),
               std::string(to_string(layer.kind)), layer.router});
  }
  return text + "\n" + table.text(style);
}

Node route_json(const RouteReport& report) {
  const auto text = [](std::string_view value) { return Node::of(value); };
  const auto list = [&](const std::vector<std::string>& values) {
    Node node = Node::array();
    for (const std::string& value : values) node.items.push_back(text(value));
    return node;
  };
  Node document = Node::object();
  document.set("gate", text(report.gate));
  document.set("precision", text(report.precision));
  document.set("facts", list(report.facts));
  document.set("assumptions", list(report.assumptions));
  document.set("warnings", list(report.warnings));
  Node layers = Node::array();
  for (const RoutedLayer& layer : report.layers) {
    Node node = Node::object();
    node.set("layer", Node::of(layer.layer));
    node.set("router", text(layer.router));
    node.set("input", text(layer.input));
    node.set("input_kind", text(to_string(layer.kind)));
    node.set("tokens", Node::of(layer.tokens));
    node.set("experts", Node::of(static_cast<std::int64_t>(layer.counts.size())));
    node.set("top_k", Node::of(layer.top_k));
    node.set("imbalance", Node::of(layer.imbalance()));
    node.set("unused_experts", Node::of(layer.unused()));
    Node counts = Node::array();
    for (const std::int64_t count : layer.counts) counts.items.push_back(Node::of(count));
    node.set("tokens_by_expert", std::move(counts));
    layers.items.push_back(std::move(node));
  }
  document.set("layers", std::move(layers));
  return document;
}

std::string route_csv(const RouteReport& report) {
  std::string text = "layer,expert,tokens\n";
  for (const RoutedLayer& layer : report.layers) {
    for (std::size_t e = 0; e < layer.counts.size(); ++e) {
      text += fmt::format("{},{},{}\n", layer.layer, e, layer.counts[e]);
    }
  }
  return text;
}

}  // namespace moesim::studies
