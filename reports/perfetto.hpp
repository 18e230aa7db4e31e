// A timeline as a Perfetto trace (protobuf), for https://ui.perfetto.dev.
#pragma once

#include "reports/sink.hpp"
#include "sim/execution/timeline.hpp"

namespace moesim::reports {

// Writes a perfetto.protos.Trace (google/perfetto, protos/perfetto/trace/trace_packet.proto and
// track_event/track_event.proto): descriptors, then the slices track by track, then the counter values. Names
// are interned. Timestamps are in the default clock of the format, which needs no clock snapshot. Begins and
// ends are rounded down to whole nanoseconds, the unit of the format, so nesting and the order on a track
// stay true; the Chrome form has the exact picoseconds. A truncated timeline says so at the instant where it
// ends. Throws core::InvariantError for slices that overlap without nesting.
void write_perfetto(const execution::Timeline& timeline, const Sink& sink);

}  // namespace moesim::reports
