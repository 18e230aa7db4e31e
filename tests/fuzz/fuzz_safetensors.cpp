// Any bytes are a safetensors file whose tensors lie inside it, apart from each other, or are refused with an
// InputError that can be printed. So is any text the index of shards.
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "models/reference/weights/safetensors.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/config/render.hpp"
#include "tests/fuzz/io_memory_file.hpp"

namespace config = moesim::config;
namespace reference = moesim::reference;
using moesim::io::testing::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span<const std::uint8_t>(data, size));
  try {
    const reference::Safetensors read = reference::parse_safetensors(bytes, "fuzz");
    std::size_t total = 0;
    for (const reference::WeightTensor& tensor : read.tensors) {
      total += tensor.bytes.size();
      require(tensor.bytes.empty() ||
              (tensor.bytes.data() >= bytes.data() &&
               tensor.bytes.data() + tensor.bytes.size() <= bytes.data() + bytes.size()));
      require(tensor.elements() >= 0 && tensor.rows() >= 0);
      try {
        require(std::cmp_equal(reference::to_floats(tensor).size(), tensor.elements()));
      } catch (const config::InputError&) {
        // A type that cannot be read.
      }
    }
    require(total <= size);
  } catch (const config::InputError& error) {
    require(error.diagnostics().has_errors());
    require(!config::render(error, false).empty());
  }
  return 0;
}
