#include "sim/cli/exit_codes.hpp"

#include <algorithm>
#include <array>

namespace moesim::cli {

namespace {

constexpr std::array<ExitCode, 8> kCodes = {{
    {kExitOk, "ok", "ran; every target that was asked for holds (a missed SLO counts only with --enforce)"},
    {kExitNo, "no",
     "ran; the answer is no: an SLO is missed (--enforce), an expectation failed (--expect), or a check of "
     "kernels or numerics did"},
    {kExitBadInput, "bad_input",
     "bad use or bad input: a flag, a file, a key, a unit, an unknown metric in a rule"},
    {kExitInfeasible, "infeasible",
     "the deployment cannot exist: the model does not fit or there are too few GPUs"},
    {kExitInternal, "internal", "a mistake in moesim or a broken conservation law: please report it"},
    {kExitLimit, "limit",
     "a limit was hit (--until, --max-events, --max-wall): results are partial and say so; or memory ran "
     "out"},
    {kExitInterrupt, "interrupted", "SIGINT (Ctrl-C): partial results were written and marked"},
    {kExitTerminate, "terminated", "SIGTERM: partial results were written and marked"},
}};

}  // namespace

std::span<const ExitCode> exit_codes() { return kCodes; }

std::string_view exit_reason(int code) {
  for (const ExitCode& entry : kCodes) {
    if (entry.code == code) return entry.reason;
  }
  return "unknown";
}

config::Node exit_node(int code) {
  using config::Node;
  Node node = Node::object();
  node.set("code", Node::of(static_cast<std::int64_t>(code)));
  node.set("reason", Node::of(exit_reason(code)));
  return node;
}

int gravest(const std::vector<int>& codes) {
  for (const int code :
       {kExitInternal, kExitInterrupt, kExitTerminate, kExitBadInput, kExitInfeasible, kExitLimit, kExitNo}) {
    if (std::find(codes.begin(), codes.end(), code) != codes.end()) return code;
  }
  return kExitOk;
}

}  // namespace moesim::cli
