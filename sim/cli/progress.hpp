// How far a run is, for people who wait and for programs that wrap us.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "sim/cli/output.hpp"

namespace moesim::cli {

enum class ProgressMode : std::uint8_t { automatic, never, json };

// The state of all runs together.
struct ProgressState {
  double simulated_s = 0;  // of the run that is furthest
  std::int64_t finished = 0;
  std::optional<std::int64_t> expected;  // requests in all, where known
  std::uint64_t events = 0;
  double elapsed_s = 0;
};

// "[#####.....]  52%  520 requests  sim 31.2 s  4.1 M events/s  ETA 7 s"
[[nodiscard]] std::string progress_line(const ProgressState& state);
// The same as one JSON object without a line ending.
[[nodiscard]] std::string progress_json(const ProgressState& state);

// Prints on a terminal after 0.5 s and at most 10 times a second, elsewhere one line each 10 s. Its functions
// may be called from several threads.
class ProgressMeter {
 public:
  // `expected`: the requests of each run, where known. A style with bars is that of a terminal.
  ProgressMeter(Writer& err, ProgressMode mode, bool quiet, const reports::Style& style,
                const std::vector<std::optional<std::int64_t>>& expected);
  void update(std::size_t run, double simulated_s, std::int64_t finished, std::uint64_t events);
  // Removes the line from the terminal.
  void finish();

 private:
  struct Run {
    double simulated_s = 0;
    std::int64_t finished = 0;
    std::uint64_t events = 0;
  };
  [[nodiscard]] ProgressState state(double elapsed_s) const;
  void redraw(std::string line);

  Writer* err_;
  ProgressMode mode_;
  bool tty_;
  std::size_t width_;
  bool silent_;
  std::vector<Run> runs_;
  std::optional<std::int64_t> expected_;
  std::chrono::steady_clock::time_point start_;
  double next_s_;
  std::size_t drawn_ = 0;  // characters of the line that stands on the terminal
  std::mutex guard_;
};

}  // namespace moesim::cli
