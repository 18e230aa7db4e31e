#include "sim/studies/explain.hpp"

#include <fmt/format.h>

#include <utility>

#include "sim/config/diagnostics.hpp"

namespace moesim::studies {

namespace {

using config::Node;

bool is_sourced(const Node& node) {
  return node.kind == Node::Kind::object && node.find("value") != nullptr && node.find("source") != nullptr &&
         node.find("label") != nullptr;
}

class Walker {
 public:
  Walker(const config::SourceSet& sources, bool folded) : sources_(&sources), folded_(folded) {}

  void walk(const Node& node, const std::string& pointer, const std::string& path) {
    if (folded_ && is_sourced(node)) {
      add(*node.find("value"), pointer, path, node.find("label")->text);
      return;
    }
    const bool branch = !node.members.empty() || !node.items.empty();
    if (!branch) {
      add(node, pointer, path, "");
      return;
    }
    for (const config::Member& member : node.members) {
      if (folded_ && member.key == "sources") continue;
      walk(member.value, config::pointer_join(pointer, member.key), joined(path, member.key));
    }
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const std::string index = fmt::format("{}", i);
      walk(node.items[i], config::pointer_join(pointer, index), joined(path, index));
    }
  }
  [[nodiscard]] std::vector<ExplainedValue> take() { return std::move(values_); }

 private:
  static std::string joined(const std::string& path, std::string_view token) {
    return path.empty() ? std::string(token) : fmt::format("{}.{}", path, token);
  }

  void add(const Node& node, const std::string& pointer, const std::string& path, std::string label) {
    ExplainedValue value;
    value.pointer = pointer;
    value.path = path;
    value.value = node;
    value.label = std::move(label);
    if (node.where.source >= 0) {
      const config::Source& source = sources_->at(node.where.source);
      value.origin = source.kind;
      value.source = source.name;
      value.place = sources_->line_column(node.where);
      if (source.kind == config::OriginKind::command_line) value.source += " " + source.text;
    }
    values_.push_back(std::move(value));
  }

  const config::SourceSet* sources_;
  bool folded_;
  std::vector<ExplainedValue> values_;
};

std::vector<std::string> keys_of(const Node& node) {
  std::vector<std::string> keys;
  for (const config::Member& member : node.members) keys.push_back(member.key);
  for (std::size_t i = 0; i < node.items.size(); ++i) keys.push_back(fmt::format("{}", i));
  return keys;
}

[[noreturn]] void fail_unknown_path(const Node& resolved, const std::string& pointer, std::string_view path) {
  // The longest part of the path that exists says which keys could have been meant.
  std::string known = pointer;
  while (config::resolve_pointer(resolved, known) == nullptr) known.resize(known.rfind('/'));
  const std::string rest = pointer.substr(known.size() + 1);
  const std::string word = rest.substr(0, rest.find('/'));
  const std::vector<std::string> keys = keys_of(*config::resolve_pointer(resolved, known));
  throw config::InputError("unknown_path", fmt::format("there is no \"{}\" in the resolved scenario", path),
                           config::nearest(word, keys),
                           keys.empty() ? fmt::format("{} is a plain value", known)
                                        : fmt::format("known here: {}", fmt::join(keys, ", ")));
}

}  // namespace

std::string pointer_of_path(std::string_view path) {
  if (path.empty() || path.front() == '/') return std::string(path);
  std::string pointer;
  while (true) {
    const std::size_t end = path.find('.');
    pointer = config::pointer_join(pointer, path.substr(0, end));
    if (end == std::string_view::npos) return pointer;
    path.remove_prefix(end + 1);
  }
}

std::vector<ExplainedValue> explain(const Node& resolved, const config::SourceSet& sources,
                                    std::string_view path, bool folded) {
  const std::string pointer = pointer_of_path(path);
  const Node* node = config::resolve_pointer(resolved, pointer);
  if (node == nullptr) fail_unknown_path(resolved, pointer, path);
  std::string dotted;
  if (!path.empty() && path.front() == '/') {
    dotted = std::string(path.substr(1));
    for (char& c : dotted) c = c == '/' ? '.' : c;
  } else {
    dotted = std::string(path);
  }
  Walker walker(sources, folded);
  walker.walk(*node, pointer, dotted);
  return walker.take();
}

std::string origin_words(const ExplainedValue& value) {
  switch (value.origin) {
    case config::OriginKind::default_value:
      return "default";
    case config::OriginKind::catalogue:
      return fmt::format("catalogue {}:{}", value.source, value.place.line);
    case config::OriginKind::file:
      return fmt::format("{}:{}", value.source, value.place.line);
    case config::OriginKind::flag:
      return fmt::format("{} {}", value.source, value.value.text);
    case config::OriginKind::merge:
      return fmt::format("--merge {}:{}", value.source, value.place.line);
    case config::OriginKind::environment:
      return fmt::format("environment {}", value.source);
    case config::OriginKind::command_line:
      return value.source;
  }
  return "?";
}

}  // namespace moesim::studies
