// The number format of a published checkpoint, from quantization_config and hf_quant_config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/llm/formats.hpp"
#include "models/llm/hf_fields.hpp"

namespace moesim::llm {

struct HfQuantization {
  NumberFormat weights = NumberFormat::bf16;  // of routed experts, and of the others where they say nothing
  std::optional<NumberFormat> attention_weights;
  std::optional<NumberFormat> dense_weights;
  std::string file;                     // name of the hf_quant_config.json that was read, without its folder
  config::Location where;               // of the statement; source -1 for none
  std::string pointer;                  // of the statement
  std::vector<std::string> deviations;  // where one format for all linear layers is not the whole truth
};

// `holders`: the objects that may have quantization_config, the first that has it counts. `file`: the
// configuration's file, beside which hf_quant_config.json is looked for; may be empty. `layers`: of the
// model. An unknown method is an error: the format changes bytes and times.
[[nodiscard]] HfQuantization read_hf_quantization(const std::vector<HfFields*>& holders,
                                                  const std::filesystem::path& file, std::int64_t layers,
                                                  config::Reader& reader);

// The name of the quantisation file that belongs to a configuration file, or an empty path:
// "x_config.json" -> "x_hf_quant_config.json", "config.json" -> "hf_quant_config.json", in the same folder.
[[nodiscard]] std::filesystem::path hf_quant_file(const std::filesystem::path& config_file);

}  // namespace moesim::llm
