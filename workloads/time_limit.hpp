// Sums of simulated time that come from input and may pass its end.
#pragma once

#include <optional>
#include <string_view>

#include "sim/core/time.hpp"

namespace moesim::workloads {

// `now` + `pause`. Throws config::InputError at the JSON pointer of the scenario that asks for it if that
// passes the 106 days that simulated time can hold.
[[nodiscard]] core::Time later(core::Time now, core::Duration pause, std::string_view pointer);
// `now` + `seconds` (>= 0), rounded up to the picosecond; throws likewise.
[[nodiscard]] core::Time later(core::Time now, double seconds, std::string_view pointer);

// A recorded arrival divided by rate_scale (> 0), or nullopt if that passes the end of simulated time.
[[nodiscard]] std::optional<core::Time> scaled_arrival(core::Time recorded, double rate_scale);

}  // namespace moesim::workloads
