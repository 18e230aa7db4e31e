// Everything that is wrong with a trace, found before anything is simulated.
#pragma once

#include <filesystem>

#include "sim/config/diagnostics.hpp"
#include "workloads/workload.hpp"

namespace moesim::workloads {

struct TraceProblems {
  config::SourceSet sources;  // the lines that the errors are in
  config::Diagnostics diagnostics;
};

// Reads the records of `file` that a run of the workload would read ("limit" and "stop" end it; where
// sessions count towards "stop", more than those) and collects what is wrong with them: at most
// config::Diagnostics::kMaxErrors, then the last one says that reading ended there. Streams: memory does not
// grow with the file. Throws nothing for what is in the file.
[[nodiscard]] TraceProblems check_trace_records(const Workload& workload, const std::filesystem::path& file);

}  // namespace moesim::workloads
