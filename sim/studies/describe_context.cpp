// What a model costs as a function of the context: FLOPs, KV cache, and how far its context was stretched.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "models/llm/context_work.hpp"
#include "models/llm/memory.hpp"
#include "models/llm/parameters.hpp"
#include "sim/studies/describe_topics.hpp"

namespace moesim::studies::detail {

namespace {

using config::Node;
using reports::Table;

constexpr std::array<std::int64_t, 4> kContexts = {4'096, 32'768, 131'072, 1'048'576};

bool is_beyond(const llm::Architecture& model, std::int64_t context) {
  return context > model.max_context_tokens;
}
bool is_stretched(const llm::Architecture& model, std::int64_t context) {
  return model.rope_scaling && context > model.rope_scaling->original_context_tokens;
}

// What is to be said about a context.
std::string context_note(const llm::Architecture& model, std::int64_t context) {
  if (is_beyond(model, context)) return "past the model's context";
  return is_stretched(model, context) ? "stretched" : "";
}

Node context_node(const llm::Architecture& model, std::int64_t context) {
  Node node = Node::object();
  node.set("context_tokens", Node::of(context));
  node.set("past_max_context", Node::of(is_beyond(model, context)));
  node.set("stretched", Node::of(is_stretched(model, context)));
  return node;
}

// A whole number where JSON readers can hold it, else the nearest double.
Node count_node(core::Int128 count) {
  constexpr core::Int128 kMost = std::numeric_limits<std::int64_t>::max();
  return count <= kMost ? Node::of(static_cast<std::int64_t>(count)) : Node::of(llm::as_double(count));
}

Node work_node(const llm::ContextWork& work) {
  Node node = Node::object();
  node.set("linear", count_node(work.linear_flops));
  node.set("attention", count_node(work.attention_flops));
  node.set("index", count_node(work.index_flops));
  node.set("recurrent", count_node(work.recurrent_flops));
  node.set("total", count_node(work.total()));
  return node;
}

std::string flops_text(core::Int128 count) {
  return count == 0 ? "0" : fmt::format("{:.4g}", llm::as_double(count));
}

// "keys of every token", "keys of the latest 128 tokens", "1 entry for 4 tokens".
std::string rows_words(const llm::KvRows& rows) {
  const std::string what = rows.ratio > 1 ? fmt::format("one entry for {} tokens", rows.ratio) : "each token";
  return rows.keeps > 0 ? fmt::format("the latest {} tokens", reports::grouped(rows.keeps)) : what;
}

std::int64_t bytes_of_rows(const llm::KvRows& rows, std::int64_t tokens) {
  return rows.layers * rows.bytes * ((rows.keeps > 0 ? std::min(tokens, rows.keeps) : tokens) / rows.ratio);
}

// The rows that grow alike, together.
struct RowKind {
  llm::KvRows shape;  // of its first rows
  std::int64_t layers = 0;
  std::vector<llm::KvRows> rows;

  [[nodiscard]] std::int64_t bytes(std::int64_t tokens) const {
    std::int64_t sum = 0;
    for (const llm::KvRows& one : rows) sum += bytes_of_rows(one, tokens);
    return sum;
  }
};

std::vector<RowKind> row_kinds(const llm::Architecture& model, llm::NumberFormat kv) {
  std::vector<RowKind> kinds;
  for (const llm::KvRows& rows : llm::kv_rows(model, llm::Layout{}, kv)) {
    const auto same = std::find_if(kinds.begin(), kinds.end(), [&](const RowKind& kind) {
      return kind.shape.ratio == rows.ratio && kind.shape.keeps == rows.keeps;
    });
    RowKind& kind = same == kinds.end() ? kinds.emplace_back(RowKind{rows, 0, {}}) : *same;
    kind.layers += rows.layers;
    kind.rows.push_back(rows);
  }
  return kinds;
}

Node kv_node(const llm::Architecture& model, llm::NumberFormat kv, std::int64_t context) {
  Node node = Node::object();
  node.set("total", Node::of(llm::kv_bytes(model, llm::Layout{}, kv, context)));
  node.set("state", Node::of(llm::state_bytes(model, llm::Layout{})));
  Node list = Node::array();
  for (const RowKind& kind : row_kinds(model, kv)) {
    Node one = Node::object();
    one.set("layers", Node::of(kind.layers));
    one.set("tokens_per_row", Node::of(kind.shape.ratio));
    one.set("keeps_tokens", Node::of(kind.shape.keeps));
    one.set("bytes", Node::of(kind.bytes(context)));
    list.items.push_back(std::move(one));
  }
  node.set("rows", std::move(list));
  return node;
}

std::string size_text(std::int64_t bytes) { return reports::human_bytes(static_cast<double>(bytes)); }

void add_kv_rows(const llm::Architecture& model, std::int64_t context, Table& table) {
  constexpr auto kWide = llm::NumberFormat::bf16;
  constexpr auto kNarrow = llm::NumberFormat::fp8;
  const std::vector<RowKind> wide = row_kinds(model, kWide), narrow = row_kinds(model, kNarrow);
  const std::int64_t state = llm::state_bytes(model, llm::Layout{});
  const std::string tokens = reports::grouped(context);
  if (wide.size() + (state > 0 ? 1 : 0) > 1) {
    for (std::size_t i = 0; i < wide.size(); ++i) {
      table.add({tokens, fmt::format("{} layers: {}", wide[i].layers, rows_words(wide[i].shape)),
                 size_text(wide[i].bytes(context)), size_text(narrow.at(i).bytes(context)), ""});
    }
    if (state > 0)
      table.add({tokens, "state of the recurrent layers", size_text(state), size_text(state), ""});
  }
  table.add({tokens, "all", size_text(llm::kv_bytes(model, llm::Layout{}, kWide, context)),
             size_text(llm::kv_bytes(model, llm::Layout{}, kNarrow, context)), context_note(model, context)});
}

}  // namespace

Section flops_section(const llm::Architecture& model, Node& document) {
  const llm::ContextWork longest = llm::token_work(model, kContexts.back());
  const bool scores = longest.index_flops > 0, recurs = longest.recurrent_flops > 0;
  std::vector<Table::Column> columns = {{"context", true, 0}, {"linear", true, 0}, {"attention", true, 0}};
  if (scores) columns.push_back({"indexer", true, 1});
  if (recurs) columns.push_back({"recurrent", true, 1});
  columns.push_back({"prefill of it", true, 0});
  columns.push_back({"of which attention", true, 0});
  columns.push_back({"note", false, 0});
  Table table(std::move(columns));
  Node list = Node::array();
  for (const std::int64_t context : kContexts) {
    const llm::ContextWork token = llm::token_work(model, context);
    const llm::ContextWork prefill = llm::prefill_work(model, context);
    std::vector<std::string> cells = {reports::grouped(context), flops_text(token.linear_flops),
                                      flops_text(token.attention_flops)};
    if (scores) cells.push_back(flops_text(token.index_flops));
    if (recurs) cells.push_back(flops_text(token.recurrent_flops));
    cells.push_back(flops_text(prefill.total()));
    cells.push_back(
        reports::percent(llm::as_double(prefill.attention_flops) / llm::as_double(prefill.total())));
    cells.push_back(context_note(model, context));
    table.add(std::move(cells));
    Node one = context_node(model, context);
    one.set("token", work_node(token));
    one.set("prefill", work_node(prefill));
    list.items.push_back(std::move(one));
  }
  document.set("flops_by_context", std::move(list));
  return {
      "FLOPs of one token whose context is so long: linear is 2 x active parameters, attention counts the "
      "unmasked pairs exactly",
      std::move(table),
      {}};
}

Section kv_section(const llm::Architecture& model, Node& document) {
  Table table(
      {{"context", true, 0}, {"what", false, 1}, {"bf16", true, 0}, {"fp8", true, 0}, {"note", false, 0}});
  std::vector<std::int64_t> contexts(kContexts.begin(), kContexts.end());
  if (std::find(contexts.begin(), contexts.end(), model.max_context_tokens) == contexts.end())
    contexts.insert(std::upper_bound(contexts.begin(), contexts.end(), model.max_context_tokens),
                    model.max_context_tokens);
  Node list = Node::array();
  for (const std::int64_t context : contexts) {
    add_kv_rows(model, context, table);
    Node one = context_node(model, context);
    one.set("bf16", kv_node(model, llm::NumberFormat::bf16, context));
    one.set("fp8", kv_node(model, llm::NumberFormat::fp8, context));
    list.items.push_back(std::move(one));
  }
  document.set("kv_bytes_by_context", std::move(list));
  return {fmt::format("KV cache and states of one sequence; the model's context is {} tokens",
                      reports::grouped(model.max_context_tokens)),
          std::move(table),
          {}};
}

Section range_section(const llm::Architecture& model, Node& document) {
  Section section{"Context", Table({{"name", false, 0}, {"text", false, 0}}), {}};
  section.entries.push_back({"longest context", fmt::format("{} tokens; longer requests are refused",
                                                            reports::grouped(model.max_context_tokens))});
  Node rope;
  if (const auto& scaling = model.rope_scaling) {
    const std::string_view method = config::enum_name(scaling->method);
    section.entries.push_back(
        {"RoPE scaling", fmt::format("{}, by {} from {} tokens: contexts past {} are stretched", method,
                                     reports::human_number(scaling->factor),
                                     reports::grouped(scaling->original_context_tokens),
                                     reports::grouped(scaling->original_context_tokens))});
    rope = Node::object();
    rope.set("method", text_node(method));
    rope.set("factor", Node::of(scaling->factor));
    rope.set("original_context_tokens", Node::of(scaling->original_context_tokens));
  }
  document.set("rope_scaling", std::move(rope));
  Node notes = Node::array();
  for (const llm::QualityNote& note : model.quality) {
    section.entries.push_back({fmt::format("quality from {} tokens", reports::grouped(note.from_tokens)),
                               fmt::format("{} (stated, not simulated; {})", note.note, note.source)});
    Node one = Node::object();
    one.set("from_tokens", Node::of(note.from_tokens));
    one.set("note", text_node(note.note));
    one.set("source", text_node(note.source));
    notes.items.push_back(std::move(one));
  }
  document.set("quality", std::move(notes));
  return section;
}

}  // namespace moesim::studies::detail
