// The answer of a run as text for a planner.
#pragma once

#include <string>

#include "reports/report.hpp"
#include "reports/text.hpp"

namespace moesim::reports {

// The whole summary: verdict first, then latency, throughput, cost, memory, where the time goes, how good the
// numbers are, what binds and the checks. Lines of at most style.width characters (at least 60). Equal
// reports and styles give equal text.
[[nodiscard]] std::string text_summary(const RunReport& report, const Style& style);

}  // namespace moesim::reports
