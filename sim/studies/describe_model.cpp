#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "models/llm/memory.hpp"
#include "models/llm/parameters.hpp"
#include "sim/studies/describe_topics.hpp"

namespace moesim::studies::detail {

namespace {

using config::Node;
using reports::Table;

constexpr llm::NumberFormat kKvFormats[] = {llm::NumberFormat::bf16, llm::NumberFormat::fp8,
                                            llm::NumberFormat::int8};
constexpr llm::NumberFormat kWeightFormats[] = {llm::NumberFormat::bf16,     llm::NumberFormat::fp8_block,
                                                llm::NumberFormat::fp8,      llm::NumberFormat::int4,
                                                llm::NumberFormat::int4_g32, llm::NumberFormat::mxfp4,
                                                llm::NumberFormat::nvfp4};

std::vector<std::pair<std::string_view, std::int64_t>> categories(const llm::ByCategory& by) {
  return {{"embedding", by.embedding},
          {"attention", by.attention},
          {"dense_ffn", by.dense_ffn},
          {"routed_experts", by.routed_experts},
          {"shared_experts", by.shared_experts},
          {"router", by.router},
          {"norms", by.norms},
          {"hyper_connections", by.hyper_connections},
          {"head", by.head}};
}

std::string billions(std::int64_t count) {
  return fmt::format("{} B", reports::human_number(static_cast<double>(count) / 1e9));
}

Node parameters_node(const llm::Parameters& parameters) {
  Node node = Node::object();
  node.set("total", Node::of(parameters.total));
  node.set("active", Node::of(parameters.active));
  node.set("active_without_input_embedding", Node::of(parameters.active_without_input_embedding));
  node.set("active_without_embeddings", Node::of(parameters.active_without_embeddings));
  node.set("biases", Node::of(parameters.biases));
  node.set("prediction", Node::of(parameters.prediction));
  Node by = Node::object();
  for (const auto& [name, count] : categories(parameters.by_category)) by.set(name, Node::of(count));
  node.set("by_category", std::move(by));
  return node;
}

Description model_list(const config::Catalogue& catalogue) {
  Table table({{"name", false, 0},
               {"model", false, 4},
               {"parameters", true, 0},
               {"active", true, 0},
               {"layers", true, 3},
               {"KV per token (bf16)", true, 1},
               {"context", true, 2}});
  Node list = Node::array();
  for (const std::string& name : catalogue.names(config::CatalogueEntry<llm::Architecture>::folder)) {
    const llm::Architecture model = config::load_entry<llm::Architecture>(name, catalogue).value;
    const llm::Parameters parameters = llm::count_parameters(model);
    const std::int64_t kv = llm::kv_bytes_per_token(model, llm::NumberFormat::bf16);
    table.add({name, model.name, billions(parameters.total), billions(parameters.active),
               fmt::format("{}", model.layer_count()), fmt::format("{} B", reports::grouped(kv)),
               reports::grouped(model.max_context_tokens)});
    Node entry = Node::object();
    entry.set("name", text_node(name));
    entry.set("parameters", Node::of(parameters.total));
    entry.set("active_parameters", Node::of(parameters.active));
    entry.set("kv_bytes_per_token", Node::of(kv));
    list.items.push_back(std::move(entry));
  }
  Node document = Node::object();
  document.set("models", std::move(list));
  return {{{"Models", std::move(table), {}}}, std::move(document)};
}

Section parameter_section(std::string title, const llm::Parameters& parameters) {
  Table table({{"parameters", false, 0}, {"count", true, 0}, {"share", true, 0}});
  const auto share = [&](std::int64_t count) {
    return reports::percent(static_cast<double>(count) / static_cast<double>(parameters.total));
  };
  for (const auto& [name, count] : categories(parameters.by_category)) {
    if (count > 0) table.add({std::string(name), reports::grouped(count), share(count)});
  }
  table.add({"total", reports::grouped(parameters.total), share(parameters.total)});
  table.add({"active per token", reports::grouped(parameters.active), share(parameters.active)});
  table.add({"active without the input embedding",
             reports::grouped(parameters.active_without_input_embedding),
             share(parameters.active_without_input_embedding)});
  table.add({"active without embeddings", reports::grouped(parameters.active_without_embeddings),
             share(parameters.active_without_embeddings)});
  if (parameters.biases > 0)
    table.add({"biases and sinks, part of the total", reports::grouped(parameters.biases),
               share(parameters.biases)});
  if (parameters.prediction > 0)
    table.add({"prediction layers, no part of the total", reports::grouped(parameters.prediction), ""});
  return {std::move(title), std::move(table), {}};
}

constexpr std::pair<std::string_view, llm::WeightKind> kWeightKinds[] = {
    {"attention", llm::WeightKind::attention},
    {"dense", llm::WeightKind::dense},
    {"experts", llm::WeightKind::experts},
};

// "mxfp4", or "attention bf16, dense bf16, experts int4_g32".
std::string published_words(const llm::Formats& formats) {
  if (!formats.attention_weights && !formats.dense_weights)
    return std::string(config::enum_name(formats.weights));
  std::string words;
  for (const auto& [name, kind] : kWeightKinds) {
    words +=
        fmt::format("{}{} {}", words.empty() ? "" : ", ", name, config::enum_name(formats.of(kind).weights));
  }
  return words;
}

Node published_node(const llm::Formats& formats, std::int64_t bytes) {
  Node node = Node::object();
  for (const auto& [name, kind] : kWeightKinds)
    node.set(name, text_node(config::enum_name(formats.of(kind).weights)));
  node.set("weight_bytes", Node::of(bytes));
  return node;
}

Section bytes_section(const llm::Architecture& model, Node& document) {
  Table table({{"bytes", false, 0}, {"format", false, 0}, {"size", true, 0}});
  Node weights = Node::object();
  for (const llm::NumberFormat format : kWeightFormats) {
    llm::Formats formats;
    formats.weights = format;
    const std::int64_t bytes = llm::weight_bytes(model, formats).total();
    table.add({"weights", std::string(config::enum_name(format)),
               reports::human_bytes(static_cast<double>(bytes))});
    weights.set(config::enum_name(format), Node::of(bytes));
  }
  const llm::Formats published = model.published_formats();
  const std::int64_t published_bytes = llm::weight_bytes(model, published).total();
  table.add({"weights", fmt::format("as published: {}", published_words(published)),
             reports::human_bytes(static_cast<double>(published_bytes))});
  document.set("weight_bytes_by_format", std::move(weights));
  document.set("published", published_node(published, published_bytes));
  Node kv = Node::object();
  for (const llm::NumberFormat format : kKvFormats) {
    const std::int64_t bytes = llm::kv_bytes_per_token(model, format);
    table.add({"KV cache per token", std::string(config::enum_name(format)),
               fmt::format("{} B", reports::grouped(bytes))});
    kv.set(config::enum_name(format), Node::of(bytes));
  }
  document.set("kv_bytes_per_token_by_format", std::move(kv));
  return {"Memory of the whole model, each weight and KV head once", std::move(table), {}};
}

bool has_experts(const llm::Architecture& model) {
  const auto is_moe = [](const llm::LayerGroup& group) {
    return std::holds_alternative<llm::MoeFfn>(group.ffn);
  };
  return std::any_of(model.layers.begin(), model.layers.end(), is_moe) ||
         std::any_of(model.encoder.begin(), model.encoder.end(), is_moe);
}

Section layers_section(const llm::Architecture& model, Node& document) {
  const LayerLines lines = layer_lines(model);
  Node pattern = Node::object();
  pattern.set("attention", text_node(lines.attention));
  pattern.set("feed_forward", text_node(lines.feed_forward));
  document.set("layer_pattern", std::move(pattern));
  return {"Layers, in their order",
          Table({{"name", false, 0}, {"text", false, 0}}),
          {{"attention", lines.attention}, {"feed-forward", lines.feed_forward}}};
}

void set_head(std::string_view name, const llm::Architecture& model, const llm::Parameters& parameters,
              Node& document) {
  document = Node::object();
  document.set("kind", text_node("model"));
  document.set("name", text_node(name));
  document.set("model", text_node(model.name));
  document.set("parameters", parameters_node(parameters));
  document.set("kv_bytes_per_token", Node::of(llm::kv_bytes_per_token(model, llm::NumberFormat::bf16)));
  document.set("layers", Node::of(model.layer_count()));
  document.set("hidden_size", Node::of(model.hidden_size));
  document.set("vocab_size", Node::of(model.vocab_size));
  document.set("max_context_tokens", Node::of(model.max_context_tokens));
}

std::string headline(const llm::Architecture& model, const llm::Parameters& parameters) {
  return fmt::format(
      "{}: {} parameters, {} active; {} layers, hidden size {}, vocabulary {}, context {} tokens", model.name,
      billions(parameters.total), billions(parameters.active), model.layer_count(),
      reports::grouped(model.hidden_size), reports::grouped(model.vocab_size),
      reports::grouped(model.max_context_tokens));
}

}  // namespace

Description describe_model(std::string_view name, const config::Catalogue& catalogue, bool dense_twin) {
  if (name.empty()) return model_list(catalogue);
  const auto loaded = config::load_entry<llm::Architecture>(name, catalogue);
  if (dense_twin && !has_experts(loaded.value)) {
    throw config::InputError("no_dense_twin",
                             fmt::format("{} has no experts: it is dense already", loaded.value.name));
  }
  const llm::Architecture model = dense_twin ? llm::dense_twin(loaded.value) : loaded.value;
  const Node entry = dense_twin ? dense_twin_entry(model, loaded.resolved) : loaded.resolved;
  const llm::Parameters parameters = llm::count_parameters(model);
  Description description;
  description.warnings = loaded.warnings;
  description.sources = loaded.document.sources;
  Node& document = description.document;
  set_head(name, model, parameters, document);
  std::vector<Section>& sections = description.sections;
  sections.push_back(parameter_section(headline(model, parameters), parameters));
  sections.push_back(layers_section(model, document));
  sections.push_back(flops_section(model, document));
  sections.push_back(kv_section(model, document));
  sections.push_back(bytes_section(model, document));
  sections.push_back(range_section(model, document));
  for (Section& section : sourced_numbers("Shape", entry)) sections.push_back(std::move(section));
  document.set("entry", entry);
  return description;
}

}  // namespace moesim::studies::detail
