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
}

void check_attention(const LatentAttention& attention, const Layout& layout, Equations& equations) {
  equations.divides("heads", attention.heads, "tp", layout.tp);
}

void check_attention(const CompressedAttention& attention, const Layout& layout, Equations& equations) {
  equations.divides("query_heads", attention.query_heads, "tp", layout.tp);
  equations.divides("output_groups", attention.output_groups, "tp", layout.tp);
}

void check_attention(const RecurrentAttention& attention, const Layout& layout, Equations& equations) {
  equations.divides("key_heads", attention.key_heads, "tp", layout.tp);
  equations.divides("value_heads", attention.value_heads, "tp", layout.tp);
}

void check_attention(const NoAttention&, const Layout&, Equations&) {}

void check_ffn(const DenseFfn& ffn, const Layout& layout, Equations& equations) {
  equations.divides("dense FFN width", ffn.width, "tp", layout.tp);
}

void check_ffn(const MoeFfn& ffn, const Layout& layout, Equations& equations) {
  equations.divides("experts", ffn.experts, "ep", layout.ep);
  if ((layout.tp * layout.dp) % layout.ep != 0) return;  // reported once for the layout
  equations.divides("expert_width", ffn.expert_width, "moe_tp (= tp * dp / ep)", layout.moe_tp());
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
      return layout.dp;
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
  if (layout.dp == 1) return MoeExchange::all_reduce;
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
      return layout.tp * layout.dp;
  }
  core::fail_invariant("unknown exchange");
}

std::int64_t padded_vocab(const Architecture& architecture, const Layout& layout) {
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
  if (layout.pp != 1) {
    equations.add("pp must be 1, but it is " + std::to_string(layout.pp) +
                  ": splitting the layers over pipeline stages is not supported");
  }
  const bool has_experts =
      std::any_of(architecture.layers.begin(), architecture.layers.end(),
                  [](const auto& group) { return std::holds_alternative<MoeFfn>(group.ffn); });
  if (has_experts) {
    equations.divides("tp * dp", layout.tp * layout.dp, "ep", layout.ep);
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

}  // namespace moesim::llm
