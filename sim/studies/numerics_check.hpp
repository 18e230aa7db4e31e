// One scaled layer of each kind of a model, run through the CPU reference kernels with a deployment's layout
// and number formats: bounds, exact properties, and counts against the operators of the simulator.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "models/llm/operator.hpp"
#include "reports/text.hpp"
#include "sim/config/document.hpp"
#include "sim/config/node.hpp"
#include "sim/serving/numerics.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::studies {

struct NumericsRequest {
  llm::Architecture model;
  llm::Layout layout;  // legal for the model
  llm::Formats formats;
  std::int64_t tokens = 32;   // new tokens of the prompt; a decode step stands behind it
  std::int64_t context = 96;  // tokens before them
  std::uint64_t seed = 1;
  // Gets the operators of each part of a layer before they are compared; tests change them.
  std::function<void(std::vector<llm::Operator>&)> operators;
};

// A check of each different attention and FFN of the model, scaled as scale_model() says. Deterministic:
// plain kernels only. A kind without reference kernels is in the result with the reason, and nothing of it
// checked.
[[nodiscard]] serving::NumericsCheck check_numerics(const NumericsRequest& request);

// The check that the scenario asks for: of each different layout of its pools.
[[nodiscard]] serving::NumericsCheck check_numerics(const serving::Scenario& scenario);

// A table of layers, then what failed and what was not checked, with the name of the model.
struct ModelNumerics {
  std::string model;
  serving::NumericsCheck check;
};
// A model of the catalogue with its published formats. Throws config::InputError for a model that is not
// there and for ranks that it cannot have.
[[nodiscard]] ModelNumerics check_model_numerics(const config::Catalogue& catalogue, const std::string& name,
                                                 std::int64_t tp, std::int64_t ep);
[[nodiscard]] std::string numerics_text(const std::vector<ModelNumerics>& models, bool each_property,
                                        const reports::Style& style);
[[nodiscard]] config::Node numerics_json(const std::vector<ModelNumerics>& models);
[[nodiscard]] std::string numerics_csv(const std::vector<ModelNumerics>& models);

}  // namespace moesim::studies
