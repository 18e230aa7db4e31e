#include <fmt/format.h>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/cli/standard_input.hpp"
#include "sim/config/render.hpp"
#include "sim/studies/validate.hpp"

namespace moesim::cli {

namespace {

class ValidateCommand final : public Command {
 public:
  std::string_view name() const override { return "validate"; }
  std::string_view summary() const override { return "check files without running anything"; }
  std::string_view usage() const override { return "validate [--strict] [--as KIND] FILE..."; }
  std::string_view examples() const override {
    return "moesim validate my.json\n"
           "moesim validate --strict hw_configs/gpus/*.json\n"
           "moesim validate --as gpu my-gpu.json --format json";
  }
  std::string_view details() const override {
    return "The kind of a file is told by its folder (gpus, nodes, fabrics, engines, zoo, scenarios), else "
           "by its keys. "
           "Sound scenarios are also asked whether their model fits, and their traces are read. Exit code 2 "
           "if any "
           "file has an error.";
  }
  void declare(Arguments& arguments) override {
    arguments.flag("--strict", "warnings count as errors", strict_);
    arguments.value("--as", "KIND", "scenario, gpu, node, fabric, engine or model", kind_);
    arguments.words("FILE", "files to check; - is standard input", files_, 1, 1 << 20);
  }
  int execute(const Context& context, const Arguments&) override {
    std::optional<studies::DocumentKind> kind;
    if (kind_) kind = studies::kind_by_name(*kind_);
    check_standard_input(files_);
    std::vector<studies::Validation> all;
    bool good = true;
    for (const std::string& file : files_) {
      all.push_back(is_standard_input(file)
                        ? studies::validate_text(read_standard_input(), std::string(config::kStandardInput),
                                                 kind, context.catalogue, context.data_dir)
                        : studies::validate_file(file, kind, context.catalogue, context.data_dir));
      good = good && all.back().errors.empty() && !(strict_ && !all.back().warnings.empty());
    }
    switch (context.format) {
      case Format::text:
        print_text(context, all);
        break;
      case Format::json:
        print_json(context, all, good);
        break;
      case Format::csv:
        print_csv(context, all);
        break;
    }
    return good ? kExitOk : kExitBadInput;
  }

 private:
  void print_text(const Context& context, const std::vector<studies::Validation>& all) const {
    using reports::Tone;
    for (const studies::Validation& one : all) {
      std::string details;
      for (const auto& error : one.errors)
        details += config::render(error, one.sources, context.err_style.color);
      if (one.error_count > one.errors.size()) {
        details += fmt::format("... {} more errors\n", one.error_count - one.errors.size());
      }
      if (strict_ || !context.quiet) {
        for (const auto& warning : one.warnings)
          details += config::render(warning, one.sources, context.err_style.color);
      }
      context.err->print(details);
      std::string verdict = reports::paint("ok", Tone::good, context.out_style);
      if (!one.errors.empty()) {
        verdict = reports::paint(fmt::format("{} error{}", one.error_count, one.error_count == 1 ? "" : "s"),
                                 Tone::bad, context.out_style);
      } else if (!one.warnings.empty()) {
        verdict = reports::paint(fmt::format("{}{} warning{}", strict_ ? "failed (--strict): " : "ok, ",
                                             one.warnings.size(), one.warnings.size() == 1 ? "" : "s"),
                                 strict_ ? Tone::bad : Tone::warning, context.out_style);
      }
      if (!context.quiet || !one.errors.empty()) {
        context.out->print(
            fmt::format("{}: {} ({})\n", one.file, verdict, studies::kind_info(one.kind).name));
      }
    }
  }

  static void print_json(const Context& context, const std::vector<studies::Validation>& all, bool good) {
    using config::Node;
    Node files = Node::array();
    for (const studies::Validation& one : all) files.items.push_back(studies::to_node(one));
    Node document = Node::object();
    document.set("files", std::move(files));
    document.set("exit", exit_node(good ? kExitOk : kExitBadInput));
    context.print_json(document);
  }

  static void print_csv(const Context& context, const std::vector<studies::Validation>& all) {
    reports::Table table({{"file", false, 0},
                          {"kind", false, 0},
                          {"severity", false, 0},
                          {"code", false, 0},
                          {"pointer", false, 0},
                          {"line", true, 0},
                          {"column", true, 0},
                          {"message", false, 0}});
    for (const studies::Validation& one : all) {
      const auto add = [&](const config::Diagnostic& problem, std::string_view severity) {
        const config::LineColumn place = one.sources.line_column(problem.where);
        table.add({one.file, std::string(studies::kind_info(one.kind).name), std::string(severity),
                   problem.code, problem.pointer, fmt::format("{}", place.line),
                   fmt::format("{}", place.column), problem.message});
      };
      for (const auto& error : one.errors) add(error, "error");
      for (const auto& warning : one.warnings) add(warning, "warning");
    }
    context.out->print(table.csv());
  }

  bool strict_ = false;
  std::optional<std::string> kind_;
  std::vector<std::string> files_;
};

}  // namespace

std::unique_ptr<Command> make_validate_command() { return std::make_unique<ValidateCommand>(); }

}  // namespace moesim::cli
