// The routing trace of a scenario: from its file to choices that are replayed.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/routing/replay.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/serving/scenario.hpp"
#include "workloads/source.hpp"

namespace moesim::serving {

// Choices of a trace that are held at once: 512 MiB.
inline constexpr std::int64_t kMaxReplayedChoices = std::int64_t{1} << 28;

// A trace that was read, or what is wrong with it (at most config::Diagnostics::kMaxErrors).
struct ReplayReading {
  std::shared_ptr<const routing::Replay> replay;  // none if there are errors
  config::SourceSet sources;                      // the lines that the errors are in
  config::Diagnostics diagnostics;
};

// Reads the file for a model. Layers of the trace in ascending order (those of its first block first) stand
// for the model's layers with experts in ascending order; where the trace has fewer, they are used again in
// turn, and the replay's warnings say so. Every record must name experts of the model, top_k of them for each
// token.
[[nodiscard]] ReplayReading read_replay(const llm::Architecture& model, const std::filesystem::path& file);

// The file that a scenario's routing names; nullopt if it names none. Throws as workloads::trace_path.
[[nodiscard]] std::optional<std::filesystem::path> routing_trace_file(const Scenario& scenario,
                                                                      const workloads::TraceFolders& folders);

// The popularity of a scenario, with its trace read if it names one. Throws config::InputError with the
// errors of read_replay().
[[nodiscard]] routing::Popularity resolved_popularity(const Scenario& scenario,
                                                      const workloads::TraceFolders& folders);

}  // namespace moesim::serving
