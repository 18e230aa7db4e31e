// Parameters of rotations in golden cases.
#pragma once

#include <cstdint>
#include <string>

#include "models/reference/golden.hpp"
#include "models/reference/rope.hpp"

namespace moesim::reference {

// The rotation of `dim` channels that the parameters PREFIXtype, PREFIXbase, ... of a case describe. Throws
// GoldenError for a scaling that does not exist.
[[nodiscard]] RopeConfig golden_rope_config(const GoldenCase& golden, const std::string& prefix,
                                            std::int64_t dim);

}  // namespace moesim::reference
