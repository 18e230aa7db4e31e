// Open-loop arrival processes as streams of instants.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "sim/core/time.hpp"
#include "workloads/workload.hpp"

namespace moesim::workloads {

// A stream of arrival instants that never decrease. Uses constant memory.
class ArrivalProcess {
 public:
  virtual ~ArrivalProcess() = default;
  // The next arrival, or nullopt when no more will come (a rate curve that ended at 0). Throws
  // config::InputError when the arrivals pass the 53 days that a run can last.
  virtual std::optional<core::Time> next() = 0;
};

// The process of an open loop, started at time 0. Throws InvariantError for a closed loop.
[[nodiscard]] std::unique_ptr<ArrivalProcess> make_arrivals(const Arrival& arrival, std::uint64_t seed);

}  // namespace moesim::workloads
