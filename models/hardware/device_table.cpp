#include "models/hardware/device_table.hpp"

#include <algorithm>
#include <array>

namespace moesim::hardware {

namespace {

constexpr std::string_view kDatasheet = "vendor datasheet, as quoted in the catalogue file";
constexpr std::string_view kNvidiaSmi =
    "nvidia-smi total recorded in ai-dynamo/aiconfigurator, commit 095f58a51c";
constexpr std::string_view kGlennLockwood =
    "glennklockwood.com/garden/processors, which cites NVIDIA's datasheets";

// Usable: nvidia-smi or start-up logs where they exist, else the sold capacity times 79.22 / 80 (the share
// that the runtime reports on an 80 GB card). Bandwidths in a range: sources quote both ends.
constexpr std::array kTable = {
    DeviceFacts{"a100-sxm-80g", 80, 79.22, {2.039, 2.039}, {108, 108}, 312, 0, 300, kGlennLockwood},
    DeviceFacts{"b200-sxm", 192, 178.2, {7.7, 8.0}, {148, 148}, 2250, 4500, 900, kGlennLockwood},
    DeviceFacts{"b300-sxm", 288, 267.4, {7.7, 8.0}, {148, 160}, 2250, 4500, 900, kGlennLockwood},
    DeviceFacts{"gb200", 192, 185.03, {8.0, 8.0}, {148, 152}, 2500, 5000, 900, kNvidiaSmi},
    DeviceFacts{"gb300", 288, 277.5, {8.0, 8.0}, {152, 160}, 2500, 5000, 900, kNvidiaSmi},
    DeviceFacts{"h100-sxm", 80, 79.22, {3.35, 3.35}, {132, 132}, 989.4, 1978.9, 450, kGlennLockwood},
    DeviceFacts{"h20", 96, 95.06, {4.0, 4.0}, {78, 78}, 148, 296, 450, kDatasheet},
    DeviceFacts{"h200-sxm", 141, 139.6, {4.8, 4.8}, {132, 132}, 989.4, 1978.9, 450, kDatasheet},
    DeviceFacts{"h800-sxm", 80, 79.22, {3.35, 3.35}, {132, 132}, 989.4, 1978.9, 200, kDatasheet},
    DeviceFacts{"l40s", 48, 44.99, {0.864, 0.864}, {142, 142}, 362.05, 733, 0, kNvidiaSmi},
    DeviceFacts{"mi300x", 192, 191.98, {5.3, 5.3}, {304, 304}, 1307, 2615, 448, kDatasheet},
    DeviceFacts{"mi325x", 256, 255.98, {6.0, 6.0}, {304, 304}, 1307, 2615, 448, kDatasheet},
    DeviceFacts{"mi355x", 288, 287.98, {8.0, 8.0}, {256, 256}, 2500, 5033, 537.6, kDatasheet},
    DeviceFacts{"rtx-4090", 24, 23.99, {1.008, 1.008}, {128, 128}, 165.2, 330.3, 0, kDatasheet},
    DeviceFacts{"rtx-a5000", 24, 23.99, {0.768, 0.768}, {64, 64}, 111, 0, 0, kDatasheet},
    DeviceFacts{"rtx-pro-6000", 96, 95.59, {1.597, 1.792}, {188, 188}, 467.8, 935.6, 0, kNvidiaSmi},
};

static_assert(std::is_sorted(kTable.begin(), kTable.end(),
                             [](const DeviceFacts& a, const DeviceFacts& b) { return a.name < b.name; }));

}  // namespace

std::span<const DeviceFacts> device_table() { return kTable; }

const DeviceFacts* find_device(std::string_view name) {
  const auto found = std::find_if(kTable.begin(), kTable.end(),
                                  [&](const DeviceFacts& device) { return device.name == name; });
  return found == kTable.end() ? nullptr : &*found;
}

}  // namespace moesim::hardware
