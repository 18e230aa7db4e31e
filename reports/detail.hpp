// Details of a run that were asked for.
#pragma once

#include <string>

#include "reports/report.hpp"
#include "reports/text.hpp"

namespace moesim::reports {

// For each part of the step time along the slowest rank: its share, the resource that binds most of it, how
// far it is above the speed of light, and how much of it rests on numbers of each origin. Ends with the
// shares of the whole.
[[nodiscard]] std::string source_detail(const RunReport& report, const Style& style);

// The share of the step time that rests on measured or calibrated numbers. 0 when no step ran.
[[nodiscard]] double measured_share(const serving::Results& results);

}  // namespace moesim::reports
