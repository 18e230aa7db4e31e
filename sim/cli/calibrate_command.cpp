#include <fmt/format.h>

#include <ctime>
#include <filesystem>
#include <set>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/cli/measured_files.hpp"
#include "sim/io/atomic_file.hpp"
#include "sim/io/error.hpp"
#include "sim/studies/accuracy_report.hpp"

namespace moesim::cli {

namespace {

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm day{};
  gmtime_r(&now, &day);
  return fmt::format("{:04}-{:02}-{:02}", day.tm_year + 1900, day.tm_mon + 1, day.tm_mday);
}

class CalibrateCommand final : public Command {
 public:
  std::string_view name() const override { return "calibrate"; }
  std::string_view summary() const override { return "fit kernel parameters of a GPU to measured times"; }
  std::string_view usage() const override { return "calibrate --data FILE --gpu NAME -o DIR [flags]"; }
  std::string_view examples() const override {
    return "moesim calibrate --data rows.csv --gpu h200-sxm                  print how good the fit is\n"
           "moesim calibrate --data rows.csv --gpu h200-sxm -o mine          and write the parameters\n"
           "moesim calibrate --data rows.csv --gpu h200-sxm --table -o mine  with every residual\n"
           "moesim run scenario.json --config-path mine                      use them";
  }
  std::string_view details() const override {
    return "Robust least squares in log space, for each kernel library and family among the rows. The errors "
           "are those of rows whose group of shapes the fit has not seen. With -o the parameters are written "
           "to DIR/hw_configs/kernels/LIBRARY-GPU.json; families without rows keep what is stored. Times of "
           "shapes far from all measured ones are labelled derived.";
  }
  void declare(Arguments& arguments) override {
    arguments.list("--data", "FILE", "table of measured times, or a folder of them (repeatable)", files_);
    arguments.value("--gpu", "NAME", "the GPU to calibrate: moesim describe gpu", gpu_);
    arguments.list("--library", "NAME", "only this kernel library (repeatable)", libraries_);
    arguments.value("--group-folds", "N", "folds of shape groups for the errors (default 5)", folds_);
    arguments.flag("--table", "also write the residual of every measured shape", table_);
    arguments.flag("--no-surface", "write the physics alone", no_surface_);
    arguments.flag("--by-variant", "a line for each number format and code path", by_variant_);
    arguments.value("--source", "TEXT", "where the rows come from, for the file (default: the file names)",
                    source_);
    arguments.value("--date", "DATE", "date of the fit, for the file (default: today)", date_);
    arguments.value("-o,--output", "DIR", "folder for the parameters; searched first with --config-path DIR",
                    output_);
  }
  int execute(const Context& context, const Arguments&) override {
    if (files_.empty())
      throw config::InputError("missing_flag", "calibrate needs measured times", "--data rows.csv");
    if (!gpu_) throw config::InputError("missing_flag", "calibrate needs a GPU", "--gpu h200-sxm");
    const auto rows = read_measured(files_, context.catalogue);
    const std::vector<std::string> libraries = wanted(rows);
    studies::CalibrationOptions options = fit_options();
    const studies::KernelCatalogue catalogue(context.catalogue);
    StudyProgress progress(context);
    studies::AccuracyReport report;
    std::vector<studies::KernelFileText> files;
    std::vector<std::string> warnings;
    for (const std::string& library : libraries) {
      const std::map<std::string, std::string> sources = studies::stored_sources(catalogue, *gpu_, library);
      options.source = free_source(sources, options.source_text);
      studies::Calibration one =
          studies::calibrate(rows, *gpu_, library, catalogue, options, std::ref(progress));
      for (studies::AccuracyGroup& group : one.errors) report.groups.push_back(std::move(group));
      for (const std::string& warning : one.warnings) warnings.push_back(library + " " + warning);
      files.push_back(studies::kernel_file_text(one, options, sources));
    }
    progress.finish();
    std::string written;
    if (output_) {
      for (const auto& [name, text] : files) {
        const auto folder = std::filesystem::path(*output_) / "hw_configs" / "kernels";
        std::error_code failed;
        std::filesystem::create_directories(folder, failed);
        if (failed) throw io::IoError(folder.string(), 0, "cannot make the folder: " + failed.message());
        io::write_file(folder / (name + ".json"), text);
        written += fmt::format("wrote {}\n", (folder / (name + ".json")).string());
      }
    }
    if (context.format == Format::json) {
      config::Node document = studies::accuracy_json(report);
      config::Node list = config::Node::array();
      for (const std::string& warning : warnings)
        list.items.push_back(config::Node::of(std::string_view(warning)));
      document.set("warnings", std::move(list));
      context.print_json(document);
    } else if (context.format == Format::csv) {
      context.out->print(studies::accuracy_csv(report));
    } else {
      context.out->print(studies::accuracy_text(report, by_variant_, context.out_style));
    }
    if (!context.quiet) {
      for (const std::string& warning : warnings) context.err->print(fmt::format("warning: {}\n", warning));
      context.err->print(output_ ? written : "nothing was written: -o DIR keeps the parameters\n");
    }
    return kExitOk;
  }

 private:
  std::vector<std::string> wanted(const std::vector<studies::MeasuredRow>& rows) const {
    std::set<std::string> found, gpus;
    for (const studies::MeasuredRow& row : rows) {
      gpus.insert(row.gpu);
      if (row.gpu == *gpu_) found.insert(row.library);
    }
    if (found.empty()) {
      throw config::InputError("no_rows", fmt::format("no row is of the GPU \"{}\"", *gpu_),
                               config::nearest(*gpu_, std::vector<std::string>(gpus.begin(), gpus.end())));
    }
    if (libraries_.empty()) return {found.begin(), found.end()};
    for (const std::string& library : libraries_) {
      if (found.contains(library)) continue;
      throw config::InputError(
          "no_rows", fmt::format("no row of {} is of the library \"{}\"", *gpu_, library),
          config::nearest(library, std::vector<std::string>(found.begin(), found.end())));
    }
    return libraries_;
  }

  studies::CalibrationOptions fit_options() const {
    studies::CalibrationOptions options;
    if (folds_) options.folds = static_cast<std::size_t>(parse_count("--group-folds", *folds_, 2));
    options.surface = !no_surface_;
    options.table = table_;
    options.date = date_.value_or(today());
    if (source_) {
      options.source_text = *source_;
    } else {
      for (const std::string& file : files_) {
        options.source_text +=
            (options.source_text.empty() ? "" : ", ") + std::filesystem::path(file).filename().string();
      }
    }
    return options;
  }

  // "rows", or "rows-2" and so on where that means something else already.
  static std::string free_source(const std::map<std::string, std::string>& stored, const std::string& text) {
    std::string name = "rows";
    for (int i = 2; stored.contains(name) && stored.at(name) != text; ++i) name = fmt::format("rows-{}", i);
    return name;
  }

  std::vector<std::string> files_, libraries_;
  std::optional<std::string> gpu_, folds_, source_, date_, output_;
  bool table_ = false;
  bool no_surface_ = false;
  bool by_variant_ = false;
};

}  // namespace

std::unique_ptr<Command> make_calibrate_command() { return std::make_unique<CalibrateCommand>(); }

}  // namespace moesim::cli
