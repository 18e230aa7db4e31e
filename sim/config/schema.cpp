#include <utility>

#include "sim/config/document.hpp"
#include "sim/config/schema_builder.hpp"

namespace moesim::config {

Node RecordTable::schema(SchemaBuilder& builder, std::string_view tag, std::string_view tag_value) const {
  Node node = Node::object();
  node.set("type", Node::of(std::string_view("object")));
  node.set("description", Node::of(std::string_view(sentence_)));
  Node properties = Node::object();
  Node required = Node::array();
  if (!tag.empty()) {
    Node constant = Node::object();
    constant.set("const", Node::of(tag_value));
    properties.set(tag, std::move(constant));
    required.items.push_back(Node::of(tag));
  }
  std::shared_ptr<void> defaults = make_default_();
  for (const Field& field : fields_) {
    Node type = field.type->schema(builder);
    // Draft-07 ignores what stands beside "$ref": wrap it, so that the sentence is kept.
    if (type.find("$ref") != nullptr) {
      Node wrapped = Node::object();
      Node list = Node::array();
      list.items.push_back(std::move(type));
      wrapped.set("allOf", std::move(list));
      type = std::move(wrapped);
    }
    type.set("description", Node::of(std::string_view(field.sentence)));
    const void* value = field.locate(defaults.get());
    if (!field.required && !field.type->absent(value)) type.set("default", field.type->write(value));
    if (field.required) required.items.push_back(Node::of(std::string_view(field.key)));
    properties.set(field.key, std::move(type));
  }
  if (!folder_.empty()) {
    Node schema_key = Node::object();
    properties.set("$schema", std::move(schema_key));
  }
  node.set("properties", std::move(properties));
  if (!required.items.empty()) node.set("required", std::move(required));
  node.set("additionalProperties", Node::of(false));
  return node;
}

Node SchemaBuilder::reference(const RecordTable& record) {
  if (definitions_.find(record.name()) == nullptr) {
    definitions_.set(record.name(), Node{});  // holds the place while the record's own fields are visited
    Node definition = record.schema(*this);
    definitions_.set(record.name(), std::move(definition));
  }
  Node node = Node::object();
  node.set("$ref", Node::of(std::string_view("#/definitions/" + record.name())));
  return node;
}

namespace {

Node named(std::string_view name) {
  Node list = Node::array();
  list.items.push_back(Node::of(name));
  return list;
}

// A document that changes a few values of another one. What it leaves out, at any depth, comes from there, so
// that only the reader can judge the rest.
Node extending_schema() {
  Node base = Node::object();
  base.set("type", Node::of(std::string_view("string")));
  base.set("description", Node::of(std::string_view("File or catalogue entry that this one changes")));
  Node properties = Node::object();
  properties.set("extends", std::move(base));
  Node node = Node::object();
  node.set("properties", std::move(properties));
  node.set("required", named("extends"));
  return node;
}

}  // namespace

Node json_schema(const RecordTable& record, std::string_view id) {
  SchemaBuilder builder;
  Node body = record.schema(builder);
  Node root = Node::object();
  root.set("$schema", Node::of(std::string_view("http://json-schema.org/draft-07/schema#")));
  root.set("$id", Node::of(id));
  root.set("title", Node::of(std::string_view(record.name())));
  if (Node* properties = body.find("properties")) properties->set("$schema", Node::object());
  Node whole = Node::object();
  for (Member& member : body.members) {
    const bool shared = member.key == "type" || member.key == "description";
    (shared ? root : whole).members.push_back(std::move(member));
  }
  Node either = Node::array();
  either.items = {std::move(whole), extending_schema()};
  root.set("anyOf", std::move(either));
  Node definitions = builder.take_definitions();
  if (!definitions.members.empty()) root.set("definitions", std::move(definitions));
  return root;
}

}  // namespace moesim::config
