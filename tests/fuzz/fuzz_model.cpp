// Any bytes as a model, above all as a config.json of the Hugging Face hub: they are read or refused with at
// least one error that can be printed, and nothing else.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "models/llm/architecture.hpp"
#include "models/llm/parameters.hpp"
#include "sim/config/document.hpp"
#include "sim/config/render.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moesim;
  const config::Catalogue catalogue({std::string(MOESIM_SOURCE_DIR)});
  const auto read = [&](std::string text) {
    return config::read_document<llm::Architecture>(config::parse_text(std::move(text), "fuzz_config.json"),
                                                    catalogue);
  };
  try {
    const auto loaded = read(std::string(reinterpret_cast<const char*>(data), size));
    if (llm::count_parameters(loaded.value).total <= 0) std::abort();
    // What was resolved is in the program's own form, and reads back to the same resolution.
    const std::string resolved = config::to_json(loaded.resolved);
    const auto again = read(resolved);
    if (config::to_json(again.resolved) != resolved || !again.warnings.empty()) std::abort();
  } catch (const config::InputError& error) {
    if (error.diagnostics().errors().empty() || config::render(error, false).empty()) std::abort();
  }
  return 0;
}
