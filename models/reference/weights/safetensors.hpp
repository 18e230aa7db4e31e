// The safetensors format (huggingface/safetensors, README "Format"): 8 bytes little-endian length N, N bytes
// of JSON, then the data of all tensors without holes.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/reference/weights/weight_tensor.hpp"

namespace moesim::reference {

struct Safetensors {
  std::vector<WeightTensor> tensors;                          // in the order of the data
  std::vector<std::pair<std::string, std::string>> metadata;  // "__metadata__"
};

// The largest header that is read. The library of the format stops at 100 MB; one shard needs far less.
inline constexpr std::size_t kMaxSafetensorsHeader = std::size_t{64} << 20;

// Reads the header of a file in memory; the tensors' bytes point into it. `name` is the file's, for messages.
// Throws config::InputError with all that is wrong, with line and column in the header: bad JSON, repeated
// names, sizes that do not fit shape and type, data that overlaps, has holes, or passes the end.
[[nodiscard]] Safetensors parse_safetensors(std::span<const std::byte> file, const std::string& name);

}  // namespace moesim::reference
