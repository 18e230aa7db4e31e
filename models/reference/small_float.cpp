#include "models/reference/small_float.hpp"

namespace moesim::reference {

const SmallFloat* find_small_float(std::string_view name) {
  for (const SmallFloat* format : kSmallFloats) {
    if (format->name == name) return format;
  }
  return nullptr;
}

}  // namespace moesim::reference
