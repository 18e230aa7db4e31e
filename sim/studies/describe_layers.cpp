// The layers of a model as one line of words, and its dense twin as a document.
#include <fmt/format.h>

#include <variant>

#include "models/llm/parameters.hpp"
#include "sim/studies/describe_topics.hpp"

namespace moesim::studies::detail {

namespace {

using config::Node;

std::string attention_words(const llm::GroupedQueryAttention& attention) {
  if (attention.block_indexer) return "block-sparse attention";
  if (attention.window_tokens > 0) return fmt::format("window of {}", attention.window_tokens);
  if (attention.chunk_tokens > 0) return fmt::format("chunks of {}", attention.chunk_tokens);
  return "full attention";
}
std::string attention_words(const llm::LatentAttention& attention) {
  if (!attention.indexer) return "latent attention";
  return attention.indexer->shared ? "sparse latent attention by an earlier choice"
                                   : "sparse latent attention";
}
std::string attention_words(const llm::CompressedAttention& attention) {
  if (attention.ratio == 0) return fmt::format("window of {}", attention.window_tokens);
  return fmt::format("{}compressed attention 1:{}", attention.indexer ? "sparse " : "", attention.ratio);
}
std::string attention_words(const llm::RecurrentAttention& attention) {
  return fmt::format("recurrent ({})", config::enum_name(attention.recurrence));
}
std::string attention_words(const llm::NoAttention&) { return "none"; }

std::string ffn_words(const llm::DenseFfn& ffn) { return fmt::format("dense {}", ffn.width); }
std::string ffn_words(const llm::MoeFfn& ffn) {
  const std::string shared = ffn.shared_experts > 0 ? fmt::format(" + {} shared", ffn.shared_experts) : "";
  return fmt::format("MoE {} of {}{}", ffn.top_k, ffn.experts, shared);
}
std::string ffn_words(const llm::NoFfn&) { return "none"; }

// Equal words in a row.
struct Run {
  std::string words;
  std::int64_t count = 0;
};

void add(std::vector<Run>& runs, const std::string& words, std::int64_t count) {
  if (!runs.empty() && runs.back().words == words) {
    runs.back().count += count;
  } else {
    runs.push_back({words, count});
  }
}

std::string text_of(const std::vector<Run>& runs) {
  std::string text;
  for (const Run& run : runs) text += fmt::format("{}{} {}", text.empty() ? "" : " + ", run.count, run.words);
  return text;
}

// "15 x (3 recurrent + 1 full attention)": the patterns of the network, each layer by its word.
template <class WordsOf>
std::string pattern_line(const llm::Architecture& model, const WordsOf& words_of) {
  std::vector<Run> line;  // a run of several patterns has a count of 0
  for (const llm::LayerPattern& pattern : model.patterns()) {
    std::vector<Run> runs;
    for (const std::int64_t group : pattern.groups)
      add(runs, words_of(model.layers.at(static_cast<std::size_t>(group))), 1);
    if (runs.size() == 1) {
      add(line, runs.front().words, runs.front().count * pattern.repeat);
    } else if (pattern.repeat == 1) {
      for (const Run& run : runs) add(line, run.words, run.count);
    } else {
      line.push_back({fmt::format("{} x ({})", pattern.repeat, text_of(runs)), 0});
    }
  }
  std::string text;
  for (const Run& run : line) {
    text += text.empty() ? "" : " + ";
    text += run.count == 0 ? run.words : fmt::format("{} {}", run.count, run.words);
  }
  return text;
}

// Writes the feed-forward networks of a twin's layers into the document of its original.
void set_ffn(Node* layer, const llm::FfnShape& shape) {
  const auto* dense = std::get_if<llm::DenseFfn>(&shape);
  if (layer == nullptr || dense == nullptr) return;
  Node ffn = Node::object();
  ffn.set("kind", text_node("dense"));
  ffn.set("width", Node::of(dense->width));
  ffn.set("gated", Node::of(dense->gated));
  layer->set("ffn", std::move(ffn));
}

}  // namespace

LayerLines layer_lines(const llm::Architecture& model) {
  return {pattern_line(model,
                       [](const llm::LayerGroup& group) {
                         return std::visit([](const auto& kind) { return attention_words(kind); },
                                           group.attention);
                       }),
          pattern_line(model, [](const llm::LayerGroup& group) {
            return std::visit([](const auto& kind) { return ffn_words(kind); }, group.ffn);
          })};
}

config::Node dense_twin_entry(const llm::Architecture& twin, Node entry) {
  entry.set("name", text_node(twin.name));
  const auto set_layers = [&](std::string_view key, const std::vector<llm::LayerGroup>& layers) {
    Node* list = entry.find(key);
    if (list == nullptr || list->items.size() != layers.size()) return;
    for (std::size_t i = 0; i < layers.size(); ++i) set_ffn(&list->items[i], layers[i].ffn);
  };
  set_layers("layers", twin.layers);
  set_layers("encoder", twin.encoder);
  if (twin.prediction) set_ffn(entry.find("prediction"), twin.prediction->ffn);
  return entry;
}

}  // namespace moesim::studies::detail
