#include <fmt/format.h>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/config/diagnostics.hpp"

namespace moesim::cli {

namespace {

class HelpCommand final : public Command {
 public:
  std::string_view name() const override { return "help"; }
  std::string_view summary() const override { return "help on a command or a topic"; }
  std::string_view usage() const override { return "help [COMMAND | TOPIC]"; }
  std::string_view examples() const override {
    return "moesim help run\n"
           "moesim help exit-codes\n"
           "moesim help units";
  }
  void declare(Arguments& arguments) override {
    arguments.words("TOPIC", "a command, or one of the topics", words_, 0, 1);
  }
  int execute(const Context& context, const Arguments&) override {
    if (words_.empty()) {
      require_format(context, "help", false, false);
      context.out->print(main_help(context.out_style));
      return kExitOk;
    }
    std::vector<std::string> known = help_topics();
    for (const auto& command : make_commands()) {
      if (command->name() == words_.front()) {
        require_format(context, "help", false, false);
        context.out->print(command_help(*command, true, context.out_style));
        return kExitOk;
      }
      known.emplace_back(command->name());
    }
    const std::string page = topic_help(words_.front(), context.out_style);
    if (page.empty()) {
      throw config::InputError("unknown_topic", fmt::format("there is no help on \"{}\"", words_.front()),
                               config::nearest(words_.front(), known),
                               fmt::format("known: {}", fmt::join(known, ", ")));
    }
    const bool has_json = words_.front() == "exit-codes";
    require_format(context, "help", has_json, false);
    if (context.format == Format::json) return exit_codes_json(context);
    context.out->print(page);
    return kExitOk;
  }

 private:
  static int exit_codes_json(const Context& context) {
    using config::Node;
    Node list = Node::array();
    for (const ExitCode& entry : exit_codes()) {
      Node node = Node::object();
      node.set("code", Node::of(static_cast<std::int64_t>(entry.code)));
      node.set("reason", Node::of(entry.reason));
      node.set("meaning", Node::of(entry.meaning));
      list.items.push_back(std::move(node));
    }
    Node document = Node::object();
    document.set("exit_codes", std::move(list));
    context.print_json(document);
    return kExitOk;
  }

  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Command> make_help_command() { return std::make_unique<HelpCommand>(); }

}  // namespace moesim::cli
