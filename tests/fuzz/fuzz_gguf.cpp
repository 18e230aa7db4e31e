// Any bytes are a GGUF file whose tensors and texts lie inside it, or are refused with an InputError that can
// be printed.
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "models/reference/weights/gguf.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/config/render.hpp"
#include "tests/fuzz/io_memory_file.hpp"

namespace config = moesim::config;
namespace reference = moesim::reference;
using moesim::io::testing::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void require_inside(std::span<const std::byte> part, std::span<const std::byte> whole) {
  require(part.empty() ||
          (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size()));
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span<const std::uint8_t>(data, size));
  try {
    const reference::Gguf read = reference::parse_gguf(bytes, "fuzz");
    std::size_t total = 0;
    for (const reference::GgufMetadata& entry : read.metadata) {
      require_inside(entry.value.items, bytes);
      require_inside(std::as_bytes(std::span<const char>(entry.value.text)), bytes);
    }
    for (const reference::WeightTensor& tensor : read.tensors) {
      require_inside(tensor.bytes, bytes);
      total += tensor.bytes.size();
      require(tensor.elements() >= 0 && tensor.rows() >= 0);
      if (tensor.type == reference::WeightType::other) continue;
      require(std::cmp_equal(reference::to_floats(tensor).size(), tensor.elements()));
    }
    require(total <= size);
  } catch (const config::InputError& error) {
    require(error.diagnostics().has_errors());
    require(!config::render(error, false).empty());
  }
  return 0;
}
