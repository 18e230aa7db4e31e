#include <fmt/format.h>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/cli/measured_files.hpp"
#include "sim/studies/accuracy_report.hpp"

namespace moesim::cli {

namespace {

class AccuracyCommand final : public Command {
 public:
  std::string_view name() const override { return "accuracy"; }
  std::string_view summary() const override { return "compare measured kernel times with the model"; }
  std::string_view usage() const override { return "accuracy --measured FILE [flags]"; }
  std::string_view examples() const override {
    return "moesim accuracy --measured rows.csv                     the stored parameters\n"
           "moesim accuracy --measured rows.csv --group-folds 5     fits that have not seen a row's group\n"
           "moesim accuracy --measured rows.csv --parameters-of h100-sxm  another GPU's physics\n"
           "moesim accuracy --measured rows.csv --leave-gpu-out --by-variant";
  }
  std::string_view details() const override {
    return "Files have the columns of one kernel family (docs/measuring.md); a folder stands for all files "
           "in it. "
           "A row is predicted three ways: by the physics alone, with the residual surface (at most 64 "
           "numbers), "
           "and with the table of all residuals, where the kernel library has one. Two baselines stand "
           "beside "
           "them: the datasheet roofline, and interpolation of the utilisation of the nearest measured "
           "shapes, "
           "which never sees the group of shapes that it predicts.";
  }
  void declare(Arguments& arguments) override {
    arguments.list("--measured", "FILE", "table of measured times, or a folder of them (repeatable)", files_);
    arguments.list("--library", "NAME", "only rows of this kernel library (repeatable)", libraries_);
    arguments.list("--gpu", "NAME", "only rows of this GPU (repeatable)", gpus_);
    arguments.list("--op", "NAME", "only rows of this family of kernels (repeatable)", ops_);
    arguments.value("--group-folds", "N", "fit on all folds of shape groups but one, judge on that", folds_);
    arguments.value("--parameters-of", "GPU", "use the stored physics of another GPU", parameters_of_);
    arguments.flag("--leave-gpu-out", "predict each GPU from the physics of the nearest other one",
                   leave_out_);
    arguments.flag("--by-variant", "a line for each number format and code path", by_variant_);
    arguments.flag("--markdown", "print the table as Markdown", markdown_);
  }
  int execute(const Context& context, const Arguments&) override {
    if (files_.empty()) {
      throw config::InputError("missing_flag", "accuracy needs measured times", "--measured rows.csv");
    }
    if (parameters_of_.has_value() + leave_out_ + folds_.has_value() > 1) {
      throw config::InputError("contradiction",
                               "--group-folds, --parameters-of and --leave-gpu-out exclude each other");
    }
    studies::AccuracyOptions options;
    check_names(context.catalogue);
    if (folds_) options.folds = static_cast<std::size_t>(parse_count("--group-folds", *folds_, 2));
    options.parameters_of = parameters_of_.value_or("");
    options.leave_gpu_out = leave_out_;
    const auto rows = wanted(read_measured(files_, context.catalogue));
    if (rows.empty()) throw config::InputError("no_rows", "no row is of the wanted library, GPU and family");
    StudyProgress progress(context);
    const studies::AccuracyReport report = studies::measure_accuracy(
        rows, studies::KernelCatalogue(context.catalogue), options, std::ref(progress));
    progress.finish();
    if (markdown_) {
      context.out->print(studies::accuracy_markdown(report, by_variant_));
    } else if (context.format == Format::json) {
      context.print_json(studies::accuracy_json(report));
    } else if (context.format == Format::csv) {
      context.out->print(studies::accuracy_csv(report));
    } else {
      context.out->print(studies::accuracy_text(report, by_variant_, context.out_style));
    }
    return kExitOk;
  }

 private:
  void check_names(const config::Catalogue& catalogue) const {
    const auto check = [](std::string_view what, const std::string& name,
                          const std::vector<std::string>& known) {
      if (std::find(known.begin(), known.end(), name) != known.end()) return;
      throw config::InputError("unknown_name", fmt::format("there is no {} \"{}\"", what, name),
                               config::nearest(name, known));
    };
    std::vector<std::string> families;
    for (const cost::KernelFamily& family : cost::kernel_families()) families.emplace_back(family.name);
    for (const std::string& op : ops_) check("family of kernels", op, families);
    const std::vector<std::string> gpus = catalogue.names("hw_configs/gpus");
    for (const std::string& gpu : gpus_) check("GPU", gpu, gpus);
    if (parameters_of_) check("GPU", *parameters_of_, gpus);
  }

  std::vector<studies::MeasuredRow> wanted(std::vector<studies::MeasuredRow> rows) const {
    const auto among = [](const std::vector<std::string>& list, std::string_view name) {
      return list.empty() || std::find(list.begin(), list.end(), name) != list.end();
    };
    std::erase_if(rows, [&](const studies::MeasuredRow& row) {
      return !among(libraries_, row.library) || !among(gpus_, row.gpu) || !among(ops_, row.family->name);
    });
    return rows;
  }

  std::vector<std::string> files_, libraries_, gpus_, ops_;
  std::optional<std::string> folds_, parameters_of_;
  bool leave_out_ = false;
  bool by_variant_ = false;
  bool markdown_ = false;
};

}  // namespace

std::unique_ptr<Command> make_accuracy_command() { return std::make_unique<AccuracyCommand>(); }

}  // namespace moesim::cli
