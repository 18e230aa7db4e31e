// The random streams of the workloads room ("wl" in the upper bytes keeps them apart from other rooms').
#pragma once

#include <cstdint>

namespace moesim::workloads {

inline constexpr std::uint32_t kArrivalStream = 0x776c'0001;
inline constexpr std::uint32_t kInputLengthStream = 0x776c'0002;
inline constexpr std::uint32_t kOutputLengthStream = 0x776c'0003;
inline constexpr std::uint32_t kWarmupInputLengthStream = 0x776c'0004;
inline constexpr std::uint32_t kWarmupOutputLengthStream = 0x776c'0005;
inline constexpr std::uint32_t kSpreadTiesStream = 0x776c'0006;
inline constexpr std::uint32_t kExampleStream = 0x776c'0007;

}  // namespace moesim::workloads
