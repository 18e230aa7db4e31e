#include <fmt/format.h>

#include "sim/cli/exit_codes.hpp"
#include "sim/cli/overrides.hpp"
#include "sim/cli/run_session.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/studies/estimate.hpp"

namespace moesim::cli {

namespace {

class EstimateCommand final : public Command {
 public:
  std::string_view name() const override { return "estimate"; }
  std::string_view summary() const override { return "a quick run from a model, a GPU and a few numbers"; }
  std::string_view usage() const override { return "estimate --model NAME --gpu NAME [flags]"; }
  std::string_view examples() const override {
    return "moesim estimate --model llama-3.1-8b --gpu h100-sxm --isl 1024 --osl 256 --concurrency 64\n"
           "moesim estimate --model deepseek-v3 --gpu h200-sxm --tp 8 --ep 8 --concurrency 32\n"
           "moesim estimate --model mixtral-8x7b --gpu h100-sxm --tp 2 --print-scenario > mixtral.json";
  }
  std::string_view details() const override {
    return "A closed loop of clients, as serving benchmarks run it: all start at once, each sends its next "
           "request when "
           "its last one ended, 10 requests per client. The opening burst is part of the numbers.";
  }
  void declare(Arguments& arguments) override {
    arguments.value("--model", "NAME", "model: moesim describe model, or the path of a config.json", model_);
    arguments.value("--gpu", "NAME", "GPU: moesim describe gpu", gpu_);
    arguments.value("--node", "NAME", "node type, instead of the first one with that GPU", node_);
    arguments.value("--tp", "N", "tensor-parallel ranks (default 1)", tp_);
    arguments.value("--ep", "N", "expert-parallel shards (default 1)", ep_);
    arguments.value("--dp-attention", "N", "data-parallel attention ranks (default 1)", dp_);
    arguments.value("--replicas", "N", "replicas (default 1)", replicas_);
    arguments.value("--isl", "N", "input tokens (default 1024)", isl_);
    arguments.value("--osl", "N", "output tokens (default 1024)", osl_);
    arguments.value("--length-ratio", "R", "lengths uniform from R x tokens to tokens, for example 0.8",
                    ratio_);
    arguments.value("--concurrency", "N", "clients, over all replicas (default 1)", concurrency_);
    arguments.value("--requests", "N", "requests (default 10 per client)", requests_);
    arguments.value("--weights", "FORMAT",
                    "bf16, fp8, fp8_block, int8, int4, int4_g32, mxfp4, nvfp4 (default: as the model was published)",
                    weights_);
    arguments.value("--kv", "FORMAT", "bf16 (default), fp8, int8", kv_);
    arguments.value("--engine", "NAME", "engine (default vLLM, with its defaults for the GPU)", engine_);
    arguments.value("--popularity", "FAMILY", "lognormal (default), uniform or balanced experts",
                    popularity_);
    arguments.list("--slo", "RULE", "a target: 'ttft.p99 <= 1 s' (repeatable)", slo_);
    arguments.flag("--print-scenario", "print the scenario and do not run it", print_);
    overrides_.declare(arguments);
    run_.declare(arguments);
  }
  int execute(const Context& context, const Arguments& arguments) override {
    if (print_ && !run_.any().empty()) {
      throw config::InputError(
          "contradiction",
          fmt::format("--print-scenario runs nothing, {} is about a run: give one of them", run_.any()));
    }
    if (run_.hash() && !run_.output()) {
      throw config::InputError("missing_flag", "--hash needs result files", "--hash -o DIR");
    }
    PlannedRun planned;
    planned.prepared = prepare(context, arguments);
    if (print_) {
      // What would run: with the values of --set, --merge and the environment.
      context.print_json(planned.prepared.loaded.document.root);
      return kExitOk;
    }
    if (run_.output()) planned.folder = *run_.output();
    return run_all(context, run_, {planned}, 1);
  }

 private:
  // Nobody wrote the text of the scenario, so no problem is shown in it: problems point at the flags.
  studies::PreparedRun prepare(const Context& context, const Arguments& arguments) const {
    std::vector<config::Override> changes = flag_values();
    for (config::Override& change : overrides_.overrides(arguments, *context.environment))
      changes.push_back(std::move(change));
    const auto generated = [](const config::SourceSet& sources, const config::Location& where,
                              config::OriginKind most) {
      return where.source >= 0 && sources.at(where.source).kind >= config::OriginKind::file &&
             sources.at(where.source).kind <= most;
    };
    try {
      studies::PreparedRun prepared = studies::prepare_text(
          studies::estimate_scenario(request(), context.catalogue), "estimate", context.catalogue, changes);
      for (config::Diagnostic& warning : prepared.loaded.warnings) {
        if (!generated(prepared.loaded.document.sources, warning.where, config::OriginKind::flag)) continue;
        warning.where = {};
        warning.pointer.clear();
        warning.note.clear();
      }
      return prepared;
    } catch (const config::InputError& error) {
      config::Diagnostics shown;
      for (config::Diagnostic problem : error.diagnostics().errors()) {
        if (generated(error.sources(), problem.where, config::OriginKind::file)) problem.where = {};
        shown.add(std::move(problem));
      }
      throw config::InputError(error.sources(), std::move(shown));
    }
  }

  // The values of the flags as changes of the generated scenario, so that each remembers its flag.
  std::vector<config::Override> flag_values() const {
    std::vector<config::Override> all;
    const auto add = [&](std::string_view flag, std::string_view path, const config::Node& value,
                         const std::string& shown) {
      all.push_back({config::Override::Kind::set, fmt::format("{}={}", path, config::to_json(value, -1)),
                     config::OriginKind::flag, std::string(flag), shown});
    };
    const auto text = [&](std::string_view flag, std::string_view path,
                          const std::optional<std::string>& given) {
      if (given) add(flag, path, config::Node::of(std::string_view(*given)), *given);
    };
    const auto whole = [&](std::string_view flag, std::string_view path,
                           const std::optional<std::string>& given) {
      if (given) add(flag, path, config::Node::of(parse_count(flag, *given, 1)), *given);
    };
    const auto share = [&](std::string_view flag, std::string_view path,
                           const std::optional<std::string>& given) {
      if (given) add(flag, path, config::Node::of(parse_fraction(flag, *given)), *given);
    };
    text("--model", "model", model_);
    text("--node", "cluster.node", node_);
    text("--engine", "deployment.engine", engine_);
    text("--weights", "deployment.formats.weights", weights_);
    text("--kv", "deployment.formats.kv", kv_);
    text("--popularity", "routing.popularity.family", popularity_);
    whole("--tp", "deployment.pools.main.tp", tp_);
    whole("--ep", "deployment.pools.main.ep", ep_);
    whole("--dp-attention", "deployment.pools.main.dp_attention", dp_);
    whole("--replicas", "deployment.pools.main.replicas", replicas_);
    whole("--isl", "workload.lengths.input.tokens", isl_);
    whole("--osl", "workload.lengths.output.tokens", osl_);
    share("--length-ratio", "workload.lengths.input.ratio", ratio_);
    share("--length-ratio", "workload.lengths.output.ratio", ratio_);
    whole("--concurrency", "workload.arrival.clients", concurrency_);
    whole("--requests", "workload.stop.requests", requests_);
    for (std::size_t i = 0; i < slo_.size(); ++i) text("--slo", fmt::format("/slo/{}", i), slo_[i]);
    return all;
  }

  static std::int64_t count(std::string_view flag, const std::optional<std::string>& given,
                            std::int64_t fallback) {
    return given ? parse_count(flag, *given, 1) : fallback;
  }

  studies::EstimateRequest request() const {
    if (!model_)
      throw config::InputError("missing_flag", "an estimate needs a model", "--model llama-3.1-8b");
    studies::EstimateRequest request;
    request.model = *model_;
    request.gpu = gpu_.value_or("");
    request.node = node_.value_or("");
    request.engine = engine_.value_or(request.engine);
    request.tp = count("--tp", tp_, request.tp);
    request.ep = count("--ep", ep_, request.ep);
    request.dp_attention = count("--dp-attention", dp_, request.dp_attention);
    request.replicas = count("--replicas", replicas_, request.replicas);
    request.input_tokens = count("--isl", isl_, request.input_tokens);
    request.output_tokens = count("--osl", osl_, request.output_tokens);
    request.concurrency = count("--concurrency", concurrency_, request.concurrency);
    if (requests_) request.requests = parse_count("--requests", *requests_, 1);
    if (ratio_) request.length_ratio = parse_fraction("--length-ratio", *ratio_);
    request.weights = weights_.value_or(request.weights);
    request.kv = kv_.value_or(request.kv);
    request.popularity = popularity_.value_or(request.popularity);
    request.slo = slo_;
    return request;
  }

  std::optional<std::string> model_, gpu_, node_, tp_, ep_, dp_, replicas_, isl_, osl_, ratio_, concurrency_,
      requests_, weights_, kv_, engine_, popularity_;
  std::vector<std::string> slo_;
  bool print_ = false;
  OverrideFlags overrides_;
  RunFlags run_;
};

}  // namespace

std::unique_ptr<Command> make_estimate_command() { return std::make_unique<EstimateCommand>(); }

}  // namespace moesim::cli
