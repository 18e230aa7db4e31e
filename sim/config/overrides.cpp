// --merge, --set, --unset and MOESIM_SET_ variables.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/config/internal.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::config {

namespace {

// The string "h100-sxm" becomes {"extends": "h100-sxm"}. The object stands where it was asked for: the file
// holds a string, so an error about an object must not point there.
void expand_reference(Node& node, const Location& where) {
  Node entry = Node::object();
  entry.where = where;
  entry.set("extends", std::move(node));
  node = std::move(entry);
}

bool is_reference(const Node& node) { return node.find("extends") != nullptr; }

// `below_reference`: an ancestor of the target names an entry whose members are not in the tree yet.
void lay_over(Node& target, Node patch, bool entry_aware, bool below_reference) {
  if (patch.kind != Node::Kind::object) {
    target = std::move(patch);
    return;
  }
  if (target.kind == Node::Kind::string && entry_aware) {
    expand_reference(target, patch.where);
  } else if (target.kind != Node::Kind::object) {
    Node fresh = Node::object();
    fresh.where = patch.where;
    target = std::move(fresh);
  }
  below_reference = entry_aware && (below_reference || is_reference(target) || is_reference(patch));
  for (Member& member : patch.members) {
    Node* existing = target.find(member.key);
    if (member.value.kind == Node::Kind::null && (existing != nullptr || !below_reference)) {
      std::erase_if(target.members, [&](const Member& m) { return m.key == member.key; });
    } else if (member.value.kind == Node::Kind::null) {
      target.members.push_back(std::move(member));  // removes from the entry once that is read
    } else if (existing != nullptr) {
      lay_over(*existing, std::move(member.value), entry_aware, below_reference);
    } else {
      Node fresh;
      lay_over(fresh, std::move(member.value), entry_aware, below_reference);
      target.members.push_back({member.key, member.key_where, std::move(fresh)});
    }
  }
}

}  // namespace

void merge_over(Node& target, Node patch, bool entry_aware) {
  lay_over(target, std::move(patch), entry_aware, false);
}

std::vector<std::string> keys_of(const Node& node) {
  std::vector<std::string> keys;
  for (const Member& member : node.members) keys.push_back(member.key);
  return keys;
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

// The child of `node` that `part` names, made if it is missing and `create`; nullptr after an error.
Node* descend(Node& node, const std::string& part, bool create, const Location& asked, std::string& problem,
              std::string& suggestion) {
  if (node.kind == Node::Kind::string && create) expand_reference(node, asked);
  if (node.kind == Node::Kind::null && create) {
    const Location where = node.where;
    node = Node::object();
    node.where = where;
  }
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

namespace {

// A way into the tree that --set and --unset walk.
struct Walk {
  Node* node = nullptr;
  std::string path;              // with dots; the index where "-" appended
  bool below_reference = false;  // of a catalogue entry, whose members are not in the tree yet
  std::string problem;
  std::string suggestion;
};

// Goes to a child and makes it if need be; false after an error. --unset makes nodes inside an entry only.
bool step(Walk& walk, const std::string& part, bool set, const Location& asked) {
  Node& parent = *walk.node;
  walk.below_reference = walk.below_reference || parent.kind == Node::Kind::string || is_reference(parent);
  const bool create = set || (walk.below_reference && parent.kind != Node::Kind::array);
  walk.node = descend(parent, part, create, asked, walk.problem, walk.suggestion);
  if (walk.node == nullptr) return false;
  for (Member& member : parent.members) {
    if (&member.value == walk.node && member.key_where.source < 0) member.key_where = asked;
  }
  if (walk.node->where.source < 0) walk.node->where = asked;
  const bool appended = parent.kind == Node::Kind::array && part == "-";
  if (!walk.path.empty()) walk.path += '.';
  walk.path += appended ? std::to_string(parent.items.size() - 1) : part;
  return true;
}

// What an override asks for, taken apart.
struct Request {
  bool set = false;
  std::vector<std::string> parts;
  Location asked;  // the path in its source
};

bool set_value(Document& document, const Override& change, const Request& request, Walk& walk) {
  Node* const parent = walk.node;
  if (!step(walk, request.parts.back(), true, request.asked)) return false;
  const std::string& argument = change.argument;
  const int source = request.asked.source;
  const std::size_t begin = request.asked.end + 1;  // after "="
  *walk.node = override_value(std::string_view(argument).substr(begin), source, begin, argument.size());
  if (!change.shown.empty()) set_locations(*walk.node, {source, 0, change.shown.size()});
  for (Member& member : parent->members) {
    if (&member.value == walk.node && change.shown.empty()) member.key_where = request.asked;
  }
  document.changed[source] = walk.path;
  return true;
}

// Removes what the tree holds; what only an entry holds becomes null, which removes it when that is read.
bool remove_value(Document& document, const Request& request, Walk& walk) {
  const std::string& last = request.parts.back();
  Node& parent = *walk.node;
  const bool in_tree = parent.find(last) != nullptr || parent.kind == Node::Kind::array;
  if (!step(walk, last, false, request.asked)) return false;
  if (in_tree && walk.below_reference && walk.node->kind == Node::Kind::null) {
    walk.problem = fmt::format("there is no \"{}\" to remove", last);
    return false;
  }
  document.removals.push_back({pointer_of(request.parts), request.asked});
  if (in_tree) remove_child(parent, last);
  return true;
}

}  // namespace

void apply_override(Document& document, const Override& change, Diagnostics& diagnostics) {
  const std::string& argument = change.argument;
  const int source =
      document.sources.add({change.name, change.origin, change.shown.empty() ? argument : change.shown});
  const std::size_t equals = argument.find('=');
  Request request;
  request.set = change.kind == Override::Kind::set;
  request.asked = {source, 0, request.set ? std::min(equals, argument.size()) : argument.size()};
  const auto fail = [&](std::string message, std::string suggestion) {
    diagnostics.add(
        {"bad_override", "", request.asked, std::move(message), std::move(suggestion), "", false, false});
  };
  if (request.set && equals == std::string::npos)
    return fail("expected path=value, for example deployment.pools.main.tp=8", "");
  if (request.asked.end == 0) return fail("the path is empty", "");
  request.parts = path_parts(std::string_view(argument).substr(0, request.asked.end));
  if (request.parts.size() > kMaxDepth) return fail("the path is too deep", "");
  Walk walk;
  walk.node = &document.root;
  bool good = true;
  for (std::size_t i = 0; good && i + 1 < request.parts.size(); ++i)
    good = step(walk, request.parts[i], request.set, request.asked);
  if (good)
    good = request.set ? set_value(document, change, request, walk) : remove_value(document, request, walk);
  if (!good) fail(walk.problem, walk.suggestion);
}

}  // namespace moesim::config
