// Families whose kernels are not there yet: none of their cases can run.
#include "models/reference/golden.hpp"

namespace moesim::reference {

std::span<const GoldenKind> golden_collective_kinds() { return {}; }

}  // namespace moesim::reference
