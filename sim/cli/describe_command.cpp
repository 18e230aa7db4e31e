#include <fmt/format.h>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/studies/describe.hpp"

namespace moesim::cli {

namespace {

class DescribeCommand final : public Command {
 public:
  std::string_view name() const override { return "describe"; }
  std::string_view summary() const override {
    return "look into the catalogues, the metrics and the configuration";
  }
  std::string_view usage() const override { return "describe [TOPIC [NAME]]"; }
  std::string_view examples() const override {
    return "moesim describe gpu                  all GPUs\n"
           "moesim describe gpu h200-sxm         every number with its source, and the ridge points\n"
           "moesim describe model deepseek-v3 --json\n"
           "moesim describe model path/config.json  a model from the Hugging Face hub\n"
           "moesim describe model deepseek-v3 --dense-twin  the dense model with as many parameters\n"
           "moesim describe kernels vllm-h200-sxm  fitted kernel parameters and their errors\n"
           "moesim describe metric ttft\n"
           "moesim describe scenario deployment  the fields of a part";
  }
  std::string_view details() const override {
    return "Topics: hardware, gpu, node, fabric, engine, kernels, model, workload, metric, policy, scenario.";
  }
  void declare(Arguments& arguments) override {
    arguments.flag("--dense-twin", "of a model: the dense one with all its experts in one network",
                   dense_twin_);
    arguments.words("TOPIC NAME", "a topic and one thing of it", words_, 0, 2);
  }
  int execute(const Context& context, const Arguments&) override {
    if (words_.empty()) return topics(context);
    const studies::Description description =
        studies::describe(words_[0], words_.size() > 1 ? words_[1] : "", context.catalogue, dense_twin_);
    context.warn(description.warnings, description.sources);
    switch (context.format) {
      case Format::text:
        context.out->print(studies::to_text(description, context.out_style));
        break;
      case Format::json:
        context.print_json(description.document);
        break;
      case Format::csv:
        context.out->print(studies::to_csv(description));
        break;
    }
    return kExitOk;
  }

 private:
  static int topics(const Context& context) {
    reports::Table table({{"topic", false, 0}, {"what", false, 0}});
    config::Node list = config::Node::array();
    for (const studies::TopicInfo& topic : studies::describe_topics()) {
      table.add({std::string(topic.name), std::string(topic.sentence)});
      list.items.push_back(config::Node::of(topic.name));
    }
    if (context.format == Format::json) {
      config::Node document = config::Node::object();
      document.set("topics", std::move(list));
      context.print_json(document);
    } else {
      context.out->print(context.format == Format::csv ? table.csv() : table.text(context.out_style));
    }
    return kExitOk;
  }

  std::vector<std::string> words_;
  bool dense_twin_ = false;
};

}  // namespace

std::unique_ptr<Command> make_describe_command() { return std::make_unique<DescribeCommand>(); }

}  // namespace moesim::cli
