#include <fmt/format.h>

#include "sim/cli/exit_codes.hpp"
#include "sim/cli/kernels_action.hpp"
#include "sim/io/atomic_file.hpp"
#include "sim/studies/kernel_route.hpp"

namespace moesim::cli {

namespace {

class KernelsRoute final : public KernelsAction {
 public:
  std::string_view name() const override { return "route"; }
  std::string_view summary() const override {
    return "run the routers of a checkpoint and write a routing trace";
  }
  std::string_view usage() const override {
    return "route --weights DIR|FILE --tokens FILE [-o FILE] [flags]";
  }
  std::string_view examples() const override {
    return "moesim kernels route --weights model/ --tokens hidden.safetensors -o trace.jsonl\n"
           "moesim kernels route --weights model.gguf --tokens hidden.f32 --layer 3 --gate qwen3";
  }
  void declare(Arguments& arguments) override {
    arguments.value("--weights", "PATH",
                    "safetensors or GGUF: a file, or a folder of shards with its config.json", weights_);
    arguments.value("--tokens", "FILE",
                    "what to route: hidden states that enter the routers (.safetensors, .f32), or token ids",
                    tokens_);
    arguments.list("--layer", "N", "only the router of this layer (repeatable)", layers_);
    arguments.value("--gate", "NAME", "choose as this family does (default: what the model's files say)",
                    gate_);
    arguments.value("--top-k", "K", "experts of a token (default: what the model's files say)", top_k_);
    arguments.value("--router-dtype", "TYPE",
                    "bf16 or f32: how logits are rounded (default: as the family does)", dtype_);
    arguments.value("--step-tokens", "N", "tokens of one record of the trace (default 65536)", step_tokens_);
    arguments.value("-o,--output", "FILE", "the trace, as JSON lines; .gz and .zst are compressed", output_);
  }
  int execute(const Context& context) override {
    require_format(context, "kernels route", true, true);
    const studies::RouteOptions options = route_options();
    std::optional<io::AtomicFile> file;
    if (output_) file.emplace(*output_);
    const studies::RouteReport report = studies::route_tokens(options, [&](std::string_view line) {
      if (file) file->write(line);
    });
    if (file) file->commit();
    context.tell_files(report.files);
    if (context.format == Format::json) {
      context.print_json(studies::route_json(report));
    } else if (context.format == Format::csv) {
      context.out->print(studies::route_csv(report));
    } else {
      context.out->print(studies::route_text(report, context.out_style));
    }
    if (!context.quiet) {
      for (const std::string& warning : report.warnings) {
        context.err->print(fmt::format("warning: {}\n", warning));
      }
      context.err->print(output_ ? fmt::format("wrote {}\n", *output_)
                                 : std::string("nothing was written: -o FILE keeps the trace\n"));
    }
    return kExitOk;
  }

 private:
  studies::RouteOptions route_options() const {
    if (!weights_)
      throw config::InputError("missing_flag", "kernels route needs weights", "--weights model/");
    if (!tokens_)
      throw config::InputError("missing_flag", "kernels route needs tokens", "--tokens hidden.safetensors");
    studies::RouteOptions options;
    options.weights = *weights_;
    options.tokens = *tokens_;
    for (const std::string& layer : layers_) options.layers.push_back(parse_count("--layer", layer, 0));
    options.gate.family = gate_;
    if (top_k_) options.gate.top_k = parse_count("--top-k", *top_k_, 1);
    if (step_tokens_) options.step_tokens = parse_count("--step-tokens", *step_tokens_, 1);
    if (dtype_) {
      if (*dtype_ != "bf16" && *dtype_ != "f32") {
        throw config::InputError("unknown_name", fmt::format("--router-dtype is \"{}\"", *dtype_),
                                 "bf16 or f32");
      }
      options.gate.precision = *dtype_ == "bf16" ? gate::Precision::bf16 : gate::Precision::f32;
    }
    return options;
  }

  std::optional<std::string> weights_, tokens_, gate_, top_k_, dtype_, step_tokens_, output_;
  std::vector<std::string> layers_;
};

}  // namespace

std::unique_ptr<KernelsAction> make_kernels_route() { return std::make_unique<KernelsRoute>(); }

}  // namespace moesim::cli
