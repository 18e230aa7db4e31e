#include "sim/config/node.hpp"

#include <fmt/format.h>

#include <utility>

#include "sim/io/numbers.hpp"

namespace moesim::config {

Node Node::of(bool value) {
  Node node;
  node.kind = Kind::boolean;
  node.boolean = value;
  return node;
}

Node Node::of(std::int64_t value) {
  Node node;
  node.kind = Kind::integer;
  node.integer = value;
  return node;
}

Node Node::of(double value) {
  Node node;
  node.kind = Kind::real;
  node.real = value;
  return node;
}

Node Node::of(std::string_view value) {
  Node node;
  node.kind = Kind::string;
  node.text = std::string(value);
  return node;
}

Node Node::array() {
  Node node;
  node.kind = Kind::array;
  return node;
}

Node Node::object() {
  Node node;
  node.kind = Kind::object;
  return node;
}

const Node* Node::find(std::string_view key) const {
  for (const Member& member : members) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

Node* Node::find(std::string_view key) { return const_cast<Node*>(std::as_const(*this).find(key)); }

Node& Node::set(std::string_view key, Node value) {
  if (Node* existing = find(key)) {
    *existing = std::move(value);
    return *existing;
  }
  members.push_back({std::string(key), {}, std::move(value)});
  return members.back().value;
}

std::string pointer_join(std::string_view pointer, std::string_view token) {
  std::string joined(pointer);
  joined += '/';
  for (const char c : token) {
    if (c == '~') {
      joined += "~0";
    } else if (c == '/') {
      joined += "~1";
    } else {
      joined += c;
    }
  }
  return joined;
}

namespace {

std::string unescape_token(std::string_view token) {
  std::string text;
  for (std::size_t i = 0; i < token.size(); ++i) {
    if (token[i] == '~' && i + 1 < token.size()) {
      text += token[++i] == '1' ? '/' : '~';
    } else {
      text += token[i];
    }
  }
  return text;
}

}  // namespace

const Node* resolve_pointer(const Node& root, std::string_view pointer) {
  const Node* node = &root;
  while (!pointer.empty() && node != nullptr) {
    pointer.remove_prefix(1);  // the leading '/'
    const std::size_t end = std::min(pointer.find('/'), pointer.size());
    const std::string token = unescape_token(pointer.substr(0, end));
    pointer.remove_prefix(end);
    if (node->kind == Node::Kind::array) {
      const auto index = io::parse_int64(token);
      const bool valid = index && *index >= 0 && static_cast<std::size_t>(*index) < node->items.size();
      node = valid ? &node->items[static_cast<std::size_t>(*index)] : nullptr;
    } else {
      node = node->find(token);
    }
  }
  return node;
}

std::string_view kind_words(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::null:
      return "null";
    case Node::Kind::boolean:
      return "true or false";
    case Node::Kind::integer:
      return "a whole number";
    case Node::Kind::real:
      return "a number";
    case Node::Kind::string:
      return "a string";
    case Node::Kind::array:
      return "a list";
    case Node::Kind::object:
      return "an object";
  }
  return "?";
}

namespace {

void append_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void append_json(std::string& out, const Node& node, int indent, int level) {
  const auto new_line = [&](int at_level) {
    if (indent >= 0) {
      out += '\n';
      out.append(static_cast<std::size_t>(indent * at_level), ' ');
    }
  };
  switch (node.kind) {
    case Node::Kind::null:
      out += "null";
      break;
    case Node::Kind::boolean:
      out += node.boolean ? "true" : "false";
      break;
    case Node::Kind::integer:
      out += fmt::format("{}", node.integer);
      break;
    case Node::Kind::real:
      out += io::format_double(node.real);
      break;
    case Node::Kind::string:
      append_string(out, node.text);
      break;
    case Node::Kind::array: {
      out += '[';
      for (std::size_t i = 0; i < node.items.size(); ++i) {
        if (i > 0) out += indent < 0 ? ", " : ",";
        new_line(level + 1);
        append_json(out, node.items[i], indent, level + 1);
      }
      if (!node.items.empty()) new_line(level);
      out += ']';
      break;
    }
    case Node::Kind::object: {
      out += '{';
      for (std::size_t i = 0; i < node.members.size(); ++i) {
        if (i > 0) out += indent < 0 ? ", " : ",";
        new_line(level + 1);
        append_string(out, node.members[i].key);
        out += ": ";
        append_json(out, node.members[i].value, indent, level + 1);
      }
      if (!node.members.empty()) new_line(level);
      out += '}';
      break;
    }
  }
}

}  // namespace

std::string to_json(const Node& node, int indent) {
  std::string out;
  append_json(out, node, indent, 0);
  return out;
}

}  // namespace moesim::config
