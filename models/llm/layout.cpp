#include "models/llm/layout.hpp"

#include <algorithm>
#include <numeric>
#include <string_view>

#include "sim/core/check.hpp"

namespace moesim::llm {

namespace {

// Collects each sentence once, in order.
class Equations {
 public:
  void add(std::string sentence) {
    if (std::find(sentences_.begin(), sentences_.end(), sentence) == sentences_.end()) {
      sentences_.push_back(std::move(sentence));
    }
  }
  // value % divisor = 0, with both named.
  void divides(std::string_view value_name, std::int64_t value, std::string_view divisor_name,
               std::int64_t divisor) {
    if (value % divisor == 0) return;
    add(std::string(value_name) + " % " + std::string(divisor_name) + " must be 0, but " +
        std::to_string(value) + " % " + std::to_string(divisor) + " = " + std::to_string(value % divisor));
  }
  [[nodiscard]] std::vector<std::string> take() { return std::move(sentences_); }

 private:
  std::vector<std::string> sentences_;
};

void check_attention(const GroupedQueryAttention& attention, const Layout& layout, Equations& equations) {
  equations.divides("query_heads", attention.query_heads, "tp", layout.tp);
  if (layout.tp <= attention.kv_heads) {
    equations.divides("kv_heads", attention.kv_heads, "tp", layout.tp);
  } else {
    equations.divides("tp", layout.tp, "kv_heads", attention.kv_heads);
  }
  // The ranks of a decode context group hold the same KV heads.
  const std::int64_t copies = std::max<std::int64_t>(1, layout.tp / attention.kv_heads);
  equations.divides("copies of each KV head (= tp / kv_heads, at least 1)", copies, "dcp", layout.dcp);
}

void check_attention(const LatentAttention& attention, const Layout& layout, Equations& equations) {
  equations.divides("heads", attention.heads, "tp", layout.tp);
}

void check_attention(const CompressedAttention& attention, const Layout& layout, Equations& equations) {
  equations.divides("query_heads", attention.query_heads, "tp", layout.tp);
  equations.divides("output_groups", attention.output_groups, "tp", layout.tp);
}

void check_attention(const RecurrentAttention& attention, const Layout& layout, Equations& equations) {
  equations.divides("key_heads of recurrent layers", attention.key_heads, "tp", layout.tp);
  equations.divides("value_heads of recurrent layers", attention.value_heads, "tp", layout.tp);
  if (layout.cp > 1) {
    equations.add("cp must be 1 for recurrent layers, but it is " + std::to_string(layout.cp) +
                  ": each token needs the state that the one before it left");
  }
}

void check_attention(const NoAttention&, const Layout&, Equations&) {}

void check_ffn(const DenseFfn& ffn, const Layout& layout, Equations& equations) {
  equations.divides("dense FFN width", ffn.width, "tp", layout.tp);
}

void check_ffn(const MoeFfn& ffn, const Layout& layout, Equations& equations) {
  equations.divides("experts", ffn.experts, "ep", layout.ep);
  if ((layout.tp * layout.token_groups()) % layout.ep != 0) return;  // reported once for the layout
  equations.divides("expert_width", ffn.expert_width,
                    layout.cp > 1 ? "moe_tp (= tp * dp * cp / ep)" : "moe_tp (= tp * dp / ep)",
                    layout.moe_tp());
  equations.divides("shared expert width", ffn.total_shared_width(), "its shards",
                    shared_expert_shards(layout));
}

void check_ffn(const NoFfn&, const Layout&, Equations&) {}

}  // namespace

std::int64_t group_size(const Layout& layout, Group group) {
  switch (group) {
    case Group::tensor:
      return layout.tp;
    case Group::data:
      return layout.token_groups();
    case Group::expert:
      return layout.ep;
    case Group::context:
      return layout.cp;
    case Group::decode_context:
      return layout.dcp;
  }
  core::fail_invariant("unknown group");
}

MoeExchange moe_exchange(const Layout& layout) {
  if (layout.token_groups() == 1) return MoeExchange::all_reduce;
  return layout.moe_tp() == 1 ? MoeExchange::dispatch : MoeExchange::gather_scatter;
}

std::int64_t kv_heads_per_rank(const GroupedQueryAttention& attention, std::int64_t tp) {
  return std::max<std::int64_t>(1, attention.kv_heads / tp);
}

std::int64_t shared_expert_shards(const Layout& layout) {
  switch (moe_exchange(layout)) {
    case MoeExchange::all_reduce:
      return layout.tp;
    case MoeExchange::dispatch:
      return 1;
    case MoeExchange::gather_scatter:
      return layout.tp * layout.token_groups();
  }
  core::fail_invariant("unknown exchange");
}

std::int64_t padded_vocab(const Architecture& architecture, const Layout& layout) {
  core::check(layout.tp >= 1, "a layout has at least one tensor rank");
  const std::int64_t unit = std::lcm(std::int64_t{64}, layout.tp);
  return (architecture.vocab_size + unit - 1) / unit * unit;
}

std::vector<std::string> layout_problems(const Architecture& architecture, const Layout& layout) {
  Equations equations;
  if (layout.tp < 1 || layout.dp < 1 || layout.ep < 1 || layout.pp < 1) {
    equations.add("tp, dp, ep and pp must be at least 1, but they are " + std::to_string(layout.tp) + ", " +
                  std::to_string(layout.dp) + ", " + std::to_string(layout.ep) + " and " +
                  std::to_string(layout.pp));
    return equations.take();
  }
  if (layout.cp < 1 || layout.dcp < 1) {
    equations.add("cp and dcp must be at least 1, but they are " + std::to_string(layout.cp) + " and " +
                  std::to_string(layout.dcp));
    return equations.take();
  }
  if (layout.pp > architecture.layer_count()) {
    equations.add("pp must be at most the number of layers, but " + std::to_string(layout.pp) + " > " +
                  std::to_string(architecture.layer_count()));
  }
  equations.divides("tp", layout.tp, "dcp", layout.dcp);
  const bool has_experts =
      std::any_of(architecture.layers.begin(), architecture.layers.end(),
                  [](const auto& group) { return std::holds_alternative<MoeFfn>(group.ffn); });
  if (has_experts) {
    const bool contexts = layout.cp > 1;
    equations.divides(contexts ? "tp * dp * cp" : "tp * dp", layout.tp * layout.token_groups(), "ep",
                      layout.ep);
  } else if (layout.ep != 1) {
    equations.add("ep must be 1 for a model without experts, but it is " + std::to_string(layout.ep));
  }
  if (!architecture.encoder.empty()) {
    equations.add(
        "models with an encoder can be described, but not run: a step of encoder and cross attention is not "
        "supported");
  }
  for (const LayerGroup& group : architecture.layers) {
    std::visit([&](const auto& attention) { check_attention(attention, layout, equations); },
               group.attention);
    std::visit([&](const auto& ffn) { check_ffn(ffn, layout, equations); }, group.ffn);
  }
  return equations.take();
}

std::vector<std::int64_t> stage_layers(const Architecture& architecture, std::int64_t stages,
                                       std::int64_t stage) {
  core::check(stage >= 0 && stage < stages, "there is no such stage");
  const std::int64_t layers = architecture.layer_count();
  const std::int64_t remainder = layers % stages;
  // Stages stages - 1 - remainder, ..., stages - 2 have one layer more.
  const auto before = [&](std::int64_t s) {
    const std::int64_t longer = std::clamp<std::int64_t>(s - (stages - 1 - remainder), 0, remainder);
    return s * (layers / stages) + longer;
  };
  const std::int64_t first = before(stage), end = before(stage + 1);
  std::vector<std::int64_t> counts(architecture.layers.size(), 0);
  std::int64_t position = 0;
  for (const LayerRun& run : layer_runs(architecture)) {
    const std::int64_t from = std::max(first, position), to = std::min(end, position + run.count);
    if (from < to) counts[run.group] += to - from;
    position += run.count;
  }
  return counts;
}

std::vector<std::string> run_problems(const Architecture& architecture, const Layout& layout) {
  std::vector<std::string> problems = layout_problems(architecture, layout);
  if (layout.pp > 1) {
    problems.push_back("pp must be 1, but it is " + std::to_string(layout.pp) +
                       ": steps of several pipeline stages cannot be simulated yet");
  }
  if (layout.cp > 1) {
    problems.push_back("cp must be 1, but it is " + std::to_string(layout.cp) +
                       ": steps of context-parallel ranks cannot be simulated yet");
  }
  return problems;
}

}  // namespace moesim::llm
