#include <fmt/format.h>

#include <algorithm>

#include "sim/cli/overrides.hpp"
#include "sim/cli/run_session.hpp"
#include "sim/cli/standard_input.hpp"
#include "sim/config/diagnostics.hpp"

namespace moesim::cli {

namespace {

class RunCommand final : public Command {
 public:
  std::string_view name() const override { return "run"; }
  std::string_view summary() const override { return "run scenarios and write their results"; }
  std::string_view usage() const override { return "run [flags] SCENARIO..."; }
  std::string_view examples() const override {
    return "moesim run my.json                                   results go to out/my\n"
           "moesim run my.json -o results --seed 7 --enforce\n"
           "moesim run my.json --set deployment.pools.main.replicas=4 --format json\n"
           "moesim run my.json --trace my.pftrace                open it in https://ui.perfetto.dev\n"
           "moesim run workloads/scenarios/*.json -j 2 -o out    one sub-folder each\n"
           "MOESIM_SET_seed=3 moesim run my.json --until 60s";
  }
  std::string_view details() const override {
    return "Ctrl-C stops at the next event and writes partial results, marked as such; a second one stops at "
           "once. "
           "Results depend on the scenario, the seed and the files it names, not on -j, the machine or the "
           "compiler.";
  }
  void declare(Arguments& arguments) override {
    overrides_.declare(arguments);
    run_.declare(arguments);
    arguments.value("-j,--jobs", "N", "run up to N scenarios at a time", jobs_);
    arguments.words("SCENARIO", "scenario files; - is standard input", files_, 1, 1 << 20);
  }
  int execute(const Context& context, const Arguments& arguments) override {
    const std::int64_t jobs = jobs_ ? parse_count("-j", *jobs_, 1) : 1;
    const auto overrides = overrides_.overrides(arguments, *context.environment);
    check_standard_input(files_);
    std::vector<PlannedRun> plan;
    for (const std::string& file : files_) {
      plan.push_back({prepare_scenario(file, context.catalogue, overrides), std::nullopt});
    }
    choose_folders(plan);
    return run_all(context, run_, plan, static_cast<std::size_t>(std::min<std::int64_t>(jobs, 256)));
  }

 private:
  // out/NAME, or -o itself for a single run; two scenarios of one name get "-2" and so on.
  void choose_folders(std::vector<PlannedRun>& plan) const {
    const std::filesystem::path base = run_.output().value_or("out");
    std::vector<std::string> taken;
    for (PlannedRun& planned : plan) {
      const std::string wanted = planned.prepared.name;
      std::string name = wanted;
      for (int n = 2; std::find(taken.begin(), taken.end(), name) != taken.end(); ++n) {
        name = fmt::format("{}-{}", wanted, n);
      }
      taken.push_back(name);
      planned.prepared.name = name;
      planned.folder = run_.output() && plan.size() == 1 ? base : base / name;
    }
  }

  OverrideFlags overrides_;
  RunFlags run_;
  std::optional<std::string> jobs_;
  std::vector<std::string> files_;
};

}  // namespace

std::unique_ptr<Command> make_run_command() { return std::make_unique<RunCommand>(); }

}  // namespace moesim::cli
