#include "sim/cli/guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <utility>

#include "sim/cli/exit_codes.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/config/render.hpp"
#include "sim/io/error.hpp"
#include "sim/studies/run.hpp"

namespace moesim::cli {

namespace {

using config::Node;

Node plain_error(std::string_view code, std::string_view message, std::string_view suggestion = "") {
  Node node = Node::object();
  node.set("code", Node::of(code));
  node.set("pointer", Node::of(std::string_view("")));
  node.set("message", Node::of(message));
  if (!suggestion.empty()) node.set("suggestion", Node::of(suggestion));
  return node;
}

std::string error_word(bool color) { return color ? "\x1b[1;31merror:\x1b[0m " : "error: "; }

// A sound scenario whose cluster is too small: nothing about its text is wrong, so the answer is the one of a
// model that does not fit.
bool only_too_few_gpus(const config::Diagnostics& diagnostics) {
  const auto& errors = diagnostics.errors();
  return !errors.empty() && std::all_of(errors.begin(), errors.end(), [](const config::Diagnostic& error) {
    return error.code == "too_few_gpus";
  });
}

Failure input_failure(const config::InputError& error, bool color) {
  Failure failure;
  failure.exit_code = only_too_few_gpus(error.diagnostics()) ? kExitInfeasible : kExitBadInput;
  failure.text = config::render(error, color);
  failure.all_errors = Node::array();
  for (const config::Diagnostic& diagnostic : error.diagnostics().errors()) {
    failure.all_errors.items.push_back(config::to_node(diagnostic, error.sources()));
  }
  failure.more_errors = error.diagnostics().error_count() - error.diagnostics().errors().size();
  failure.error = failure.all_errors.items.empty() ? plain_error("bad_input", error.what())
                                                   : failure.all_errors.items.front();
  return failure;
}

Failure io_failure(const io::IoError& error, bool color) {
  Failure failure;
  failure.exit_code = kExitBadInput;
  failure.text = fmt::format("{}{}\n", error_word(color), error.what());
  failure.error = plain_error("io", error.message());
  failure.error.set("file", Node::of(std::string_view(error.path())));
  if (error.line() > 0) failure.error.set("line", Node::of(static_cast<std::int64_t>(error.line())));
  return failure;
}

Failure infeasible_failure(const serving::InfeasibleError& error, bool color) {
  Failure failure;
  failure.exit_code = kExitInfeasible;
  failure.text = fmt::format("{}this deployment cannot exist: {}\n", error_word(color), error.what());
  if (!error.remedy().empty()) failure.text += fmt::format("  what would help: {}\n", error.remedy());
  failure.error = plain_error("infeasible", error.what(), error.remedy());
  return failure;
}

// A limit of the machine, not a mistake: nothing was written.
Failure memory_failure(bool color) {
  Failure failure;
  failure.exit_code = kExitLimit;
  failure.text = fmt::format(
      "{}out of memory: nothing was written\n  simulate fewer requests (workload.stop)\n", error_word(color));
  failure.error =
      plain_error("out_of_memory", "out of memory: nothing was written", "fewer requests (workload.stop)");
  return failure;
}

Failure internal_failure(std::string_view what, const BugFacts& facts, bool color) {
  Failure failure;
  failure.exit_code = kExitInternal;
  failure.text = fmt::format(
      "{}moesim made a mistake: {}\n"
      "  No result of this run can be trusted. Please report it with these lines and the scenario:\n"
      "    version   {} (commit {})\n"
      "    command   moesim {}\n",
      error_word(color), what, facts.version, facts.commit, fmt::join(facts.arguments, " "));
  failure.error =
      plain_error("internal", what, "please report it with the version, the command and the scenario");
  failure.error.set("version", Node::of(std::string_view(facts.version)));
  return failure;
}

}  // namespace

Failure describe_failure(const std::exception_ptr& exception, const BugFacts& facts, bool color) {
  try {
    std::rethrow_exception(exception);
  } catch (const config::InputError& error) {
    return input_failure(error, color);
  } catch (const io::IoError& error) {
    return io_failure(error, color);
  } catch (const serving::InfeasibleError& error) {
    return infeasible_failure(error, color);
  } catch (const std::bad_alloc&) {
    return memory_failure(color);
  } catch (const std::exception& error) {
    return internal_failure(error.what(), facts, color);
  } catch (...) {
    return internal_failure("an exception of an unknown kind", facts, color);
  }
}

int run_guarded(const std::function<int()>& body, Writer& out, Writer& err, const GuardStyle& style,
                const BugFacts& facts) {
  Failure failure;
  try {
    const int code = body();
    out.flush();
    return code;
  } catch (...) {
    failure = describe_failure(std::current_exception(), facts, style.color);
  }
  // The report itself may meet a full disk or a closed stream: then the exit code has to say it all.
  try {
    err.print(failure.text);
    if (style.json) {
      Node document = Node::object();
      document.set("error", std::move(failure.error));
      if (failure.all_errors.items.size() > 1) document.set("errors", std::move(failure.all_errors));
      if (failure.more_errors > 0) {
        document.set("more_errors", Node::of(static_cast<std::int64_t>(failure.more_errors)));
      }
      document.set("exit", exit_node(failure.exit_code));
      out.print(config::to_json(document) + "\n");
    }
  } catch (const io::IoError&) {
    return failure.exit_code;
  }
  return failure.exit_code;
}

}  // namespace moesim::cli
