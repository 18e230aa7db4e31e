// Ctrl-C and termination: the first asks for an orderly end, the second ends the process at once.
#pragma once

namespace moesim::cli {

// Installs handlers for SIGINT and SIGTERM; puts the old ones back when it goes out of scope.
class SignalGuard {
 public:
  SignalGuard();
  ~SignalGuard();
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;
  // The signal that arrived first since the guard was made, or 0.
  [[nodiscard]] static int received();
};

// Writing to a pipe that nobody reads fails instead of ending the process.
void ignore_broken_pipes();

}  // namespace moesim::cli
