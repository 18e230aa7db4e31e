// Collects the shared definitions of one JSON Schema.
#pragma once

#include "sim/config/record.hpp"

namespace moesim::config {

class SchemaBuilder {
 public:
  // {"$ref": "#/definitions/NAME"}; builds the definition at the first call.
  [[nodiscard]] Node reference(const RecordTable& record);
  [[nodiscard]] Node take_definitions() { return std::move(definitions_); }

 private:
  Node definitions_ = Node::object();
};

}  // namespace moesim::config
