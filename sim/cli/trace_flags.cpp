#include "sim/cli/trace_flags.hpp"

#include <fmt/format.h>

#include <system_error>

#include "reports/files.hpp"
#include "reports/text.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/config/render.hpp"
#include "sim/io/atomic_file.hpp"
#include "sim/io/error.hpp"

namespace moesim::cli {

namespace fs = std::filesystem;

using config::InputError;

namespace {

// The same place, also where the file is not there yet.
bool same_place(const fs::path& left, const fs::path& right) {
  std::error_code error;
  const fs::path a = fs::weakly_canonical(fs::absolute(left, error), error);
  const fs::path b = fs::weakly_canonical(fs::absolute(right, error), error);
  return a == b || fs::equivalent(left, right, error);
}

}  // namespace

void TraceFlags::declare(Arguments& arguments) {
  arguments.value("--trace", "FILE",
                  "write a timeline for https://ui.perfetto.dev: .pftrace or .json, .gz or .zst after it",
                  file_);
  arguments.value("--trace-limit", "N", "events that the trace holds at most (default 5000000)", limit_);
}

std::string_view TraceFlags::any() const {
  if (file_) return "--trace";
  return limit_ ? "--trace-limit" : "";
}

void TraceFlags::check_usage(std::size_t scenarios) const {
  if (limit_) static_cast<void>(parse_count("--trace-limit", *limit_, 1));
  if (!file_) {
    if (limit_) throw InputError("missing_flag", "--trace-limit belongs to --trace", "--trace run.pftrace");
    return;
  }
  if (!reports::trace_form(*file_)) {
    const std::string stem = config::printable(fs::path(*file_).stem().string());
    const bool named = !stem.empty() && stem.front() != '.';
    throw InputError(
        "bad_value",
        fmt::format("--trace writes .pftrace or .json, each also with .gz or .zst after it, not \"{}\"",
                    config::printable(*file_)),
        named ? fmt::format("--trace {}.pftrace", stem) : "--trace run.pftrace");
  }
  if (scenarios > 1) {
    throw InputError(
        "contradiction",
        fmt::format("--trace writes one file about one run, and {} scenarios were given", scenarios), "",
        "run them one by one, each with a --trace of its own");
  }
}

void TraceFlags::check_file(const std::vector<fs::path>& inputs,
                            const std::optional<fs::path>& folder) const {
  for (const fs::path& input : inputs) {
    if (same_place(*file_, input)) throw io::IoError(*file_, 0, "--trace would replace an input of the run");
  }
  if (folder) {
    for (const std::string_view name : reports::result_file_names()) {
      if (same_place(*file_, *folder / name))
        throw io::IoError(*file_, 0, "--trace would replace a result file of the run");
    }
  }
  static_cast<void>(io::AtomicFile(*file_));
}

std::optional<execution::Timeline> TraceFlags::timeline() const {
  if (!file_) return std::nullopt;
  if (!limit_) return execution::Timeline();
  return execution::Timeline(static_cast<std::size_t>(parse_count("--trace-limit", *limit_, 1)));
}

std::string TraceFlags::write(const execution::Timeline& timeline, const Context& context) const {
  reports::write_trace_file(*file_, timeline);
  if (context.quiet) return "";
  const std::size_t slices = timeline.slices().size();
  const bool packed = fs::path(*file_).extension() == ".zst";  // the viewer unpacks gzip, not Zstandard
  std::string lines =
      fmt::format("wrote {}: {} slice{}, opens in https://ui.perfetto.dev{}\n", config::printable(*file_),
                  reports::grouped(static_cast<std::int64_t>(slices)), slices == 1 ? "" : "s",
                  packed ? " after zstd -d" : "");
  if (timeline.full()) {
    const std::size_t events = slices + timeline.counter_values().size();
    config::Diagnostic warning;
    warning.code = "trace_limit";
    warning.message = fmt::format(
        "the trace is complete only up to {} s of simulated time: it reached its limit of {} events",
        reports::exact_seconds({timeline.truncated_at()->ps}),
        reports::grouped(static_cast<std::int64_t>(events)));
    warning.note = "a higher --trace-limit holds more, --until makes a shorter run";
    warning.warning = true;
    lines += config::render(warning, {}, context.err_style.color);
  }
  return lines;
}

}  // namespace moesim::cli
