// Sums of simulated time that come from input and may pass its end.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "sim/core/time.hpp"

namespace moesim::workloads {

// 2^62 ps are 53 days: half of what a Time holds, so that what follows an arrival cannot overflow it.
inline constexpr core::Time kLatestArrival{std::int64_t{1} << 62};

// `now` + `pause`. Throws config::InputError at the JSON pointer of the scenario that asks for it if that
// passes kLatestArrival.
[[nodiscard]] core::Time later(core::Time now, core::Duration pause, std::string_view pointer);
// `now` + `seconds` (>= 0), rounded up to the picosecond; throws likewise.
[[nodiscard]] core::Time later(core::Time now, double seconds, std::string_view pointer);

// A recorded arrival divided by rate_scale (> 0), or nullopt if that passes kLatestArrival.
[[nodiscard]] std::optional<core::Time> scaled_arrival(core::Time recorded, double rate_scale);

}  // namespace moesim::workloads
