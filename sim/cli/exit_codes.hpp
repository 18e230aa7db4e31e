// What the program's exit code means.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "sim/config/node.hpp"

namespace moesim::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitNo = 1;
inline constexpr int kExitBadInput = 2;
inline constexpr int kExitInfeasible = 3;
inline constexpr int kExitInternal = 4;
inline constexpr int kExitLimit = 5;
inline constexpr int kExitInterrupt = 130;  // 128 + SIGINT
inline constexpr int kExitTerminate = 143;  // 128 + SIGTERM

struct ExitCode {
  int code;
  std::string_view reason;  // one word, as "exit.reason" in JSON
  std::string_view meaning;
};

[[nodiscard]] std::span<const ExitCode> exit_codes();
[[nodiscard]] std::string_view exit_reason(int code);
// {"code", "reason"}: "exit" of every JSON answer.
[[nodiscard]] config::Node exit_node(int code);

// The code of several runs together: the gravest one. 0 for none.
[[nodiscard]] int gravest(const std::vector<int>& codes);

}  // namespace moesim::cli
