// Trace files: which form a name asks for, and writing one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "sim/execution/timeline.hpp"

namespace moesim::reports {

enum class TraceForm : std::uint8_t { perfetto, chrome };

// By the ending: ".pftrace" or ".json", with ".gz" or ".zst" after it for compression. Nothing for any other.
[[nodiscard]] std::optional<TraceForm> trace_form(const std::filesystem::path& file);

// Writes the timeline in the form that the name asks for, compressed as the name says. The file appears whole
// or not at all. Throws io::IoError, and core::InvariantError for a name without a form or slices that
// overlap.
void write_trace_file(const std::filesystem::path& file, const execution::Timeline& timeline);

}  // namespace moesim::reports
