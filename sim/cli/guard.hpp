// The one place where exceptions become exit codes.
#pragma once

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "sim/cli/output.hpp"
#include "sim/config/node.hpp"

namespace moesim::cli {

// An exception as the program reports it.
struct Failure {
  int exit_code = 0;
  std::string text;             // for people, with a line ending
  config::Node error;           // {code, pointer?, file?, line?, column?, message, suggestion?}
  config::Node all_errors;      // the list, where there are several
  std::size_t more_errors = 0;  // how many further errors there are
};

// What a bug report should name.
struct BugFacts {
  std::string version;
  std::string commit;
  std::vector<std::string> arguments;
};

// InputError and IoError: 2, InfeasibleError and an InputError about too few GPUs alone: 3, everything else:
// 4 with a request for a bug report.
[[nodiscard]] Failure describe_failure(const std::exception_ptr& exception, const BugFacts& facts,
                                       bool color);

struct GuardStyle {
  bool json = false;   // one {"error": ...} document on `out`
  bool color = false;  // of the text on `err`
};

// Runs the body and returns its exit code, or that of the exception it throws, after reporting it. Never
// throws.
[[nodiscard]] int run_guarded(const std::function<int()>& body, Writer& out, Writer& err,
                              const GuardStyle& style, const BugFacts& facts);

}  // namespace moesim::cli
