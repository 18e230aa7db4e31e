// The models of models/zoo, loaded as users load them, and small helpers for the tests of models/llm.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "models/llm/architecture.hpp"
#include "sim/config/document.hpp"

namespace moesim::llm::test {

inline constexpr std::array<std::string_view, 4> kZoo = {"llama-3.1-8b", "mixtral-8x7b", "qwen3-30b-a3b",
                                                         "deepseek-v3"};

inline config::Catalogue catalogue() { return config::Catalogue({MOESIM_SOURCE_DIR}); }

inline Architecture zoo(std::string_view id) {
  return config::load_entry<Architecture>(id, catalogue()).value;
}

// Reads an architecture from JSON text.
inline Architecture from_text(std::string text) {
  return config::read_document<Architecture>(config::parse_text(std::move(text), "test.json"), catalogue())
      .value;
}

}  // namespace moesim::llm::test
