#include "sim/core/check.hpp"

namespace moesim::core {

void fail_invariant(const std::string& what, const char* file, int line) {
  throw InvariantError(what + " (" + file + ":" + std::to_string(line) + ")");
}

}  // namespace moesim::core
