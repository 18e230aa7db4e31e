// Where a writer puts its bytes.
#pragma once

#include <functional>
#include <string_view>

namespace moesim::reports {

using Sink = std::function<void(std::string_view)>;

}  // namespace moesim::reports
