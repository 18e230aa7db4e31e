// Fixed times of kernels that talk to other GPUs.
#pragma once

#include "models/cost/kernel_family.hpp"

namespace moesim::cost {

// How much longer a signal between two GPUs takes than between GPUs of one die each. Blackwell's data centre
// packages have two dies: a fence waits for both, and every signal crosses from die to die at either end.
// Assumed, so that start-ups carry over from Hopper; a fit to the device itself corrects it.
[[nodiscard]] inline double signal_factor(const DeviceFigures& device) {
  const bool two_dies = device.architecture == hardware::Architecture::blackwell ||
                        device.architecture == hardware::Architecture::blackwell_ultra;
  return two_dies ? 1.25 : 1.0;
}

}  // namespace moesim::cost
