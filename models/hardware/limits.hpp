// Bounds of hardware and engine files that no real device comes near: beyond them a single step could take
// longer than a run can last.
#pragma once

namespace moesim::hardware {

inline constexpr double kMaxLinkLatency = 1;  // s: of a kernel, a link or a start-up of a collective
inline constexpr double kMinBandwidth = 1e6;  // bytes per second
inline constexpr double kMinPeak = 1e9;       // operations per second

}  // namespace moesim::hardware
