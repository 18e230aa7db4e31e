// The kinds of events of a serving run.
#pragma once

#include <cstdint>

namespace moesim::serving {

enum class Event : std::uint8_t {
  wake_up,  // target: what a process waits for
  enqueue,  // target: slot of the request on its way
  kernels,  // this and those that follow: of the kernel executor
};

}  // namespace moesim::serving
