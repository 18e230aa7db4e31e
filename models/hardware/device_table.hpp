// Facts about real GPUs that a file with the same name must agree with. The table is deliberately a second
// copy of the most consequential numbers: a slip in a file is an error, not a wrong projection.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace moesim::hardware {

// A closed range; sources that disagree with each other give low < high.
struct FactRange {
  double low = 0.0;
  double high = 0.0;
};

struct DeviceFacts {
  std::string_view name;
  std::int64_t nominal_gib;      // nominal capacity in GiB
  double usable_gib;             // what the driver reports, about
  FactRange bandwidth_tb_per_s;  // 1e12 bytes per second
  FactRange sm_count;
  double bf16_tflops;        // dense peak, 1e12 FLOP/s
  double fp8_tflops;         // dense peak, 1e12 FLOP/s; 0 where the GPU has no fp8 units
  double scale_up_gb_per_s;  // 1e9 bytes per second of all scale-up links, per direction; 0: not held here
  std::string_view source;
};

// All known devices, sorted by name.
[[nodiscard]] std::span<const DeviceFacts> device_table();

// The facts of a device, or nullptr.
[[nodiscard]] const DeviceFacts* find_device(std::string_view name);

}  // namespace moesim::hardware
