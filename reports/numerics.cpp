#include "reports/numerics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace moesim::reports {

using config::Node;

namespace {

Node numerics_text_node(std::string_view text) { return Node::of(text); }

// JSON has no infinity.
Node numerics_share_node(const std::optional<double>& share) {
  return share && std::isfinite(*share) ? Node::of(*share) : Node{};
}

Node numerics_strings(const std::vector<std::string>& strings) {
  Node list = Node::array();
  for (const std::string& one : strings) list.items.push_back(numerics_text_node(one));
  return list;
}

Node sizes_node(const std::vector<serving::ScaledSize>& sizes) {
  Node list = Node::array();
  for (const serving::ScaledSize& size : sizes) {
    Node one = Node::object();
    one.set("name", numerics_text_node(size.name));
    one.set("model", Node::of(size.model));
    one.set("scaled", Node::of(size.scaled));
    list.items.push_back(std::move(one));
  }
  return list;
}

Node format_errors_node(const std::vector<serving::FormatError>& errors) {
  Node list = Node::array();
  for (const serving::FormatError& error : errors) {
    Node one = Node::object();
    one.set("matrix", numerics_text_node(error.matrix));
    one.set("format", numerics_text_node(error.format));
    one.set("relative_rms", Node::of(error.relative));
    one.set("bound_share", numerics_share_node(error.bound_share));
    list.items.push_back(std::move(one));
  }
  return list;
}

Node properties_node(const std::vector<serving::NumericsClaim>& claims) {
  Node list = Node::array();
  for (const serving::NumericsClaim& claim : claims) {
    Node one = Node::object();
    one.set("name", numerics_text_node(claim.name));
    one.set("held", Node::of(claim.held));
    one.set("exact", Node::of(!claim.bound_share.has_value()));
    one.set("bound_share", numerics_share_node(claim.bound_share));
    list.items.push_back(std::move(one));
  }
  return list;
}

Node counts_list(const std::vector<serving::CountPair>& counts) {
  Node list = Node::array();
  for (const serving::CountPair& count : counts) {
    Node one = Node::object();
    one.set("name", numerics_text_node(count.name));
    one.set("kernel", Node::of(count.kernel));
    one.set("model", Node::of(count.model));
    list.items.push_back(std::move(one));
  }
  return list;
}

std::int64_t equal_counts(const serving::NumericsCheck& check) {
  std::int64_t equal = 0;
  for (const serving::LayerCheck& layer : check.layers) {
    equal += std::count_if(layer.counts.begin(), layer.counts.end(),
                           [](const serving::CountPair& pair) { return pair.equal(); });
  }
  return equal;
}

}  // namespace

std::string bound_share_text(double share) {
  return std::isfinite(share) ? fmt::format("{:.2f}", share) : "infinite";
}

Node numerics_node(const serving::NumericsCheck& check) {
  Node layers = Node::array();
  for (const serving::LayerCheck& layer : check.layers) {
    Node one = Node::object();
    one.set("layer", numerics_text_node(layer.name));
    one.set("form", numerics_text_node(layer.form));
    one.set("layout", numerics_text_node(layer.layout));
    one.set("formats", numerics_text_node(layer.formats));
    one.set("passed", layer.checked() ? Node::of(layer.passed()) : Node{});
    one.set("sizes", sizes_node(layer.sizes));
    one.set("format_errors", format_errors_node(layer.format_errors));
    one.set("properties", properties_node(layer.claims));
    one.set("counts", counts_list(layer.counts));
    one.set("not_checked", numerics_strings(layer.not_checked));
    layers.items.push_back(std::move(one));
  }
  Node node = Node::object();
  node.set("passed", Node::of(check.passed()));
  node.set("worst_bound_share", numerics_share_node(check.bound_share()));
  node.set("counts_compared", Node::of(check.counts()));
  node.set("counts_equal", Node::of(equal_counts(check)));
  node.set("layers", std::move(layers));
  return node;
}

std::string numerics_sentence(const serving::NumericsCheck& check, const Style& style) {
  std::int64_t held = 0, claims = 0, open = 0;
  for (const serving::LayerCheck& layer : check.layers) {
    claims += std::ssize(layer.claims);
    held += std::count_if(layer.claims.begin(), layer.claims.end(),
                          [](const serving::NumericsClaim& claim) { return claim.held; });
    open += std::ssize(layer.not_checked);
  }
  const bool passed = check.passed();
  return fmt::format(
      "numerics: {}, worst error {} of its bound, {} of {} properties held, {} of {} counts equal"
      "{}\n",
      paint(passed ? "passed" : "FAILED", passed ? Tone::good : Tone::bad, style),
      bound_share_text(check.bound_share()), held, claims, equal_counts(check), check.counts(),
      open > 0 ? fmt::format("; {} not checked", open) : "");
}

std::string numerics_failures(const serving::NumericsCheck& check) {
  std::string out;
  for (const serving::LayerCheck& layer : check.layers) {
    const std::string where = fmt::format("  FAILED {} ({}): ", layer.name, layer.form);
    for (const serving::NumericsClaim& claim : layer.claims) {
      if (claim.held) continue;
      out += where + claim.name +
             (claim.bound_share ? fmt::format(", error {} of the bound", bound_share_text(*claim.bound_share))
                                : std::string()) +
             "\n";
    }
    for (const serving::CountPair& count : layer.counts) {
      if (!count.equal())
        out += fmt::format("{}{}: kernel {}, model {}\n", where, count.name, count.kernel, count.model);
    }
    for (const serving::FormatError& error : layer.format_errors) {
      if (!(error.bound_share <= 1.0)) {
        out += fmt::format("{}{} as {}, error {} of the bound\n", where, error.matrix, error.format,
                           bound_share_text(error.bound_share));
      }
    }
  }
  return out;
}

}  // namespace moesim::reports
