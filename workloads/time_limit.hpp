// Sums of simulated time that come from input and may pass its end.
#pragma once

#include "sim/core/time.hpp"

namespace moesim::workloads {

// `now` + `pause`. Throws config::InputError if that passes the 106 days that simulated time can hold.
[[nodiscard]] core::Time later(core::Time now, core::Duration pause);
// `now` + `seconds` (>= 0), rounded up to the picosecond; throws likewise.
[[nodiscard]] core::Time later(core::Time now, double seconds);

}  // namespace moesim::workloads
