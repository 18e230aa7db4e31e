// Any bytes as a scenario: they are read or refused with at least one error that can be printed, and nothing
// else.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "sim/config/document.hpp"
#include "sim/config/render.hpp"
#include "sim/serving/scenario.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moesim;
  const config::Catalogue catalogue({std::string(MOESIM_SOURCE_DIR)});
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const auto loaded =
        config::read_document<serving::Scenario>(config::load_text(text, "fuzz.json", catalogue), catalogue);
    // What was resolved reads back to the same resolution.
    const std::string resolved = config::to_json(loaded.resolved);
    const auto again = config::read_document<serving::Scenario>(
        config::load_text(resolved, "again.json", catalogue), catalogue);
    if (config::to_json(again.resolved) != resolved) std::abort();
  } catch (const config::InputError& error) {
    if (error.diagnostics().errors().empty() || config::render(error, false).empty()) std::abort();
  }
  return 0;
}
