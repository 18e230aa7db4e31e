// Rules that the numbers of one GPU file must keep among themselves and against the device table.
#pragma once

#include "models/hardware/gpu.hpp"

namespace moesim::hardware {

// Reports every contradiction of a GPU file: unknown sources, impossible rates and capacities, sparse peaks
// written as dense ones, and disagreement with the table of known devices.
void check_gpu(const Gpu& gpu, config::Problems& problems);

}  // namespace moesim::hardware
