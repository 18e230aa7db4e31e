#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/io/atomic_file.hpp"
#include "sim/studies/templates.hpp"

namespace moesim::cli {

namespace {

class InitCommand final : public Command {
 public:
  std::string_view name() const override { return "init"; }
  std::string_view summary() const override { return "write a commented scenario to start from"; }
  std::string_view usage() const override { return "init [TEMPLATE] [-o FILE]"; }
  std::string_view examples() const override {
    return "moesim init -o my.json              the template \"minimal\"\n"
           "moesim init chat -o chat.json\n"
           "moesim init --list";
  }
  void declare(Arguments& arguments) override {
    arguments.value("-o,--output", "FILE", "write there instead of standard output", file_);
    arguments.flag("--force", "write over a file that exists", force_);
    arguments.flag("--list", "list the templates", list_);
    arguments.words("TEMPLATE", "minimal, chat or long-context", names_, 0, 1);
  }
  int execute(const Context& context, const Arguments&) override {
    if (list_) return list(context);
    const studies::Template& chosen = studies::template_by_name(names_.empty() ? "minimal" : names_.front());
    std::error_code ignored;
    if (file_ && !force_ && std::filesystem::exists(*file_, ignored)) {
      throw config::InputError("file_exists", fmt::format("{} exists already", *file_), "--force");
    }
    require_format(context, "init", false, false);
    if (!file_) {
      context.out->print(chosen.text);
      return kExitOk;
    }
    io::write_file(*file_, chosen.text);
    if (!context.quiet) context.err->print(fmt::format("wrote {}; next: moesim run {}\n", *file_, *file_));
    return kExitOk;
  }

 private:
  static int list(const Context& context) {
    require_format(context, "init --list", true, false);
    reports::Table table({{"template", false, 0}, {"what", false, 0}});
    config::Node names = config::Node::array();
    for (const studies::Template& entry : studies::templates()) {
      table.add({std::string(entry.name), std::string(entry.sentence)});
      names.items.push_back(config::Node::of(entry.name));
    }
    if (context.format == Format::json) {
      config::Node document = config::Node::object();
      document.set("templates", std::move(names));
      context.print_json(document);
    } else {
      context.out->print(table.text(context.out_style));
    }
    return kExitOk;
  }

  std::optional<std::string> file_;
  bool force_ = false;
  bool list_ = false;
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Command> make_init_command() { return std::make_unique<InitCommand>(); }

}  // namespace moesim::cli
