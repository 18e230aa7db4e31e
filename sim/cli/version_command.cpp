#include <fmt/format.h>

#include "moesim_version.hpp"
#include "reports/report.hpp"
#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"

namespace moesim::cli {

Build build_facts() {
#if defined(__clang__)
  const std::string compiler = "clang++ " __clang_version__;
#else
  const std::string compiler = "g++ " __VERSION__;
#endif
  return {MOESIM_VERSION, MOESIM_GIT_COMMIT, compiler};
}

namespace {

class VersionCommand final : public Command {
 public:
  std::string_view name() const override { return "version"; }
  std::string_view summary() const override { return "version, commit and compiler of this program"; }
  std::string_view usage() const override { return "version [--json]"; }
  std::string_view examples() const override { return "moesim version --json"; }
  void declare(Arguments&) override {}
  int execute(const Context& context, const Arguments&) override {
    using config::Node;
    require_format(context, "version", true, false);
    const Build build = build_facts();
    if (context.format == Format::text) {
      context.out->print(fmt::format(
          "moesim {}\ncommit {}\ncompiler {}\nresult schema {}, scenario schema {}\n", build.version,
          build.commit, build.compiler, reports::kResultSchema, reports::kScenarioSchema));
      return kExitOk;
    }
    Node document = Node::object();
    document.set("name", Node::of(std::string_view("moesim")));
    document.set("version", Node::of(std::string_view(build.version)));
    document.set("commit", Node::of(std::string_view(build.commit)));
    document.set("compiler", Node::of(std::string_view(build.compiler)));
    Node schemas = Node::object();
    schemas.set("scenario", Node::of(reports::kScenarioSchema));
    schemas.set("result", Node::of(reports::kResultSchema));
    document.set("schemas", std::move(schemas));
    context.print_json(document);
    return kExitOk;
  }
};

}  // namespace

std::unique_ptr<Command> make_version_command() { return std::make_unique<VersionCommand>(); }

}  // namespace moesim::cli
