// Importing a model from the config.json that its makers publish on the Hugging Face hub.
#pragma once

#include <optional>

#include "sim/config/document.hpp"

namespace moesim::llm {

// True for a tree with "model_type" or "architectures", as every config.json of the hub has.
[[nodiscard]] bool is_hugging_face(const config::Node& tree);

// The tree as a record of Architecture, each value at the place of the field it comes from. The family is
// told by model_type (of text_config, for a model that also sees), else by architectures. The published
// number format comes from quantization_config and from a hf_quant_config.json beside the file. Fields of the
// record that come from elsewhere (from a file that extends this one, or --set) are laid over it.
//
// One warning lists all fields that are not known, one what is left out (vision, tables of relative
// positions), and one says where the published format is not the whole truth. A field that changes the work
// and that the family does not have is an error. nullopt after an error.
[[nodiscard]] std::optional<config::Node> import_hugging_face(const config::Node& tree,
                                                              config::Reader& reader);

}  // namespace moesim::llm
