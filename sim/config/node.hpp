// A JSON value that remembers where it was written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/source.hpp"

namespace moesim::config {

struct Member;

struct Node {
  enum class Kind : std::uint8_t { null, boolean, integer, real, string, array, object };

  Kind kind = Kind::null;
  bool boolean = false;
  std::int64_t integer = 0;     // kind integer
  double real = 0.0;            // kind real
  std::string text;             // kind string
  std::vector<Node> items;      // kind array
  std::vector<Member> members;  // kind object, in the order of the text
  Location where;

  [[nodiscard]] static Node of(bool value);
  [[nodiscard]] static Node of(std::int64_t value);
  [[nodiscard]] static Node of(double value);
  [[nodiscard]] static Node of(std::string_view value);
  [[nodiscard]] static Node array();
  [[nodiscard]] static Node object();

  // The value of `key` in an object, or nullptr.
  [[nodiscard]] const Node* find(std::string_view key) const;
  [[nodiscard]] Node* find(std::string_view key);
  // Sets or adds a member of an object and returns it.
  Node& set(std::string_view key, Node value);
};

struct Member {
  std::string key;
  Location key_where;
  Node value;
};

// The node at a JSON pointer (RFC 6901), or nullptr.
[[nodiscard]] const Node* resolve_pointer(const Node& root, std::string_view pointer);

// `pointer` + "/" + the escaped token.
[[nodiscard]] std::string pointer_join(std::string_view pointer, std::string_view token);

// "an object", "a string", ...: the words that messages use.
[[nodiscard]] std::string_view kind_words(Node::Kind kind);

// JSON text; indent < 0 writes one line. Numbers are shortest round-trip; the bytes depend on the value only.
[[nodiscard]] std::string to_json(const Node& node, int indent = 2);

}  // namespace moesim::config
