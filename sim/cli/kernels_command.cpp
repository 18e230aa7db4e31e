#include <fmt/format.h>

#include <algorithm>

#include "sim/cli/kernels_action.hpp"
#include "sim/config/diagnostics.hpp"

namespace moesim::cli {

namespace {

std::vector<std::unique_ptr<KernelsAction>> make_kernels_actions() {
  std::vector<std::unique_ptr<KernelsAction>> all;
  all.push_back(make_kernels_check());
  all.push_back(make_kernels_route());
  all.push_back(make_kernels_bench());
  return all;
}

class KernelsCommand final : public Command {
 public:
  KernelsCommand() : actions_(make_kernels_actions()) {
    for (const auto& action : actions_) {
      usage_ += fmt::format("{}kernels {}", usage_.empty() ? "" : " | ", action->usage());
      examples_ += fmt::format("{}{}", examples_.empty() ? "" : "\n", action->examples());
      actions_help_ +=
          fmt::format("{}{}: {}", actions_help_.empty() ? "" : "; ", action->name(), action->summary());
    }
  }

  std::string_view name() const override { return "kernels"; }
  std::string_view summary() const override { return "work with the CPU reference kernels"; }
  std::string_view usage() const override { return usage_; }
  std::string_view examples() const override { return examples_; }
  std::string_view details() const override {
    return "The reference kernels compute what an LLM's operators compute, on the CPU and in a fixed order "
           "of "
           "operations (docs/kernels.md).";
  }
  void declare(Arguments& arguments) override {
    for (const auto& action : actions_) {
      const std::size_t first = arguments.flags().size();
      action->declare(arguments);
      for (std::size_t i = first; i < arguments.flags().size(); ++i) {
        for (std::string& flag : split_names(arguments.flags()[i].names)) {
          owners_.emplace_back(std::move(flag), action.get());
        }
      }
    }
    arguments.words("ACTION", actions_help_, words_, 1, 1);
  }
  int execute(const Context& context, const Arguments& arguments) override {
    KernelsAction& action = chosen();
    for (const auto& given : arguments.given()) {
      const auto owner = std::find_if(owners_.begin(), owners_.end(),
                                      [&](const auto& one) { return one.first == given.first; });
      if (owner != owners_.end() && owner->second != &action) {
        throw config::InputError("wrong_flag",
                                 fmt::format("{} is no flag of `kernels {}`", given.first, action.name()),
                                 fmt::format("moesim kernels {}", owner->second->name()));
      }
    }
    return action.execute(context);
  }

 private:
  KernelsAction& chosen() const {
    std::vector<std::string> names;
    for (const auto& action : actions_) {
      if (action->name() == words_.front()) return *action;
      names.emplace_back(action->name());
    }
    throw config::InputError("unknown_name", fmt::format("`kernels` cannot \"{}\"", words_.front()),
                             config::nearest(words_.front(), names), "it can: " + actions_help_);
  }

  std::vector<std::unique_ptr<KernelsAction>> actions_;
  std::vector<std::pair<std::string, KernelsAction*>> owners_;  // of flags
  std::string usage_, examples_, actions_help_;
  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Command> make_kernels_command() { return std::make_unique<KernelsCommand>(); }

}  // namespace moesim::cli
