#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "sim/cli/exit_codes.hpp"
#include "sim/cli/kernels_action.hpp"
#include "sim/studies/full_layer.hpp"
#include "sim/studies/golden_check.hpp"
#include "sim/studies/numerics_check.hpp"

namespace moesim::cli {

namespace {

class KernelsCheck final : public KernelsAction {
 public:
  std::string_view name() const override { return "check"; }
  std::string_view summary() const override {
    return "run golden vectors, or scaled layers of models, through the kernels";
  }
  std::string_view usage() const override {
    return "check [--golden DIR] [--family NAME] [--case NAME] | kernels check --model NAME [--tp N] "
           "[--ep N] | kernels check --full-layer NAME [--layer-tokens N]";
  }
  std::string_view examples() const override {
    return "moesim kernels check                          the golden vectors of the reference data\n"
           "moesim kernels check --family codecs          one file of them\n"
           "moesim kernels check --case rope_llama3       one case\n"
           "moesim kernels check --golden my-vectors --json\n"
           "moesim kernels check --model deepseek-v3 --tp 8 --ep 8     a layer of each kind, scaled down\n"
           "moesim kernels check --model all                           the same of every model\n"
           "moesim kernels check --full-layer deepseek-v3              256 experts at full size, 64 tokens";
  }
  void declare(Arguments& arguments) override {
    arguments.value("--golden", "DIR", "folder of golden vectors (default: golden in the data folder)",
                    folder_);
    arguments.list("--family", "NAME", "only the cases of NAME.json (repeatable)", families_);
    arguments.list("--case", "NAME", "only this case (repeatable)", cases_);
    arguments.list("--model", "NAME",
                   "a scaled layer of each kind of this model instead of golden vectors (repeatable; all: "
                   "every model)",
                   models_);
    arguments.value(
        "--full-layer", "NAME",
        "one expert layer of this model at full size, its FP8 weights made on the fly, instead of "
        "golden vectors",
        full_layer_);
    arguments.value("--layer-tokens", "N", "tokens of --full-layer (default 64)", tokens_);
    arguments.value("--tp", "N", "tensor-parallel ranks of the models (default 1)", tp_);
    arguments.value("--ep", "N", "expert-parallel shards of the models (default 1)", ep_);
  }
  int execute(const Context& context) override {
    require_format(context, "kernels check", true, true);
    if (full_layer_) return check_full_layer(context);
    if (tokens_)
      throw config::InputError("wrong_flag", "--layer-tokens goes with --full-layer",
                               "--full-layer deepseek-v3");
    if (!models_.empty()) return check_models(context);
    if (tp_ || ep_)
      throw config::InputError("wrong_flag", "--tp and --ep go with --model", "--model deepseek-v3");
    studies::GoldenCheckOptions options;
    options.folder = folder_ ? std::filesystem::path(*folder_) : context.data_dir / "golden";
    options.families = families_;
    options.cases = cases_;
    const studies::GoldenCheck check = studies::check_golden(options);
    if (context.format == Format::json) {
      context.print_json(studies::golden_check_json(check));
    } else if (context.format == Format::csv) {
      context.out->print(studies::golden_check_csv(check));
    } else {
      const bool each = context.verbose || !cases_.empty() || !families_.empty();
      context.out->print(studies::golden_check_text(check, each, context.out_style));
    }
    return check.failed() == 0 ? kExitOk : kExitNo;
  }

 private:
  int check_models(const Context& context) {
    if (folder_ || !families_.empty() || !cases_.empty())
      throw config::InputError("wrong_flag", "--model checks no golden vectors",
                               "without --golden, --family, --case");
    const bool all = std::find(models_.begin(), models_.end(), "all") != models_.end();
    std::vector<studies::ModelNumerics> checked;
    bool passed = true;
    for (const std::string& name : all ? context.catalogue.names("models/zoo") : models_) {
      checked.push_back(studies::check_model_numerics(context.catalogue, name,
                                                      tp_ ? parse_count("--tp", *tp_, 1) : 1,
                                                      ep_ ? parse_count("--ep", *ep_, 1) : 1));
      passed = passed && checked.back().check.passed();
    }
    if (context.format == Format::json) {
      context.print_json(studies::numerics_json(checked));
    } else if (context.format == Format::csv) {
      context.out->print(studies::numerics_csv(checked));
    } else {
      context.out->print(studies::numerics_text(checked, context.verbose, context.out_style));
    }
    return passed ? kExitOk : kExitNo;
  }

  int check_full_layer(const Context& context) {
    if (folder_ || !families_.empty() || !cases_.empty() || !models_.empty() || tp_ || ep_)
      throw config::InputError("wrong_flag", "--full-layer goes with --layer-tokens alone",
                               "--full-layer deepseek-v3");
    require_format(context, "kernels check --full-layer", true, false);
    studies::FullLayerRequest request = studies::full_layer_request(context.catalogue, *full_layer_);
    if (tokens_) request.tokens = parse_count("--layer-tokens", *tokens_, 1);
    constexpr std::int64_t kMostTokens = 4096;
    if (request.tokens > kMostTokens)
      throw config::InputError("too_many", fmt::format("--layer-tokens takes up to {}", kMostTokens));
    request.jobs = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 8);
    const bool told = !context.quiet && context.progress != ProgressMode::never;
    request.progress = [&](std::int64_t done, std::int64_t all) {
      if (told && done % 32 == 0) context.err->write(fmt::format("{} of {} experts\n", done, all));
      if (told) context.err->flush();
    };
    const studies::FullLayer layer = studies::run_full_layer(request);
    if (context.format == Format::json) {
      context.print_json(studies::full_layer_json(layer));
    } else {
      context.out->print(studies::full_layer_text(layer, context.out_style));
    }
    // Differs from machine to machine, so it is no result.
    rusage used{};
    if (told && getrusage(RUSAGE_SELF, &used) == 0) {
      context.err->write(fmt::format("peak memory {}\n",
                                     reports::human_bytes(1024.0 * static_cast<double>(used.ru_maxrss))));
      context.err->flush();
    }
    return layer.check.passed() ? kExitOk : kExitNo;
  }

  std::optional<std::string> folder_, tp_, ep_, full_layer_, tokens_;
  std::vector<std::string> families_, cases_, models_;
};

}  // namespace

std::unique_ptr<KernelsAction> make_kernels_check() { return std::make_unique<KernelsCheck>(); }

}  // namespace moesim::cli
