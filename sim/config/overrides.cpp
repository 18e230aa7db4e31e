// --merge, --set, --unset and MOESIM_SET_ variables.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/config/internal.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::config {

void merge_over(Node& target, Node patch, bool entry_aware) {
  if (patch.kind != Node::Kind::object) {
    target = std::move(patch);
    return;
  }
  if (target.kind == Node::Kind::string && entry_aware) {
    Node entry = Node::object();
    entry.where = target.where;
    entry.set("extends", std::move(target));
    target = std::move(entry);
  } else if (target.kind != Node::Kind::object) {
    Node fresh = Node::object();
    fresh.where = patch.where;
    target = std::move(fresh);
  }
  for (Member& member : patch.members) {
    if (member.value.kind == Node::Kind::null) {
      std::erase_if(target.members, [&](const Member& m) { return m.key == member.key; });
      continue;
    }
    if (Node* existing = target.find(member.key)) {
      merge_over(*existing, std::move(member.value), entry_aware);
    } else {
      Node fresh;
      merge_over(fresh, std::move(member.value), entry_aware);
      target.members.push_back({member.key, member.key_where, std::move(fresh)});
    }
  }
}

std::vector<Override> overrides_from_environment(const char* const* environment) {
  static constexpr std::string_view kPrefix = "MOESIM_SET_";
  std::vector<Override> found;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const std::string_view entry = *environment;
    const std::size_t equals = entry.find('=');
    if (!entry.starts_with(kPrefix) || equals == std::string_view::npos) continue;
    std::string path(entry.substr(kPrefix.size(), equals - kPrefix.size()));
    for (std::size_t at = path.find("__"); at != std::string::npos; at = path.find("__", at))
      path.replace(at, 2, ".");
    found.push_back({Override::Kind::set, path + std::string(entry.substr(equals)), OriginKind::environment,
                     std::string(entry.substr(0, equals))});
  }
  std::sort(found.begin(), found.end(), [](const Override& a, const Override& b) { return a.name < b.name; });
  return found;
}

namespace {

// Splits "a.b.0" or "/a/b/-" into its parts.
std::vector<std::string> path_parts(std::string_view path) {
  std::vector<std::string> parts;
  const char separator = path.starts_with('/') ? '/' : '.';
  if (separator == '/') path.remove_prefix(1);
  std::string part;
  for (std::size_t i = 0; i <= path.size(); ++i) {
    if (i == path.size() || path[i] == separator) {
      parts.push_back(std::move(part));
      part.clear();
    } else if (separator == '/' && path[i] == '~' && i + 1 < path.size()) {
      part += path[++i] == '1' ? '/' : '~';
    } else {
      part += path[i];
    }
  }
  return parts;
}

std::vector<std::string> keys_of(const Node& node) {
  std::vector<std::string> keys;
  for (const Member& member : node.members) keys.push_back(member.key);
  return keys;
}

// The child of `node` that `part` names, made if it is missing and `create`; nullptr after an error.
Node* descend(Node& node, const std::string& part, bool create, std::string& problem,
              std::string& suggestion) {
  if (node.kind == Node::Kind::string && create) {
    Node entry = Node::object();
    entry.where = node.where;
    entry.set("extends", std::move(node));
    node = std::move(entry);
  }
  if (node.kind == Node::Kind::null && create) node = Node::object();
  if (node.kind == Node::Kind::array) {
    if (part == "-" && create) {
      node.items.emplace_back();
      return &node.items.back();
    }
    const auto index = io::parse_int64(part);
    if (index && *index >= 0 && static_cast<std::size_t>(*index) < node.items.size()) {
      return &node.items[static_cast<std::size_t>(*index)];
    }
    problem =
        fmt::format("\"{}\" is no index of a list of {} (use \"-\" to append)", part, node.items.size());
    return nullptr;
  }
  if (node.kind != Node::Kind::object) {
    problem = fmt::format("\"{}\" cannot be inside {}", part, kind_words(node.kind));
    return nullptr;
  }
  if (Node* child = node.find(part)) return child;
  if (create) return &node.set(part, Node{});
  problem = fmt::format("there is no \"{}\" to remove", part);
  suggestion = nearest(part, keys_of(node));
  return nullptr;
}

void set_locations(Node& node, const Location& where) {
  node.where = where;
  for (Node& item : node.items) set_locations(item, where);
  for (Member& member : node.members) {
    member.key_where = where;
    set_locations(member.value, where);
  }
}

// The value of "path=value": JSON if it parses, else the text itself.
Node override_value(std::string_view text, int source, std::size_t begin, std::size_t end) {
  SourceSet scratch;
  Diagnostics ignored;
  const int index = scratch.add({"value", OriginKind::command_line, std::string(text)});
  Node value = parse_source(scratch, index, ignored);
  if (ignored.has_errors()) value = Node::of(text);
  set_locations(value, {source, begin, end});
  return value;
}

std::string pointer_of(const std::vector<std::string>& parts) {
  std::string pointer;
  for (const std::string& part : parts) pointer = pointer_join(pointer, part);
  return pointer;
}

// Removes a child that is there.
void remove_child(Node& node, const std::string& part) {
  if (node.kind == Node::Kind::array) {
    node.items.erase(node.items.begin() + static_cast<std::ptrdiff_t>(*io::parse_int64(part)));
  } else {
    std::erase_if(node.members, [&](const Member& member) { return member.key == part; });
  }
}

}  // namespace

std::string origin_text(const SourceSet& sources, const Location& where) {
  const Source& source = sources.at(where.source);
  if (source.kind == OriginKind::merge)
    return fmt::format("--merge {}:{}", source.name, sources.line_column(where).line);
  if (source.kind != OriginKind::environment) return fmt::format("{} {}", source.name, source.text);
  const std::size_t equals = source.text.find('=');
  return source.name + (equals == std::string::npos ? "" : source.text.substr(equals));
}

void apply_override(Document& document, const Override& change, Diagnostics& diagnostics) {
  Node& root = document.root;
  const std::string& argument = change.argument;
  const int source =
      document.sources.add({change.name, change.origin, change.shown.empty() ? argument : change.shown});
  const std::size_t equals = argument.find('=');
  const bool set = change.kind == Override::Kind::set;
  const std::size_t path_end = set ? std::min(equals, argument.size()) : argument.size();
  const auto fail = [&](std::string message, std::string suggestion) {
    diagnostics.add({"bad_override",
                     "",
                     {source, 0, path_end},
                     std::move(message),
                     std::move(suggestion),
                     "",
                     false,
                     false});
  };
  if (set && equals == std::string::npos)
    return fail("expected path=value, for example deployment.pools.main.tp=8", "");
  if (path_end == 0) return fail("the path is empty", "");
  const std::vector<std::string> parts = path_parts(std::string_view(argument).substr(0, path_end));
  if (parts.size() > kMaxDepth) return fail("the path is too deep", "");
  Node* node = &root;
  std::string problem, suggestion;
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    Node* parent = node;
    node = descend(*parent, parts[i], set, problem, suggestion);
    if (node == nullptr) return fail(problem, suggestion);
    for (Member& member : parent->members) {
      if (&member.value == node && member.key_where.source < 0) member.key_where = {source, 0, path_end};
    }
    if (node->where.source < 0) node->where = {source, 0, path_end};
  }
  if (set) {
    Node* leaf = descend(*node, parts.back(), true, problem, suggestion);
    if (leaf == nullptr) return fail(problem, suggestion);
    *leaf =
        override_value(std::string_view(argument).substr(equals + 1), source, equals + 1, argument.size());
    if (!change.shown.empty()) set_locations(*leaf, {source, 0, change.shown.size()});
    for (Member& member : node->members) {
      if (&member.value == leaf && change.shown.empty()) member.key_where = {source, 0, path_end};
    }
    return;
  }
  if (descend(*node, parts.back(), false, problem, suggestion) == nullptr) return fail(problem, suggestion);
  document.removals.push_back({pointer_of(parts), {source, 0, path_end}});
  remove_child(*node, parts.back());
}

}  // namespace moesim::config
