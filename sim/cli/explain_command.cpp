#include <fmt/format.h>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/cli/overrides.hpp"
#include "sim/studies/explain.hpp"
#include "sim/studies/run.hpp"

namespace moesim::cli {

namespace {

using config::Node;

class ExplainCommand final : public Command {
 public:
  std::string_view name() const override { return "explain"; }
  std::string_view summary() const override { return "the resolved scenario with the origin of every value"; }
  std::string_view usage() const override { return "explain [flags] SCENARIO [PATH]"; }
  std::string_view examples() const override {
    return "moesim explain my.json\n"
           "moesim explain my.json cluster.node.gpu.hbm\n"
           "moesim explain my.json --set seed=7 seed --json";
  }
  std::string_view details() const override {
    return "Layers, weakest first: defaults, catalogue entries, the scenario, --merge files, MOESIM_SET_ "
           "variables, --set.";
  }
  void declare(Arguments& arguments) override {
    overrides_.declare(arguments);
    arguments.words("SCENARIO [PATH]", "a scenario, and the part of it to show", words_, 1, 2);
  }
  int execute(const Context& context, const Arguments& arguments) override {
    const studies::PreparedRun prepared =
        prepare_scenario(words_[0], context.catalogue, overrides_.overrides(arguments, *context.environment));
    const std::string path = words_.size() > 1 ? words_[1] : "";
    const config::Loaded<serving::Scenario>& loaded = prepared.loaded;
    const auto values =
        studies::explain(loaded.resolved, loaded.document.sources, path, context.format == Format::text);
    context.tell_files({loaded.document.files.begin(), loaded.document.files.end()});
    context.warn(loaded.warnings, loaded.document.sources);
    switch (context.format) {
      case Format::text:
        print_text(context, values, path.empty());
        break;
      case Format::json:
        context.print_json(
            document(values, *config::resolve_pointer(loaded.resolved, studies::pointer_of_path(path))));
        break;
      case Format::csv:
        print_csv(context, values);
        break;
    }
    return kExitOk;
  }

 private:
  static void print_text(const Context& context, const std::vector<studies::ExplainedValue>& values,
                         bool whole) {
    constexpr std::size_t kLongest = 40;
    reports::Table table({{"path", false, 0}, {"value", false, 0}, {"origin", false, 0}});
    std::string lines;  // for terminals that are too narrow for the table
    for (const studies::ExplainedValue& value : values) {
      std::string text = config::to_json(value.value, -1);
      if (text.size() > kLongest) text = text.substr(0, kLongest - 3) + "...";
      std::string origin = studies::origin_words(value);
      if (!value.label.empty()) origin += fmt::format(" ({})", value.label);
      lines += fmt::format("{} = {}\n    {}\n", value.path, text,
                           reports::paint(origin, reports::Tone::dim, context.out_style));
      table.add({value.path, std::move(text), std::move(origin)});
    }
    reports::Style wide = context.out_style;
    wide.width = 1000;
    std::string page = table.text(wide);
    const bool fits = !context.out_style.bars || reports::widest_line(page) <= context.out_style.width;
    context.out->print(fits ? page : lines);
    if (whole && !context.quiet) {
      context.err->print("Notes and sources of the numbers: moesim explain --json, or moesim describe\n");
    }
  }

  static Node document(const std::vector<studies::ExplainedValue>& values, const Node& resolved) {
    Node origins = Node::array();
    for (const studies::ExplainedValue& value : values) {
      Node entry = Node::object();
      entry.set("pointer", Node::of(std::string_view(value.pointer)));
      entry.set("path", Node::of(std::string_view(value.path)));
      entry.set("value", value.value);
      entry.set("origin", Node::of(config::to_string(value.origin)));
      if (!value.source.empty()) {
        entry.set("source", Node::of(std::string_view(value.source)));
        entry.set("line", Node::of(static_cast<std::int64_t>(value.place.line)));
        entry.set("column", Node::of(static_cast<std::int64_t>(value.place.column)));
      }
      origins.items.push_back(std::move(entry));
    }
    Node document = Node::object();
    document.set("resolved", resolved);
    document.set("values", std::move(origins));
    return document;
  }

  static void print_csv(const Context& context, const std::vector<studies::ExplainedValue>& values) {
    reports::Table table({{"path", false, 0},
                          {"pointer", false, 0},
                          {"value", false, 0},
                          {"origin", false, 0},
                          {"source", false, 0},
                          {"line", true, 0}});
    for (const studies::ExplainedValue& value : values) {
      // Text as it is: the quotes of JSON would be part of every cell that a spreadsheet reads.
      const bool text = value.value.kind == Node::Kind::string;
      table.add({value.path, value.pointer, text ? value.value.text : config::to_json(value.value, -1),
                 std::string(config::to_string(value.origin)), value.source,
                 value.source.empty() ? "" : fmt::format("{}", value.place.line)});
    }
    context.out->print(table.csv());
  }

  OverrideFlags overrides_;
  std::vector<std::string> words_;
};

}  // namespace

std::unique_ptr<Command> make_explain_command() { return std::make_unique<ExplainCommand>(); }

}  // namespace moesim::cli
