// A timeline in the Chrome trace event format (JSON), for https://ui.perfetto.dev and for scripts.
#pragma once

#include "reports/sink.hpp"
#include "sim/execution/timeline.hpp"

namespace moesim::reports {

// Writes {"displayTimeUnit": "ns", "traceEvents": [...]}, one event a line ("Trace Event Format", Google,
// docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): names as "M", slices as "X" track
// by track in the order of their begins with a parent before its children, counter values as "C", and an
// instant "i" where a truncated timeline ends. "ts" and "dur" are microseconds with six decimals: exact
// picoseconds. Throws core::InvariantError for slices that overlap without nesting.
void write_chrome_trace(const execution::Timeline& timeline, const Sink& sink);

}  // namespace moesim::reports
