#include "models/llm/context_work.hpp"

#include "models/llm/key_rule.hpp"
#include "models/llm/operator.hpp"
#include "models/llm/parameters.hpp"
#include "sim/core/check.hpp"

namespace moesim::llm {

namespace {

using core::Int128;

// The queries whose work is counted: `count` of them, the first at position `first`.
struct Queries {
  std::int64_t first = 0;
  std::int64_t count = 0;

  [[nodiscard]] Int128 pairs(const KeyRule& rule) const { return visible_pairs(rule, first, count); }
};

Int128 attention_flops(Int128 pairs, std::int64_t heads, std::int64_t key_width, std::int64_t value_width) {
  return 2 * pairs * heads * (key_width + value_width);
}

Int128 score_flops(Int128 pairs, std::int64_t heads, std::int64_t width) { return 2 * pairs * heads * width; }

void add(const GroupedQueryAttention& attention, const Queries& queries, ContextWork& work) {
  work.attention_flops += attention_flops(queries.pairs(main_rule(attention)), attention.query_heads,
                                          attention.head_dim, attention.value_dim());
  if (const auto& indexer = attention.block_indexer)
    work.index_flops += score_flops(queries.pairs(score_rule(1)), indexer->heads, indexer->head_dim);
}

void add(const LatentAttention& attention, const Queries& queries, ContextWork& work) {
  work.attention_flops += attention_flops(queries.pairs(main_rule(attention)), attention.heads,
                                          attention.naive_key_dim(), attention.v_head_dim);
  if (attention.indexer && !attention.indexer->shared) {
    work.index_flops +=
        score_flops(queries.pairs(score_rule(1)), attention.indexer->heads, attention.indexer->head_dim);
  }
}

void add(const CompressedAttention& attention, const Queries& queries, ContextWork& work) {
  Int128 pairs = queries.pairs(window_rule(attention));
  if (attention.ratio > 0) {
    pairs += queries.pairs(pooled_rule(attention));
    if (const auto& indexer = attention.indexer) {
      work.index_flops +=
          score_flops(queries.pairs(score_rule(attention.ratio)), indexer->heads, indexer->head_dim);
    }
  }
  work.attention_flops +=
      attention_flops(pairs, attention.query_heads, attention.head_dim, attention.head_dim);
}

void add(const RecurrentAttention& attention, const Queries& queries, ContextWork& work) {
  const Recurrence one{
      attention.recurrence, Phase::decode,      1, 1, attention.key_heads, attention.value_heads,
      attention.key_dim,    attention.value_dim};
  work.recurrent_flops += static_cast<Int128>(work_of(one).matmul_flops) * queries.count;
}

void add(const NoAttention&, const Queries&, ContextWork&) {}

// Every query sees all `keys`.
Int128 unmasked(const GroupedQueryAttention& attention, std::int64_t queries, std::int64_t keys) {
  return attention_flops(static_cast<Int128>(queries) * keys, attention.query_heads, attention.head_dim,
                         attention.value_dim());
}

ContextWork work_of_queries(const Architecture& architecture, const Queries& queries) {
  ContextWork work;
  work.linear_flops = static_cast<Int128>(2) * count_parameters(architecture).active * queries.count;
  const std::int64_t context = queries.first + queries.count;
  const auto add_layers = [&](const LayerGroup& group, const ContextWork& layer) {
    work.attention_flops += group.count * layer.attention_flops;
    work.index_flops += group.count * layer.index_flops;
    work.recurrent_flops += group.count * layer.recurrent_flops;
  };
  for (const LayerGroup& group : architecture.layers) {
    ContextWork layer;
    std::visit([&](const auto& attention) { add(attention, queries, layer); }, group.attention);
    if (group.cross_attention)
      layer.attention_flops += unmasked(*group.cross_attention, queries.count, context);
    add_layers(group, layer);
  }
  for (const LayerGroup& group : architecture.encoder) {
    ContextWork layer;
    if (const auto* grouped = std::get_if<GroupedQueryAttention>(&group.attention)) {
      layer.attention_flops = unmasked(*grouped, queries.count, context);
    } else {
      std::visit([&](const auto& attention) { add(attention, queries, layer); }, group.attention);
    }
    add_layers(group, layer);
  }
  return work;
}

}  // namespace

ContextWork prefill_work(const Architecture& architecture, std::int64_t tokens) {
  core::check(tokens >= 0, "a prefill has no negative number of tokens");
  return work_of_queries(architecture, {0, tokens});
}

ContextWork token_work(const Architecture& architecture, std::int64_t context) {
  core::check(context >= 1, "a token is part of its own context");
  return work_of_queries(architecture, {context - 1, 1});
}

double as_double(Int128 count) { return static_cast<double>(count); }

}  // namespace moesim::llm
