// What operators are called in timelines.
#pragma once

#include <string_view>

#include "models/llm/operator.hpp"

namespace moesim::execution {

// "query key value projection". Of static storage.
[[nodiscard]] std::string_view name_of(const llm::Operator& op);

}  // namespace moesim::execution
