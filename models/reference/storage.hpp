// Reading and writing values of a storage type.
#pragma once

#include <type_traits>

#include "models/reference/float16.hpp"

namespace moesim::reference {

template <class Value>
inline constexpr int kBitsOf = static_cast<int>(8 * sizeof(Value));

// A float rounded to the storage type, to nearest and ties to even.
template <class Value>
[[nodiscard]] Value stored_as(float value) {
  if constexpr (std::is_same_v<Value, Bf16>) {
    return to_bf16(value);
  } else if constexpr (std::is_same_v<Value, Fp16>) {
    return to_fp16(value);
  } else {
    static_assert(std::is_same_v<Value, float>);
    return value;
  }
}

}  // namespace moesim::reference
