// results.json: everything a program needs to know about a run.
#pragma once

#include <string>

#include "reports/report.hpp"
#include "sim/config/node.hpp"

namespace moesim::reports {

// The document with "schema": "result/1". A pure function of the report: nothing in it depends on the wall
// time, the host, the place of the files or the compiler. Durations are seconds, sizes bytes, prices USD.
[[nodiscard]] config::Node results_node(const RunReport& report);

}  // namespace moesim::reports
