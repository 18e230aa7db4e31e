// The routers of published models, by name.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "models/routing/gate/gate.hpp"

namespace moesim::gate {

// How the experts of a token are found.
enum class Selection : std::uint8_t {
  scores,  // choose()
  table,   // look_up() and weigh()
};

struct Family {
  std::string_view name;
  std::int64_t experts = 0;  // of the published model
  GateSpec spec;
  Selection selection = Selection::scores;
  double capacity_factor = 0.0;  // of models that drop tokens; 0: none do
  std::string_view source;       // of the formula
};

// All families, each with the number types of the model's own code.
[[nodiscard]] std::span<const Family> families();

// The family of that name, or nullptr.
[[nodiscard]] const Family* find_family(std::string_view name);

}  // namespace moesim::gate
