#include <algorithm>

#include "sim/cli/exit_codes.hpp"
#include "sim/cli/kernels_action.hpp"
#include "sim/studies/kernel_bench.hpp"

namespace moesim::cli {

namespace {

class KernelsBench final : public KernelsAction {
 public:
  std::string_view name() const override { return "bench"; }
  std::string_view summary() const override {
    return "measure how near the fast kernels come to the machine's limits";
  }
  std::string_view usage() const override {
    return "bench [--kernel NAME] [--threads N] [--rounds N] [--portable]";
  }
  std::string_view examples() const override {
    return "moesim kernels bench                          all kernels on one thread\n"
           "moesim kernels bench --kernel moe --threads 2 the expert layers, and what a second thread gives";
  }
  void declare(Arguments& arguments) override {
    arguments.list("--kernel", "NAME", "only kernels whose name begins so (repeatable)", options_.kernels);
    arguments.value("--threads", "N", "threads (default: 1)", threads_);
    arguments.value("--rounds", "N", "how often each kernel and its limit are timed (default: 9)", rounds_);
    arguments.flag("--portable", "without AVX-512", options_.portable);
  }
  int execute(const Context& context) override {
    require_format(context, "kernels bench", true, true);
    if (threads_)
      options_.threads = static_cast<int>(std::min<std::int64_t>(parse_count("--threads", *threads_, 1), 64));
    if (rounds_)
      options_.rounds = static_cast<int>(std::min<std::int64_t>(parse_count("--rounds", *rounds_, 1), 1000));
    const studies::KernelBench bench = studies::bench_kernels(options_);
    if (context.format == Format::json) {
      context.print_json(studies::kernel_bench_json(bench));
    } else if (context.format == Format::csv) {
      context.out->print(studies::kernel_bench_csv(bench));
    } else {
      context.out->print(studies::kernel_bench_text(bench, context.out_style));
    }
    return kExitOk;
  }

 private:
  studies::KernelBenchOptions options_;
  std::optional<std::string> threads_, rounds_;
};

}  // namespace

std::unique_ptr<KernelsAction> make_kernels_bench() { return std::make_unique<KernelsBench>(); }

}  // namespace moesim::cli
