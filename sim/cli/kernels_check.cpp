#include "sim/cli/exit_codes.hpp"
#include "sim/cli/kernels_action.hpp"
#include "sim/studies/golden_check.hpp"

namespace moesim::cli {

namespace {

class KernelsCheck final : public KernelsAction {
 public:
  std::string_view name() const override { return "check"; }
  std::string_view summary() const override { return "run golden vectors through the kernels"; }
  std::string_view usage() const override { return "check [--golden DIR] [--family NAME] [--case NAME]"; }
  std::string_view examples() const override {
    return "moesim kernels check                          the golden vectors of the reference data\n"
           "moesim kernels check --family codecs          one file of them\n"
           "moesim kernels check --case rope_llama3       one case, with each of its outputs\n"
           "moesim kernels check --golden my-vectors --json";
  }
  void declare(Arguments& arguments) override {
    arguments.value("--golden", "DIR", "folder of golden vectors (default: golden in the data folder)",
                    folder_);
    arguments.list("--family", "NAME", "only the cases of NAME.json (repeatable)", families_);
    arguments.list("--case", "NAME", "only this case (repeatable)", cases_);
  }
  int execute(const Context& context) override {
    require_format(context, "kernels check", true, true);
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
  std::optional<std::string> folder_;
  std::vector<std::string> families_, cases_;
};

}  // namespace

std::unique_ptr<KernelsAction> make_kernels_check() { return std::make_unique<KernelsCheck>(); }

}  // namespace moesim::cli
